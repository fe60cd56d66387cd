//! Keeps proxies up to date: the stream over mutual TLS, and FSM's repository protocol.
//!
//! The controller puts a [`Publication`] for every pod on the [`Board`]; here they are carried to whoever follows. A
//! document is encoded once for its group and shared by all connections. No connection has a queue: each looks at the
//! newest publication when its proxy is ready for one, so that a slow proxy skips versions, delays nobody and costs no
//! memory. Who a proxy is comes from its verified certificate, and it can follow the pods of its own account only.

pub mod board;
mod identity;
pub mod publication;
pub mod repo;
pub mod roster;
pub mod server;
mod session;
mod stream;

pub use crate::world::PodKey;
pub use board::{Board, Seat, Tenant};
pub use publication::Publication;
pub use roster::Roster;

use crate::auth::TokenReview;
use crate::cert::Issuer;
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;

/// What all connections share.
#[derive(Debug)]
pub struct Push {
    /// The newest documents.
    pub board: Arc<Board>,
    /// Who is connected.
    pub roster: Arc<Roster>,
    /// Who signs certificates.
    pub issuer: Arc<dyn Issuer>,
    /// Who knows tokens.
    pub tokens: Arc<dyn TokenReview>,
    /// Counters.
    pub telemetry: Arc<Telemetry>,
    /// Trust domain of the mesh.
    pub trust_domain: String,
    /// What MeshConfig says.
    pub settings: ArcSwap<Settings>,
}

/// What MeshConfig says about proxies and their certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Validity of a workload's certificate (`certificate.serviceCertValidityDuration`).
    pub leaf_validity: Duration,
    /// Proxies that may follow at once (`sidecar.maxDataPlaneConnections`); 0: any number.
    pub max_proxies: usize,
    /// The repository has `config.json.gz` instead of `config.json` (`sidecar.compressConfig`).
    pub compress: bool,
}

impl Default for Settings {
    /// FSM's defaults.
    fn default() -> Self {
        Self { leaf_validity: Duration::from_secs(24 * 3600), max_proxies: 0, compress: true }
    }
}

#[cfg(test)]
mod tests;
