//! What a proxy needs for a restart during an outage of the controller, on disk.
//!
//! `<directory>/config.json` holds the document as its source served it (plain or gzip); fsm-control's stream keeps
//! `identity.json` beside it. `<directory>/source` says whose they are and where they came from: a
//! directory that is handed from one pod to another must not hand over an identity, so files under another label are
//! never used. They contain private keys, so the directory must belong to us and be closed to everybody else; if it is
//! not, nothing is kept and a warning says so. Failures are logged and otherwise without effect: a proxy never stops for
//! its cache.

use fsm_api::config::MAX_DOCUMENT_BYTES;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
use tracing::{info, warn};

/// A private directory that keeps what one source has served to one proxy.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    owner: String,
}

/// Why a directory cannot be the cache.
#[derive(Debug, Error)]
pub enum CacheError {
    /// It cannot be made or looked at.
    #[error(
        "cache directory {path} cannot be used: {source}; give --cache-dir a directory that the proxy may write to"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others could read the private keys in it.
    #[error(
        "cache directory {path} is open to other users (mode {mode:03o}, owner {owner}) and what is kept in it contains \
         private keys, so nothing is cached; make it private with chmod 700 and owned by the proxy's user"
    )]
    Public {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner's user id.
        owner: u32,
    },
}

/// The document.
pub const DOCUMENT: &str = "config.json";
/// The proxy's own certificate, with key and roots.
pub const IDENTITY: &str = "identity.json";

/// What earlier versions kept, to be removed with the rest.
const FORMER: &str = "endpoints.json";

const FILES: [&str; 3] = [DOCUMENT, FORMER, IDENTITY];
const SOURCE: &str = "source";

impl Cache {
    /// Opens the cache of one proxy at one source, making the directory (mode 0700) when it does not exist. `owner` names
    /// both: the URL of a codebase, for instance.
    ///
    /// # Errors
    /// [`CacheError`] when the directory cannot be used or is not private.
    pub fn open(directory: &Path, owner: &str) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Directory { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let metadata = fs::metadata(directory).map_err(failed)?;
        let mode = metadata.mode() & 0o777;
        let user = metadata.uid();
        // What we make belongs to our effective user; /proc/self tells it without a system call of our own.
        let ours = fs::metadata("/proc/self").map_or(user, |own| own.uid());
        if mode & 0o077 != 0 || user != ours {
            return Err(CacheError::Public { path: directory.to_owned(), mode, owner: user });
        }
        Ok(Self { directory: directory.to_owned(), owner: owner.to_owned() })
    }

    /// The document of an earlier run, with the path it was read from; `None` when there is none of this owner.
    pub fn load(&self) -> Option<(Vec<u8>, PathBuf)> {
        self.load_file(DOCUMENT)
    }

    /// The same for any of the files.
    pub fn load_file(&self, name: &str) -> Option<(Vec<u8>, PathBuf)> {
        let path = self.directory.join(name);
        let source = match fs::read(self.directory.join(SOURCE)) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!("cache {} cannot be read and is not used: {error}", self.directory.display());
                return None;
            }
        };
        if source != self.owner.as_bytes() {
            info!(
                "cache {} belongs to {}, not to {}, and is not used",
                self.directory.display(),
                String::from_utf8_lossy(&source),
                self.owner
            );
            return None;
        }
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_DOCUMENT_BYTES as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => Some((bytes, path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                warn!("{} in the cache cannot be read and is not used: {error}", path.display());
                None
            }
        }
    }

    /// Keeps a document. A crash at any moment leaves the old one, the new one or none, never a mixture.
    pub fn save(&self, document: &[u8]) {
        self.save_file(DOCUMENT, document);
    }

    /// The same for any of the files.
    pub fn save_file(&self, name: &str, content: &[u8]) {
        if let Err(error) = self.try_save(name, content) {
            warn!(
                "{name} could not be kept in {} for restarts: {error}; the proxy works on without",
                self.directory.display()
            );
        }
    }

    fn try_save(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let source = self.directory.join(SOURCE);
        if fs::read(&source).ok().as_deref() != Some(self.owner.as_bytes()) {
            // The old files go before their label does, so that a label never names a foreign file.
            for name in FILES {
                match fs::remove_file(self.directory.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            replace(&self.directory, &source, self.owner.as_bytes())?;
        }
        replace(&self.directory, &self.directory.join(name), content)
    }
}

/// Replaces a file as a whole: written beside it, flushed, renamed.
fn replace(directory: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // A leftover of a crash may have any mode; `mode` below applies to new files only.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
