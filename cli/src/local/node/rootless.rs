//! To be root without being root: a user namespace in which this user is user 0.
//!
//! Inside, the process may make network, mount and process namespaces and change them; outside it is nobody more than
//! before. Exactly one user and one group exist inside, unless the program was started in a larger user namespace.

use std::ffi::CStr;
use std::fs;
use std::io;

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{getegid, geteuid};

use super::NodeError;

/// What a process may do to namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// It had the rights already: root, or root of a user namespace that somebody else made.
    Given,
    /// It is in a user namespace of its own since [`enter`].
    UserNamespace,
}

/// CAP_NET_ADMIN and CAP_SYS_ADMIN, as bits of `/proc/self/status`.
const NEEDED: u64 = 1 << 12 | 1 << 21;

/// Gets the rights that a node needs. Where they are missing, moves the process into new user and mount namespaces; it
/// stays in the machine's network. To be called first in `main`: it works only while the process has one thread.
///
/// # Errors
///
/// [`NodeError::Permission`] if the system does not allow user namespaces to this user, [`NodeError::Kernel`] if the
/// process has more than one thread.
pub fn enter() -> Result<Privilege, NodeError> {
    if has_rights() {
        return Ok(Privilege::Given);
    }
    let failed = |why: io::Error| NodeError::kernel("make a user namespace", why);
    Entry::new().carry_out().map_err(|why| match why.raw_os_error() {
        Some(libc::EINVAL) => failed(io::Error::other("the process has more than one thread")),
        // There are too many of them already, or none are allowed.
        Some(libc::ENOSPC) => failed(io::ErrorKind::PermissionDenied.into()),
        _ => failed(why),
    })?;
    Ok(Privilege::UserNamespace)
}

/// The way into a user namespace, prepared: what is left to do needs no memory, so that it can also be done between
/// `fork` and `exec`.
#[derive(Debug)]
pub(super) struct Entry {
    groups: String,
    users: String,
}

impl Entry {
    pub(super) fn new() -> Self {
        Self { groups: format!("0 {} 1", getegid()), users: format!("0 {} 1", geteuid()) }
    }

    #[cfg(test)]
    pub(super) fn of(user: u32, group: u32) -> Self {
        Self { groups: format!("0 {group} 1"), users: format!("0 {user} 1") }
    }

    pub(super) fn carry_out(&self) -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        // Without root, groups may be mapped only by those who have given up setgroups (CVE-2014-8989).
        write(c"/proc/self/setgroups", "deny")?;
        write(c"/proc/self/gid_map", &self.groups)?;
        write(c"/proc/self/uid_map", &self.users)?;
        let none: Option<&CStr> = None;
        // The first thing that needs a right inside: some systems give the namespace but not the rights.
        Ok(mount(none, c"/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?)
    }
}

fn write(path: &CStr, text: &str) -> io::Result<()> {
    let file = nix::fcntl::open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::write(file, text.as_bytes())?;
    Ok(())
}

/// Whether the process may make and change namespaces as it is.
pub fn has_rights() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & NEEDED == NEEDED)
}

/// Whether processes of this one can become this user.
pub fn maps_user(user: u32) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    covers(&map, user)
}

/// Whether the process is in the machine's own user namespace, the one with all users.
pub(super) fn is_on_the_machine() -> bool {
    maps_user(u32::MAX - 1)
}

/// Lines of a user map: first user inside, first user outside, how many.
fn covers(map: &str, user: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&u64::from(user)))
    })
}

#[cfg(test)]
mod tests;
