//! Families of our own: `fsm_proxy_…` for the proxy, `process_…` for the process.

use super::{ClusterFamily, ClusterRows, Page, View};
use crate::config::snapshot::Snapshot;
use crate::reason::Reason;
use crate::telemetry::build::{GIT_COMMIT, VERSION};
use crate::telemetry::certificates::{self, Role};
use crate::telemetry::process::Process;
use crate::telemetry::{Direction, Telemetry};
use crate::upstream::cluster::Cluster;
use crate::upstream::gateway::Mode;
use prometheus_client::metrics::MetricType;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

pub(super) fn encode(
    page: &mut Page<'_>,
    clusters: &ClusterRows<'_>,
    remote: &ClusterRows<'_>,
    view: &View,
) -> fmt::Result {
    cluster_families(page, clusters, remote)?;
    connection_families(page, &view.telemetry)?;
    gateway_families(page, &view.telemetry)?;
    probe_families(page, &view.telemetry)?;
    export_families(page, &view.telemetry)?;
    config_families(page, view)?;
    control_families(page, &view.telemetry)?;
    certificate_families(page, view.snapshot.as_deref())?;
    process_families(page, &view.telemetry)
}

fn cluster_families(page: &mut Page<'_>, clusters: &ClusterRows<'_>, remote: &ClusterRows<'_>) -> fmt::Result {
    const COUNTERS: [ClusterFamily; 5] = [
        ("fsm_proxy_cluster_tls_handshakes_total", "Finished TLS handshakes with servers.", |counters| {
            counters.handshakes.get()
        }),
        ("fsm_proxy_cluster_connections_opened_total", "Upstream connections opened.", |counters| {
            counters.connections_opened.get()
        }),
        ("fsm_proxy_cluster_connect_failures_total", "Connection attempts that failed.", |counters| {
            counters.connect_failures.get()
        }),
        ("fsm_proxy_cluster_ejections_total", "Times that an endpoint was left out for failing.", |counters| {
            counters.ejections.get()
        }),
        (
            "fsm_proxy_unnamed_server_identities_total",
            "Handshakes with servers for which the configuration names no identity: any certificate of the mesh passed.",
            |counters| counters.unnamed_identities.get(),
        ),
    ];
    for (name, help, read) in COUNTERS {
        page.family(name, help, MetricType::Counter, clusters.sums("cluster", read))?;
    }
    page.family(
        "fsm_proxy_cluster_endpoints_ejected",
        "Endpoints that are left out at the moment.",
        MetricType::Gauge,
        remote.counts("cluster", Cluster::ejected),
    )?;
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
    let directions = Direction::ALL.map(|direction| (label(direction), telemetry.direction(direction)));
    page.family(
        "fsm_proxy_downstream_connections_active",
        "Open downstream connections.",
        Gauge,
        directions.clone().map(|(label, counters)| (vec![label], counters.connections_active.get())),
    )?;
    page.family(
        "fsm_proxy_downstream_connections_total",
        "Downstream connections accepted.",
        Counter,
        directions.clone().map(|(label, counters)| (vec![label], counters.connections_opened.get())),
    )?;
    page.family(
        "fsm_proxy_tls_handshakes_total",
        "Finished TLS handshakes with clients.",
        Counter,
        directions.clone().map(|(label, counters)| (vec![label], counters.handshakes.get())),
    )?;
    page.family(
        "fsm_proxy_detect_timeouts_total",
        "Protocol detections that ran into the deadline.",
        Counter,
        directions.clone().map(|(label, counters)| (vec![label], counters.detect_timeouts.get())),
    )?;
    let refusals = directions.iter().flat_map(|(label, counters)| {
        Reason::ALL.iter().filter_map(move |reason| {
            let count = counters.refusals(*reason);
            (count > 0).then(|| (vec![label.clone(), ("reason", Cow::Borrowed(reason.code()))], count))
        })
    });
    page.family("fsm_proxy_refusals_total", "Refused requests and connections; see docs/reasons.md.", Counter, refusals)
}

/// FSM's names for its egress gateway, without its labels: clients chose those (weakness P-5).
fn gateway_families(page: &mut Page<'_>, telemetry: &Telemetry) -> fmt::Result {
    let Some((mode, counters)) = telemetry.gateway.get() else { return Ok(()) };
    let prefix = match mode {
        Mode::Http2Tunnel => "http2tunnel",
        Mode::Socks5 => "socks",
    };
    let active = counters.connections_active.get();
    page.single(&format!("{prefix}_active_connection"), "Open tunnels.", MetricType::Gauge, active)?;
    for (name, help, value) in [
        ("total_connection", "Tunnels opened.", counters.connections_opened.get()),
        ("send_bytes_total", "Bytes sent to destinations.", counters.sent_bytes.get()),
        ("receive_bytes_total", "Bytes received from destinations.", counters.received_bytes.get()),
    ] {
        page.single(&format!("{prefix}_{name}"), help, MetricType::Counter, value)?;
    }
    Ok(())
}

