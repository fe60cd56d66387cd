//! The golden signals of one pair of workloads: how many responses of which status, and how long they took.
//!
//! Every response is counted in exactly one [`Edge`] of its cluster; what a cluster has served is the sum of its edges.
//! Recording is three additions to memory that only one worker writes to. Edges are found when a connection or an endpoint
//! is first used and kept there, never looked up for a request.
//!
//! The number of edges of a cluster is bounded ([`limits::EDGES_PER_CLUSTER`]): what comes later is counted together. No
//! label of them is chosen by a client: callers are named by verified certificates, servers by what the configuration and
//! their certificate permit.

use super::counters::Counter;
use super::grpc::{GrpcStatus, STATUSES};
use crate::limits;
use crate::runtime;
use arcstr::ArcStr;
use http::StatusCode;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Upper bounds of the latency buckets in microseconds. FSM's `fsm_request_duration_ms` begins at 5 ms; below it we look
/// closer, since a hop takes fractions of a millisecond.
pub const BOUNDS_US: [u64; 21] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// Buckets: one for each bound, and one above all of them.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Statuses that are counted by themselves; any other is counted as the `x00` of its class.
const CODES: [u16; 62] = [
    100, 101, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401,
    402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426,
    428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];

/// Where each status from 100 to 599 is in [`CODES`].
const CODE_INDEX: [u8; 500] = code_index();

#[allow(clippy::cast_possible_truncation)] // 62 codes
const fn code_index() -> [u8; 500] {
    let mut table = [0; 500];
    let mut status = 100;
    while status < 600 {
        let class = status / 100 * 100;
        let mut index = 0;
        let mut of_class = 0;
        let mut exact = None;
        while index < CODES.len() {
            if CODES[index] == class {
                of_class = index;
            }
            if CODES[index] == status {
                exact = Some(index);
            }
            index += 1;
        }
        table[status as usize - 100] = match exact {
            Some(exact) => exact as u8,
            None => of_class as u8,
        };
        status += 1;
    }
    table
}

/// Who is at the other end of an edge, as far as that is certain.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName {
    /// Namespace; empty if unknown.
    pub namespace: ArcStr,
    /// Kind of its workload (`Deployment`); empty if unknown.
    pub kind: ArcStr,
    /// Its service account, which FSM's metrics call the workload's name; empty if unknown.
    pub name: ArcStr,
    /// Its pod, where the configuration asks for pods; else empty.
    pub pod: ArcStr,
    /// Whether the connection is mTLS.
    pub mtls: bool,
}

impl PeerName {
    /// Somebody who said nothing that can be relied on.
    pub fn unknown(mtls: bool) -> Self {
        Self { mtls, ..Self::default() }
    }

    /// The name that a verified certificate gives: `<service account>.<namespace>`, or whatever else it says.
    pub fn verified(identity: &ArcStr) -> Self {
        // Namespaces have no dots, service accounts may.
        let (name, namespace) = identity.rsplit_once('.').unwrap_or((identity, ""));
        Self { namespace: namespace.into(), name: name.into(), mtls: true, ..Self::default() }
    }

    /// What is counted together because there were too many.
    pub fn others() -> Self {
        Self { namespace: OTHERS.into(), kind: OTHERS.into(), name: OTHERS.into(), ..Self::default() }
    }
}

/// Label of whatever exceeds a cap.
pub const OTHERS: &str = "_overflow";

/// What passed between us and one other workload.
#[derive(Debug)]
pub struct Edge {
    /// Who is at the other end.
    pub peer: PeerName,
    /// TCP connections that were carried.
    pub connections: Counter,
    shards: Box<[Shard]>,
}

/// What one worker has counted. On cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Shard {
    codes: [AtomicU64; CODES.len()],
    grpc: [AtomicU64; STATUSES],
    buckets: [AtomicU64; BUCKETS],
    microseconds: AtomicU64,
}

/// What was counted, of one edge or of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    codes: [u64; CODES.len()],
    grpc: [u64; STATUSES],
    /// Responses by the time they took; not cumulative.
    pub buckets: [u64; BUCKETS],
    /// All of that time together.
    pub microseconds: u64,
    /// TCP connections.
    pub connections: u64,
}

impl Edge {
    fn new(peer: PeerName) -> Self {
        let shard = || Shard {
            codes: std::array::from_fn(|_| AtomicU64::new(0)),
            grpc: std::array::from_fn(|_| AtomicU64::new(0)),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            microseconds: AtomicU64::new(0),
        };
        let shards = std::iter::repeat_with(shard).take(runtime::worker_count()).collect();
        Self { peer, connections: Counter::default(), shards }
    }

