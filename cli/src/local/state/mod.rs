//! The state directory of a local mesh: what an API server, and a node's disk, are in a cluster.
//!
//! ```text
//! <base>/<mesh>/              0700; base: /run/fsm as root, else $XDG_RUNTIME_DIR/fsm, else /tmp/fsm-<uid>
//!   objects/<Kind.group>/<namespace or _cluster>/<name>.yaml      one object a file, replaced by renaming
//!   tokens/<hex sha256 of the token>.json                         who the bearer of a token is
//!   control/                                                      fsm-control's own: its CA, its log
//!   pods/<namespace>/<pod>/                                       logs, the proxy's cache, what a pod needs on disk
//!   run.json                                                      what runs: processes and addresses
//!   daemon.log                                                    what the daemon says when nobody looks on
//!   lock                                                          held by the daemon as long as it lives
//! ```
//!
//! Nothing here talks to a process. Writers of objects exclude each other by a lock on `objects`; readers need none, as
//! files are replaced, never changed. A base directory that others could write to is refused.

mod objects;
mod run;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use objects::{CLUSTER, Change, ObjectName, Objects};
pub use run::{ProcessId, Run};

/// What can go wrong with a state directory.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "cannot read".
        action: &'static str,
        /// Of which file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else may write where this user's meshes are kept.
    #[error(
        "{} belongs to another user or may be written by others, so what is in it cannot be trusted: remove it, or choose \
         another directory with --state-dir", path.display()
    )]
    Untrusted {
        /// The directory.
        path: PathBuf,
    },
    /// A mesh name that cannot be a directory and part of object names.
    #[error(
        "`{name}` cannot be the name of a mesh: use lower-case letters, digits and `-`, at most 63 of them, first and last no `-`"
    )]
    MeshName {
        /// As given.
        name: String,
    },
    /// An object without the fields that identify it, or with names that cannot be part of a path.
    #[error("{reason}")]
    Object {
        /// What is missing or wrong, and where.
        reason: String,
    },
    /// A file of the state directory does not contain what it should.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl StateError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// How long a process that only looks at the lock may hold it.
const LOOKED_AT: Duration = Duration::from_millis(100);

/// Where this user's meshes are kept: one directory for each.
#[derive(Debug, Clone)]
pub struct Home {
    base: PathBuf,
}

impl Home {
    /// The directory given, or the usual one of this user.
    #[must_use]
    pub fn new(base: Option<&Path>) -> Self {
        Self { base: base.map_or_else(usual_base, Path::to_owned) }
    }

    /// The directory that has a directory for each mesh.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.base
    }

    /// The meshes there are, running or left behind by a crash, by name.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`] if the directory cannot be read, [`StateError::Untrusted`] if others may write to it.
    pub fn meshes(&self) -> Result<Vec<State>, StateError> {
        let entries = match fs::read_dir(&self.base) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StateError::io("read", &self.base)(error)),
        };
        trusted(&self.base)?;
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_mesh_name(name) && self.base.join(name).is_dir())
            .collect();
        names.sort();
        Ok(names.into_iter().map(|name| State { root: self.base.join(&name), mesh: name }).collect())
    }

    /// The mesh of this name, whether it is there or not.
    ///
    /// # Errors
    ///
    /// [`StateError::MeshName`] if no mesh can have this name.
    pub fn mesh(&self, name: &str) -> Result<State, StateError> {
        if !is_mesh_name(name) {
            return Err(StateError::MeshName { name: name.to_owned() });
        }
        Ok(State { root: self.base.join(name), mesh: name.to_owned() })
    }
}

/// The state directory of one mesh. Cheap to clone; holds no file open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    mesh: String,
    root: PathBuf,
}

impl State {
    /// Name of the mesh.
    #[must_use]
    pub fn mesh(&self) -> &str {
        &self.mesh
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What users and the runner of pods wrote.
    #[must_use]
    pub fn objects(&self) -> Objects {
        Objects::new(self.root.join("objects"))
    }

    /// What fsm-control says of policies, in files as [`State::objects`] has them: their `status`.
    #[must_use]
    pub fn statuses(&self) -> Objects {
        Objects::new(self.root.join("status"))
    }

    /// Directory of token files, see `fsm-control --tokens`.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    /// fsm-control's own directory.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.root.join("control")
    }

    /// fsm-control's log.
    #[must_use]
    pub fn control_log(&self) -> PathBuf {
        self.root.join("control.log")
    }

