//! One file with roots, keys and phase, readable by its owner only.
//!
//! It is replaced as a whole (written aside, flushed, renamed), so that a crash leaves either the state before or the
//! state after. The very first file is *linked* into place: of two processes that start together one wins, and the
//! other one reads what it wrote. One process is to use it at a time.

use super::{Kept, StorageError, Stored, Version};
use parking_lot::Mutex;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Name of the file in the state directory.
const FILE: &str = "ca.json";

/// The file has a few KiB; anything of this size is something else.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The file.
#[derive(Debug)]
pub(in crate::cert) struct FileStorage {
    path: PathBuf,
    /// How often this process has written it.
    version: Mutex<u64>,
}

impl FileStorage {
    pub(in crate::cert) fn in_directory(directory: &Path) -> Result<Self, StorageError> {
        let failed = |source| StorageError::Io { path: directory.to_owned(), doing: "making the directory", source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        Ok(Self { path: directory.join(FILE), version: Mutex::new(0) })
    }

    pub(in crate::cert) fn path(&self) -> &Path {
        &self.path
    }

    /// `None` when there is no file yet.
    pub(in crate::cert) fn read(&self) -> Result<Option<Stored>, StorageError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("opening it")(error)),
        };
        self.keep_private(&file)?;
        let mut text = String::new();
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(self.failed("reading it"))?;
        let kept: Kept = serde_json::from_str(&text).map_err(|error| self.content(error.to_string()))?;
        if kept.roots.first().is_none_or(|root| root.key.is_none()) {
            return Err(self.content("its first root has no key".to_owned()));
        }
        Ok(Some(Stored { kept, version: Version::File(*self.version.lock()) }))
    }

    /// Writes the very first state. `None`: somebody else was faster, and theirs counts.
    pub(in crate::cert) fn create(&self, kept: &Kept) -> Result<Option<Stored>, StorageError> {
        let version = self.version.lock();
        let aside = self.write_aside(kept)?;
        let linked = fs::hard_link(&aside, &self.path);
        let _ = fs::remove_file(&aside);
        match linked {
            Ok(()) => Ok(Some(Stored { kept: kept.clone(), version: Version::File(*version) })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(self.failed("putting it in its place")(error)),
        }
    }

    /// Writes another state over a version. `None`: it is not the newest.
    pub(in crate::cert) fn replace(&self, kept: &Kept, over: u64) -> Result<Option<Stored>, StorageError> {
        let mut version = self.version.lock();
        if *version != over {
            return Ok(None);
        }
        let aside = self.write_aside(kept)?;
        fs::rename(&aside, &self.path).map_err(self.failed("putting it in its place"))?;
        // The rename is durable once the directory is.
        let flushed = self.path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all());
        flushed.map_err(self.failed("flushing its directory"))?;
        *version += 1;
        Ok(Some(Stored { kept: kept.clone(), version: Version::File(*version) }))
    }

    fn write_aside(&self, kept: &Kept) -> Result<PathBuf, StorageError> {
        // Its own name for every writer: the name of a file aside must not be what two of them race for.
        static WRITERS: AtomicUsize = AtomicUsize::new(0);
        let writer = WRITERS.fetch_add(1, Relaxed);
        let aside = self.path.with_extension(format!("{}-{writer}.tmp", std::process::id()));
        let _ = fs::remove_file(&aside);
        let text = serde_json::to_vec_pretty(kept).map_err(|error| self.content(error.to_string()))?;
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(self.failed("writing it"))?;
        Ok(aside)
    }

    /// A file that others could read is closed to them; what they have read already nobody can take back.
    fn keep_private(&self, file: &File) -> Result<(), StorageError> {
        let mode = file.metadata().map_err(self.failed("looking at it"))?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(
                "{} could be read by other users and is closed to them now; if somebody may have read it, rotate the roots",
                self.path.display()
            );
            file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(self.failed("closing it to others"))?;
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> StorageError + '_ {
        move |source| StorageError::Io { path: self.path.clone(), doing, source }
    }

    fn content(&self, reason: String) -> StorageError {
        StorageError::Content { place: self.path.display().to_string(), reason }
    }
}
