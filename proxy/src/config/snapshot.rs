//! The compiled, immutable configuration.

use crate::upstream::cluster::Cluster;
use fsm_api::config::{Config, Problem};
use std::sync::Arc;

/// Everything a decision needs, compiled from one document. Replaced as a whole, never changed.
#[derive(Debug)]
pub struct Snapshot {
    /// The document's `Version`, or empty.
    pub version: String,
    /// The document it was compiled from.
    pub document: Arc<Config>,
    /// What is wrong with the document, reading and compiling together.
    pub problems: Vec<Problem>,
    /// Every cluster, local (inbound) ones first, sorted by name.
    pub clusters: Vec<Arc<Cluster>>,
}
