//! How many connections and requests a cluster may have at a time, and the queue of those who wait.
//!
//! One gate for all endpoints and workers of a cluster, kept over configuration updates. Passing it is one atomic
//! operation; only who has to wait touches a queue.

use super::error::UpstreamError;
use crate::limits;
use crate::reason::Reason;
use crate::telemetry::counters::ClusterCounters;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Notify;

/// The limits of a cluster (`ConnectionSettings`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateLimits {
    /// `tcp.MaxConnections`: open connections.
    pub connections: usize,
    /// `http.MaxRequests`: requests in flight.
    pub requests: usize,
    /// `http.MaxPendingRequests`: requests that wait for a connection.
    pub pending: usize,
    /// How long one waits: the connect timeout.
    pub patience: Duration,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            connections: limits::MAX_UPSTREAM_CONNECTIONS,
            requests: usize::MAX,
            pending: limits::MAX_PENDING_REQUESTS,
            patience: limits::CONNECT_TIMEOUT,
        }
    }
}

/// Counts what a cluster has open.
#[derive(Debug)]
pub struct Gate {
    counters: Arc<ClusterCounters>,
    connections: AtomicUsize,
    requests: AtomicUsize,
    pending: AtomicUsize,
    freed: Notify,
}

impl Gate {
    /// A gate that nobody has passed yet.
    pub fn new(counters: Arc<ClusterCounters>) -> Self {
        Self {
            counters,
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// The cluster's counters.
    pub const fn counters(&self) -> &Arc<ClusterCounters> {
        &self.counters
    }

    /// Room for one more connection, or `None`.
    pub fn connection(self: &Arc<Self>, limits: GateLimits) -> Option<ConnectionGuard> {
        take(&self.connections, limits.connections)?;
        self.counters.connections_opened.increment();
        self.counters.connections_active.increment();
        Some(ConnectionGuard(Arc::clone(self)))
    }

    /// Room for one more request.
    ///
    /// # Errors
    /// [`Reason::Overloaded`].
    pub fn request(self: &Arc<Self>, limits: GateLimits) -> Result<RequestGuard, Reason> {
        let Some(()) = take(&self.requests, limits.requests) else {
            self.counters.overflows.increment();
            return Err(Reason::Overloaded);
        };
        self.counters.requests_active.increment();
        Ok(RequestGuard(Arc::clone(self)))
    }

    /// Waits until a connection may have become free.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] when too many wait already, or for too long.
    pub async fn wait(&self, limits: GateLimits, target: &str) -> Result<(), UpstreamError> {
        let overloaded = |why: String| {
            self.counters.overflows.increment();
            UpstreamError::unsent(Reason::Overloaded, format!("endpoint {target}: {why}"))
        };
        if take(&self.pending, limits.pending).is_none() {
            return Err(overloaded(format!(
                "all {} connections of the cluster are busy and {} requests wait for one",
                limits.connections, limits.pending
            )));
        }
        let place = Place(&self.pending);
        let waited = tokio::time::timeout(limits.patience, self.freed.notified()).await;
        drop(place);
        waited.map_err(|_| {
            let (all, patience) = (limits.connections, limits.patience);
            overloaded(format!("all {all} connections of the cluster were busy for {patience:?}"))
        })
    }

    /// Tells one waiting request that a connection is free.
    pub fn freed(&self) {
        if self.pending.load(Relaxed) > 0 {
            self.freed.notify_one();
        }
    }
}

/// A place in the queue, given up even if the waiting request is cancelled.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn take(count: &AtomicUsize, limit: usize) -> Option<()> {
    count.fetch_update(Relaxed, Relaxed, |count| (count < limit).then_some(count + 1)).ok().map(drop)
}

/// An open connection; makes room when dropped.
#[derive(Debug)]
pub struct ConnectionGuard(Arc<Gate>);

impl ConnectionGuard {
    /// The cluster's counters.
    pub fn counters(&self) -> &ClusterCounters {
        &self.0.counters
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
        self.0.counters.connections_active.decrement();
        self.0.freed();
    }
}

/// A request in flight; makes room when dropped.
#[derive(Debug)]
pub struct RequestGuard(Arc<Gate>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
        self.0.counters.requests_active.decrement();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn limits(connections: usize, requests: usize, pending: usize) -> GateLimits {
        GateLimits { connections, requests, pending, patience: Duration::from_secs(2) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_request_gets_the_connection_that_becomes_free() {
        let gate = Arc::new(Gate::new(Arc::default()));
        let limits = limits(1, 9, 1);
        let first = gate.connection(limits).expect("room");
        assert!(gate.connection(limits).is_none());
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.wait(limits, "x").await.map(|()| gate.connection(limits)) }
        });
        tokio::task::yield_now().await;
        let refused = gate.wait(limits, "x").await.expect_err("the queue is full");
        assert_eq!(refused.reason, Reason::Overloaded);
        drop(first);
        assert!(waiting.await.unwrap().expect("freed").is_some());
        assert_eq!(gate.counters().overflows.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_patience_and_leaves_no_trace() {
        let gate = Arc::new(Gate::new(Arc::default()));
        let limits = limits(0, 9, 1);
        assert!(gate.wait(limits, "x").await.is_err());
        drop(tokio::time::timeout(Duration::from_millis(1), gate.wait(limits, "x")).await);
        assert_eq!(gate.pending.load(Relaxed), 0, "a cancelled one gives its place up");
    }

    #[test]
    fn requests_have_a_limit_of_their_own() {
        let gate = Arc::new(Gate::new(Arc::default()));
        let one = gate.request(limits(1, 1, 1)).expect("room");
        assert_eq!(gate.request(limits(1, 1, 1)).expect_err("full"), Reason::Overloaded);
        drop(one);
        assert!(gate.request(limits(1, 1, 1)).is_ok());
    }
}
