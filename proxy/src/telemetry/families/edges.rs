//! Families of pairs of workloads: who calls whom, how often, how well, how fast.

use super::{Labels, Page, View, clusters};
use crate::telemetry::Direction;
use crate::telemetry::grpc::GrpcStatus;
use crate::telemetry::signals::{Edge, PeerName, Totals};
use crate::telemetry::workload::Workload;
use crate::upstream::cluster::Cluster;
use arcstr::ArcStr;
use prometheus_client::metrics::MetricType;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub(super) fn encode(page: &mut Page<'_>, view: &View) -> fmt::Result {
    let snapshot = view.snapshot.as_deref();
    let pairs = Pairs::outbound(clusters(snapshot, Some(Direction::Outbound)), &view.workload);
    page.family(
        "fsm_request_total",
        "Responses to outbound requests, by the workload that they came from.",
        MetricType::Counter,
        pairs.by_code(),
    )?;
    let buckets = snapshot.map(|snapshot| snapshot.observe.buckets).unwrap_or_default();
    page.histograms(
        "fsm_request_duration_ms",
        "Milliseconds from the head of an outbound request to the head of its response.",
        buckets,
        pairs.durations(),
    )?;
    let inbound: Vec<(&Cluster, Vec<Arc<Edge>>)> =
        clusters(snapshot, Some(Direction::Inbound)).map(|cluster| (cluster, cluster.counters().edges.all())).collect();
    let each = || inbound.iter().flat_map(|(cluster, edges)| edges.iter().map(move |edge| (*cluster, edge)));
    page.family(
        "fsm_proxy_inbound_requests_total",
        "Responses to inbound requests, by the caller that its certificate names.",
        MetricType::Counter,
        each().flat_map(|(cluster, edge)| {
            let totals = edge.totals();
            (1..=5).map(move |class| (class, totals.class(class))).filter(|(_, count)| *count > 0).map(
                move |(class, count)| {
                    let mut labels = caller_labels(cluster, edge);
                    labels.push(("class", Cow::Owned(class.to_string())));
                    (labels, count)
                },
            )
        }),
    )?;
    page.family(
        "fsm_proxy_inbound_connections_total",
        "Inbound TCP connections that were carried, by the caller that its certificate names.",
        MetricType::Counter,
        each()
            .filter(|(_, edge)| edge.connections.get() > 0)
            .map(|(cluster, edge)| (caller_labels(cluster, edge), edge.connections.get())),
    )?;
    page.histograms(
        "fsm_proxy_inbound_duration_ms",
        "Milliseconds from the head of an inbound request to the head of its response.",
        buckets,
        inbound.iter().filter_map(|(cluster, _)| {
            let totals = cluster.counters().edges.totals();
            (totals.responses() > 0).then(|| (vec![("cluster", Cow::Borrowed(&*cluster.name))], totals))
        }),
    )
}

/// How gRPC calls ended, of both directions: their HTTP status says nothing of it.
pub(super) fn grpc(page: &mut Page<'_>, view: &View) -> fmt::Result {
    let mut calls: BTreeMap<Call<'_>, u64> = BTreeMap::new();
    for cluster in clusters(view.snapshot.as_deref(), None) {
        for edge in cluster.counters().edges.all() {
            let PeerName { namespace, name, .. } = &edge.peer;
            for (status, count) in edge.totals().by_grpc() {
                let call = (cluster.direction.name(), &*cluster.name, namespace.clone(), name.clone(), status);
                *calls.entry(call).or_default() += count;
            }
        }
    }
    page.family(
        "fsm_proxy_grpc_responses_total",
        "gRPC calls by how they ended; `failure` is what counts against the server.",
        MetricType::Counter,
        calls.iter().map(|(call, count)| (grpc_labels(call), *count)),
    )
}

/// Direction, cluster, namespace and name of the other end, status.
type Call<'a> = (&'static str, &'a str, ArcStr, ArcStr, GrpcStatus);

