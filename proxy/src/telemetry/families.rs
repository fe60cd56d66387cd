//! The Prometheus page: names, types, labels and help of everything that is counted.
//!
//! FSM's names come first and exactly as FSM's dashboards and the chart's keep-list spell them; ours begin with
//! `fsm_proxy_`, those of the process with `process_`. Only what really moves is exported.
//!
//! The page is Prometheus' classic text format ([`CONTENT_TYPE`]), not OpenMetrics: FSM has counters without the suffix
//! `_total` (`sidecar_cluster_upstream_rq_xx`), which OpenMetrics forbids and its scrapers refuse. prometheus-client
//! writes the format (descriptors, labels, escaping), but appends `_total` to whatever it takes for a counter; so
//! counters are declared as counters under their full name and their values are written through its suffix-free path.
//!
//! Nothing here is chosen by a client: labels are names of configured clusters, reasons, and this pod's own names
//! (CVE-2025-43915: labels taken from requests are an attack on memory).

use super::counters::{ClusterCounters, LATENCY_BOUNDS_MS};
use super::process::Process;
use super::workload::Workload;
use super::{Direction, Telemetry};
use crate::admin::certs::{self, Role};
use crate::config::snapshot::Snapshot;
use crate::reason::Reason;
use crate::upstream::cluster::Cluster;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, text};
use prometheus_client::metrics::{MetricType, exemplar::Exemplar};
use prometheus_client::registry::Registry;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Content type of [`prometheus_text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that a page of numbers is made from.
#[derive(Clone, Debug)]
pub struct View {
    /// The configuration in force, if any.
    pub snapshot: Option<Arc<Snapshot>>,
    /// How long it has been in force.
    pub config_age: Option<Duration>,
    /// Counters of the proxy as a whole.
    pub telemetry: Arc<Telemetry>,
    /// Who this proxy is.
    pub workload: Arc<Workload>,
}

/// The whole page. Its size depends on the number of configured clusters only.
pub fn prometheus_text(view: &View) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(view.clone()));
    let mut page = String::with_capacity(16 << 10);
    // Writing to a string cannot fail; a partial page would still be readable.
    let _ = text::encode_registry(&mut page, &registry);
    page
}

impl Collector for View {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let clusters = ClusterRows::new(self.snapshot.as_deref());
        page.single(
            "sidecar_server_live",
            "1 while the proxy runs.",
            MetricType::Gauge,
            1u64,
        )?;
        fsm_cluster_families(&mut page, &clusters, &self.workload)?;
        fsm_retry_families(&mut page, &clusters)?;
        fsm_limit_families(&mut page, &self.telemetry, &self.workload)?;
        request_durations(&mut page, &clusters, &self.workload)?;
        own_cluster_families(&mut page, &clusters)?;
        connection_families(&mut page, &self.telemetry)?;
        config_families(&mut page, self)?;
        certificate_families(&mut page, self.snapshot.as_deref())?;
        process_families(&mut page, &self.telemetry)
    }
}

type Labels<'a> = Vec<(&'static str, Cow<'a, str>)>;

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// One family. A family without a series is left out.
    fn family<'v, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        series: impl IntoIterator<Item = (Labels<'v>, V)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in series {
            // `encode_gauge` means "no suffix" here, see the module's documentation.
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn single<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        value: V,
    ) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, kind)?
            .encode_gauge(&value)
    }

    fn optional<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        value: Option<V>,
    ) -> fmt::Result {
        value.map_or(Ok(()), |value| self.single(name, help, kind, value))
    }
}

/// Clusters by name. A document may use one name for a local and a remote cluster; their numbers are then added, since
/// two series with the same labels would make Prometheus drop one of them at random.
struct ClusterRows<'a>(BTreeMap<&'a str, Vec<&'a Cluster>>);

impl<'a> ClusterRows<'a> {
    fn new(snapshot: Option<&'a Snapshot>) -> Self {
        let mut rows: BTreeMap<&str, Vec<&Cluster>> = BTreeMap::new();
        for cluster in snapshot.into_iter().flat_map(|snapshot| &snapshot.clusters) {
            rows.entry(&cluster.name).or_default().push(cluster);
        }
        Self(rows)
    }

    fn sums<V: std::iter::Sum<V>>(
        &self,
        label: &'static str,
        read: impl Fn(&ClusterCounters) -> V,
    ) -> impl Iterator<Item = (Labels<'a>, V)> {
        self.0.iter().map(move |(name, clusters)| {
            let value = clusters.iter().map(|cluster| read(&cluster.counters)).sum();
            (vec![(label, Cow::Borrowed(*name))], value)
        })
    }

    /// Rows of remote clusters only.
    fn outbound(&self) -> Self {
        let remote = |clusters: &Vec<&'a Cluster>| -> Vec<&'a Cluster> {
            clusters
                .iter()
                .copied()
                .filter(|cluster| cluster.direction == Direction::Outbound)
                .collect()
        };
        let rows = self
            .0
            .iter()
            .map(|(name, clusters)| (*name, remote(clusters)));
        Self(rows.filter(|(_, clusters)| !clusters.is_empty()).collect())
    }
}

const CLUSTER: &str = "sidecar_cluster_name";
const CLASS: &str = "sidecar_response_code_class";
const CLASSES: [&str; 5] = ["1", "2", "3", "4", "5"];

fn workload_labels(workload: &Workload) -> Labels<'_> {
    vec![
        (
            "source_namespace",
            Cow::Borrowed(workload.namespace.as_str()),
        ),
        (
            "source_workload_kind",
            Cow::Borrowed(workload.kind.as_str()),
        ),
        (
            "source_workload_name",
            Cow::Borrowed(workload.name.as_str()),
        ),
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
                series.push((
                    common
                        .iter()
                        .cloned()
                        .chain(labels)
                        .chain([class])
                        .collect(),
                    count,
                ));
            }
        }
    }
    series
}

fn fsm_cluster_families(
    page: &mut Page<'_>,
    clusters: &ClusterRows<'_>,
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

/// One counter of a cluster: metric name, help, how it is read.
pub(super) type ClusterFamily = (&'static str, &'static str, fn(&ClusterCounters) -> u64);

/// FSM's counters of failures and retries; `/stats` shows the retries under `cluster.<name>.`.
pub(super) const RETRY_FAMILIES: [ClusterFamily; 5] = [
    ("upstream_rq_retry", "Retries.", |counters| {
        counters.retries.get()
    }),
    (
        "upstream_rq_retry_success",
        "Requests that succeeded after a retry.",
        |counters| counters.retry_successes.get(),
    ),
    (
        "upstream_rq_retry_limit_exceeded",
        "Requests that failed although every permitted retry was made.",
        |counters| counters.retry_limit_exceeded.get(),
    ),
    (
        "upstream_rq_retry_backoff_exponential",
        "Retries that waited for a back-off.",
        |counters| counters.retry_backoffs.get(),
    ),
    (
        "upstream_rq_retry_overflow",
        "Retries that the budget did not allow.",
        |counters| counters.retry_overflows.get(),
    ),
];

fn fsm_retry_families(page: &mut Page<'_>, clusters: &ClusterRows<'_>) -> fmt::Result {
    const FAILURES: [ClusterFamily; 3] = [
        (
            "upstream_rq_pending_overflow",
            "Requests refused because a limit of the cluster was reached.",
            |counters| counters.overflows.get(),
        ),
        (
            "upstream_rq_timeout",
            "Requests that got no response in time.",
            |counters| counters.request_timeouts.get(),
        ),
        (
            "upstream_rq_rx_reset",
            "Responses cut off by the upstream.",
            |counters| counters.resets_received.get(),
        ),
    ];
    for (name, help, read) in RETRY_FAMILIES.iter().chain(&FAILURES) {
        let name = format!("sidecar_cluster_{name}");
        page.family(
            &name,
            help,
            MetricType::Counter,
            clusters.sums(CLUSTER, read),
        )?;
    }
    Ok(())
}

/// FSM's values of the label `http_local_rate_limit`, and the refusals they stand for.
pub(super) const HTTP_LIMITS: [(&str, Reason); 2] = [
    ("throttle_service", Reason::RateLimitedService),
    ("throttle_route", Reason::RateLimitedRoute),
];

fn fsm_limit_families(
    page: &mut Page<'_>,
    telemetry: &Telemetry,
    workload: &Workload,
) -> fmt::Result {
    let inbound = telemetry.direction(Direction::Inbound);
    page.family(
        "http_local_rate_limiter",
        "Requests refused by a rate limit.",
        MetricType::Counter,
        HTTP_LIMITS.map(|(limit, reason)| {
            (
                vec![("http_local_rate_limit", Cow::Borrowed(limit))],
                inbound.refusals(reason),
            )
        }),
    )?;
    page.family(
        "sidecar_local_rate_limit_inbound",
        "Connections refused by a rate limit.",
        MetricType::Counter,
        telemetry
            .connection_limits()
            .into_iter()
            .map(|(limit, refused)| {
                let label = workload.connection_limit_label(limit.port, &limit.protocol);
                (vec![("label", Cow::Owned(label))], refused)
            }),
    )
}

/// FSM's histogram of outbound requests. FSM adds `destination_*` from a response header of the other sidecar; until
/// that header is read here the destination is the cluster's name.
fn request_durations(
    page: &mut Page<'_>,
    clusters: &ClusterRows<'_>,
    workload: &Workload,
) -> fmt::Result {
    const NO_EXEMPLARS: Option<&HashMap<usize, Exemplar<[(&str, &str); 0], f64>>> = None;
    let remote = clusters.outbound();
    let used = remote.0.iter().filter_map(|(name, clusters)| {
        let mut counts = [0; LATENCY_BOUNDS_MS.len() + 1];
        let mut sum = 0.0;
        for cluster in clusters {
            let (read, milliseconds) = cluster.counters.latency.read();
            counts
                .iter_mut()
                .zip(read)
                .for_each(|(count, read)| *count += read);
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
    let bounds = LATENCY_BOUNDS_MS
        .iter()
        .map(|bound| *bound as f64)
        .chain([f64::INFINITY]);
    for (name, counts, total, sum) in used {
        let labels = [
            ("source_namespace", workload.namespace.as_str()),
            ("source_kind", &workload.kind),
            ("source_name", &workload.name),
            ("source_pod", &workload.pod),
            (CLUSTER, name),
        ];
        let buckets: Vec<(f64, u64)> = bounds.clone().zip(counts).collect();
        family
            .encode_family(&labels)?
            .encode_histogram(sum, total, &buckets, NO_EXEMPLARS)?;
    }
    Ok(())
}

fn own_cluster_families(page: &mut Page<'_>, clusters: &ClusterRows<'_>) -> fmt::Result {
    const COUNTERS: [ClusterFamily; 3] = [
        (
            "fsm_proxy_cluster_connections_opened_total",
            "Upstream connections opened.",
            |counters| counters.connections_opened.get(),
        ),
        (
            "fsm_proxy_cluster_connect_failures_total",
            "Connection attempts that failed.",
            |counters| counters.connect_failures.get(),
        ),
        (
            "fsm_proxy_unnamed_server_identities_total",
            "Handshakes with servers for which the configuration names no identity: any certificate of the mesh passed.",
            |counters| counters.unnamed_identities.get(),
        ),
    ];
    for (name, help, read) in COUNTERS {
        page.family(
            name,
            help,
            MetricType::Counter,
            clusters.sums("cluster", read),
        )?;
    }
    page.family(
        "fsm_proxy_cluster_requests_active",
        "Requests in flight.",
        MetricType::Gauge,
        clusters.sums("cluster", |counters| counters.requests_active.get()),
    )
}

fn connection_families(page: &mut Page<'_>, telemetry: &Telemetry) -> fmt::Result {
    use MetricType::{Counter, Gauge};
    let label = |direction: Direction| ("direction", Cow::Borrowed(direction.name()));
    let directions =
        Direction::ALL.map(|direction| (label(direction), telemetry.direction(direction)));
    page.family(
        "fsm_proxy_downstream_connections_active",
        "Open downstream connections.",
        Gauge,
        directions
            .clone()
            .map(|(label, counters)| (vec![label], counters.connections_active.get())),
    )?;
    page.family(
        "fsm_proxy_downstream_connections_total",
        "Downstream connections accepted.",
        Counter,
        directions
            .clone()
            .map(|(label, counters)| (vec![label], counters.connections_opened.get())),
    )?;
    page.family(
        "fsm_proxy_tls_handshakes_total",
        "Finished TLS handshakes with clients.",
        Counter,
        directions
            .clone()
            .map(|(label, counters)| (vec![label], counters.handshakes.get())),
    )?;
    page.family(
        "fsm_proxy_detect_timeouts_total",
        "Protocol detections that ran into the deadline.",
        Counter,
        directions
            .clone()
            .map(|(label, counters)| (vec![label], counters.detect_timeouts.get())),
    )?;
    let refusals = directions.iter().flat_map(|(label, counters)| {
        Reason::ALL.iter().filter_map(move |reason| {
            let count = counters.refusals(*reason);
            (count > 0).then(|| {
                (
                    vec![label.clone(), ("reason", Cow::Borrowed(reason.code()))],
                    count,
                )
            })
        })
    });
    page.family(
        "fsm_proxy_refusals_total",
        "Refused requests and connections; see docs/reasons.md.",
        Counter,
        refusals,
    )
}

fn config_families(page: &mut Page<'_>, view: &View) -> fmt::Result {
    use MetricType::{Counter, Gauge};
    let telemetry = &view.telemetry;
    page.single(
        "fsm_proxy_config_applied_total",
        "Configurations put in force.",
        Counter,
        telemetry.config_applied.get(),
    )?;
    page.single(
        "fsm_proxy_config_rejected_total",
        "Configurations that were unusable and left the last good one in force.",
        Counter,
        telemetry.config_rejected.get(),
    )?;
    page.single(
        "fsm_proxy_config_source_errors_total",
        "Failed attempts to read the configuration from its source.",
        Counter,
        telemetry.config_source_errors.get(),
    )?;
    page.optional(
        "fsm_proxy_config_age_seconds",
        "Seconds since the configuration was put in force.",
        Gauge,
        view.config_age.map(|age| age.as_secs_f64()),
    )?;
    let snapshot = view.snapshot.as_deref();
    page.family(
        "fsm_proxy_config_version",
        "Version of the configuration in force, as a label.",
        Gauge,
        snapshot.map(|snapshot| {
            (
                vec![("version", Cow::Borrowed(snapshot.version.as_str()))],
                1u64,
            )
        }),
    )?;
    page.optional(
        "fsm_proxy_config_problems",
        "Things wrong with the configuration in force; see /config_status.",
        Gauge,
        snapshot.map(|snapshot| snapshot.problems.len() as u64),
    )
}

fn certificate_families(page: &mut Page<'_>, snapshot: Option<&Snapshot>) -> fmt::Result {
    let mut soonest: BTreeMap<&'static str, i64> = BTreeMap::new();
    let summaries = snapshot
        .map(|snapshot| certs::summaries(&snapshot.document))
        .unwrap_or_default();
    for summary in summaries {
        // Certificates of single clusters are many and named in /certs; alerts need the mesh's own.
        if let (Role::MeshChain | Role::MeshRoot, Some(expires)) = (summary.role, summary.expires) {
            soonest
                .entry(summary.role.name())
                .and_modify(|soonest| *soonest = expires.min(*soonest))
                .or_insert(expires);
        }
    }
    page.family(
        "fsm_proxy_certificate_expiry_timestamp_seconds",
        "When the first certificate of the pod's chain, or of its roots, expires (Unix time).",
        MetricType::Gauge,
        soonest
            .into_iter()
            .map(|(role, expires)| (vec![("role", Cow::Borrowed(role))], expires)),
    )
}

fn process_families(page: &mut Page<'_>, telemetry: &Telemetry) -> fmt::Result {
    use MetricType::{Counter, Gauge};
    page.family(
        "fsm_proxy_build_info",
        "Version of the proxy, as labels.",
        Gauge,
        [(
            vec![
                ("version", Cow::Borrowed(crate::admin::VERSION)),
                (
                    "commit",
                    Cow::Borrowed(crate::admin::GIT_COMMIT.unwrap_or_default()),
                ),
            ],
            1u64,
        )],
    )?;
    page.single(
        "fsm_proxy_panics_total",
        "Panics of supervised tasks: defects, please report.",
        Counter,
        telemetry.panics.get(),
    )?;
    page.single(
        "fsm_proxy_uptime_seconds",
        "Seconds since the proxy started.",
        Gauge,
        telemetry.started.elapsed().as_secs_f64(),
    )?;
    let process = Process::read();
    let started = SystemTime::now().checked_sub(telemetry.started.elapsed());
    let started = started.and_then(|started| started.duration_since(SystemTime::UNIX_EPOCH).ok());
    page.optional(
        "process_start_time_seconds",
        "When the process started (Unix time).",
        Gauge,
        started.map(|started| started.as_secs_f64()),
    )?;
    page.optional(
        "process_cpu_seconds_total",
        "CPU time, user and system.",
        Counter,
        process.cpu_seconds,
    )?;
    page.optional(
        "process_resident_memory_bytes",
        "Resident memory.",
        Gauge,
        process.resident_bytes,
    )?;
    page.optional(
        "process_virtual_memory_bytes",
        "Virtual memory.",
        Gauge,
        process.virtual_bytes,
    )?;
    page.optional(
        "process_open_fds",
        "Open file descriptors.",
        Gauge,
        process.open_descriptors,
    )?;
    page.optional(
        "process_max_fds",
        "Limit of open file descriptors.",
        Gauge,
        process.max_descriptors,
    )?;
    page.optional("process_threads", "Threads.", Gauge, process.threads)
}

#[cfg(test)]
mod tests;
