//! A cluster: the endpoints that can serve a route, and everything that outlives a configuration update.

use super::balance::Rotation;
use super::connect::Host;
use super::endpoint::Endpoint;
use super::gate::{Gate, GateLimits};
use crate::policy::breaker::Breaker;
use crate::telemetry::{Direction, counters::ClusterCounters};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;

/// A cluster: the endpoints that can serve a route, and everything that outlives a configuration update.
#[derive(Debug)]
pub struct Cluster {
    /// Name in the document; the metric label `sidecar_cluster_name`.
    pub name: Arc<str>,
    /// Local clusters are inbound, all others outbound.
    pub direction: Direction,
    /// Kept over configuration updates.
    pub counters: Arc<ClusterCounters>,
    /// Kept over configuration updates.
    pub gate: Arc<Gate>,
    /// Limits that the document sets.
    pub settings: ClusterSettings,
    /// Replaced on its own when only endpoints change.
    endpoints: ArcSwap<Endpoints>,
}

/// Limits that the document sets for a cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// From the request to the response head.
    pub response_timeout: Duration,
    /// A connection is retired after so many requests.
    pub requests_per_connection: Option<u32>,
    /// Limits of connections and requests.
    pub limits: GateLimits,
    /// Circuit breaker (outbound).
    pub breaker: Option<Arc<Breaker>>,
}

/// The endpoints of a cluster with their order of rotation.
#[derive(Debug)]
pub struct Endpoints {
    members: Vec<Member>,
    rotation: Rotation,
}

/// An endpoint with its weight.
#[derive(Clone, Debug)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Share of the traffic; 0 is used only for failover.
    pub weight: u32,
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
    /// Open connections: idle HTTP/1 ones and all HTTP/2 ones.
    pub connections: usize,
    /// Requests in flight.
    pub requests: usize,
}

impl Endpoints {
    /// Lays out the rotation; continues `previous`'s if the weights are the same.
    pub fn new(members: Vec<Member>, start: usize, previous: Option<&Endpoints>) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let rotation = Rotation::new(&weights, start);
        let rotation = match previous {
            Some(previous) => rotation.continuing(&previous.rotation),
            None => rotation,
        };
        Self { members, rotation }
    }

    /// All of them, in the document's order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }
}

impl Cluster {
    /// A cluster as compiled.
    pub fn new(
        name: Arc<str>,
        direction: Direction,
        gate: Arc<Gate>,
        settings: ClusterSettings,
        endpoints: Endpoints,
    ) -> Self {
        let counters = Arc::clone(gate.counters());
        Self { name, direction, counters, gate, settings, endpoints: ArcSwap::from_pointee(endpoints) }
    }

    /// The next endpoint by weight; `None` when there is none that may be used.
    pub fn pick(&self) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        let index = endpoints.rotation.next()?;
        Some(Arc::clone(&endpoints.members[index].endpoint))
    }

    /// Whether its endpoints are sidecars of the mesh, which understand every version of HTTP.
    pub fn is_of_sidecars(&self) -> bool {
        let endpoints = self.endpoints.load();
        let tls = endpoints.members.first().and_then(|member| member.endpoint.transport.tls.as_ref());
        tls.is_some_and(|tls| !tls.send_server_name)
    }

    /// Whether its endpoints are names of the outside world.
    pub fn is_external(&self) -> bool {
        self.endpoints.load().members.iter().any(|member| matches!(member.endpoint.target.host, Host::Name(_)))
    }

    /// The endpoint whose host is exactly this name (lower case).
    pub fn named(&self, name: &str) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        let is_named = |member: &&Member| matches!(&member.endpoint.target.host, Host::Name(host) if **host == *name);
        endpoints.members.iter().find(is_named).map(|member| Arc::clone(&member.endpoint))
    }

    /// The current endpoints.
    pub fn load(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    /// The endpoints with their live state, for `/clusters`.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        self.endpoints.load().members.iter().map(|member| member.endpoint.status(member.weight)).collect()
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        for member in self.endpoints.load().members() {
            member.endpoint.sweep();
        }
    }
}
