//! Follows the objects of the state directory that matter to pods.
//!
//! What is there is compared with what was there by each file's identity (inode, size, time of change): objects are
//! replaced by renaming, so an unchanged file has unchanged content. A file that cannot be read or is no object keeps
//! the object it was before.

use super::objects::{KINDS, Key};
use crate::local::state::{CLUSTER, Objects};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What has happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is new, or different.
    Applied {
        /// As in [`KINDS`].
        kind: &'static str,
        /// Namespace and name.
        key: Key,
        /// The whole of it.
        object: Value,
    },
    /// It is gone.
    Removed {
        /// As in [`KINDS`].
        kind: &'static str,
        /// Namespace and name.
        key: Key,
        /// `metadata.uid` of what is gone.
        uid: String,
    },
}

/// A file as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// What was seen last.
#[derive(Debug)]
pub struct Follower {
    objects: Objects,
    seen: BTreeMap<(&'static str, Key), Seen>,
}

#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    uid: String,
}

impl Follower {
    /// Has seen nothing yet.
    pub fn new(objects: Objects) -> Self {
        Self { objects, seen: BTreeMap::new() }
    }

    /// What has changed since the last time, in the order of [`KINDS`]: namespaces come first.
    pub fn look(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for kind in KINDS {
            let mut present = BTreeMap::new();
            let directory = self.objects.path().join(kind);
            for namespace in children(&directory) {
                let directory = directory.join(&namespace);
                let namespace = if namespace == CLUSTER { String::new() } else { namespace };
                for file in children(&directory) {
                    if let Some(name) = file.strip_suffix(".yaml").filter(|name| !name.starts_with('.')) {
                        let path = directory.join(&file);
                        if let Some(stamp) = stamp(&path) {
                            present.insert((namespace.clone(), name.to_owned()), (stamp, path));
                        }
                    }
                }
            }
            self.compare(kind, present, &mut changes);
        }
        changes
    }

    fn compare(
        &mut self,
        kind: &'static str,
        present: BTreeMap<Key, (Stamp, std::path::PathBuf)>,
        changes: &mut Vec<Change>,
    ) {
        let is_gone = |(of_kind, key): &&(&'static str, Key)| *of_kind == kind && !present.contains_key(key);
        let gone: Vec<(&'static str, Key)> = self.seen.keys().filter(is_gone).cloned().collect();
        for name in gone {
            if let Some(seen) = self.seen.remove(&name) {
                changes.push(Change::Removed { kind, key: name.1, uid: seen.uid });
            }
        }
        for (key, (stamp, path)) in present {
            let name = (kind, key);
            if self.seen.get(&name).is_some_and(|seen| seen.stamp == stamp) {
                continue;
            }
            match read(&path) {
                Ok(object) => {
                    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned();
                    let before = self.seen.insert(name.clone(), Seen { stamp, uid: uid.clone() });
                    // Removed and made again between two looks.
                    if let Some(before) = before.filter(|before| before.uid != uid) {
                        changes.push(Change::Removed { kind, key: name.1.clone(), uid: before.uid });
                    }
                    changes.push(Change::Applied { kind, key: name.1, object });
                }
                Err(why) => tracing::warn!("{} is not followed: {why}", path.display()),
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Stamp { inode: meta.ino(), size: meta.size(), changed: (meta.ctime(), meta.ctime_nsec()) })
}

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_saphyr::from_str(&text).map_err(|error| error.to_string())
}

fn children(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests;
