//! Files of pods: what their volumes show, and the sidecar's credentials.
//!
//! ```text
//! pods/<namespace>/<pod>/<container>.log       logs, kept as long as the pod's object
//! pods/<namespace>/<pod>/volumes/<name>        shared directories
//! pods/<namespace>/<pod>/files/<number>        content of ConfigMaps and Secrets, as it was at the start
//! pods/<namespace>/<pod>/identity/             token and ca.pem of the sidecar
//! tokens/<fingerprint>.json                    whose the token is; removed when the pod is gone
//! ```

use super::super::runtime::{Mount, MountSource, PodId, User};
use super::NodeRuntimeOptions;
use crate::local::node;
use crate::local::state::State;
use fsm_control::auth::Token;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The sidecar's user.
const SIDECAR_USER: u32 = 1500;

pub(super) struct Files {
    state: State,
    control_ca: PathBuf,
    /// Whether files can be given to the sidecar's user.
    has_users: bool,
    numbers: AtomicU64,
    identities: Mutex<Identities>,
}

#[derive(Default)]
struct Identities {
    by_pod: BTreeMap<PodId, Identity>,
    /// The bundle that they have.
    bundle: Vec<u8>,
}

struct Identity {
    directory: PathBuf,
    record: PathBuf,
}

impl Files {
    pub(super) fn new(options: &NodeRuntimeOptions) -> Self {
        Self {
            state: options.state.clone(),
            control_ca: options.control_ca.clone(),
            has_users: options.node.can_switch_users(),
            numbers: AtomicU64::new(0),
            identities: Mutex::default(),
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

    /// Takes the pod's token away.
    pub(super) fn forget(&self, pod: &PodId) {
        if let Some(identity) = self.identities().by_pod.remove(pod) {
            for path in [&identity.record, &identity.directory.join("token")] {
                if let Err(error) = fs::remove_file(path).or_else(absent_is_fine) {
                    tracing::warn!("pod {pod}: cannot remove {}: {error}", path.display());
                }
            }
        }
    }

    pub(super) fn renew_bundles(&self) {
        let Ok(bundle) = fs::read(&self.control_ca) else { return };
        let mut identities = self.identities();
        if bundle.is_empty() || bundle == identities.bundle {
            return;
        }
        for (pod, identity) in &identities.by_pod {
            if let Err(error) = write(&identity.directory.join("ca.pem"), &bundle, 0o644) {
                tracing::warn!("pod {pod}: cannot renew the control plane's bundle: {error}");
            }
        }
        identities.bundle = bundle;
    }

    fn source(&self, pod: &PodId, directory: &Path, user: User, source: &MountSource) -> Result<PathBuf, String> {
        match source {
            MountSource::Host(path) => Ok(path.clone()),
            MountSource::Shared(name) => {
                let path = directory.join("volumes").join(inside(name)?);
                private(&path)?;
                if user == User::Sidecar {
                    self.give_to_sidecar(&path)?;
                    fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(|error| told(&path, &error))?;
                }
                Ok(path)
            }
            MountSource::File(content) => {
                let path = self.fresh(directory)?.join("file");
                write(&path, content, 0o644)?;
                Ok(path)
            }
            MountSource::Files(files) => {
                let path = self.fresh(directory)?;
                for (name, content) in files {
                    let file = path.join(inside(name)?);
                    let parent = file.parent().unwrap_or(&path);
                    fs::create_dir_all(parent).map_err(|error| told(parent, &error))?;
                    write(&file, content, 0o644)?;
                }
                Ok(path)
            }
            MountSource::Identity { service_account } => self.identity(pod, directory, service_account),
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

    fn identity(&self, pod: &PodId, directory: &Path, account: &str) -> Result<PathBuf, String> {
        let path = directory.join("identity");
        let mut identities = self.identities();
        if identities.by_pod.contains_key(pod) {
            return Ok(path);
        }
        private(&path)?;
        let token = random_token().map_err(|error| told(Path::new("/dev/urandom"), &error))?;
        let fingerprint =
            Token::bearer(Some(format!("Bearer {token}").as_bytes())).map_err(|error| error.to_string())?.fingerprint();
        let record = self.state.tokens().join(format!("{fingerprint}.json"));
        let text = json!({
            "namespace": pod.namespace, "serviceAccount": account, "pod": pod.name, "uid": pod.uid, "expires": null,
        });
        write(&record, text.to_string().as_bytes(), 0o600)?;
        write(&path.join("token"), token.as_bytes(), 0o400)?;
        let bundle = fs::read(&self.control_ca).map_err(|error| {
            format!("the control plane's certificates are not there yet ({}: {error})", self.control_ca.display())
        })?;
        write(&path.join("ca.pem"), &bundle, 0o644)?;
        self.give_to_sidecar(&path.join("token"))?;
        self.give_to_sidecar(&path)?;
        identities.by_pod.insert(pod.clone(), Identity { directory: path.clone(), record });
        Ok(path)
    }

    fn give_to_sidecar(&self, path: &Path) -> Result<(), String> {
        if !self.has_users {
            return Ok(());
        }
        std::os::unix::fs::chown(path, Some(SIDECAR_USER), Some(SIDECAR_USER)).map_err(|error| told(path, &error))
    }

    fn identities(&self) -> MutexGuard<'_, Identities> {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), String> {
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

fn random_token() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}
