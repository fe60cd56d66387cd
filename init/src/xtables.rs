//! The iptables programs of this machine: which variants are installed, which one is in use, and
//! reading and restoring tables with them.
//!
//! Looks at `PATH` and at the usual system directories (an init container's `PATH` may lack sbin).
//! Listing never loads kernel modules and never changes anything.

use std::env;
use std::fmt;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::InitError;
use crate::command;
use crate::options::BackendChoice;
use crate::rules::Family;
use crate::tables::NatTable;

/// A variant of iptables. The two keep their rules apart in the kernel; both are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Rules live in nf_tables.
    Nft,
    /// Rules live in the older ip_tables.
    Legacy,
}

/// The programs of one variant and family.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) backend: Backend,
    pub(crate) family: Family,
    save: PathBuf,
    restore: PathBuf,
}

/// What one variant and family holds right now.
#[derive(Debug, Clone)]
pub(crate) struct Survey {
    pub(crate) tools: Tools,
    /// `None`: the listing failed; list again to learn why.
    pub(crate) table: Option<NatTable>,
    rules: usize,
    kubelet: bool,
}

/// How long a program may overrun the time it was told to wait for the lock.
const GRACE: Duration = Duration::from_secs(2);
/// What iptables-legacy locks unless told otherwise.
const LOCK_FILE: &str = "/run/xtables.lock";

#[cfg(test)]
impl Survey {
    /// Tools that exist nowhere, with the given listing.
    pub(crate) fn fixture(backend: Backend, family: Family, listing: &str) -> Self {
        let tools = Tools { backend, family, save: PathBuf::new(), restore: PathBuf::new() };
        observed(tools, Some(listing))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Nft => "nft",
            Backend::Legacy => "legacy",
        })
    }
}

impl Tools {
    /// Finds the programs, under their explicit names or, failing that, under the plain names if
    /// those turn out to be this variant.
    pub(crate) fn find(backend: Backend, family: Family, timeout: Duration) -> Option<Self> {
        let base = base_name(family);
        let explicit = format!("{base}-{backend}");
        let pair = |prefix: &str| Some((program(&format!("{prefix}-save"))?, program(&format!("{prefix}-restore"))?));
        let (save, restore) = pair(&explicit).or_else(|| {
            let (save, restore) = pair(base)?;
            (variant_of(&restore, timeout)? == backend).then_some((save, restore))
        })?;
        Some(Self { backend, family, save, restore })
    }

    /// The restore program with its arguments, as run.
    pub(crate) fn command_line(&self, timeout: Duration) -> String {
        let name = self.restore.file_name().unwrap_or_default().to_string_lossy();
        format!("{name} {}", restore_arguments(timeout).join(" "))
    }

