//! On what ground the demo stands: root's, or a user namespace of its own.
//!
//! Pods are network namespaces and redirection is a firewall rule: both need the capabilities `SYS_ADMIN` and
//! `NET_ADMIN`. Whoever lacks them gets them inside a user namespace, where the kernel allows one. Only one user id is
//! mapped there, so the proxy cannot be told apart by its user; a packet mark does it instead.

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};
use std::fmt;
use std::fs;
use std::path::Path;

/// The packet mark of a proxy that cannot have a user id of its own.
const MARK: &str = "0x5dc";

/// The user id that fsm-init takes for the proxy's.
const PROXY_UID: &str = "1500";

/// Where the demo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// With root's capabilities, visible to `ip netns`.
    Root,
    /// In a user namespace with its own `/run`.
    UserNamespace,
}

impl Ground {
    /// Finds firm ground, or says why there is none. Must be called while the process has one thread.
    pub(crate) fn prepare() -> anyhow::Result<Self> {
        if has_capabilities() {
            return Ok(Self::Root);
        }
        enter_user_namespace().context(why_root())?;
        Ok(Self::UserNamespace)
    }

    /// Arguments of fsm-init: how the proxy's own traffic is recognised.
    pub(crate) fn init_arguments(self) -> String {
        match self {
            Self::Root => format!("--proxy-uid {PROXY_UID}"),
            Self::UserNamespace => format!("--proxy-mark {MARK}"),
        }
    }

    /// Arguments of fsm-proxy that match those of fsm-init.
    pub(crate) fn proxy_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Root => &[],
            Self::UserNamespace => &["--upstream-mark", MARK],
        }
    }

    /// Starts a program as the proxy's user, where there is one, and ends it with us. (`setpriv` is util-linux's.)
    pub(crate) fn as_proxy(self) -> &'static [&'static str] {
        match self {
            Self::Root => {
                &["setpriv", "--reuid", PROXY_UID, "--regid", PROXY_UID, "--clear-groups", "--pdeathsig", "KILL"]
            }
            Self::UserNamespace => Self::AS_OURSELVES,
        }
    }

    /// Starts a program as ourselves, and ends it with us.
    pub(crate) const AS_OURSELVES: &[&str] = &["setpriv", "--pdeathsig", "KILL"];

    /// The command that brings another terminal to where `ip netns` shows the pods; nothing for root.
    pub(crate) fn way_in(self) -> Option<String> {
        let pid = std::process::id();
        (self == Self::UserNamespace)
            .then(|| format!("nsenter --target {pid} --user --mount --net --preserve-credentials"))
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "as root; the proxies run as user 1500 and are recognised by it",
            Self::UserNamespace => {
                "without root, in a user namespace; it has one user only, so the proxies are recognised by a packet mark"
            }
        })
    }
}

/// `CAP_NET_ADMIN` (12) and `CAP_SYS_ADMIN` (21): root in an ordinary container has neither.
fn has_capabilities() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    [12, 21].iter().all(|bit| effective >> bit & 1 == 1) && getuid().is_root()
}

fn enter_user_namespace() -> anyhow::Result<()> {
    let (user, group) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER).context("a user namespace cannot be made")?;
    fs::write("/proc/self/setgroups", "deny").context("groups cannot be fixed in the user namespace")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1")).context("the user cannot be mapped")?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1")).context("the group cannot be mapped")?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("the user namespace may not have mounts or networks of its own")?;
    let none: Option<&Path> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("mounts cannot be made private")?;
    // `ip netns` and iptables' lock want to write there.
    mount(Some("demo"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, none)
        .context("a file system for /run cannot be mounted")?;
    if !has_capabilities() {
        bail!("the user namespace has no capabilities");
    }
    Ok(())
}

/// The sentence that tells a person what to do, with the kernel's own reason if it has one.
fn why_root() -> String {
    let setting = |path: &str| fs::read_to_string(path).map(|value| value.trim().to_owned()).unwrap_or_default();
    let mut reasons = Vec::new();
    if setting("/proc/sys/user/max_user_namespaces") == "0" {
        reasons.push("sysctl user.max_user_namespaces is 0");
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        reasons.push("sysctl kernel.unprivileged_userns_clone is 0");
    }
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        reasons.push("sysctl kernel.apparmor_restrict_unprivileged_userns is 1");
    }
    let because = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!(
        "the demo makes network namespaces (its pods) and redirects their traffic. That takes root, or a user namespace, \
         and this kernel does not let user {} make one{because}. Run it as root: sudo env \"PATH=$PATH\" make demo \
         (in a container: with --privileged, or --cap-add NET_ADMIN --cap-add SYS_ADMIN)",
        getuid()
    )
}
