//! `/signals`: what views of the mesh are made from. All numbers only grow; whoever wants rates asks twice.

use super::AdminState;
use crate::telemetry::Direction;
use crate::telemetry::signals::{BOUNDS_US, Edge, PeerName, Totals};
use crate::upstream::cluster::Cluster;
use serde_json::{Map, Value, json as object};

pub(super) fn signals(state: &AdminState) -> Value {
    let workload = &state.workload;
    let snapshot = state.store.snapshot();
    let clusters = |direction| -> Vec<Value> {
        let clusters = snapshot.iter().flat_map(|snapshot| &snapshot.clusters);
        clusters.filter(|cluster| cluster.direction == direction).map(|cluster| cluster_json(cluster)).collect()
    };
    object!({
        "workload": {
            "namespace": workload.namespace,
            "kind": workload.kind,
            "name": workload.name,
            "pod": workload.pod,
        },
        "uptimeSeconds": state.telemetry.started.elapsed().as_secs_f64(),
        "latencyBoundsMs": BOUNDS_US.map(|bound| bound as f64 / 1_000.0),
        "inbound": clusters(Direction::Inbound),
        "outbound": clusters(Direction::Outbound),
        "refusals": refusals(state),
    })
}

fn cluster_json(cluster: &Cluster) -> Value {
    let counters = cluster.counters();
    let edges = counters.edges.all();
    let edges = edges.iter().map(|edge| edge_json(edge)).filter(|edge| !edge.is_empty());
    object!({
        "cluster": cluster.name,
        "edges": edges.map(Value::Object).collect::<Vec<_>>(),
        "requestsActive": counters.requests_active.get(),
        "connectionsActive": counters.connections_active.get(),
        "connectionsOpened": counters.connections_opened.get(),
        "sentBytes": counters.sent_bytes.get(),
        "receivedBytes": counters.received_bytes.get(),
        "retries": counters.retries.get(),
        "overflows": counters.overflows.get(),
        "endpoints": cluster.load().members().len(),
        "endpointsEjected": cluster.ejected(),
    })
}

/// One edge; empty while nothing has passed.
fn edge_json(edge: &Edge) -> Map<String, Value> {
    let totals = edge.totals();
    let mut shown = Map::new();
    if totals == Totals::default() {
        return shown;
    }
    shown.insert("peer".to_owned(), peer_json(&edge.peer));
    shown.insert("mtls".to_owned(), edge.peer.mtls.into());
    shown.insert("requests".to_owned(), totals.responses().into());
    let codes = totals.by_code().map(|(code, count)| (code.to_string(), count.into()));
    shown.insert("responses".to_owned(), Value::Object(codes.collect()));
    let calls = totals.by_grpc().map(|(status, count)| (status.number().to_string(), count.into()));
    let calls: Map<String, Value> = calls.collect();
    if !calls.is_empty() {
        shown.insert("grpc".to_owned(), Value::Object(calls));
        shown.insert("grpcFailures".to_owned(), totals.grpc_failures().into());
    }
    shown.insert("latencyBuckets".to_owned(), totals.buckets.to_vec().into());
    shown.insert("latencySumMs".to_owned(), (totals.microseconds as f64 / 1_000.0).into());
    shown.insert("connections".to_owned(), totals.connections.into());
    shown
}

fn peer_json(peer: &PeerName) -> Value {
    let PeerName { namespace, kind, name, pod, .. } = peer;
    let parts = [("namespace", namespace), ("kind", kind), ("name", name), ("pod", pod)];
    let said = parts.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(said.map(|(key, value)| (key.to_owned(), value.as_str().into())).collect())
}

fn refusals(state: &AdminState) -> Vec<Value> {
    let each = Direction::ALL.into_iter().flat_map(|direction| {
        let counted = state.telemetry.direction(direction).refusals_by_peer();
        counted.into_iter().map(move |(peer, reason, count)| {
            object!({
                "direction": direction.name(),
                "reason": reason.code(),
                "peer": peer_json(&peer),
                "mtls": peer.mtls,
                "count": count,
            })
        })
    });
    each.collect()
}