/// What became of records: access log, remote log and spans.
fn export_families(page: &mut Page<'_>, telemetry: &Telemetry) -> fmt::Result {
    let observers = &telemetry.observers;
    let lines = observers.access_log.counts();
    for (name, help, value) in [
        ("fsm_proxy_access_log_lines_total", "Lines written to the access log.", lines.written.get()),
        (
            "fsm_proxy_access_log_dropped_total",
            "Lines that the access log's sink was too slow for.",
            lines.dropped.get(),
        ),
    ] {
        page.single(name, help, MetricType::Counter, value)?;
    }
    for (name, queue) in [("spans", &observers.spans), ("remote_log", &observers.remote_log)] {
        for (outcome, help, value) in [
            ("sent", "Records that a collector took.", queue.sent.get()),
            ("dropped", "Records that no longer fitted into the queue.", queue.dropped.get()),
            ("failed", "Records that a collector did not take.", queue.failed.get()),
        ] {
            page.single(&format!("fsm_proxy_{name}_{outcome}_total"), help, MetricType::Counter, value)?;
        }
    }
    Ok(())
}

fn probe_families(page: &mut Page<'_>, telemetry: &Telemetry) -> fmt::Result {
    page.family(
        "fsm_proxy_probe_failures_total",
        "Probes of the application that failed, by the port that the kubelet asked on.",
        MetricType::Counter,
        telemetry.probe_failures.each().map(|(kind, failures)| (vec![("probe", Cow::Borrowed(kind))], failures.get())),
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
        snapshot.map(|snapshot| (vec![("version", Cow::Borrowed(snapshot.version.as_str()))], 1u64)),
    )?;
    page.optional(
        "fsm_proxy_config_problems",
        "Things wrong with the configuration in force; see /config_status.",
        Gauge,
        snapshot.map(|snapshot| snapshot.problems.len() as u64),
    )
}

fn control_families(page: &mut Page<'_>, telemetry: &Telemetry) -> fmt::Result {
    use MetricType::{Counter, Gauge};
    let Some(link) = telemetry.control.get() else { return Ok(()) };
    page.single(
        "fsm_proxy_control_connected",
        "1 while the stream from fsm-control stands, else 0.",
        Gauge,
        u64::from(link.is_connected()),
    )?;
    for (name, help, counter) in [
        (
            "fsm_proxy_control_reconnects_total",
            "Streams from fsm-control that were opened after the first one.",
            &link.reconnects,
        ),
        (
            "fsm_proxy_certificate_renewals_total",
            "Certificates of fsm-control that were put in force after the first one.",
            &link.renewals,
        ),
        (
            "fsm_proxy_certificate_renewal_failures_total",
            "Requests to fsm-control for a certificate, the first one included, that failed.",
            &link.renewal_failures,
        ),
    ] {
        page.single(name, help, Counter, counter.get())?;
    }
    Ok(())
}

fn certificate_families(page: &mut Page<'_>, snapshot: Option<&Snapshot>) -> fmt::Result {
    let mut soonest: BTreeMap<&'static str, i64> = BTreeMap::new();
    let summaries = snapshot.map(certificates::summaries).unwrap_or_default();
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
        soonest.into_iter().map(|(role, expires)| (vec![("role", Cow::Borrowed(role))], expires)),
    )
}

fn process_families(page: &mut Page<'_>, telemetry: &Telemetry) -> fmt::Result {
    use MetricType::{Counter, Gauge};
    page.family(
        "fsm_proxy_build_info",
        "Version of the proxy, as labels.",
        Gauge,
        [(vec![("version", Cow::Borrowed(VERSION)), ("commit", Cow::Borrowed(GIT_COMMIT.unwrap_or_default()))], 1u64)],
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
    // FSM's scrape configuration keeps no `process_…`.
    page.optional("fsm_proxy_cpu_seconds_total", "CPU time, user and system.", Counter, process.cpu_seconds)?;
    page.optional("fsm_proxy_resident_memory_bytes", "Resident memory.", Gauge, process.resident_bytes)?;
    page.optional("process_cpu_seconds_total", "CPU time, user and system.", Counter, process.cpu_seconds)?;
    page.optional("process_resident_memory_bytes", "Resident memory.", Gauge, process.resident_bytes)?;
    page.optional("process_virtual_memory_bytes", "Virtual memory.", Gauge, process.virtual_bytes)?;
    page.optional("process_open_fds", "Open file descriptors.", Gauge, process.open_descriptors)?;
    page.optional("process_max_fds", "Limit of open file descriptors.", Gauge, process.max_descriptors)?;
    page.optional("process_threads", "Threads.", Gauge, process.threads)
}
