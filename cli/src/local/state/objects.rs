//! The objects of a local mesh, one file each: the part of an API server that this machine needs.
//!
//! Objects are kept as JSON values, so that nothing is lost that a user wrote and no type knows. Each gets what an API
//! server would give it: `uid`, `creationTimestamp`, and `generation`, which counts changes of anything but metadata and
//! status. Writing what is there already writes nothing.
//!
//! All writers (commands, and the runner of pods) hold a lock on the directory for as long as one object takes; keep the
//! closure given to [`Objects::update`] free of waiting.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{StateError, private_directory, replace};

/// Directory of objects that are in no namespace.
pub const CLUSTER: &str = "_cluster";

/// The objects of one mesh.
#[derive(Debug, Clone)]
pub struct Objects {
    root: PathBuf,
}

/// What names one object: its kind with group, namespace and name. Versions do not matter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// `Kind.group`, or only `Kind` for the core group: `Deployment.apps`, `Pod`.
    pub kind: String,
    /// Empty for objects that are in no namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There was no such object.
    Created,
    /// It was different.
    Configured,
    /// It was the same, or was not there when it was to be removed.
    Unchanged,
    /// It is gone.
    Removed,
}

impl ObjectName {
    /// Name of an object of a kind, given as `Deployment.apps` or `Pod`.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Name of this object, read from its `apiVersion`, `kind` and `metadata`.
    ///
    /// # Errors
    ///
    /// [`StateError::Object`] if one of them is missing or is no text.
    pub fn of(object: &Value) -> Result<Self, StateError> {
        let text = |path: &str| {
            object.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or_else(|| {
                StateError::Object { reason: format!("the object has no {}", path[1..].replace('/', ".")) }
            })
        };
        let (version, kind) = (text("/apiVersion")?, text("/kind")?);
        let kind = match version.split_once('/') {
            Some((group, _)) => format!("{kind}.{group}"),
            None => kind.to_owned(),
        };
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        Ok(Self { kind, namespace: namespace.to_owned(), name: text("/metadata/name")?.to_owned() })
    }

