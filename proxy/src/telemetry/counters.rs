//! Counters of the hot path: plain atomics, no lock, no look-up, no formatting.
//!
//! They are resolved once, when a snapshot is compiled, and read by `families` and `admin` when somebody asks.

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

/// Upper bounds of [`Latency`]'s buckets in milliseconds: FSM's `fsm_request_duration_ms`.
pub const LATENCY_BOUNDS_MS: [u64; 17] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000];

/// A histogram of durations with fixed buckets.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
    sum_microseconds: AtomicU64,
}

impl Latency {
    /// Records one duration.
    pub fn record(&self, duration: Duration) {
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MS.partition_point(|bound| bound.saturating_mul(1_000) < microseconds);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_microseconds.fetch_add(microseconds, Relaxed);
    }

    /// Counts of each bucket (not cumulative; the last one is above every bound) and the sum in milliseconds.
    pub fn read(&self) -> ([u64; LATENCY_BOUNDS_MS.len() + 1], f64) {
        let counts = std::array::from_fn(|bucket| self.buckets[bucket].load(Relaxed));
        (counts, self.sum_microseconds.load(Relaxed) as f64 / 1_000.0)
    }
}

/// What is counted for each cluster, inbound (local) and outbound alike. Kept for as long as the cluster exists, over
/// configuration updates.
#[derive(Debug, Default)]
pub struct ClusterCounters {
    /// Responses received or made for requests to this cluster.
    pub requests: Counter,
    /// The same by status class: index 0 is 1xx.
    pub responses: [Counter; 5],
    /// Time from request head to response head.
    pub latency: Latency,
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
    /// Responses cut off by the upstream.
    pub resets_received: Counter,
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
    /// TLS handshakes whose server identity was not named in the configuration (documents of FSM's own controller).
    pub unnamed_identities: Counter,
}

impl ClusterCounters {
    /// Counts the head of a response.
    pub fn response(&self, status: http::StatusCode, elapsed: Duration) {
        self.requests.increment();
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.responses[class - 1].increment();
        self.latency.record(elapsed);
    }
}
