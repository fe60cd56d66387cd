//! FSM's repository, polled over HTTP: what the controller serves to Pipy.
//!
//! Every [`limits::REPO_POLL_INTERVAL`] the codebase is asked for its `etag` and `date`; when one differs,
//! `config.json.gz` is fetched, and `config.json` when there is none. FSM publishes by deleting a codebase, deriving it
//! anew from a base and filling it: in between, files are missing (404) or the base's `{}` shines through. Both leave
//! the last good document in force and are asked for again at the next poll. Without a controller the proxy works on
//! with what it has, for ever; with a cache even after a restart.
//!
//! A status report is posted after each poll, because the repository's tools list the proxies that report. It is best
//! effort. Redirects are refused: a mesh's configuration, keys included, comes from the host that was named.

mod client;
mod status;

use super::RepoUrl;
use crate::config::store::{Applied, Origin, Rejected, Store};
use crate::limits;
use crate::telemetry::Telemetry;
use bytes::Bytes;
use client::{Client, FetchError};
use http::{Method, StatusCode};
use status::Reporter;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tracing::debug;

/// The document's names, in the order in which they are asked for.
const DOCUMENTS: [&str; 2] = ["config.json.gz", "config.json"];

/// Follows a codebase for ever.
pub async fn follow(url: RepoUrl, store: Arc<Store>, telemetry: Arc<Telemetry>) {
    // Failures are counted by the store; the repository has no counters of its own.
    drop(telemetry);
    Follower::new(url, store, Pace::default()).run().await;
}

/// How often and how long; another one in tests only.
#[derive(Clone, Copy, Debug)]
struct Pace {
    interval: Duration,
    deadline: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { interval: limits::REPO_POLL_INTERVAL, deadline: limits::REPO_TIMEOUT }
    }
}

impl Pace {
    /// The interval, give or take a tenth: proxies that started together shall not poll together.
    fn next(self) -> Duration {
        let random = RandomState::new().build_hasher().finish() % 1_000;
        self.interval.mul_f64(0.9 + random as f64 / 5_000.0)
    }
}

struct Follower {
    store: Arc<Store>,
    client: Client,
    reporter: Reporter,
    pace: Pace,
    url: RepoUrl,
    /// Version of the codebase whose document was dealt with; `None`: the next poll fetches.
    seen: Option<Version>,
}

/// What tells one state of a codebase from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Version {
    etag: Option<Bytes>,
    date: Option<Bytes>,
}

/// Why a poll brought nothing.
#[derive(Debug, Error)]
enum PollError {
    /// The repository cannot be asked.
    #[error("FSM's repository cannot be asked: {0}")]
    Fetch(#[from] FetchError),
    /// It answered something else than a codebase.
    #[error("FSM's repository answered {status} for {url}: {hint}")]
    Status { status: StatusCode, url: String, hint: &'static str },
    /// It has neither of the two documents.
    #[error(
        "the codebase {0} has no configuration document; the controller is perhaps about to publish it, so it is asked \
         for again"
    )]
    NoDocument(RepoUrl),
    /// It has the placeholder only.
    #[error(transparent)]
    Placeholder(Rejected),
    /// The document could not be dealt with at all.
    #[error("the document of {0} could not be put in force: {1}")]
    Interrupted(RepoUrl, tokio::task::JoinError),
}

impl Follower {
    fn new(url: RepoUrl, store: Arc<Store>, pace: Pace) -> Self {
        let client = Client::new(url.clone(), pace.deadline);
        Self { store, client, reporter: Reporter::from_environment(), pace, url, seen: None }
    }

    async fn run(mut self) {
        let store = self.store.clone();
        // Reading the cache takes a moment of disk and compiling.
        drop(tokio::task::spawn_blocking(move || store.apply_cached()).await);
        loop {
            match self.poll().await {
                Ok(()) => {
                    self.store.source_recovered();
                    self.report().await;
                }
                Err(error) => {
                    let consequence = match self.store.load().is_some() {
                        true => "the last good configuration stays in force",
                        false => "the proxy is not ready until there is one",
                    };
                    self.store.source_failed(&format!("{error}; {consequence}"));
                }
            }
            tokio::time::sleep(self.pace.next()).await;
        }
    }

    /// Asks for the version and, when it differs, for the document.
    async fn poll(&mut self) -> Result<(), PollError> {
        let version = self.version().await?;
        if self.seen.as_ref() == Some(&version) && version != Version::default() {
            return Ok(());
        }
        // The version is the one asked for before the document: a document published in between is fetched again.
        self.seen = None;
        self.fetch().await?;
        self.seen = Some(version);
        Ok(())
    }

    async fn version(&mut self) -> Result<Version, PollError> {
        let mut answer = self.client.send(Method::HEAD, "", None).await?;
        if matches!(answer.status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
            answer = self.client.send(Method::GET, "", None).await?;
        }
        if answer.status != StatusCode::OK {
            return Err(self.unexpected(answer.status, ""));
        }
        let header = |name| answer.headers.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes()));
        Ok(Version { etag: header(http::header::ETAG), date: header(http::header::DATE) })
    }

    /// Fetches the document and puts it in force. A document that is no document counts as dealt with: it would not be
    /// a better one at the next poll, and the store has recorded it.
    async fn fetch(&mut self) -> Result<(), PollError> {
        let mut placeholder = None;
        for name in DOCUMENTS {
            let answer = self.client.send(Method::GET, name, None).await?;
            match answer.status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => continue,
                status => return Err(self.unexpected(status, name)),
            }
            let (store, origin) = (self.store.clone(), Origin::Repo(format!("{}{name}", self.url)));
            let applied = tokio::task::spawn_blocking(move || match store.read(&answer.body, &origin) {
                Ok(document) => store.put_in_force(document),
                // Not worth a report of its own: the other name is tried, or the poll fails.
                Err(rejected @ Rejected::Placeholder { .. }) => Err(rejected),
                Err(rejected) => Err(store.reject(rejected)),
            });
            match applied.await.map_err(|error| PollError::Interrupted(self.url.clone(), error))? {
                Ok(Applied::Unchanged) => {
                    debug!("{}{name} was published anew and says the same", self.url)
                }
                Ok(Applied::Changed { .. }) => {}
                Err(rejected @ Rejected::Placeholder { .. }) => {
                    placeholder = Some(rejected);
                    continue;
                }
                Err(_recorded) => {}
            }
            return Ok(());
        }
        Err(placeholder.map_or_else(|| PollError::NoDocument(self.url.clone()), PollError::Placeholder))
    }

    async fn report(&mut self) {
        let etag = self.seen.as_ref().and_then(|version| version.etag.as_deref()).unwrap_or_default();
        let report = self.reporter.report(&String::from_utf8_lossy(etag));
        match self.client.send(Method::POST, "", Some(report)).await {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => debug!("FSM's repository answered {} to the status report", answer.status),
            Err(error) => debug!("the status report was not delivered: {error}"),
        }
    }

    fn unexpected(&self, status: StatusCode, name: &str) -> PollError {
        let hint = match status {
            StatusCode::NOT_FOUND => {
                "the controller does not know this pod yet, or the URL is wrong (its last slash matters); it is asked \
                 again"
            }
            status if status.is_redirection() => "redirects are not followed; give the URL it leads to",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "let this pod read its codebase",
            _ => "look at the controller's log",
        };
        PollError::Status { status, url: format!("{}{name}", self.url), hint }
    }
}

#[cfg(test)]
mod tests;