    /// Whether every part may be a file name: what Kubernetes allows in names, and never a way out of the directory.
    fn check(&self) -> Result<(), StateError> {
        let part = |text: &str| {
            !text.is_empty()
                && text.len() <= 253
                && !text.starts_with(['.', '_'])
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'))
        };
        if part(&self.kind) && part(&self.name) && (self.namespace.is_empty() || part(&self.namespace)) {
            return Ok(());
        }
        Err(StateError::Object {
            reason: format!(
                "{self}: names consist of letters, digits, `-`, `.`, `:`, at most 253, and begin with no `.`"
            ),
        })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

impl Objects {
    /// The objects below this directory.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory that fsm-control follows.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The file of an object, whether it is there or not.
    ///
    /// # Errors
    ///
    /// [`StateError::Object`] if the name cannot be part of a path.
    pub fn file(&self, name: &ObjectName) -> Result<PathBuf, StateError> {
        name.check()?;
        let namespace = if name.namespace.is_empty() { CLUSTER } else { &name.namespace };
        Ok(self.root.join(&name.kind).join(namespace).join(format!("{}.yaml", name.name)))
    }

    /// Reads one object.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`], [`StateError::Object`], [`StateError::Damaged`]. A missing object is no error.
    pub fn get(&self, name: &ObjectName) -> Result<Option<Value>, StateError> {
        read(&self.file(name)?)
    }

    /// All objects of a kind (`Deployment.apps`), by namespace and name. `namespace` `None` means all.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`], [`StateError::Damaged`].
    pub fn list(&self, kind: &str, namespace: Option<&str>) -> Result<Vec<Value>, StateError> {
        let mut found = Vec::new();
        let kind = self.root.join(kind);
        for directory in children(&kind)? {
            let all = namespace.is_none_or(|wanted| directory == if wanted.is_empty() { CLUSTER } else { wanted });
            if !all {
                continue;
            }
            let directory = kind.join(directory);
            for file in children(&directory)? {
                if !file.starts_with('.') && file.ends_with(".yaml") {
                    // Removed between listing and reading: then it is not there.
                    found.extend(read(&directory.join(file))?);
                }
            }
        }
        Ok(found)
    }

    /// The kinds (`Deployment.apps`) of which there are objects, or were once.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn kinds(&self) -> Result<Vec<String>, StateError> {
        Ok(children(&self.root)?.into_iter().filter(|name| !name.starts_with('.')).collect())
    }

    /// Writes an object as a whole: it is created, or replaces what was there (but for its `uid` and creation time).
    ///
    /// # Errors
    ///
    /// [`StateError::Io`], [`StateError::Object`], [`StateError::Damaged`].
    pub fn put(&self, object: &Value) -> Result<Change, StateError> {
        self.update(&ObjectName::of(object)?, |_| Some(object.clone()))
    }

    /// Removes an object.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`], [`StateError::Object`].
    pub fn remove(&self, name: &ObjectName) -> Result<Change, StateError> {
        let file = self.file(name)?;
        let _lock = self.lock()?;
        match fs::remove_file(&file) {
            Ok(()) => Ok(Change::Removed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Change::Unchanged),
            Err(error) => Err(StateError::io("remove", &file)(error)),
        }
    }

    /// Changes one object while nobody else can: `change` gets what is there, and gives what is to be there (`None`:
    /// nothing). Give back what you got to leave it alone.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`], [`StateError::Object`], [`StateError::Damaged`].
    pub fn update(
        &self,
        name: &ObjectName,
        change: impl FnOnce(Option<Value>) -> Option<Value>,
    ) -> Result<Change, StateError> {
        let file = self.file(name)?;
        let _lock = self.lock()?;
        let old = read(&file)?;
        let new = match (change(old.clone()), &old) {
            (None, None) => return Ok(Change::Unchanged),
            (None, Some(_)) => {
                fs::remove_file(&file).map_err(StateError::io("remove", &file))?;
                return Ok(Change::Removed);
            }
            (Some(new), old) => identified(new, old.as_ref())?,
        };
        if old.as_ref() == Some(&new) {
            return Ok(Change::Unchanged);
        }
        private_directory(file.parent().unwrap_or(&self.root))?;
        let text = serde_saphyr::to_string(&new)
            .map_err(|error| StateError::Object { reason: format!("{name} cannot be written as YAML: {error}") })?;
        replace(&file, text.as_bytes())?;
        Ok(if old.is_some() { Change::Configured } else { Change::Created })
    }

    fn lock(&self) -> Result<File, StateError> {
        let file = File::open(&self.root).map_err(StateError::io("open", &self.root))?;
        file.lock().map_err(StateError::io("lock", &self.root))?;
        Ok(file)
    }
}

/// Gives a new object what an API server would give it, and keeps that of an old one.
fn identified(mut new: Value, old: Option<&Value>) -> Result<Value, StateError> {
    let reason = || StateError::Object { reason: "the object or its metadata is no map".to_owned() };
    let changed = old.is_none_or(|old| content(old) != content(&new));
    let metadata = new.get_mut("metadata").and_then(Value::as_object_mut).ok_or_else(reason)?;
    let before = old.and_then(|old| old.get("metadata"));
    let kept = |field: &str| before.and_then(|metadata| metadata.get(field)).cloned();
    match kept("uid") {
        Some(uid) => metadata.insert("uid".to_owned(), uid),
        // A writer that knows the uid already (a pod's is in its token) may bring it.
        None if metadata.get("uid").is_some_and(Value::is_string) => None,
        None => metadata.insert("uid".to_owned(), json!(random_uid()?)),
    };
    let created = kept("creationTimestamp").unwrap_or_else(|| {
        let now = jiff::Timestamp::now();
        json!(jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string())
    });
    metadata.insert("creationTimestamp".to_owned(), created);
    let generation = kept("generation").and_then(|value| value.as_u64()).unwrap_or(0) + u64::from(changed);
    metadata.insert("generation".to_owned(), json!(generation));
    Ok(new)
}

/// Everything but metadata and status.
fn content(object: &Value) -> Option<Map<String, Value>> {
    let mut content = object.as_object()?.clone();
    content.shift_remove("metadata");
    content.shift_remove("status");
    Some(content)
}

/// A version 4 UUID.
fn random_uid() -> Result<String, StateError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).map_err(StateError::io("read", source))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

fn read(path: &Path) -> Result<Option<Value>, StateError> {
    match fs::read_to_string(path) {
        Ok(text) => serde_saphyr::from_str(&text)
            .map(Some)
            .map_err(|error| StateError::Damaged { path: path.to_owned(), reason: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StateError::io("read", path)(error)),
    }
}

/// Names in a directory, sorted; none if it is not there.
fn children(path: &Path) -> Result<Vec<String>, StateError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(StateError::io("read", path)(error)),
    };
    let mut names: Vec<String> =
        entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
