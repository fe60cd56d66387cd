//! What every connection shares, and what happens to every connection whatever it carries.

use crate::config::snapshot::Snapshot;
use crate::config::store::Store;
use crate::http::reply::Refusal;
use crate::listen::ConnInfo;
use crate::policy::budget::Allowance;
use crate::reason::Reason;
use crate::runtime::drain::Drain;
use crate::telemetry::record::Ends;
use crate::telemetry::record::connection::{self, ConnectionRecord, Ended};
use crate::telemetry::{Direction, Telemetry};
use http::{HeaderName, HeaderValue};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

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
    ) -> Attended {
        let started = Instant::now();
        let counters = self.telemetry.direction(direction);
        let _counted = counters.connection();
        let refusal = carrying.await.err();
        if let Some(refusal) = &refusal {
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
        Attended { direction, started, refusal }
    }
}

/// A connection that has ended.
#[derive(Debug)]
pub struct Attended {
    direction: Direction,
    started: Instant,
    refusal: Option<Refusal>,
}

impl Attended {
    /// Hands it to the access log, if it carried no HTTP, or was refused before anything could be carried: then nothing is
    /// known of it but its `ends`.
    pub fn log(self, proxy: &Proxy, record: Option<Box<ConnectionRecord>>, ends: impl FnOnce() -> Ends) {
        if record.is_none() && self.refusal.is_none() {
            return;
        }
        let Some(snapshot) = proxy.store.snapshot() else { return };
        let refusal = self.refusal.as_ref().map(|refusal| (refusal.reason, &*refusal.detail));
        let ended = Ended { direction: self.direction, started: self.started, refusal };
        let record = record.unwrap_or_else(|| ConnectionRecord::new(ends()));
        connection::hand_out(&proxy.telemetry, &snapshot.observe, *record, &ended);
    }
}
