//! A cluster: the endpoints that can serve a route, and everything that outlives a configuration update.

use crate::telemetry::{Direction, counters::ClusterCounters};
use std::sync::Arc;

/// A cluster: the endpoints that can serve a route, and everything that outlives a configuration update.
#[derive(Debug)]
pub struct Cluster {
    /// Name in the document; the metric label `sidecar_cluster_name`.
    pub name: String,
    /// Local clusters are inbound, all others outbound.
    pub direction: Direction,
    /// Kept over configuration updates.
    pub counters: Arc<ClusterCounters>,
}

impl Cluster {
    /// The endpoints with their live state, for `/clusters`.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        Vec::new()
    }
}

/// One endpoint as shown to people.
#[derive(Clone, Debug)]
pub struct EndpointStatus {
    /// `host:port` as configured.
    pub address: String,
    /// Share of the traffic.
    pub weight: u32,
    /// Whether the balancer may choose it at the moment.
    pub healthy: bool,
    /// Open connections.
    pub connections: usize,
    /// Requests in flight.
    pub requests: usize,
}
