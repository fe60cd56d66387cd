//! A cluster: the endpoints that can serve a route, and everything that outlives a configuration update.

use super::affinity::Balancing;
use super::balance::{Candidate, ClusterLoad, Draw, EndpointId, Settings as BalanceSettings, Tiers};
use super::endpoint::{Endpoint, EndpointStatus};
use super::gate::{Gate, GateLimits};
use crate::policy::breaker::Breaker;
use crate::policy::budget::RetryBudget;
use crate::policy::outlier::{EjectionSettings, Ejections, EndpointHealth, Membership};
use crate::policy::retry::RetryPolicy;
use crate::runtime;
use crate::telemetry::{Direction, counters::ClusterCounters};
use arc_swap::ArcSwap;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A cluster: the endpoints that can serve a route, and everything that outlives a configuration update.
#[derive(Debug)]
pub struct Cluster {
    /// Name in the document; the metric label `sidecar_cluster_name`.
    pub name: Arc<str>,
    /// Local clusters are inbound, all others outbound.
    pub direction: Direction,
    /// Kept over configuration updates.
    pub state: Arc<ClusterState>,
    /// Limits that the document sets.
    pub settings: ClusterSettings,
    /// Replaced on its own when only endpoints change.
    endpoints: ArcSwap<Endpoints>,
}

/// What a cluster keeps over configuration updates.
#[derive(Debug)]
pub struct ClusterState {
    /// What is counted.
    pub counters: Arc<ClusterCounters>,
    /// What is open.
    pub gate: Arc<Gate>,
    /// Requests in flight, for balancing.
    pub load: Arc<ClusterLoad>,
    /// Endpoints that are left out for a while.
    pub ejections: Ejections,
    /// When the cluster was first known.
    pub since: Instant,
}

/// Limits and policies that the document sets for a cluster.
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
    /// What is retried (outbound); `None`: nothing.
    pub retry: Option<Arc<RetryPolicy>>,
    /// How much is retried.
    pub budget: Arc<RetryBudget>,
    /// How endpoints are chosen.
    pub balancing: Balancing,
}

/// The endpoints of a cluster with their order of preference.
#[derive(Debug)]
pub struct Endpoints {
    members: Vec<Member>,
    tiers: Tiers,
}

/// An endpoint with its place in the cluster.
#[derive(Clone, Debug)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Share of the traffic; 0 is used only for failover.
    pub weight: u32,
    /// Belongs to another cluster of the fleet (`Key`).
    pub remote: bool,
}

/// The endpoints that a request has been offered to.
pub type Tried = SmallVec<[Arc<Endpoint>; 2]>;

impl ClusterState {
    /// The state of a cluster that is new.
    pub fn new() -> Self {
        let (counters, since) = (Arc::default(), Instant::now());
        let gate = Arc::new(Gate::new(Arc::clone(&counters)));
        let ejections = Ejections::new(EjectionSettings::default(), since);
        Self { counters, gate, load: Arc::default(), ejections, since }
    }
}

impl Default for ClusterState {
    fn default() -> Self {
        Self::new()
    }
}

impl Endpoints {
    /// Lays out the order of preference; continues `previous`'s round if the weights are the same.
    pub fn new(balancing: &Balancing, members: Vec<Member>, start: usize, previous: Option<&Endpoints>) -> Self {
        let candidate = |member: &Member| Candidate {
            id: EndpointId::of(&member.endpoint.target.to_string()),
            weight: member.weight,
            remote: member.remote,
            warming_since: balancing.warm_up.as_ref().and(member.endpoint.since),
            load: Arc::clone(&member.endpoint.load),
        };
        let candidates = members.iter().map(candidate).collect();
        let settings = BalanceSettings { algorithm: balancing.algorithm, warm_up: balancing.warm_up };
        let tiers = Tiers::new(settings, candidates, start, previous.map(|previous| &previous.tiers));
        Self { members, tiers }
    }

    /// All of them, in the document's order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    fn membership(&self) -> Membership {
        let (weighted, failover) = self.tiers.counts();
        Membership { weighted, failover }
    }

    fn health(&self) -> impl Iterator<Item = &EndpointHealth> {
        self.members.iter().map(|member| &member.endpoint.health)
    }
}

impl Cluster {
    /// A cluster as compiled.
    pub fn new(
        name: Arc<str>,
        direction: Direction,
        state: Arc<ClusterState>,
        settings: ClusterSettings,
        endpoints: Endpoints,
    ) -> Self {
        let health: Vec<&EndpointHealth> = endpoints.health().collect();
        state.ejections.rebalance(endpoints.membership(), &health, Instant::now());
        Self { name, direction, state, settings, endpoints: ArcSwap::from_pointee(endpoints) }
    }

