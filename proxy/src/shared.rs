//! What every connection shares, and what happens to every connection whatever it carries.

use crate::config::snapshot::Snapshot;
use crate::config::store::Store;
use crate::http::reply::Refusal;
use crate::listen::ConnInfo;
use crate::policy::budget::Allowance;
use crate::reason::Reason;
use crate::runtime::drain::Drain;
use crate::telemetry::{Direction, Telemetry};
use http::{HeaderName, HeaderValue};
use std::future::Future;
use std::sync::Arc;

/// What every connection shares.
#[derive(Debug)]
pub struct Proxy {
    /// The configuration in force.
    pub store: Arc<Store>,
    /// Counters of the proxy as a whole.
    pub telemetry: Arc<Telemetry>,
    /// Announces the end.
    pub drain: Drain,
    /// Which workload and pod this is, for response headers.
    pub stats_header: Option<HeaderValue>,
    /// The same for requests, where they are traced.
    pub stats_request_headers: Vec<(HeaderName, HeaderValue)>,
    /// What all requests together may keep for sending it again.
    pub replay: Arc<Allowance>,
}

impl Proxy {
    /// Waits for a configuration that does not permit a live connection any longer.
    pub async fn withdrawn(&self, permitted: impl Fn(&Snapshot) -> Result<(), Reason>) -> Reason {
        let mut generations = self.store.subscribe();
        loop {
            // First of all: the configuration may have changed since the connection was let in.
            let verdict = self.store.snapshot().map_or(Err(Reason::ShuttingDown), |snapshot| permitted(&snapshot));
            if let Err(reason) = verdict {
                return reason;
            }
            if generations.changed().await.is_err() {
                // The store lives as long as the process.
                return Reason::ShuttingDown;
            }
        }
    }

    /// Counts a connection while it is carried, and its refusal if it ends in one.
    pub async fn attend(
        &self,
        direction: Direction,
        info: &ConnInfo,
        carrying: impl Future<Output = Result<(), Refusal>>,
    ) {
        let counters = self.telemetry.direction(direction);
        let _counted = counters.connection();
        if let Err(refusal) = carrying.await {
            counters.refused(refusal.reason);
            tracing::debug!(
                direction = direction.name(),
                reason = refusal.reason.code(),
                peer = %info.peer,
                destination = %info.destination,
                detail = refusal.detail,
                "connection refused"
            );
        }
    }
}