    /// Counts the head of a response.
    pub fn response(&self, status: StatusCode, elapsed: Duration) {
        let microseconds = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let shard = &self.shards[runtime::worker_index() % self.shards.len()];
        let code = usize::from(status.as_u16().clamp(100, 599) - 100);
        shard.codes[usize::from(CODE_INDEX[code])].fetch_add(1, Relaxed);
        let bucket = BOUNDS_US.iter().position(|bound| microseconds <= *bound).unwrap_or(BOUNDS_US.len());
        shard.buckets[bucket].fetch_add(1, Relaxed);
        shard.microseconds.fetch_add(microseconds, Relaxed);
    }

    /// Counts how a gRPC call ended whose response was counted before.
    pub fn grpc(&self, status: GrpcStatus) {
        let shard = &self.shards[runtime::worker_index() % self.shards.len()];
        shard.grpc[usize::from(status.number())].fetch_add(1, Relaxed);
    }

    /// What was counted so far.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        totals.add(self);
        totals
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self { codes: [0; CODES.len()], grpc: [0; STATUSES], buckets: [0; BUCKETS], microseconds: 0, connections: 0 }
    }
}

impl Totals {
    fn add(&mut self, edge: &Edge) {
        for shard in &edge.shards {
            for (sum, code) in self.codes.iter_mut().zip(&shard.codes) {
                *sum += code.load(Relaxed);
            }
            for (sum, status) in self.grpc.iter_mut().zip(&shard.grpc) {
                *sum += status.load(Relaxed);
            }
            for (sum, bucket) in self.buckets.iter_mut().zip(&shard.buckets) {
                *sum += bucket.load(Relaxed);
            }
            self.microseconds = self.microseconds.wrapping_add(shard.microseconds.load(Relaxed));
        }
        self.connections += edge.connections.get();
    }

    /// Adds what others counted.
    pub fn merge(&mut self, other: &Self) {
        self.codes.iter_mut().zip(other.codes).for_each(|(sum, count)| *sum += count);
        self.grpc.iter_mut().zip(other.grpc).for_each(|(sum, count)| *sum += count);
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, count)| *sum += count);
        self.microseconds = self.microseconds.wrapping_add(other.microseconds);
        self.connections += other.connections;
    }

    /// All responses.
    pub fn responses(&self) -> u64 {
        self.codes.iter().sum()
    }

    /// Responses of one class, 1 to 5.
    pub fn class(&self, class: u16) -> u64 {
        self.by_code().filter(|(code, _)| code / 100 == class).map(|(_, count)| count).sum()
    }

    /// Statuses that occurred, with their counts.
    pub fn by_code(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        CODES.iter().copied().zip(self.codes).filter(|(_, count)| *count > 0)
    }

    /// How gRPC calls ended, with their counts.
    pub fn by_grpc(&self) -> impl Iterator<Item = (GrpcStatus, u64)> + '_ {
        GrpcStatus::all().zip(self.grpc).filter(|(_, count)| *count > 0)
    }

    /// gRPC calls that the server failed at, although their HTTP status says nothing of it.
    pub fn grpc_failures(&self) -> u64 {
        self.by_grpc().filter(|(status, _)| status.is_failure()).map(|(_, count)| count).sum()
    }
}

/// The edges of one cluster.
#[derive(Debug, Default)]
pub struct Edges {
    /// Answered here, or by nobody: no peer was reached.
    local: OnceLock<Arc<Edge>>,
    known: RwLock<BTreeMap<PeerName, Arc<Edge>>>,
    others: OnceLock<Arc<Edge>>,
}

impl Edges {
    /// For responses that the proxy made itself, without a peer.
    pub fn local(&self) -> &Arc<Edge> {
        self.local.get_or_init(|| Arc::new(Edge::new(PeerName::default())))
    }

    /// The edge to a peer. Takes a lock: keep what it gives.
    pub fn of(&self, peer: &PeerName) -> Arc<Edge> {
        if let Some(edge) = self.known.read().get(peer) {
            return Arc::clone(edge);
        }
        let mut known = self.known.write();
        if known.len() >= limits::EDGES_PER_CLUSTER && !known.contains_key(peer) {
            return Arc::clone(self.others.get_or_init(|| Arc::new(Edge::new(PeerName::others()))));
        }
        Arc::clone(known.entry(peer.clone()).or_insert_with(|| Arc::new(Edge::new(peer.clone()))))
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Edge>> {
        let known = self.known.read();
        self.local.get().into_iter().chain(known.values()).chain(self.others.get()).cloned().collect()
    }

    /// What all of them counted.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.all().iter().for_each(|edge| totals.add(edge));
        totals
    }
}

#[cfg(test)]
mod tests;
