//! Where documents come from. Every source hands bytes to the same [`Store`]; none interprets them.
//!
//! * [`file`]: a document on disk, followed when it changes;
//! * [`repo`]: FSM's repository, polled over HTTP;
//! * [`stream`]: fsm-control's stream over mutual TLS.
//!
//! There is no trait, because the three have nothing in common but the store they feed.
//!
//! A source never ends by itself and never panics: whatever fails is recorded in the store's status and tried again.

pub mod file;
pub mod repo;
pub mod stream;
mod url;

pub use stream::{ControlAddress, ControlAddressError, ControlOptions, Pod};
pub use url::{RepoUrl, RepoUrlError};

use super::cache::Cache;
use super::store::Store;
use crate::telemetry::Telemetry;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Where the configuration document comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, plain JSON or gzip.
    File(PathBuf),
    /// A codebase in FSM's repository.
    Repo(RepoUrl),
    /// fsm-control.
    Control(Box<ControlOptions>),
}

impl Source {
    /// Whose cache the source's is; `None` for a source that is kept elsewhere already.
    pub fn cache_owner(&self) -> Option<String> {
        match self {
            Self::File(_) => None,
            Self::Repo(url) => Some(url.to_string()),
            Self::Control(options) => Some(options.cache_owner()),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Repo(url) => write!(f, "{url}"),
            Self::Control(options) => write!(f, "{options}"),
        }
    }
}

/// Follows a source until `stop`, putting every new document in force. `cache` is that of the stream; the repository's
/// belongs to the store.
pub async fn run(
    source: Source,
    store: Arc<Store>,
    telemetry: Arc<Telemetry>,
    cache: Option<Arc<Cache>>,
    stop: CancellationToken,
) {
    match source {
        Source::File(path) => stop.run_until_cancelled(file::follow(path, store, telemetry)).await,
        Source::Repo(url) => stop.run_until_cancelled(repo::follow(url, store, telemetry)).await,
        Source::Control(options) => stop.run_until_cancelled(stream::follow(*options, store, telemetry, cache)).await,
    };
}
