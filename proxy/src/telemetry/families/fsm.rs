//! Families with FSM's names: its dashboards and the chart's keep-list know them.

use super::{ClusterFamily, ClusterRows, Labels, Page, View};
use crate::reason::Reason;
use crate::telemetry::counters::LATENCY_BOUNDS_MS;
use crate::telemetry::workload::Workload;
use crate::telemetry::{Direction, Telemetry};
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::{MetricType, exemplar::Exemplar};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

pub(super) fn encode(page: &mut Page<'_>, clusters: &ClusterRows<'_>, view: &View) -> fmt::Result {
    page.single("sidecar_server_live", "1 while the proxy runs.", MetricType::Gauge, 1u64)?;
    cluster_families(page, clusters, &view.workload)?;
    retry_families(page, clusters)?;
    limit_families(page, &view.telemetry, &view.workload)?;
    request_durations(page, clusters, &view.workload)
}

const CLUSTER: &str = "sidecar_cluster_name";
const CLASS: &str = "sidecar_response_code_class";
const CLASSES: [&str; 5] = ["1", "2", "3", "4", "5"];

fn workload_labels(workload: &Workload) -> Labels<'_> {
    vec![
        ("source_namespace", Cow::Borrowed(workload.namespace.as_str())),
        ("source_workload_kind", Cow::Borrowed(workload.kind.as_str())),
        ("source_workload_name", Cow::Borrowed(workload.name.as_str())),
        ("source_workload_pod", Cow::Borrowed(workload.pod.as_str())),
    ]
}

/// One series for each cluster and status class. The class is an integer; FSM wrote `4.04`, which no dashboard matched.
fn by_class<'a>(rows: &ClusterRows<'a>, common: &Labels<'a>) -> Vec<(Labels<'a>, u64)> {
    let mut series = Vec::with_capacity(rows.0.len() * CLASSES.len());
    for (index, class) in CLASSES.iter().enumerate() {
        for (labels, count) in rows.sums(CLUSTER, |counters| counters.responses[index].get()) {
            // FSM creates class 5 at once and the others when they occur.
            if count > 0 || *class == "5" {
                let class = (CLASS, Cow::Borrowed(*class));
                series.push((common.iter().cloned().chain(labels).chain([class]).collect(), count));
            }
        }
    }
    series
}

fn cluster_families(page: &mut Page<'_>, clusters: &ClusterRows<'_>, workload: &Workload) -> fmt::Result {
    use MetricType::{Counter, Gauge};
    page.family(
        "sidecar_cluster_upstream_cx_active",
        "Open upstream connections.",
        Gauge,
        clusters.sums(CLUSTER, |counters| counters.connections_active.get()),
    )?;
    page.family(
        "sidecar_cluster_upstream_cx_tx_bytes_total",
        "Bytes sent upstream.",
        Counter,
        clusters.sums(CLUSTER, |counters| counters.sent_bytes.get()),
    )?;
    page.family(
        "sidecar_cluster_upstream_cx_rx_bytes_total",
        "Bytes received from upstream.",
        Counter,
        clusters.sums(CLUSTER, |counters| counters.received_bytes.get()),
    )?;
    page.family(
        "sidecar_cluster_upstream_cx_connect_timeout",
        "Connection attempts that ran into the deadline.",
        Counter,
        clusters.sums(CLUSTER, |counters| counters.connect_timeouts.get()),
    )?;
    let common = workload_labels(workload);
    let requests = clusters.sums(CLUSTER, |counters| counters.requests.get());
    page.family(
        "sidecar_cluster_upstream_rq_total",
        "Responses to requests, made locally or received.",
        Counter,
        requests.map(|(labels, count)| (common.iter().cloned().chain(labels).collect(), count)),
    )?;
    page.family(
        "sidecar_cluster_upstream_rq_xx",
        "The same by class of the status.",
        Counter,
        by_class(clusters, &common),
    )?;
    let remote = clusters.outbound();
    page.family(
        "sidecar_cluster_external_upstream_rq_completed",
        "Responses to outbound requests.",
        Counter,
        remote.sums(CLUSTER, |counters| counters.requests.get()),
    )?;
    page.family(
        "sidecar_cluster_external_upstream_rq_xx",
        "The same by class of the status.",
        Counter,
        by_class(&remote, &Labels::new()),
    )
}

