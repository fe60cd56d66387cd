//! Lists the manifests below a directory.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Deeper directories are passed over: nobody sorts manifests this deep, but links may lead in circles.
const MOST_DEPTH: usize = 32;

/// What tells whether a file changed without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a file that was read at `read` could have changed after that without a different stamp: its times are as
    /// coarse as the kernel's tick, and some file systems only know seconds. The time of change counts, which nobody can
    /// set.
    pub(super) fn is_fresh(&self, read: SystemTime) -> bool {
        let read = read.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        i64::try_from(read).unwrap_or(i64::MAX) <= self.changed.0.saturating_add(2)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Manifests, in path order.
    pub(super) files: BTreeMap<PathBuf, Stamp>,
    /// Directories and files that could not be looked at. What was below them is not known.
    pub(super) failed: BTreeMap<PathBuf, io::Error>,
}

/// Lists the manifests below `root`, symbolic links followed.
pub(super) fn walk(root: &Path) -> Found {
    let mut found = Found::default();
    let mut above = Vec::new();
    enter(root, &mut above, &mut found);
    found
}

fn enter(directory: &Path, above: &mut Vec<(u64, u64)>, found: &mut Found) {
    let entries = fs::metadata(directory).and_then(|metadata| Ok((metadata, fs::read_dir(directory)?)));
    let (metadata, entries) = match entries {
        Ok(opened) => opened,
        Err(error) => {
            found.failed.insert(directory.to_owned(), error);
            return;
        }
    };
    let identity = (metadata.dev(), metadata.ino());
    if above.contains(&identity) || above.len() >= MOST_DEPTH {
        return;
    }
    above.push(identity);
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                found.failed.insert(directory.to_owned(), error);
                break;
            }
        };
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            look_at(entry.path(), above, found);
        }
    }
    above.pop();
}

fn look_at(path: PathBuf, above: &mut Vec<(u64, u64)>, found: &mut Found) {
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => enter(&path, above, found),
        Ok(metadata) if metadata.is_file() && is_manifest(&path) => {
            found.files.insert(path, Stamp::of(&metadata));
        }
        Ok(_) => {}
        // Gone between listing and looking, or a link that leads nowhere: it is not there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            found.failed.insert(path, error);
        }
    }
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}
