//! Writes objects into a directory: one object a file, `<Kind.group>/<namespace or _cluster>/<name>.yaml`, for this user
//! alone, replaced by renaming.
//!
//! Statuses do not go into the objects, which are the user's files, but into a directory `status` beside the objects', in
//! the same layout. Whoever else writes the objects (the command `fsm`, and the runner of pods) holds a lock on their
//! directory for as long as one object takes; so does this.

use super::secret::Owner;
use super::status::POLICY_KINDS;
use super::writer::{WriteError, WriteFuture, Writer};
use crate::limits;
use crate::world::NamespacedName;
use fsm_api::resources::policy::PolicyStatus;
use fsm_api::resources::{Kind, Object, ObjectKey, Scope};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Stands for the namespace of objects that are in none.
const CLUSTER: &str = "_cluster";

/// Writes into a directory.
#[derive(Clone, Debug)]
pub struct DirectoryWriter {
    objects: PathBuf,
    statuses: PathBuf,
    owner: Owner,
}

impl DirectoryWriter {
    /// Writes objects into `directory`, which is made if it is not there, and statuses beside it.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(directory: &Path, owner: Owner) -> Result<Self, WriteError> {
        let absolute = std::path::absolute(directory).map_err(failed(directory, "finding out where it is"))?;
        private_directory(&absolute)?;
        let statuses = absolute.parent().unwrap_or(&absolute).join("status");
        Ok(Self { objects: absolute, statuses, owner })
    }

    fn put(&self, secret: &Secret) -> Result<(), WriteError> {
        let key = Object::from(secret.clone()).key();
        let file = file(&self.objects, &key)?;
        let _lock = self.lock()?;
        let old = self.ours(&key, &file)?;
        let mut new = value(secret, &file)?;
        adopt(&mut new, old.as_ref(), &file)?;
        replace(&file, &new)
    }

    fn remove(&self, secret: &NamespacedName) -> Result<(), WriteError> {
        let key = ObjectKey::new(Kind::Secret, &secret.namespace, &secret.name);
        let file = file(&self.objects, &key)?;
        let _lock = self.lock()?;
        match self.ours(&key, &file)? {
            Some(_) => remove(&file),
            None => Ok(()),
        }
    }

    /// What is there, if it is ours; `None` if there is nothing.
    fn ours(&self, key: &ObjectKey, file: &Path) -> Result<Option<Value>, WriteError> {
        let Some(text) = read(file)? else { return Ok(None) };
        let content = |reason: String| WriteError::Content { path: file.to_owned(), reason };
        let object: Value = serde_saphyr::from_str(&text).map_err(|error| content(error.to_string()))?;
        let metadata = object.get("metadata").cloned().unwrap_or_default();
        let metadata = serde_json::from_value(metadata).map_err(|error| content(error.to_string()))?;
        match self.owner.made(&metadata) {
            true => Ok(Some(object)),
            false => Err(WriteError::NotOurs { object: key.clone() }),
        }
    }

    fn set_status(&self, policy: &ObjectKey, status: Option<&PolicyStatus>) -> Result<(), WriteError> {
        let file = file(&self.statuses, policy)?;
        match status {
            Some(status) => replace(&file, &value(status, &file)?),
            None => remove(&file),
        }
    }

    /// What cannot be read is passed over: it is written anew.
    fn read_statuses(&self) -> BTreeMap<ObjectKey, PolicyStatus> {
        let mut statuses = BTreeMap::new();
        for kind in POLICY_KINDS {
            let directory = self.statuses.join(kind.qualified());
            for namespace in children(&directory) {
                for name in children(&directory.join(&namespace)) {
                    let Ok(text) = fs::read_to_string(directory.join(&namespace).join(&name)) else { continue };
                    let (Some(name), Ok(status)) = (name.strip_suffix(".yaml"), serde_saphyr::from_str(&text)) else {
                        continue;
                    };
                    let namespace = if namespace == CLUSTER { "" } else { &namespace };
                    statuses.insert(ObjectKey::new(kind.clone(), namespace, name), status);
                }
            }
        }
        statuses
    }

    /// Until the file is dropped nobody else writes objects.
    fn lock(&self) -> Result<File, WriteError> {
        let locked = failed(&self.objects, "locking it");
        let file = File::open(&self.objects).map_err(failed(&self.objects, "opening it"))?;
        let deadline = Instant::now() + limits::OBJECTS_LOCK;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(limits::LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => return Err(locked(io::ErrorKind::TimedOut.into())),
                Err(TryLockError::Error(error)) => return Err(locked(error)),
            }
        }
    }

    /// Does what blocks on a thread for that.
    fn blocking<'a, T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, WriteError> + Send + 'static,
    ) -> WriteFuture<'a, T> {
        let own = self.clone();
        let task = tokio::task::spawn_blocking(move || work(own));
        Box::pin(async move { task.await.unwrap_or(Err(WriteError::Stopped)) })
    }
}

