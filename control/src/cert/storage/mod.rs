//! Where the built-in authority keeps its roots, their keys and where a rotation stands: in a private file of one
//! machine ([`directory`]), or in a Secret that all processes of a cluster share ([`cluster`]).
//!
//! What is kept changes as a whole, and only over the version that the change was decided on: of two processes that want
//! something at the same time one wins, and the other one looks again. A change that fails leaves what was there.

pub(super) mod cluster;
pub(super) mod directory;

use super::root::seconds;
use super::rotation::Phase;
use cluster::SecretStorage;
use directory::FileStorage;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use thiserror::Error;

/// Everything that must survive a restart.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    /// The one that signs first.
    pub(super) roots: Vec<KeptRoot>,
    pub(super) phase: Phase,
    /// Seconds: the longest validity that a certificate was ever given.
    pub(super) longest_validity: u64,
    /// Seconds since 1970 of the last change of roots.
    pub(super) since: u64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptRoot {
    pub(super) certificate: String,
    /// `None`: only trusted, never to sign again.
    pub(super) key: Option<String>,
}

/// What is kept, and which version of it this is.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) kept: Kept,
    pub(super) version: Version,
}

/// A version of what is kept; differs after every change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The how-manieth of this process.
    File(u64),
    /// `resourceVersion` of the Secret.
    Secret(String),
}

/// The place.
#[derive(Debug)]
pub(super) enum Storage {
    File(FileStorage),
    Secret(Box<SecretStorage>),
}

/// Why what the authority keeps cannot be read or written.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The file system refuses.
    #[error("{}: {doing} failed: {source}; --state-dir must be a directory of fsm-control's own", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// There is something else in its place.
    #[error(
        "{place}: this does not hold the roots of a certificate authority ({reason}); restore it from a backup, or move \
         it away for a new authority, which no running pod will trust"
    )]
    Content {
        /// The file or Secret.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The API server does not let us.
    #[error(
        "fsm-control may not {doing} {place}, where the roots of the mesh are kept: {reason}; grant get, list, watch and patch \
         on this Secret, and create on Secrets of its namespace"
    )]
    Forbidden {
        /// The Secret.
        place: String,
        /// What was being done.
        doing: &'static str,
        /// What the API server says.
        reason: String,
    },
    /// The API server does not do it.
    #[error("the API server does not {doing} {place}, where the roots of the mesh are kept: {reason}")]
    ApiServer {
        /// The Secret.
        place: String,
        /// What was being done.
        doing: &'static str,
        /// Why.
        reason: String,
    },
    /// Others change it all the time.
    #[error("{place}: other processes changed it at each of {tries} attempts; it is worth another try")]
    Contended {
        /// The Secret.
        place: String,
        /// How often it was tried.
        tries: usize,
    },
}

impl Kept {
    pub(super) fn since(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.since)
    }

    pub(super) fn touch(&mut self, now: SystemTime) {
        self.since = seconds(now);
    }
}

impl Storage {
    /// For people.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File(file) => file.path().display().to_string(),
            Self::Secret(secret) => secret.place(),
        }
    }

    /// Whether other processes change what is kept.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Secret(_))
    }

    /// `None`: nothing is kept yet.
    pub(super) async fn read(&self) -> Result<Option<Stored>, StorageError> {
        match self {
            Self::File(file) => file.read(),
            Self::Secret(secret) => secret.read().await,
        }
    }

    /// Keeps the very first state. `None`: somebody else was faster, and theirs counts.
    pub(super) async fn create(&self, kept: &Kept) -> Result<Option<Stored>, StorageError> {
        match self {
            Self::File(file) => file.create(kept),
            Self::Secret(secret) => secret.create(kept).await,
        }
    }

    /// Keeps another state in place of a version. `None`: that version is not the newest any more, and nothing changed.
    pub(super) async fn replace(&self, kept: &Kept, over: &Version) -> Result<Option<Stored>, StorageError> {
        match (self, over) {
            (Self::File(file), Version::File(version)) => file.replace(kept, *version),
            (Self::Secret(secret), Version::Secret(version)) => secret.replace(kept, version).await,
            // A version of another place is no version of this one.
            _ => Ok(None),
        }
    }
}
