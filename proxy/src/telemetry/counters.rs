//! Counters of the hot path: plain atomics, no lock, no look-up, no formatting.
//!
//! They are resolved once, when a snapshot is compiled, and read by `families` and `admin` when somebody asks.

use super::signals::Edges;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Takes one away.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// What is counted for each cluster, inbound (local) and outbound alike. Kept for as long as the cluster exists, over
/// configuration updates.
#[derive(Debug, Default)]
pub struct ClusterCounters {
    /// Responses received or made for requests to this cluster, and the time from request head to response head.
    pub edges: Edges,
    /// Open upstream connections.
    pub connections_active: Gauge,
    /// Upstream connections opened so far.
    pub connections_opened: Counter,
    /// Connection attempts that failed.
    pub connect_failures: Counter,
    /// Connection attempts that ran into the deadline.
    pub connect_timeouts: Counter,
    /// Bytes sent upstream.
    pub sent_bytes: Counter,
    /// Bytes received from upstream.
    pub received_bytes: Counter,
    /// Requests in flight.
    pub requests_active: Gauge,
    /// Requests that got no response in time.
    pub request_timeouts: Counter,
    /// Requests refused because a limit of the cluster was reached.
    pub overflows: Counter,
    /// Requests whose response was cut off, or never begun, by the upstream.
    pub resets_received: Counter,
    /// Requests that were given up before their response had passed: too slow, or the client went away.
    pub resets_sent: Counter,
    /// HTTP/1 connections that the upstream closed while a request was on them.
    pub destroyed_by_remote: Counter,
    /// HTTP/1 connections that were closed here while a request was on them.
    pub destroyed_here: Counter,
    /// Requests for which no connection could be made.
    pub pending_failures: Counter,
    /// Retries of any kind.
    pub retries: Counter,
    /// Requests that succeeded after at least one retry.
    pub retry_successes: Counter,
    /// Requests that failed although every permitted retry was made.
    pub retry_limit_exceeded: Counter,
    /// Retries that waited for a back-off.
    pub retry_backoffs: Counter,
    /// Retries that the budget did not allow.
    pub retry_overflows: Counter,
    /// Times that an endpoint was left out for failing.
    pub ejections: Counter,
    /// Finished TLS handshakes with servers.
    pub handshakes: Counter,
    /// TLS handshakes whose server identity was not named in the configuration (documents of FSM's own controller).
    pub unnamed_identities: Counter,
}

impl ClusterCounters {
    /// Counts the head of a response that the proxy made itself.
    pub fn response(&self, status: http::StatusCode, elapsed: Duration) {
        self.edges.local().response(status, elapsed);
    }
}