impl Writer for DirectoryWriter {
    fn put_secret(&self, secret: Secret) -> WriteFuture<'_> {
        self.blocking(move |own| own.put(&secret))
    }

    fn remove_secret(&self, secret: NamespacedName) -> WriteFuture<'_> {
        self.blocking(move |own| own.remove(&secret))
    }

    fn statuses(&self) -> WriteFuture<'_, Option<BTreeMap<ObjectKey, PolicyStatus>>> {
        self.blocking(|own| Ok(Some(own.read_statuses())))
    }

    fn set_status(&self, policy: ObjectKey, status: Option<PolicyStatus>) -> WriteFuture<'_> {
        self.blocking(move |own| own.set_status(&policy, status.as_ref()))
    }
}

/// The file of an object. Names that could lead out of the directory are refused: they come from users.
fn file(root: &Path, key: &ObjectKey) -> Result<PathBuf, WriteError> {
    let part = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        (1..=253).contains(&text.len()) && !text.starts_with('.') && text.chars().all(plain)
    };
    let cluster = key.kind.scope() == Some(Scope::Cluster);
    if !part(&key.name) || !(cluster || part(&key.namespace)) {
        return Err(WriteError::Name { object: key.clone() });
    }
    let namespace = if cluster { CLUSTER } else { &key.namespace };
    Ok(root.join(key.kind.qualified()).join(namespace).join(format!("{}.yaml", key.name)))
}

/// Gives a new object what an API server would give it, and leaves an old one what others wrote into its metadata.
fn adopt(new: &mut Value, old: Option<&Value>, file: &Path) -> Result<(), WriteError> {
    let before = old.and_then(|old| old.get("metadata")?.as_object().cloned());
    let mut metadata = match before {
        Some(before) => before,
        None => Map::from_iter([
            ("uid".to_owned(), random_uid().map_err(failed(file, "making a uid for it"))?.into()),
            ("creationTimestamp".to_owned(), crate::cert::tresor::rfc3339(std::time::SystemTime::now()).into()),
        ]),
    };
    for (field, value) in new.get("metadata").and_then(Value::as_object).into_iter().flatten() {
        match (metadata.get_mut(field), value) {
            (Some(Value::Object(known)), Value::Object(value)) => known.extend(value.clone()),
            _ => drop(metadata.insert(field.clone(), value.clone())),
        }
    }
    new["metadata"] = Value::Object(metadata);
    Ok(())
}

/// A version 4 UUID.
fn random_uid() -> io::Result<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

fn value(object: &impl serde::Serialize, file: &Path) -> Result<Value, WriteError> {
    serde_json::to_value(object).map_err(io::Error::other).map_err(failed(file, "putting it into words"))
}

/// Readers see the old content or the new one, never half of it. The name aside begins with a dot, so that nobody takes
/// it for an object.
fn replace(file: &Path, content: &Value) -> Result<(), WriteError> {
    let directory = file.parent().unwrap_or(Path::new("."));
    private_directory(directory)?;
    let text = serde_saphyr::to_string(content).map_err(io::Error::other);
    let text = text.map_err(failed(file, "putting it into words"))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let aside = directory.join(format!(".{name}.{}.tmp", std::process::id()));
    // Left behind by a process of the same id that was killed.
    let _ = fs::remove_file(&aside);
    let write = || -> io::Result<()> {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(&aside, file)
    };
    let written = write().map_err(failed(file, "writing it"));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

fn remove(file: &Path) -> Result<(), WriteError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(file, "removing it")(error)),
        _ => Ok(()),
    }
}

fn read(file: &Path) -> Result<Option<String>, WriteError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(file, "reading it")(error)),
    }
}

fn children(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn private_directory(path: &Path) -> Result<(), WriteError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path, "making the directory"))
}

fn failed(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> WriteError + use<> {
    let path = path.to_owned();
    move |source| WriteError::Io { path: path.clone(), doing, source }
}
