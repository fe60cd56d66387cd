//! The lines of `/stats`: FSM's names (`fsm proxy get stats`), then ours.
//!
//! One line is `name: number`. FSM's demos search these lines with `grep`, so the names are part of the contract:
//! `cluster.<cluster>.upstream_rq_retry…`, `local_rate_limit.inbound_<label>.rate_limited` and
//! `http_local_rate_limiter.http_local_rate_limit.rate_limited`, the last both as a sum (older FSM) and for each kind.

use super::Direction;
use super::families::{HTTP_LIMITS, RETRY_FAMILIES, View};
use crate::reason::Reason;
use crate::upstream::cluster::Cluster;
use std::fmt::Write;

/// Every line that contains `filter`; an empty filter keeps all.
pub fn stats_text(view: &View, filter: &str) -> String {
    let mut lines = Lines { filter, text: String::new() };
    for cluster in view.snapshot.iter().flat_map(|snapshot| &snapshot.clusters) {
        cluster_lines(&mut lines, cluster);
    }
    limit_lines(&mut lines, view);
    direction_lines(&mut lines, view);
    let telemetry = &view.telemetry;
    for (kind, failures) in telemetry.probe_failures.each() {
        lines.add(&format!("probes.{kind}.failures"), failures.get());
    }
    lines.add("config.applied", telemetry.config_applied.get());
    lines.add("config.rejected", telemetry.config_rejected.get());
    lines.add("config.source_errors", telemetry.config_source_errors.get());
    if let Some(link) = telemetry.control.get() {
        lines.add("control.connected", u8::from(link.is_connected()));
        lines.add("control.reconnects", link.reconnects.get());
        lines.add("control.certificate_renewals", link.renewals.get());
        lines.add("control.certificate_renewal_failures", link.renewal_failures.get());
    }
    lines.add("server.panics", telemetry.panics.get());
    lines.add("server.uptime_seconds", telemetry.started.elapsed().as_secs());
    lines.text
}

struct Lines<'a> {
    filter: &'a str,
    text: String,
}

impl Lines<'_> {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        let start = self.text.len();
        // Cluster names come from the configuration; a line must stay a line.
        self.text.extend(name.chars().map(|character| if character.is_control() { '?' } else { character }));
        let _ = writeln!(self.text, ": {value}");
        if !self.text[start..].contains(self.filter) {
            self.text.truncate(start);
        }
    }
}

fn cluster_lines(lines: &mut Lines<'_>, cluster: &Cluster) {
    let counters = cluster.counters();
    let mut add = |name: &str, value: i128| lines.add(&format!("cluster.{}.{name}", cluster.name), value);
    add("upstream_cx_active", counters.connections_active.get().into());
    add("upstream_cx_total", counters.connections_opened.get().into());
    add("upstream_cx_connect_fail", counters.connect_failures.get().into());
    add("upstream_cx_connect_timeout", counters.connect_timeouts.get().into());
    add("upstream_cx_tx_bytes_total", counters.sent_bytes.get().into());
    add("upstream_cx_rx_bytes_total", counters.received_bytes.get().into());
    add("upstream_rq_active", counters.requests_active.get().into());
    let totals = counters.edges.totals();
    add("upstream_rq_total", totals.responses().into());
    for class in 1..=5 {
        add(&format!("upstream_rq_{class}xx"), totals.class(class).into());
    }
    add("upstream_rq_timeout", counters.request_timeouts.get().into());
    add("upstream_rq_rx_reset", counters.resets_received.get().into());
    add("upstream_rq_pending_overflow", counters.overflows.get().into());
    for (name, _, read) in RETRY_FAMILIES {
        add(name, read(counters).into());
    }
    // FSM's demo lists it. Nothing here waits because a response told it to, so it stays zero.
    add("upstream_rq_retry_backoff_ratelimited", 0);
    add("ejections", counters.ejections.get().into());
    add("endpoints_ejected", i128::try_from(cluster.ejected()).unwrap_or(i128::MAX));
    add("unnamed_server_identities", counters.unnamed_identities.get().into());
}

fn limit_lines(lines: &mut Lines<'_>, view: &View) {
    const HTTP: &str = "http_local_rate_limiter.http_local_rate_limit.rate_limited";
    for (limit, refused) in view.telemetry.connection_limits() {
        let label = view.workload.connection_limit_label(limit.port, &limit.protocol);
        lines.add(&format!("local_rate_limit.inbound_{label}.rate_limited"), refused);
    }
    let inbound = view.telemetry.direction(Direction::Inbound);
    lines.add(HTTP, HTTP_LIMITS.iter().map(|(_, reason)| inbound.refusals(*reason)).sum::<u64>());
    for (limit, reason) in HTTP_LIMITS {
        lines.add(&format!("{HTTP}.{limit}"), inbound.refusals(reason));
    }
}

fn direction_lines(lines: &mut Lines<'_>, view: &View) {
    for direction in Direction::ALL {
        let (counters, name) = (view.telemetry.direction(direction), direction.name());
        lines.add(&format!("downstream.{name}.connections_active"), counters.connections_active.get());
        lines.add(&format!("downstream.{name}.connections_total"), counters.connections_opened.get());
        lines.add(&format!("downstream.{name}.tls_handshakes"), counters.handshakes.get());
        lines.add(&format!("downstream.{name}.detect_timeouts"), counters.detect_timeouts.get());
        for reason in Reason::ALL {
            let refused = counters.refusals(*reason);
            if refused > 0 {
                lines.add(&format!("refusals.{name}.{reason}"), refused);
            }
        }
    }
}

#[cfg(test)]
mod tests;
