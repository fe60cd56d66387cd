//! Whom to choose: balancing among the endpoints of a cluster.
//!
//! [`Tiers`] is what a cluster holds: it prefers the endpoints with a weight and falls back to the failover ones, and
//! within a tier a [`Balancer`] chooses. Everything here decides and nothing acts: the time and the randomness of a pick
//! are passed in ([`Draw`]), and who is available at the moment (not ejected, not tried before by this request, below
//! its limits) is a question put to the caller. No locks; a pick costs the same for ten endpoints as for a thousand as
//! long as most of them are available. A pick is `None` only when no endpoint is available.

mod hash;
mod least_request;
mod load;
mod mix;
mod rotation;
mod sticky;
mod tiers;
mod warm_up;

pub use hash::{BoundedLoad, Ring};
pub use least_request::LeastRequest;
pub use load::{Answer, ClusterLoad, EndpointLoad, FAILURE_LATENCY, InFlight, LATENCY_DECAY};
pub use rotation::Rotation;
pub use sticky::{SESSION_CAPACITY, SESSION_TTL, SessionTable};
pub use tiers::{Settings, Tiers};
pub use warm_up::WarmUp;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// FSM's weighted round robin: exact shares.
    #[default]
    RoundRobin,
    /// Of two endpoints taken at random, the one that is likely to answer sooner.
    LeastRequest,
    /// The same endpoint for the same key, as long as it is available.
    Hash,
}

/// Which endpoint, for everybody and for ever: a hash of `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(u64);

/// An endpoint as balancing sees it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which endpoint.
    pub id: EndpointId,
    /// Share of the traffic; 0 is used only for failover.
    pub weight: u32,
    /// Belongs to another cluster of the fleet (`Key`): the last resort among failover endpoints.
    pub remote: bool,
    /// When it was first seen, if it is to be warmed up.
    pub warming_since: Option<Instant>,
    /// Its load; the same one over updates.
    pub load: Arc<EndpointLoad>,
}

/// What a pick depends on besides the endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// What must always meet the same endpoint (a hash of a source address, header or cookie: [`key_of`]). Used by
    /// [`Algorithm::Hash`] only.
    pub key: Option<u64>,
    /// A number of which every bit is random.
    pub random: u64,
    /// The time.
    pub now: Instant,
}

/// The endpoints as they are at the moment of a pick.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// All of them; a pick is an index into these.
    pub candidates: &'a [Candidate],
    /// Whether an endpoint may be chosen now.
    pub available: &'a dyn Fn(usize) -> bool,
    /// How new endpoints are warmed up.
    pub warm_up: Option<&'a WarmUp>,
}

/// Chooses among the endpoints that it was made for. An endpoint without a share is never chosen.
#[derive(Debug)]
pub enum Balancer {
    /// Exact shares.
    RoundRobin(Rotation),
    /// The one that is likely to answer sooner.
    LeastRequest(LeastRequest),
    /// The same one for the same key.
    Hash(Ring),
}

impl Balancer {
    /// A balancer over `candidates` with `shares[i]` for the i-th; 0 leaves it out. `start`, any number, spreads the
    /// beginnings of many proxies over the round.
    pub fn new(algorithm: Algorithm, candidates: &[Candidate], shares: &[u32], start: usize) -> Self {
        match algorithm {
            Algorithm::RoundRobin => Self::RoundRobin(Rotation::new(shares, start)),
            Algorithm::LeastRequest => Self::LeastRequest(LeastRequest::new(shares)),
            Algorithm::Hash => Self::Hash(Ring::new(candidates, shares, BoundedLoad::default())),
        }
    }

    /// The same with the position of `previous`, if the shares did not change.
    pub fn continuing(self, previous: &Self) -> Self {
        match (self, previous) {
            (Self::RoundRobin(rotation), Self::RoundRobin(previous)) => Self::RoundRobin(rotation.continuing(previous)),
            (balancer, _) => balancer,
        }
    }

    /// The index of the endpoint to use, or `None` if none of those with a share is available.
    ///
    /// An endpoint that is being warmed up is passed over as often as its age demands, unless no other is available.
    pub fn pick(&self, view: &View<'_>, draw: Draw) -> Option<usize> {
        match self {
            Self::RoundRobin(rotation) if view.warm_up.is_none() => rotation.pick(view.available),
            Self::RoundRobin(rotation) => {
                let warm = |index: usize| (view.available)(index) && view.admits(index, draw.random, draw.now);
                rotation.pick(warm).or_else(|| rotation.pick(view.available))
            }
            Self::LeastRequest(least_request) => least_request.pick(view, draw),
            Self::Hash(ring) => ring.pick(view, draw),
        }
    }
}

impl View<'_> {
    /// The warm-up factor of an endpoint: 0.1 to 1.
    fn warmth(&self, index: usize, now: Instant) -> f64 {
        match (self.warm_up, self.candidates[index].warming_since) {
            (Some(warm_up), Some(since)) => warm_up.factor(now.saturating_duration_since(since)),
            _ => 1.0,
        }
    }

    /// Whether a warming endpoint takes this request. `draw` may be random, or a key: then more and more keys come to
    /// the endpoint and none of them leaves it again.
    fn admits(&self, index: usize, draw: u64, now: Instant) -> bool {
        let warmth = self.warmth(index, now);
        warmth >= 1.0 || (mix::combine(draw, self.candidates[index].id.0) as f64) < warmth * 2_f64.powi(64)
    }
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("candidates", &self.candidates.len()).finish_non_exhaustive()
    }
}

impl EndpointId {
    /// The endpoint with this `host:port`.
    pub fn of(address: &str) -> Self {
        Self(mix::hash_bytes(address.as_bytes()))
    }
}

/// The key for a source address, a header's or a cookie's value. Equal on every proxy and in every version.
pub fn key_of(value: &[u8]) -> u64 {
    mix::hash_bytes(value)
}

impl FromStr for Algorithm {
    type Err = String;

    /// Reads our names (`round-robin`, `least-request`, `hash`) and those of FSM's ingress (`hashing`, `least-work`) and
    /// ServiceExport (`RoundRobinLoadBalancer`, `HashingLoadBalancer`, `LeastWorkLoadBalancer`).
    fn from_str(name: &str) -> Result<Self, String> {
        match name.to_ascii_lowercase().as_str() {
            "" | "round-robin" | "roundrobinloadbalancer" => Ok(Self::RoundRobin),
            "least-request" | "least-work" | "leastworkloadbalancer" => Ok(Self::LeastRequest),
            "hash" | "hashing" | "hashingloadbalancer" => Ok(Self::Hash),
            _ => Err(format!("`{name}` is no balancing algorithm; use `round-robin`, `least-request` or `hash`")),
        }
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
