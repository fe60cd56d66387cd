//! Who talks to whom: by whose identity, to whose, and whether it is encrypted.
//!
//! Both ends count. What two sidecars agree on is told by the caller's, which also knows what its own pod is called;
//! callers that the server's sidecar knows only as "nobody of the mesh" (they have no sidecar) are told by the server's.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Row;
use super::pages::{Edge as Passed, Peer, Signals};
use super::workload::Workload;

/// A pod's sidecar, with what it counted.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its workload.
    pub workload: Workload,
    /// The page `/signals`.
    pub signals: Signals,
}

/// One direction between two workloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Namespace of the caller; empty if it has no sidecar.
    pub from_namespace: String,
    /// `deploy/name` of the caller.
    pub from: String,
    /// `<sa>.<ns>` that the caller proves, where it proves one.
    pub caller: Option<String>,
    /// Namespace of the server; empty for one outside the mesh.
    pub to_namespace: String,
    /// `deploy/name` of the server; its service account or the cluster where no more is known.
    pub to: String,
    /// `<sa>.<ns>` that the server proves.
    pub server: Option<String>,
    /// Whether both prove who they are, by mutual TLS.
    pub mtls: bool,
    /// Responses so far.
    pub requests: u64,
    /// Those with 5xx, and gRPC calls that the server failed at.
    pub failed: u64,
    /// TCP connections so far.
    pub connections: u64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    from: (String, String),
    caller: Option<String>,
    to: (String, String),
    server: Option<String>,
    mtls: bool,
}

/// What callers without a sidecar are called.
const OUTSIDE: &str = "(without a sidecar)";

/// The edges between the members, and those of others who called them or were called. Ordered by caller and server.
#[must_use]
pub fn edges(members: &[Member]) -> Vec<Edge> {
    let mut found: BTreeMap<Key, [u64; 3]> = BTreeMap::new();
    let mut add = |key: Key, passed: &Passed| {
        let failed = passed.responses.iter().filter(|(code, _)| code.starts_with('5')).map(|(_, count)| count);
        let sums = found.entry(key).or_default();
        sums[0] += passed.requests;
        sums[1] += failed.sum::<u64>() + passed.grpc_failures;
        sums[2] += passed.connections;
    };
    for member in members {
        for cluster in &member.signals.outbound {
            for passed in cluster.edges.iter().filter(|passed| was_answered(passed)) {
                add(outbound(member, members, &cluster.cluster, passed), passed);
            }
        }
        for passed in member.signals.inbound.iter().flat_map(|cluster| &cluster.edges) {
            if passed.peer == Peer::default() || !passed.mtls {
                add(from_outside(member, passed), passed);
            }
        }
    }
    let edge = |(key, [requests, failed, connections]): (Key, [u64; 3])| Edge {
        from_namespace: key.from.0,
        from: key.from.1,
        caller: key.caller,
        to_namespace: key.to.0,
        to: key.to.1,
        server: key.server,
        mtls: key.mtls,
        requests,
        failed,
        connections,
    };
    found.into_iter().map(edge).collect()
}

/// Whether somebody was there: where nobody was, the sidecar's own 5xx is all that is counted.
fn was_answered(passed: &Passed) -> bool {
    let own = passed.responses.iter().all(|(code, _)| code.starts_with('5'));
    passed.peer != Peer::default() || passed.mtls || passed.connections > 0 || !own
}

fn outbound(member: &Member, members: &[Member], cluster: &str, passed: &Passed) -> Key {
    let Workload { namespace, name, account } = &member.workload;
    let server = identity(&passed.peer).filter(|_| passed.mtls);
    let to = match &server {
        Some(server) => {
            // One account is mostly one workload; where it is several, which of them answered is not known.
            let mut same: Vec<&Workload> = members.iter().map(|member| &member.workload).collect();
            same.retain(|workload| workload.account.as_ref() == Some(server));
            same.sort();
            same.dedup();
            match same.as_slice() {
                [only] => (only.namespace.clone(), only.name.clone()),
                _ => (passed.peer.namespace.clone(), format!("sa/{}", passed.peer.name)),
            }
        }
        None => service(cluster),
    };
    Key {
        from: (namespace.clone(), name.clone()),
        caller: account.clone().filter(|_| passed.mtls),
        to,
        server,
        mtls: passed.mtls,
    }
}

fn from_outside(member: &Member, passed: &Passed) -> Key {
    let Workload { namespace, name, account } = &member.workload;
    Key {
        from: (String::new(), OUTSIDE.to_owned()),
        caller: None,
        to: (namespace.clone(), name.clone()),
        server: account.clone().filter(|_| passed.mtls),
        mtls: passed.mtls,
    }
}

fn identity(peer: &Peer) -> Option<String> {
    (!peer.name.is_empty() && !peer.namespace.is_empty()).then(|| format!("{}.{}", peer.name, peer.namespace))
}

/// `namespace/service|port`, as control names clusters.
fn service(cluster: &str) -> (String, String) {
    let name = cluster.split('|').next().unwrap_or(cluster);
    match name.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), format!("svc/{name}")),
        None => (String::new(), cluster.to_owned()),
    }
}

impl Row for Edge {
    const HEADINGS: &'static [&'static str] =
        &["FROM-NS", "FROM", "TO-NS", "TO", "CALLER", "SERVER", "SECURED", "REQUESTS", "+FAILED", "+CONNECTIONS"];

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        vec![
            or_dash(&self.from_namespace),
            self.from.clone(),
            or_dash(&self.to_namespace),
            self.to.clone(),
            or_dash(self.caller.as_deref().unwrap_or_default()),
            or_dash(self.server.as_deref().unwrap_or_default()),
            if self.mtls { "mTLS" } else { "no" }.to_owned(),
            self.requests.to_string(),
            self.failed.to_string(),
            self.connections.to_string(),
        ]
    }
}