    /// The restore program's name, for messages.
    pub(crate) fn name(&self) -> String {
        self.restore.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Lists all tables of this variant and family.
    pub(crate) fn list(&self, timeout: Duration) -> Result<String, InitError> {
        self.save(&[], timeout)
    }

    fn save(&self, arguments: &[&str], timeout: Duration) -> Result<String, InitError> {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let ended = command::run(&self.save, &arguments, &[], "", timeout + GRACE)?;
        if ended.success { Ok(ended.output) } else { Err(failure(&self.save, &ended.complaint, timeout)) }
    }

    /// Reads the nat table, and nothing but it.
    ///
    /// Unlike [`Tools::list`] this works for legacy iptables where `/proc/net/ip_tables_names` is
    /// closed to us, as in a user namespace whose user map came after its network namespace.
    pub(crate) fn read(&self, timeout: Duration) -> Result<NatTable, InitError> {
        self.save(&["-t", "nat"], timeout).map(|listing| NatTable::parse(&listing))
    }

    /// Gives one transaction to the kernel: all of it takes effect, or nothing.
    pub(crate) fn restore(&self, transaction: &str, timeout: Duration) -> Result<(), InitError> {
        let ended =
            command::run(&self.restore, &restore_arguments(timeout), lock_environment(), transaction, timeout + GRACE)?;
        if ended.success { Ok(()) } else { Err(failure(&self.restore, &ended.complaint, timeout)) }
    }
}

/// Lists what every installed variant holds for both families.
pub(crate) fn survey(timeout: Duration) -> Vec<Survey> {
    let mut surveys = Vec::new();
    for backend in [Backend::Nft, Backend::Legacy] {
        for family in [Family::V4, Family::V6] {
            let Some(tools) = Tools::find(backend, family, timeout) else {
                continue;
            };
            let listing = tools.list(timeout).ok();
            surveys.push(observed(tools, listing.as_deref()));
        }
    }
    surveys
}

fn observed(tools: Tools, listing: Option<&str>) -> Survey {
    let text = listing.unwrap_or_default();
    Survey {
        tools,
        table: listing.map(NatTable::parse),
        rules: text.lines().filter(|line| line.starts_with("-A ")).count(),
        // Chains that kubelet creates so that others can tell which variant the node uses.
        kubelet: text
            .lines()
            .any(|line| line.starts_with(":KUBE-IPTABLES-HINT ") || line.starts_with(":KUBE-KUBELET-CANARY ")),
    }
}

/// The variants to try, best first; more than one only if nothing speaks for either.
///
/// In this order: the one asked for; the one that holds our rules from an earlier run; the one
/// kubelet uses; the one with more rules; nft if the kernel answers it; legacy.
pub(crate) fn candidates(choice: BackendChoice, surveys: &[Survey]) -> Vec<Backend> {
    let of = |backend: Backend| surveys.iter().filter(move |one| one.tools.backend == backend);
    let installed: Vec<Backend> = [Backend::Nft, Backend::Legacy]
        .into_iter()
        .filter(|backend| of(*backend).any(|one| one.tools.family == Family::V4))
        .collect();
    match choice {
        BackendChoice::Nft => return only(installed, Backend::Nft),
        BackendChoice::Legacy => return only(installed, Backend::Legacy),
        BackendChoice::Auto => {}
    }
    if let [_, _] = installed[..] {
        let evidence = |backend: Backend| {
            (
                of(backend).any(|one| one.table.as_ref().is_some_and(NatTable::holds_ours)),
                of(backend).any(|one| one.kubelet),
                of(backend).map(|one| one.rules).sum::<usize>(),
            )
        };
        match evidence(Backend::Nft).cmp(&evidence(Backend::Legacy)) {
            std::cmp::Ordering::Greater => return vec![Backend::Nft],
            std::cmp::Ordering::Less => return vec![Backend::Legacy],
            std::cmp::Ordering::Equal => {}
        }
        if of(Backend::Nft).all(|one| one.table.is_none()) {
            return vec![Backend::Legacy];
        }
    }
    installed
}

fn only(installed: Vec<Backend>, wanted: Backend) -> Vec<Backend> {
    installed.into_iter().filter(|backend| *backend == wanted).collect()
}

fn base_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// Which variant a program of a plain name is, by what it says of itself, e.g.
/// `iptables-restore v1.8.9 (nf_tables)`. Versions before 1.8 name no variant: they are legacy.
fn variant_of(restore: &Path, timeout: Duration) -> Option<Backend> {
    let ended = command::run(restore, &["--version".to_owned()], &[], "", timeout + GRACE).ok()?;
    Some(if ended.output.contains("nf_tables") { Backend::Nft } else { Backend::Legacy })
}

fn restore_arguments(timeout: Duration) -> Vec<String> {
    ["--noflush", "-w"].map(str::to_owned).into_iter().chain([timeout.as_secs().to_string()]).collect()
}

/// With a read-only root file system, or as "root" of a user namespace, the usual lock file cannot
/// be opened and legacy iptables gives up. Nobody outside shares our tables then, so any lock of
/// this user namespace will do: the namespace's own file is always there and leaves nothing behind.
fn lock_environment() -> &'static [(&'static str, &'static str)] {
    let usable = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(LOCK_FILE).is_ok();
    if usable || env::var_os("XTABLES_LOCKFILE").is_some() {
        &[]
    } else {
        &[("XTABLES_LOCKFILE", "/proc/self/ns/user")]
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Tells causes apart by the tools' own words (iptables 1.6 to 1.8).
fn failure(program: &Path, complaint: &str, timeout: Duration) -> InitError {
    let tool = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lines: Vec<&str> = complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let detail = if lines.is_empty() { "it gave no reason".to_owned() } else { lines.join("; ") };
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| detail.contains(phrase));
    if says(&["Permission denied", "Operation not permitted", "you must be root"]) {
        InitError::Permission { detail: format!("{tool}: {detail}") }
    } else if says(&["holding the xtables lock"]) {
        InitError::Timeout {
            what: "the firewall lock".to_owned(),
            waited: timeout,
            detail: format!("{detail}; find its holder with fuser {LOCK_FILE}, or raise --timeout"),
        }
    } else if says(&[
        "can't initialize",
        "unable to initialize",
        "Failed to initialize",
        "Protocol not supported",
        "Table does not exist",
        "missing kernel module",
        "No chain/target/match by that name",
        "Couldn't load",
        // nft: the kernel does not know an expression of the rule.
        "RULE_APPEND failed (No such file or directory)",
        "RULE_INSERT failed (No such file or directory)",
        "CHAIN_ADD failed (No such file or directory)",
        "CHAIN_ADD failed (Operation not supported)",
    ]) {
        InitError::KernelSupport { tool, detail }
    } else {
        InitError::Refused { tool, detail }
    }
}

#[cfg(test)]
mod tests;
