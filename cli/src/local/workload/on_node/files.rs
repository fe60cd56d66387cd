//! Files of pods: what their volumes show.
//!
//! ```text
//! pods/<namespace>/<pod>/<container>.log       logs, kept as long as the pod's object
//! pods/<namespace>/<pod>/volumes/<name>        shared directories, and volumes made of objects
//! pods/<namespace>/<pod>/files/<number>        parts of such volumes, as they were at the start
//! ```
//!
//! A file of a volume is replaced in one step when its content has changed: who reads it sees the old or the new.

use super::super::runtime::{Mount, MountSource, PodId, User, Volume};
use super::NodeRuntimeOptions;
use super::tokens::{Issued, Tokens};
use crate::local::node;
use crate::local::state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub(super) struct Files {
    state: State,
    tokens: Arc<dyn Tokens>,
    numbers: AtomicU64,
    /// Volumes that are mounted somewhere.
    shown: Mutex<BTreeMap<PodId, BTreeMap<String, Shown>>>,
}

/// A volume as it was shown last.
#[derive(Clone)]
struct Shown {
    volume: Volume,
    /// When each of its tokens is to be renewed, by path.
    renewals: BTreeMap<String, Option<SystemTime>>,
}

impl Files {
    pub(super) fn new(options: &NodeRuntimeOptions) -> Self {
        Self {
            state: options.state.clone(),
            tokens: Arc::clone(&options.tokens),
            numbers: AtomicU64::new(0),
            shown: Mutex::default(),
        }
    }

    /// The pod's directory, where its logs go.
    pub(super) fn make_pod(&self, pod: &PodId) -> Result<PathBuf, String> {
        let path = self.state.pod(&pod.namespace, &pod.name);
        private(&path)?;
        Ok(path)
    }

    /// What the node is to mount; everything that is shown is there then.
    pub(super) fn mounts(&self, pod: &PodId, user: User, mounts: &[Mount]) -> Result<Vec<node::Mount>, String> {
        let directory = self.make_pod(pod)?;
        mounts
            .iter()
            .map(|mount| {
                let source = self.source(pod, &directory, user, &mount.source)?;
                Ok(node::Mount { source, target: mount.target.clone(), read_only: mount.read_only })
            })
            .collect()
    }

    /// Takes the pod's tokens away.
    pub(super) fn forget(&self, pod: &PodId) {
        self.shown().remove(pod);
        self.tokens.forget(pod);
    }

    /// Brings those of a pod's volumes up to date that are mounted. What cannot be is told to the log, and tried again with
    /// the next change.
    pub(super) fn refresh(&self, pod: &PodId, volumes: Vec<Volume>) {
        for volume in volumes {
            let is_old = |shown: &Shown| shown.volume.files != volume.files || shown.is_due(SystemTime::now());
            let is_shown_old = self.shown().get(pod).and_then(|all| all.get(&volume.name)).is_some_and(is_old);
            if is_shown_old {
                let directory = self.state.pod(&pod.namespace, &pod.name);
                if let Err(why) = self.volume(pod, &directory, &volume) {
                    tracing::warn!("pod {pod}: the volume {} is as it was: {why}", volume.name);
                }
            }
        }
    }

    fn source(&self, pod: &PodId, directory: &Path, user: User, source: &MountSource) -> Result<PathBuf, String> {
        match source {
            MountSource::Host(path) => Ok(path.clone()),
            MountSource::Shared(name) => {
                let path = directory.join("volumes").join(inside(name)?);
                private(&path)?;
                // As in Kubernetes everybody in the pod may write there, and nobody else comes so far.
                let mode = if user == User::Sidecar { 0o700 } else { 0o777 };
                self.give_to_sidecar(&path, user)?;
                fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(|error| told(&path, &error))?;
                Ok(path)
            }
            MountSource::Volume(volume) => self.volume(pod, directory, volume),
            MountSource::File(content) => {
                let path = self.fresh(directory)?.join("file");
                write(&path, content, 0o644)?;
                Ok(path)
            }
            MountSource::Files(files) => {
                let path = self.fresh(directory)?;
                for (name, content) in files {
                    write_below(&path, name, content)?;
                }
                Ok(path)
            }
        }
    }

