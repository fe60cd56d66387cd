//! Families with FSM's names: its dashboards and the chart's keep-list know them.

use super::{ClusterFamily, ClusterRows, Labels, Page, View, edges};
use crate::reason::Reason;
use crate::telemetry::workload::Workload;
use crate::telemetry::{Direction, Telemetry};
use prometheus_client::metrics::MetricType;
use std::borrow::Cow;
use std::fmt;

pub(super) fn encode(
    page: &mut Page<'_>,
    clusters: &ClusterRows<'_>,
    remote: &ClusterRows<'_>,
    view: &View,
) -> fmt::Result {
    page.single("sidecar_server_live", "1 while the proxy runs.", MetricType::Gauge, 1u64)?;
    cluster_families(page, clusters, remote, &view.workload)?;
    retry_families(page, clusters)?;
    limit_families(page, &view.telemetry, &view.workload)?;
    sampling_families(page, &view.telemetry)?;
    edges::encode(page, view)?;
    edges::connections(page, view)?;
    edges::grpc(page, view)
}

const CLUSTER: &str = "sidecar_cluster_name";
const CODE: &str = "sidecar_response_code";
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
    for (number, class) in (1..).zip(CLASSES) {
        for (labels, totals) in rows.totals(CLUSTER) {
            let count = totals.class(number);
            // FSM creates class 5 at once and the others when they occur.
            if count > 0 || class == "5" {
                series.push((common.iter().cloned().chain(labels).chain([(CLASS, class.into())]).collect(), count));
            }
        }
    }
    series
}

/// One series for each cluster and status that occurred.
fn by_code<'a>(rows: &ClusterRows<'a>) -> Vec<(Labels<'a>, u64)> {
    let mut series = Vec::new();
    for (labels, totals) in rows.totals(CLUSTER) {
        for (code, count) in totals.by_code() {
            let code = (CODE, Cow::Owned(code.to_string()));
            series.push((labels.iter().cloned().chain([code]).collect(), count));
        }
    }
    series
}

fn cluster_families(
    page: &mut Page<'_>,
    clusters: &ClusterRows<'_>,
    remote: &ClusterRows<'_>,
    workload: &Workload,
) -> fmt::Result {
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
    let requests = clusters.totals(CLUSTER).map(|(labels, totals)| (labels, totals.responses()));
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
    page.family(
        "sidecar_cluster_external_upstream_rq_completed",
        "Responses to outbound requests.",
        Counter,
        remote.totals(CLUSTER).map(|(labels, totals)| (labels, totals.responses())),
    )?;
    page.family("sidecar_cluster_external_upstream_rq", "The same by status.", Counter, by_code(remote))?;
    page.family(
        "sidecar_cluster_external_upstream_rq_xx",
        "The same by class of the status.",
        Counter,
        by_class(remote, &Labels::new()),
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
    const FAILURES: [ClusterFamily; 8] = [
        ("upstream_rq_retry_backoff_ratelimited", "Retries that waited because a response said so: none does.", |_| 0),
        ("upstream_rq_pending_overflow", "Requests refused because a limit of the cluster was reached.", |counters| {
            counters.overflows.get()
        }),
        ("upstream_rq_timeout", "Requests that got no response in time.", |counters| counters.request_timeouts.get()),
        ("upstream_rq_rx_reset", "Requests whose response the upstream cut off or never began.", |counters| {
            counters.resets_received.get()
        }),
        ("upstream_rq_tx_reset", "Requests given up before their response had passed.", |counters| {
            counters.resets_sent.get()
        }),
        ("upstream_rq_pending_failure_eject", "Requests for which no connection could be made.", |counters| {
            counters.pending_failures.get()
        }),
        (
            "upstream_cx_destroy_remote_with_active_rq",
            "HTTP/1 connections that the upstream closed during a request.",
            |counters| counters.destroyed_by_remote.get(),
        ),
        ("upstream_cx_destroy_local_with_active_rq", "HTTP/1 connections closed here during a request.", |counters| {
            counters.destroyed_here.get()
        }),
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

/// FSM's counters of decisions: one family for each direction, purpose and outcome.
fn sampling_families(page: &mut Page<'_>, telemetry: &Telemetry) -> fmt::Result {
    for direction in Direction::ALL {
        let counters = telemetry.direction(direction);
        for (purpose, decisions) in [("tracing", &counters.traced), ("logging", &counters.logged)] {
            for (outcome, count) in [(0, decisions.no.get()), (1, decisions.yes.get())] {
                page.single(
                    &format!("{}_http_{purpose}_sampled_{outcome}", direction.name()),
                    "Requests by whether they were chosen.",
                    MetricType::Counter,
                    count,
                )?;
            }
        }
    }
    Ok(())
}
