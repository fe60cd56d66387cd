//! What can go wrong with a node, its pods and their processes.

use std::io;
use std::path::{Path, PathBuf};

use fsm_init::InitError;

use super::PodKey;

/// Why the node could not do something.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The kernel does not allow it to this user.
    #[error(
        "not allowed to {action}: {why}; run as root, or allow user namespaces (sysctls kernel.unprivileged_userns_clone, \
         user.max_user_namespaces and, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns)"
    )]
    Permission {
        /// What was tried.
        action: String,
        /// What the kernel said.
        why: io::Error,
    },
    /// The kernel refused something for another reason.
    #[error("cannot {action}: {why}")]
    Kernel {
        /// What was tried.
        action: String,
        /// What the kernel said.
        why: io::Error,
    },
    /// A program of the machine is missing, or failed.
    #[error("`{tool}` {why}")]
    Tool {
        /// Which program.
        tool: String,
        /// What happened, and what to do.
        why: String,
    },
    /// A setting that cannot be.
    #[error("{what} {value}: {why}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// As given.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// An address that a pod or Service cannot have.
    #[error("{0}")]
    Address(String),
    /// There is such a pod already.
    #[error("pod {pod} is on this node already: remove it first")]
    PodExists {
        /// Which.
        pod: PodKey,
    },
    /// Another process has a node there.
    #[error("process {pid} keeps a mesh going in {}: end it first, or choose another state directory", state_dir.display())]
    InUse {
        /// The process.
        pid: i32,
        /// Where.
        state_dir: PathBuf,
    },
    /// Processes of a dead node that do not end.
    #[error("processes {pids:?} of the mesh do not end although killed: they wait for a device; try again later")]
    Stubborn {
        /// Which.
        pids: Vec<i32>,
    },
    /// A program of a pod does not start.
    #[error("`{program}` does not start: {why}")]
    Start {
        /// The program, as given.
        program: String,
        /// Why, and what to do.
        why: String,
    },
    /// A file or directory cannot appear in a container.
    #[error("{} cannot be mounted at {}: {why}", what.display(), target.display())]
    Mount {
        /// What.
        what: PathBuf,
        /// Where.
        target: PathBuf,
        /// Why not.
        why: String,
    },
    /// A file of the node cannot be read, written or removed.
    #[error("cannot {action} {}: {why}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// The pod's traffic cannot be redirected.
    #[error("the traffic of pod {pod} cannot be redirected: {why}")]
    Redirect {
        /// Which pod.
        pod: PodKey,
        /// Why not.
        why: Box<InitError>,
    },
}

impl NodeError {
    /// Tells missing rights from other refusals.
    pub(super) fn kernel(action: impl Into<String>, why: impl Into<io::Error>) -> Self {
        let (action, why) = (action.into(), why.into());
        match why.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission { action, why },
            _ => Self::Kernel { action, why },
        }
    }

    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |why| Self::File { action, path, why }
    }
}