    /// The log of a daemon that runs detached.
    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// Directory of all pods: a directory for each namespace, and below it one for each pod.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// Directory of one pod. The caller vouches that the names are those of an object.
    #[must_use]
    pub fn pod(&self, namespace: &str, pod: &str) -> PathBuf {
        self.pods().join(namespace).join(pod)
    }

    /// Log of one container; the sidecar's container is `sidecar`.
    #[must_use]
    pub fn log(&self, namespace: &str, pod: &str, container: &str) -> PathBuf {
        self.pod(namespace, pod).join(format!("{container}.log"))
    }

    /// Whether there is such a directory: the mesh runs, or was left behind.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.root.is_dir()
    }

    /// Makes the directory and those in it, for this user alone.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`], and [`StateError::Untrusted`] if the base directory is not this user's own.
    pub fn create(&self) -> Result<(), StateError> {
        let base = self.root.parent().unwrap_or(&self.root);
        private_directory(base)?;
        trusted(base)?;
        for part in ["", "objects", "tokens", "control", "pods"] {
            private_directory(&self.root.join(part))?;
        }
        Ok(())
    }

    /// Removes the directory with all that is in it. No error if there is none.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn remove(&self) -> Result<(), StateError> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::io("remove", &self.root)(error)),
            _ => Ok(()),
        }
    }

    /// Takes the lock that says "this mesh has a daemon"; `None` if another process holds it. The lock ends with the
    /// last process that has the file open, however it ends.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`], also if the directory is not there.
    pub fn lock(&self) -> Result<Option<File>, StateError> {
        let file = self.lock_file()?;
        let deadline = Instant::now() + LOOKED_AT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                // Somebody may only be looking whether it is held.
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOOKED_AT / 20),
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(error)) => {
                    return Err(StateError::io("lock", &self.root.join("lock"))(error));
                }
            }
        }
    }

    /// Whether a daemon holds the mesh's lock now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let Ok(file) = File::open(self.root.join("lock")) else { return false };
        // Shared, so that two who look do not take each other for a daemon.
        matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
    }

    /// Which file the lock is (device and inode); `None` if it is not there.
    #[must_use]
    pub fn lock_identity(&self) -> Option<(u64, u64)> {
        fs::metadata(self.root.join("lock")).ok().map(|meta| (meta.dev(), meta.ino()))
    }

    fn lock_file(&self) -> Result<File, StateError> {
        let path = self.root.join("lock");
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        opened.map_err(StateError::io("open", &path))
    }

    /// What runs, as last written; `None` before the daemon has come so far.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`], [`StateError::Damaged`].
    pub fn run(&self) -> Result<Option<Run>, StateError> {
        Run::read(&self.root.join("run.json"))
    }

    /// Writes what runs, replacing what was written before.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn set_run(&self, run: &Run) -> Result<(), StateError> {
        run.write(&self.root.join("run.json"))
    }
}

fn usual_base() -> PathBuf {
    let user = nix::unistd::geteuid();
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
        _ if user.is_root() => PathBuf::from("/run/fsm"),
        Some(path) => PathBuf::from(path).join("fsm"),
        None => PathBuf::from(format!("/tmp/fsm-{user}")),
    }
}

/// DNS-1123 label, as FSM wants of mesh names.
fn is_mesh_name(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().last())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn private_directory(path: &Path) -> Result<(), StateError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StateError::io("make", path))
}

/// /tmp is everybody's: another user may have made our directory first, to put objects of his own into it.
fn trusted(path: &Path) -> Result<(), StateError> {
    let meta = fs::symlink_metadata(path).map_err(StateError::io("look at", path))?;
    let own = meta.uid() == nix::unistd::geteuid().as_raw() && meta.is_dir();
    if own && meta.permissions().mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(StateError::Untrusted { path: path.to_owned() })
}

/// Replaces a file in one step: a reader sees the old content or the new, never a part.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), StateError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    // The leading dot and the ending keep those who follow the directory from taking it for an object.
    let mut file = tempfile::Builder::new()
        .prefix(".writing-")
        .suffix(".tmp")
        .tempfile_in(directory)
        .map_err(StateError::io("write in", directory))?;
    io::Write::write_all(&mut file, content).map_err(StateError::io("write", path))?;
    file.persist(path).map_err(|error| StateError::io("write", path)(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests;
