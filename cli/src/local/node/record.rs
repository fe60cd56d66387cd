//! What a node writes down about itself, so that another process can remove what is left of it.
//!
//! `<state dir>/node/node.json` names the process that made the node and a mark that all its containers have in their
//! environment. No process ids of containers: ids are used again, the mark is not.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{NodeError, process};
use crate::local::state::ProcessId;

/// The variable of the environment that marks a container.
const MARK: &str = "FSM_NODE";
/// Random bytes of a mark.
const MARK_BYTES: usize = 16;

/// One node.
#[derive(Debug, Clone)]
pub(super) struct Record {
    mark: String,
    directory: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Written {
    creator: ProcessId,
    /// Start times count from boot: after another boot they mean nothing.
    boot: String,
    mark: String,
}

/// Where the node's files are.
pub(super) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("node")
}

impl Record {
    pub(super) fn create(state_dir: &Path) -> Result<Self, NodeError> {
        let directory = directory(state_dir);
        fs::DirBuilder::new().mode(0o700).create(&directory).map_err(NodeError::file("make", &directory))?;
        let path = directory.join("node.json");
        let write = || -> io::Result<String> {
            let mark = new_mark()?;
            let written = Written { creator: ProcessId::current()?, boot: boot(), mark: mark.clone() };
            let aside = directory.join("node.json.new");
            fs::write(&aside, serde_json::to_vec_pretty(&written)?)?;
            fs::rename(&aside, &path)?;
            Ok(mark)
        };
        match write() {
            Ok(mark) => Ok(Self { mark, directory }),
            Err(why) => {
                let _ = fs::remove_dir_all(&directory);
                Err(NodeError::file("write", &path)(why))
            }
        }
    }

    /// The environment variable that every container has.
    pub(super) fn mark(&self) -> (String, String) {
        (MARK.to_owned(), self.mark.clone())
    }

    /// Removes the node's files. Does nothing if another node has been made there since.
    pub(super) fn remove(&self) {
        if let Ok(Some(written)) = read(&self.directory)
            && written.mark == self.mark
        {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// See [`super::Node::destroy`].
pub(super) fn destroy(state_dir: &Path) -> Result<(), NodeError> {
    let directory = directory(state_dir);
    if let Some(written) = read(&directory)?
        && written.boot == boot()
    {
        if written.creator.is_alive() {
            return Err(NodeError::InUse { pid: written.creator.pid, state_dir: state_dir.to_owned() });
        }
        end_marked(&written.mark)?;
    }
    match fs::remove_dir_all(&directory) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(NodeError::file("remove", &directory)(why)),
        _ => Ok(()),
    }
}

fn read(directory: &Path) -> Result<Option<Written>, NodeError> {
    let path = directory.join("node.json");
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|why| NodeError::file("read", &path)(why.into())),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(NodeError::file("read", &path)(why)),
    }
}

/// Kills every process with the mark until there is none.
fn end_marked(mark: &str) -> Result<(), NodeError> {
    let started = Instant::now();
    loop {
        let left = marked(mark);
        if left.is_empty() {
            return Ok(());
        }
        if started.elapsed() > process::DEATH {
            return Err(NodeError::Stubborn { pids: left });
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes that have the mark in their environment. One that is about to end has none any more.
fn marked(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}").into_bytes();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted)
    })
    .collect()
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn new_mark() -> io::Result<String> {
    let mut bytes = [0; MARK_BYTES];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