    fn fresh(&self, directory: &Path) -> Result<PathBuf, String> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let path = directory.join("files").join(number.to_string());
        // A number of an earlier run of the program.
        fs::remove_dir_all(&path).or_else(absent_is_fine).map_err(|error| told(&path, &error))?;
        private(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(|error| told(&path, &error))?;
        Ok(path)
    }

    /// Makes the directory say what the volume says. Tokens that are good for long enough stay.
    fn volume(&self, pod: &PodId, directory: &Path, volume: &Volume) -> Result<PathBuf, String> {
        let path = directory.join("volumes").join(inside(&volume.name)?);
        private(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(|error| told(&path, &error))?;
        let before = self.shown().get(pod).and_then(|all| all.get(&volume.name)).cloned();
        let known = before.as_ref().map(|shown| shown.volume.files.as_slice()).unwrap_or_default();
        for (name, content) in &volume.files {
            if !known.iter().any(|(known, old)| known == name && old == content) {
                write_below(&path, name, content)?;
            }
        }
        let kept: BTreeSet<&str> = volume.files.iter().map(|(name, _)| name.as_str()).collect();
        for (name, _) in known.iter().filter(|(name, _)| !kept.contains(name.as_str())) {
            fs::remove_file(path.join(inside(name)?)).or_else(absent_is_fine).map_err(|error| told(&path, &error))?;
        }
        let now = SystemTime::now();
        let mut renewals = BTreeMap::new();
        for wish in &volume.tokens {
            let known = before.as_ref().and_then(|shown| shown.renewals.get(&wish.path).copied());
            let renew = match known {
                Some(at) if at.is_none_or(|at| now < at) => at,
                _ => {
                    let Issued { token, renew } = self.tokens.issue(pod, wish)?;
                    write_below(&path, &wish.path, token.as_bytes())?;
                    renew
                }
            };
            renewals.insert(wish.path.clone(), renew);
        }
        let shown = Shown { volume: volume.clone(), renewals };
        self.shown().entry(pod.clone()).or_default().insert(volume.name.clone(), shown);
        Ok(path)
    }

    /// Only the one user that there is may own anything where others cannot be mapped.
    fn give_to_sidecar(&self, path: &Path, user: User) -> Result<(), String> {
        let node::User::Ids { user: id, group } = node::User::SIDECAR else { return Ok(()) };
        if user != User::Sidecar || !node::rootless::maps_user(id) {
            return Ok(());
        }
        std::os::unix::fs::chown(path, Some(id), Some(group)).map_err(|error| told(path, &error))
    }

    fn shown(&self) -> MutexGuard<'_, BTreeMap<PodId, BTreeMap<String, Shown>>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    fn is_due(&self, now: SystemTime) -> bool {
        self.renewals.values().flatten().any(|at| now >= *at)
    }
}

fn write_below(directory: &Path, name: &str, content: &[u8]) -> Result<(), String> {
    let file = directory.join(inside(name)?);
    let parent = file.parent().unwrap_or(directory);
    fs::create_dir_all(parent).map_err(|error| told(parent, &error))?;
    write(&file, content, 0o644)
}

/// A relative path that leads nowhere else.
fn inside(name: &str) -> Result<&Path, String> {
    let path = Path::new(name);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if is_plain && !name.is_empty() { Ok(path) } else { Err(format!("{name:?} cannot be a path inside of a volume")) }
}

fn private(path: &Path) -> Result<(), String> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| told(path, &error))
}

/// Readers see the old content or the new.
pub(super) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), String> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let replace = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(directory)?;
        io::Write::write_all(&mut file, content)?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.persist(path)?;
        Ok(())
    };
    replace().map_err(|error| told(path, &error))
}

pub(super) fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

pub(super) fn told(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}
