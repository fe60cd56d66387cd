//! Where documents come from. Every source hands bytes to the same [`Store`]; none interprets them.
//!
//! * [`file`]: a document on disk, followed when it changes;
//! * [`repo`]: FSM's repository, polled over HTTP;
//! * `stream` (later): fsm-control's stream over mTLS. It takes its place as another variant of [`Source`] and another
//!   arm of [`run`]; there is no trait, because the three have nothing in common but the store they feed.
//!
//! A source never ends by itself and never panics: whatever fails is recorded in the store's status and tried again.

pub mod file;
pub mod repo;
mod url;

pub use url::{RepoUrl, RepoUrlError};

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
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Repo(url) => write!(f, "{url}"),
        }
    }
}

/// Follows a source until `stop`, putting every new document in force.
pub async fn run(source: Source, store: Arc<Store>, telemetry: Arc<Telemetry>, stop: CancellationToken) {
    match source {
        Source::File(path) => stop.run_until_cancelled(file::follow(path, store, telemetry)).await,
        Source::Repo(url) => stop.run_until_cancelled(repo::follow(url, store, telemetry)).await,
    };
}
