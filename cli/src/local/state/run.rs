//! `run.json`: what of a mesh runs, for those commands that end it or talk to it.
//!
//! A process is known by its id *and* its start time: ids are used again, and `fsm down` after a crash must never end a
//! stranger.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StateError, replace};

/// What runs of one mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Name of the mesh.
    pub mesh: String,
    /// Version of the program that started it.
    pub version: String,
    /// The daemon. Its user, mount and network namespaces are where commands enter a mesh that runs without root.
    pub daemon: ProcessId,
    /// fsm-control, while one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ProcessId>,
    /// Whether the daemon is in a user namespace of its own.
    #[serde(default)]
    pub rootless: bool,
    /// Whether the node and fsm-control are there, and pods are being run.
    #[serde(default)]
    pub started: bool,
    /// Why the daemon has ended, if it did by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Run {
    /// A daemon that has just begun.
    #[must_use]
    pub fn new(mesh: &str, version: &str, daemon: ProcessId) -> Self {
        Self {
            mesh: mesh.to_owned(),
            version: version.to_owned(),
            daemon,
            control: None,
            rootless: false,
            started: false,
            failure: None,
        }
    }

    pub(super) fn read(path: &Path) -> Result<Option<Self>, StateError> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| StateError::Damaged { path: path.to_owned(), reason: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StateError::io("read", path)(error)),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), StateError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| StateError::Damaged { path: path.to_owned(), reason: error.to_string() })?;
        replace(path, &text)
    }
}

/// A process that cannot be mistaken for a later one of the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id, as seen from the machine's first pid namespace.
    pub pid: i32,
    /// Clock ticks between boot and the start of the process: field 22 of `/proc/PID/stat`.
    pub started: u64,
}

impl ProcessId {
    /// This very process.
    ///
    /// # Errors
    ///
    /// If `/proc` does not tell.
    pub fn current() -> io::Result<Self> {
        Self::of(nix::unistd::getpid().as_raw())
    }

    /// The process that has this id now.
    ///
    /// # Errors
    ///
    /// If there is none, or `/proc` does not tell.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let started =
            start_time(&stat).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has no start time")))?;
        Ok(Self { pid, started })
    }

    /// Whether it still runs. A zombie does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else { return false };
        start_time(&stat) == Some(self.started) && !after_name(&stat).starts_with(['Z', 'X'])
    }

    /// Sends a signal if it still runs; tells whether it did.
    pub fn signal(self, signal: nix::sys::signal::Signal) -> bool {
        self.is_alive() && nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), signal).is_ok()
    }
}

/// The program's name is in parentheses and may itself contain blanks and parentheses.
fn after_name(stat: &str) -> &str {
    stat.rfind(')').map_or("", |end| stat[end + 1..].trim_start())
}

fn start_time(stat: &str) -> Option<u64> {
    // Field 3 is the first after the name.
    after_name(stat).split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests;
