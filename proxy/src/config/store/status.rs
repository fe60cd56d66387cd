//! How the configuration in force came about, and what went wrong since: for people, never for decisions.

use super::Origin;
use crate::config::snapshot::Snapshot;
use fsm_api::config::Severity;
use serde::Serialize;
use std::time::Instant;

/// The state of the configuration, for `/config_status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Where the document in force was taken from; `null` before the first one.
    pub origin: Option<String>,
    /// Number of documents put in force so far.
    pub generation: u64,
    /// When the document in force was put in force (RFC 3339, UTC).
    pub applied_at: Option<String>,
    /// The same on the clock that never jumps.
    #[serde(skip)]
    pub(super) applied: Option<Instant>,
    /// `Version` of the document in force.
    pub version: String,
    /// Problems of the document in force.
    pub problems: usize,
    /// Those of them that deny traffic or have no effect.
    pub errors: usize,
    /// The last document that was rejected, while no later one was accepted.
    pub rejected: Option<Failure>,
    /// Why the source cannot be read, while it cannot.
    pub source_failure: Option<Failure>,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What, why, and what to do.
    pub message: String,
    /// When it happened first (RFC 3339, UTC).
    pub since: String,
    /// How often it has happened since, this time included.
    pub count: u64,
}

impl Status {
    pub(super) fn enter(&mut self, origin: &Origin, generation: u64, snapshot: &Snapshot) {
        *self = Self {
            origin: Some(origin.to_string()),
            generation,
            applied_at: Some(now()),
            applied: Some(Instant::now()),
            version: snapshot.version.clone(),
            problems: snapshot.problems.len(),
            errors: snapshot.problems.iter().filter(|problem| problem.severity == Severity::Error).count(),
            rejected: None,
            source_failure: self.source_failure.take(),
        };
    }

    /// The document in force was seen again, perhaps from elsewhere: after a restart the repository confirms the cache.
    pub(super) fn confirm(&mut self, origin: &Origin) {
        self.origin = Some(origin.to_string());
        self.rejected = None;
    }
}

impl Failure {
    /// Counts the failure in its slot; true when it is another one than before.
    pub(super) fn note(slot: &mut Option<Failure>, message: &str) -> bool {
        match slot {
            Some(failure) if failure.message == message => {
                failure.count += 1;
                false
            }
            _ => {
                *slot = Some(Failure { message: message.to_owned(), since: now(), count: 1 });
                true
            }
        }
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