/// FSM's counters of failures and retries; `/stats` shows the retries under `cluster.<name>.`.
pub(in crate::telemetry) const RETRY_FAMILIES: [ClusterFamily; 5] = [
    ("upstream_rq_retry", "Retries.", |counters| counters.retries.get()),
    ("upstream_rq_retry_success", "Requests that succeeded after a retry.", |counters| counters.retry_successes.get()),
    ("upstream_rq_retry_limit_exceeded", "Requests that failed although every permitted retry was made.", |counters| {
        counters.retry_limit_exceeded.get()
    }),
    ("upstream_rq_retry_backoff_exponential", "Retries that waited for a back-off.", |counters| {
        counters.retry_backoffs.get()
    }),
    ("upstream_rq_retry_overflow", "Retries that the budget did not allow.", |counters| counters.retry_overflows.get()),
];

fn retry_families(page: &mut Page<'_>, clusters: &ClusterRows<'_>) -> fmt::Result {
    const FAILURES: [ClusterFamily; 3] = [
        ("upstream_rq_pending_overflow", "Requests refused because a limit of the cluster was reached.", |counters| {
            counters.overflows.get()
        }),
        ("upstream_rq_timeout", "Requests that got no response in time.", |counters| counters.request_timeouts.get()),
        ("upstream_rq_rx_reset", "Responses cut off by the upstream.", |counters| counters.resets_received.get()),
    ];
    for (name, help, read) in RETRY_FAMILIES.iter().chain(&FAILURES) {
        let name = format!("sidecar_cluster_{name}");
        page.family(&name, help, MetricType::Counter, clusters.sums(CLUSTER, read))?;
    }
    Ok(())
}

/// FSM's values of the label `http_local_rate_limit`, and the refusals they stand for.
pub(in crate::telemetry) const HTTP_LIMITS: [(&str, Reason); 2] =
    [("throttle_service", Reason::RateLimitedService), ("throttle_route", Reason::RateLimitedRoute)];

fn limit_families(page: &mut Page<'_>, telemetry: &Telemetry, workload: &Workload) -> fmt::Result {
    let inbound = telemetry.direction(Direction::Inbound);
    page.family(
        "http_local_rate_limiter",
        "Requests refused by a rate limit.",
        MetricType::Counter,
        HTTP_LIMITS
            .map(|(limit, reason)| (vec![("http_local_rate_limit", Cow::Borrowed(limit))], inbound.refusals(reason))),
    )?;
    page.family(
        "sidecar_local_rate_limit_inbound",
        "Connections refused by a rate limit.",
        MetricType::Counter,
        telemetry.connection_limits().into_iter().map(|(limit, refused)| {
            let label = workload.connection_limit_label(limit.port, &limit.protocol);
            (vec![("label", Cow::Owned(label))], refused)
        }),
    )
}

type Exemplars = HashMap<usize, Exemplar<NoLabelSet, f64>>;

const NO_EXEMPLARS: Option<&Exemplars> = None;

/// FSM's histogram of outbound requests. FSM adds `destination_*` from a response header of the other sidecar; until
/// that header is read here the destination is the cluster's name.
fn request_durations(page: &mut Page<'_>, clusters: &ClusterRows<'_>, workload: &Workload) -> fmt::Result {
    let remote = clusters.outbound();
    let used = remote.0.iter().filter_map(|(name, clusters)| {
        let mut counts = [0; LATENCY_BOUNDS_MS.len() + 1];
        let mut sum = 0.0;
        for cluster in clusters {
            let (read, milliseconds) = cluster.counters().latency.read();
            counts.iter_mut().zip(read).for_each(|(count, read)| *count += read);
            sum += milliseconds;
        }
        // Seventeen buckets for each cluster add up; a pod calls few of the clusters it knows.
        let total: u64 = counts.iter().sum();
        (total > 0).then_some((*name, counts, total, sum))
    });
    let mut used = used.peekable();
    if used.peek().is_none() {
        return Ok(());
    }
    let mut family = page.0.encode_descriptor(
        "fsm_request_duration_ms",
        "Milliseconds from the head of an outbound request to the head of its response.",
        None,
        MetricType::Histogram,
    )?;
    let bounds = LATENCY_BOUNDS_MS.iter().map(|bound| *bound as f64).chain([f64::INFINITY]);
    for (name, counts, total, sum) in used {
        let labels = [
            ("source_namespace", workload.namespace.as_str()),
            ("source_kind", &workload.kind),
            ("source_name", &workload.name),
            ("source_pod", &workload.pod),
            (CLUSTER, name),
        ];
        let buckets: Vec<(f64, u64)> = bounds.clone().zip(counts).collect();
        family.encode_family(&labels)?.encode_histogram(sum, total, &buckets, NO_EXEMPLARS)?;
    }
    Ok(())
}