    /// The cluster's counters.
    pub fn counters(&self) -> &Arc<ClusterCounters> {
        &self.state.counters
    }

    /// The endpoint for a request that has been offered to `tried`: one that is neither tried nor ejected; else one
    /// that is ejected (too many are, so the fault is not theirs alone); never one that was tried. Requests
    /// with the same `key` meet the same endpoint where the cluster hashes or keeps sessions.
    pub fn pick(&self, now: Instant, tried: &Tried, key: Option<u64>) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        let untried = |index: usize| {
            let endpoint = &endpoints.members[index].endpoint;
            !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint))
        };
        let well = |index: usize| !self.state.ejections.is_ejected(&endpoints.members[index].endpoint.health, now);
        let draw = Draw { key, random: runtime::random(), now };
        if let (Some((_, sessions)), Some(key)) = (&self.settings.balancing.sessions, key)
            && let Some(index) =
                endpoints.tiers.pick_for_session(sessions, key, draw, |index| untried(index) && well(index))
        {
            return Some(Arc::clone(&endpoints.members[index].endpoint));
        }
        let index = endpoints
            .tiers
            .pick(draw, |index| untried(index) && well(index))
            .or_else(|| endpoints.tiers.pick(draw, untried))?;
        Some(Arc::clone(&endpoints.members[index].endpoint))
    }

    /// Whether there is an endpoint that a request has not been offered to. Asking does not move the round on.
    pub fn has_untried(&self, tried: &Tried) -> bool {
        let endpoints = self.endpoints.load();
        endpoints.members.iter().any(|member| !tried.iter().any(|tried| Arc::ptr_eq(tried, &member.endpoint)))
    }

    /// Whether an endpoint is left out at the moment.
    pub fn leaves_out(&self, endpoint: &Endpoint, now: Instant) -> bool {
        self.state.ejections.is_ejected(&endpoint.health, now)
    }

    /// Tells the cluster how an endpoint has done; it may be left out for a while then.
    pub fn record(&self, endpoint: &Endpoint, failed: bool, now: Instant) {
        let endpoints = self.endpoints.load();
        let ejections = &self.state.ejections;
        let ejection = ejections.record(
            &endpoint.health,
            failed,
            endpoints.membership(),
            || endpoints.health(),
            now,
            runtime::random(),
        );
        if let Some(ejection) = ejection {
            self.counters().ejections.increment();
            tracing::warn!(
                "endpoint {} of cluster {} is left out for {:?} (ejection {} in close succession): {} failures in a row",
                endpoint.target,
                self.name,
                ejection.duration,
                ejection.number,
                ejections.settings().consecutive_failures,
            );
        }
    }

    /// How many endpoints are left out at the moment.
    pub fn ejected(&self) -> usize {
        let now = Instant::now();
        self.endpoints.load().members.iter().filter(|member| self.leaves_out(&member.endpoint, now)).count()
    }

    /// Whether it has endpoints that only stand in for others.
    pub fn has_failover(&self) -> bool {
        let (weighted, failover) = self.endpoints.load().tiers.counts();
        weighted > 0 && failover > 0
    }

    /// Whether its endpoints are sidecars of the mesh, which understand every version of HTTP.
    pub fn is_of_sidecars(&self) -> bool {
        let endpoints = self.endpoints.load();
        let tls = endpoints.members.first().and_then(|member| member.endpoint.transport.tls.as_ref());
        tls.is_some_and(|tls| !tls.send_server_name)
    }

    /// Whether its endpoints are names of the outside world.
    pub fn is_external(&self) -> bool {
        self.endpoints.load().members.iter().any(|member| member.endpoint.target.host.is_external())
    }

    /// The endpoint for a host that a TLS client names (lower case): the one of exactly this name, else the one with
    /// the longest wildcard above it.
    pub fn named(&self, name: &str) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        let fitting = endpoints.members.iter().filter_map(|member| {
            let fit = member.endpoint.target.host.fits(name)?;
            Some((fit, &member.endpoint))
        });
        fitting.max_by_key(|(fit, _)| *fit).map(|(_, endpoint)| Arc::clone(endpoint))
    }

    /// The current endpoints.
    pub fn load(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    /// Serves with the endpoints that `other` has from now on.
    pub fn take_endpoints(&self, other: &Self) {
        self.endpoints.store(other.load());
    }

    /// The endpoints with their live state, for `/clusters`.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        let now = Instant::now();
        let status = |member: &Member| {
            let healthy = !self.leaves_out(&member.endpoint, now);
            member.endpoint.status(member.weight, healthy)
        };
        self.endpoints.load().members.iter().map(status).collect()
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        for member in self.endpoints.load().members() {
            member.endpoint.sweep();
        }
    }
}