fn grpc_labels<'a>((direction, cluster, namespace, name, status): &'a Call<'_>) -> Labels<'a> {
    let classification = if status.is_failure() { "failure" } else { "success" };
    vec![
        ("direction", Cow::Borrowed(*direction)),
        ("cluster", Cow::Borrowed(*cluster)),
        ("peer_namespace", known(namespace)),
        ("peer_name", known(name)),
        ("grpc_status", Cow::Owned(status.number().to_string())),
        ("classification", Cow::Borrowed(classification)),
    ]
}

/// Outbound TCP connections by the server that its certificate names.
pub(super) fn connections(page: &mut Page<'_>, view: &View) -> fmt::Result {
    let clusters = clusters(view.snapshot.as_deref(), Some(Direction::Outbound));
    let edges: Vec<_> = clusters
        .flat_map(|cluster| cluster.counters().edges.all().into_iter().map(move |edge| (cluster, edge)))
        .collect();
    page.family(
        "fsm_proxy_outbound_connections_total",
        "Outbound TCP connections that were carried, by the server that its certificate names.",
        MetricType::Counter,
        edges.iter().filter(|(_, edge)| edge.connections.get() > 0).map(|(cluster, edge)| {
            let PeerName { namespace, name, mtls, .. } = &edge.peer;
            let labels = vec![
                ("cluster", Cow::Borrowed(&*cluster.name)),
                ("destination_namespace", known(namespace)),
                ("destination_name", known(name)),
                ("mtls", Cow::Borrowed(if *mtls { "true" } else { "false" })),
            ];
            (labels, edge.connections.get())
        }),
    )
}

fn caller_labels<'a>(cluster: &'a Cluster, edge: &'a Edge) -> Labels<'a> {
    let PeerName { namespace, name, mtls, .. } = &edge.peer;
    vec![
        ("cluster", Cow::Borrowed(&*cluster.name)),
        ("source_namespace", known(namespace)),
        ("source_name", known(name)),
        ("mtls", Cow::Borrowed(if *mtls { "true" } else { "false" })),
    ]
}

/// Outbound edges by the workload at the other end, whatever cluster leads to it.
struct Pairs<'a> {
    workload: &'a Workload,
    peers: BTreeMap<PeerName, Totals>,
}

impl<'a> Pairs<'a> {
    fn outbound(clusters: impl Iterator<Item = &'a Cluster>, workload: &'a Workload) -> Self {
        let mut peers: BTreeMap<PeerName, Totals> = BTreeMap::new();
        for edge in clusters.flat_map(|cluster| cluster.counters().edges.all()) {
            let totals = edge.totals();
            if totals.responses() > 0 {
                // How it was reached is no label of FSM's.
                let name = PeerName { mtls: false, ..edge.peer.clone() };
                peers.entry(name).or_default().merge(&totals);
            }
        }
        Self { workload, peers }
    }

    fn labels(&self, peer: &PeerName) -> Labels<'static> {
        let Workload { namespace, kind, name, pod } = self.workload;
        let owned = |text: &str| Cow::Owned(text.to_owned());
        let mut labels = vec![
            ("source_namespace", owned(namespace)),
            ("source_kind", owned(kind)),
            ("source_name", owned(name)),
            ("source_pod", owned(pod)),
            ("destination_namespace", owned(&known(&peer.namespace))),
            ("destination_kind", owned(&known(&peer.kind))),
            ("destination_name", owned(&known(&peer.name))),
        ];
        if !peer.pod.is_empty() {
            labels.push(("destination_pod", owned(&peer.pod)));
        }
        labels
    }

    fn by_code(&self) -> impl Iterator<Item = (Labels<'static>, u64)> {
        self.peers.iter().flat_map(|(peer, totals)| {
            totals.by_code().map(|(code, count)| {
                let mut labels = self.labels(peer);
                labels.push(("response_code", Cow::Owned(code.to_string())));
                (labels, count)
            })
        })
    }

    fn durations(&self) -> impl Iterator<Item = (Labels<'static>, Totals)> {
        self.peers.iter().map(|(peer, totals)| (self.labels(peer), totals.clone()))
    }
}

fn known(name: &str) -> Cow<'_, str> {
    Cow::Borrowed(if name.is_empty() { "unknown" } else { name })
}
