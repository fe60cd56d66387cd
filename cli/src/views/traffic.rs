//! Golden signals from two readings of sidecars' counters: success rate, requests a second, latency percentiles.
//!
//! Counters only grow while a sidecar lives. Where one is smaller in the second reading its sidecar was started anew, and
//! the second reading is what happened since.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Row;
use super::pages::{Edge, Refusal, Signals as Page};
use super::proxy::milliseconds;
use super::workload::Workload;

/// What was counted, of one cluster or of several together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counted {
    /// Responses.
    pub requests: u64,
    /// Those that are no failure of the server: all but 5xx and gRPC calls that it failed at.
    pub succeeded: u64,
    /// How long they took.
    pub latency: Latency,
    /// TCP connections.
    pub connections: u64,
    /// Requests and connections refused by the sidecar itself.
    pub refused: u64,
}

/// A histogram of latencies.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latency {
    /// Upper bound of each bucket but the last.
    pub bounds_ms: Vec<f64>,
    /// Requests in each bucket, not cumulative.
    pub counts: Vec<u64>,
}

impl Counted {
    /// What passed between a sidecar and one other workload.
    #[must_use]
    pub fn of(edge: &Edge, bounds_ms: &[f64]) -> Self {
        let failed = |code: &str| code.parse::<u16>().is_ok_and(|code| code >= 500);
        let succeeded = edge.responses.iter().filter(|(code, _)| !failed(code)).map(|(_, count)| count);
        Self {
            requests: edge.requests,
            succeeded: succeeded.sum::<u64>().saturating_sub(edge.grpc_failures),
            latency: Latency { bounds_ms: bounds_ms.to_vec(), counts: edge.latency_buckets.clone() },
            connections: edge.connections,
            refused: 0,
        }
    }

    /// What was counted after an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        if self.requests < earlier.requests || self.connections < earlier.connections || self.refused < earlier.refused
        {
            return self.clone();
        }
        let counts = self.latency.counts.iter().enumerate();
        let counts =
            counts.map(|(index, count)| count.saturating_sub(earlier.latency.counts.get(index).copied().unwrap_or(0)));
        Self {
            requests: self.requests - earlier.requests,
            succeeded: self.succeeded.saturating_sub(earlier.succeeded),
            latency: Latency { bounds_ms: self.latency.bounds_ms.clone(), counts: counts.collect() },
            connections: self.connections - earlier.connections,
            refused: self.refused - earlier.refused,
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.succeeded += other.succeeded;
        self.connections += other.connections;
        self.refused += other.refused;
        if self.latency.bounds_ms.is_empty() {
            self.latency.bounds_ms.clone_from(&other.latency.bounds_ms);
        }
        let longer = self.latency.counts.len().max(other.latency.counts.len());
        self.latency.counts.resize(longer, 0);
        for (mine, theirs) in self.latency.counts.iter_mut().zip(&other.latency.counts) {
            *mine += theirs;
        }
    }
}

/// The time in which this share of the responses came, in milliseconds; `None` if there were none.
///
/// Within a bucket the responses are taken to be spread evenly, as Prometheus' `histogram_quantile` does; above the last
/// bound nothing is known but that bound.
#[must_use]
pub fn percentile(latency: &Latency, share: f64) -> Option<f64> {
    let total: u64 = latency.counts.iter().sum();
    if total == 0 {
        return None;
    }
    let wanted = share * total as f64;
    let mut below = 0.0;
    let mut lower = 0.0;
    for (index, &count) in latency.counts.iter().enumerate() {
        let Some(&upper) = latency.bounds_ms.get(index) else { return Some(lower) };
        let count = count as f64;
        if count > 0.0 && below + count >= wanted {
            return Some(lower + (upper - lower) * ((wanted - below) / count).clamp(0.0, 1.0));
        }
        below += count;
        lower = upper;
    }
    Some(lower)
}

/// What a sidecar let in: by all callers together, with what it refused.
#[must_use]
pub fn came_in(page: &Page) -> Counted {
    let refused =
        page.refusals.iter().filter(|refusal| refusal.direction == "inbound").map(|refusal: &Refusal| refusal.count);
    let mut all = Counted { refused: refused.sum(), ..Counted::default() };
    for edge in page.inbound.iter().flat_map(|cluster| &cluster.edges) {
        all.add(&Counted::of(edge, &page.latency_bounds_ms));
    }
    all
}

/// What a sidecar sent, by cluster.
#[must_use]
pub fn was_sent(page: &Page) -> BTreeMap<String, Counted> {
    let mut clusters: BTreeMap<String, Counted> = BTreeMap::new();
    for cluster in page.outbound.iter().filter(|cluster| !cluster.edges.is_empty()) {
        let all = clusters.entry(cluster.cluster.clone()).or_default();
        for edge in &cluster.edges {
            all.add(&Counted::of(edge, &page.latency_bounds_ms));
        }
    }
    clusters
}

/// What a workload, or a pair of them, did in a stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signals {
    /// Namespace of the workload.
    pub namespace: String,
    /// `deploy/name`.
    pub workload: String,
    /// The service that it called; absent where all that came in is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Pods with a sidecar that answered.
    pub meshed: usize,
    /// Pods.
    pub pods: usize,
    /// Share of responses that are no failure of the server; `None` without any.
    pub success: Option<f64>,
    /// Requests a second.
    pub requests_per_second: f64,
    /// Requests in the time.
    pub requests: u64,
    /// Latencies, in milliseconds.
    pub p50_ms: Option<f64>,
    /// See above.
    pub p95_ms: Option<f64>,
    /// See above.
    pub p99_ms: Option<f64>,
    /// Requests and connections that the sidecar refused, a second.
    pub refused_per_second: f64,
    /// TCP connections a second.
    pub connections_per_second: f64,
}

impl Signals {
    /// The signals of a workload from what was counted in `window`.
    #[must_use]
    pub fn new(workload: &Workload, counted: &Counted, window: Duration) -> Self {
        let seconds = window.as_secs_f64().max(0.001);
        let success = (counted.requests > 0).then(|| counted.succeeded as f64 / counted.requests as f64);
        Self {
            namespace: workload.namespace.clone(),
            workload: workload.name.clone(),
            service: None,
            meshed: 0,
            pods: 0,
            success,
            requests_per_second: counted.requests as f64 / seconds,
            requests: counted.requests,
            p50_ms: percentile(&counted.latency, 0.50),
            p95_ms: percentile(&counted.latency, 0.95),
            p99_ms: percentile(&counted.latency, 0.99),
            refused_per_second: counted.refused as f64 / seconds,
            connections_per_second: counted.connections as f64 / seconds,
        }
    }

    fn numbers(&self) -> Vec<String> {
        let success = self.success.map_or_else(|| "-".to_owned(), |share| format!("{:.2}%", share * 100.0));
        vec![
            success,
            format!("{:.1}", self.requests_per_second),
            milliseconds(self.p50_ms),
            milliseconds(self.p95_ms),
            milliseconds(self.p99_ms),
        ]
    }
}

/// All that came in.
impl Row for Signals {
    const HEADINGS: &'static [&'static str] =
        &["NAMESPACE", "NAME", "MESHED", "SUCCESS", "RPS", "P50", "P95", "P99", "REFUSED/S", "+CONNECTIONS/S"];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.namespace.clone(), self.workload.clone(), format!("{}/{}", self.meshed, self.pods)];
        cells.extend(self.numbers());
        cells.push(format!("{:.1}", self.refused_per_second));
        cells.push(format!("{:.1}", self.connections_per_second));
        cells
    }
}

/// What one workload sent to one service.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Sent(pub Signals);

impl Row for Sent {
    const HEADINGS: &'static [&'static str] =
        &["NAMESPACE", "FROM", "TO", "SUCCESS", "RPS", "P50", "P95", "P99", "+CONNECTIONS/S"];

    fn cells(&self) -> Vec<String> {
        let Self(signals) = self;
        let service = signals.service.clone().unwrap_or_else(|| "-".to_owned());
        let mut cells = vec![signals.namespace.clone(), signals.workload.clone(), service];
        cells.extend(signals.numbers());
        cells.push(format!("{:.1}", signals.connections_per_second));
        cells
    }
}
