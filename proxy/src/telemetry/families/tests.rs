#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Labels, Page, prometheus_text};
use crate::reason::Reason;
use crate::telemetry::control::ControlLink;
use crate::telemetry::fixtures::{cluster, compiled, view};
use crate::telemetry::grpc::GrpcStatus;
use crate::telemetry::signals::PeerName;
use crate::telemetry::{ConnectionLimit, Direction};
use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text::encode_registry};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const WORKLOAD: &str = "source_namespace=\"shop\",source_workload_kind=\"Deployment\",\
    source_workload_name=\"web\",source_workload_pod=\"web-7d4b9-x2x\"";

fn assert_line(page: &str, line: &str) {
    assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
}

#[test]
fn fsm_names_come_out_exactly_with_integer_classes() {
    let remote = cluster("shop/pay|8080", Direction::Outbound);
    let view = view(vec![remote.clone()]);
    remote.counters().response(StatusCode::OK, Duration::from_millis(7));
    remote.counters().response(StatusCode::NOT_FOUND, Duration::from_millis(7));
    remote.counters().sent_bytes.add(100);
    remote.counters().received_bytes.add(200);
    remote.counters().connections_active.increment();
    remote.counters().retries.increment();

    let page = prometheus_text(&view);

    let name = "sidecar_cluster_name=\"shop/pay|8080\"";
    for line in [
        "# TYPE sidecar_server_live gauge".to_owned(),
        "sidecar_server_live 1".to_owned(),
        "# TYPE sidecar_cluster_upstream_rq_total counter".to_owned(),
        format!("sidecar_cluster_upstream_rq_total{{{WORKLOAD},{name}}} 2"),
        "# TYPE sidecar_cluster_upstream_rq_xx counter".to_owned(),
        format!("sidecar_cluster_upstream_rq_xx{{{WORKLOAD},{name},sidecar_response_code_class=\"2\"}} 1"),
        format!("sidecar_cluster_upstream_rq_xx{{{WORKLOAD},{name},sidecar_response_code_class=\"4\"}} 1"),
        format!("sidecar_cluster_upstream_rq_xx{{{WORKLOAD},{name},sidecar_response_code_class=\"5\"}} 0"),
        format!("sidecar_cluster_upstream_cx_tx_bytes_total{{{name}}} 100"),
        format!("sidecar_cluster_upstream_cx_rx_bytes_total{{{name}}} 200"),
        format!("sidecar_cluster_upstream_cx_active{{{name}}} 1"),
        format!("sidecar_cluster_upstream_rq_retry{{{name}}} 1"),
        format!("sidecar_cluster_upstream_rq_retry_limit_exceeded{{{name}}} 0"),
        format!("sidecar_cluster_external_upstream_rq_completed{{{name}}} 2"),
        format!("sidecar_cluster_external_upstream_rq{{{name},sidecar_response_code=\"404\"}} 1"),
    ] {
        assert_line(&page, &line);
    }
    assert!(!page.contains("_xx_total") && !page.contains("_retry_total"));
}

#[test]
fn local_clusters_are_not_external() {
    let local = cluster("shop/web|80|local", Direction::Inbound);
    local.counters().response(StatusCode::OK, Duration::from_millis(1));

    let page = prometheus_text(&view(vec![local]));

    assert!(page.contains("sidecar_cluster_upstream_rq_total{"));
    assert!(!page.contains("external_upstream") && !page.contains("fsm_request_duration_ms"));
    assert_line(&page, "fsm_proxy_inbound_duration_ms_count{cluster=\"shop/web|80|local\"} 1");
}

#[test]
fn the_duration_histogram_is_cumulative_and_ends_at_infinity() {
    let remote = cluster("c", Direction::Outbound);
    for milliseconds in [3, 5, 30, 4_000_000] {
        remote.counters().response(StatusCode::OK, Duration::from_millis(milliseconds));
    }

    let page = prometheus_text(&view(vec![remote]));

    assert_line(&page, "# TYPE fsm_request_duration_ms histogram");
    let buckets: Vec<u64> = page
        .lines()
        .filter(|line| line.starts_with("fsm_request_duration_ms_bucket"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect();
    assert_eq!(buckets.len(), 18);
    assert_eq!(buckets[..5], [2, 2, 2, 3, 3]);
    assert_eq!(buckets[16..], [3, 4]);
    assert!(page.contains("le=\"+Inf\""));
    assert!(page.contains("fsm_request_duration_ms_count{source_namespace=\"shop\",source_kind="));
}

#[test]
fn requests_are_counted_by_the_workload_that_answered() {
    let (first, second) = (cluster("a", Direction::Outbound), cluster("b", Direction::Outbound));
    let pay = PeerName { kind: "Deployment".into(), ..PeerName::verified(&"pay.money".into()) };
    for cluster in [&first, &second] {
        cluster.counters().edges.of(&pay).response(StatusCode::OK, Duration::from_millis(1));
    }
    first.counters().response(StatusCode::SERVICE_UNAVAILABLE, Duration::from_millis(1));

    let page = prometheus_text(&view(vec![first, second]));

    let source =
        "source_namespace=\"shop\",source_kind=\"Deployment\",source_name=\"web\",source_pod=\"web-7d4b9-x2x\"";
    for (destination, code, count) in [
        ("destination_namespace=\"money\",destination_kind=\"Deployment\",destination_name=\"pay\"", 200, 2),
        ("destination_namespace=\"unknown\",destination_kind=\"unknown\",destination_name=\"unknown\"", 503, 1),
    ] {
        assert_line(&page, &format!("fsm_request_total{{{source},{destination},response_code=\"{code}\"}} {count}"));
        assert_line(&page, &format!("fsm_request_duration_ms_count{{{source},{destination}}} {count}"));
    }
}

#[test]
fn a_family_ends_at_its_cap_and_adds_the_rest_up() {
    let series = |count: u64| (0..count).map(|index| (vec![("name", Cow::Owned(index.to_string()))], index));
    let text = |count, cap| {
        let mut text = String::new();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Capped(series(count).collect(), cap)));
        encode_registry(&mut text, &registry).unwrap();
        text
    };
    let page = text(10, 4);
    assert_line(&page, "many{name=\"3\"} 3");
    assert_line(&page, "many{name=\"_overflow\"} 39");
    assert_line(&page, "capped 6");
    assert_line(&text(4, 4), "capped 0");
}

#[derive(Debug)]
struct Capped(Vec<(Labels<'static>, u64)>, usize);

impl Collector for Capped {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut page = Page { encoder, cap: self.1, capped: 0 };
        page.family("many", "Many.", MetricType::Counter, self.0.iter().cloned())?;
        let capped = page.capped;
        page.single("capped", "Capped.", MetricType::Gauge, capped)
    }
}

#[test]
fn names_of_the_configuration_are_escaped() {
    let odd = cluster("a\"b\\c\nd", Direction::Outbound);
    let page = prometheus_text(&view(vec![odd]));
    assert_line(&page, r#"sidecar_cluster_upstream_cx_active{sidecar_cluster_name="a\"b\\c\nd"} 0"#);
}

#[test]
fn no_series_appears_twice_even_if_a_local_and_a_remote_cluster_share_a_name() {
    let (local, remote) = (cluster("c", Direction::Inbound), cluster("c", Direction::Outbound));
    local.counters().response(StatusCode::OK, Duration::from_millis(1));
    remote.counters().response(StatusCode::OK, Duration::from_millis(1));

    let page = prometheus_text(&view(vec![local, remote]));

    assert_line(&page, &format!("sidecar_cluster_upstream_rq_total{{{WORKLOAD},sidecar_cluster_name=\"c\"}} 2"));
    let series: Vec<&str> =
        page.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let unique: BTreeSet<&str> = series.iter().copied().collect();
    assert_eq!(unique.len(), series.len());
}

#[test]
fn every_family_is_declared_once_before_its_series() {
    let remote = cluster("c", Direction::Outbound);
    remote.counters().response(StatusCode::OK, Duration::from_millis(1));
    let view = view(vec![remote]);
    view.telemetry.direction(Direction::Inbound).refused(Reason::NoRoute);
    let page = prometheus_text(&view);

    let mut declared = BTreeSet::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(declared.insert(name.to_owned()), "{name} is declared twice");
            name.clone_into(&mut current);
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            assert!(name == current || base == Some(current.as_str()), "{line} stands under {current}");
        }
    }
    assert!(page.ends_with('\n') && !page.contains("# EOF"));
}

#[test]
fn refusals_appear_by_direction_and_reason_when_they_happened() {
    let view = view(Vec::new());
    let inbound = view.telemetry.direction(Direction::Inbound);
    inbound.refused(Reason::NoRoute);
    inbound.refused(Reason::NoRoute);
    inbound.refused(Reason::RateLimitedRoute);

    let page = prometheus_text(&view);

    assert_line(&page, "fsm_proxy_refusals_total{direction=\"inbound\",reason=\"no-route\"} 2");
    assert_line(&page, "http_local_rate_limiter{http_local_rate_limit=\"throttle_route\"} 1");
    assert_line(&page, "http_local_rate_limiter{http_local_rate_limit=\"throttle_service\"} 0");
    assert!(!page.contains("direction=\"outbound\",reason="));
}

#[test]
fn connection_limits_carry_the_label_of_fsm() {
    let view = view(Vec::new());
    let limit = ConnectionLimit { port: 14001, protocol: "tcp".into() };
    view.telemetry.connection_limit(limit.clone()).increment();
    view.telemetry.connection_limit(limit).increment();
    assert_line(&prometheus_text(&view), "sidecar_local_rate_limit_inbound{label=\"shop/web_14001_tcp\"} 2");
}

#[test]
fn the_size_of_the_page_depends_on_the_configuration_only() {
    // CVE-2025-43915: whatever clients do, no series may appear that the configuration does not bound.
    let view = view(vec![cluster("a", Direction::Inbound), cluster("b", Direction::Outbound)]);
    let lines = |page: &str| page.lines().count();
    let count = |rounds: u64| {
        for round in 0..rounds {
            for cluster in &view.snapshot.as_ref().unwrap().clusters {
                for status in 100..600 {
                    let status = StatusCode::from_u16(status).unwrap();
                    cluster.counters().response(status, Duration::from_millis(round));
                }
            }
            for direction in Direction::ALL {
                for reason in Reason::ALL {
                    view.telemetry.direction(direction).refused(*reason);
                }
            }
        }
        lines(&prometheus_text(&view))
    };
    let first = count(1);
    assert_eq!(count(20), first);
}

#[test]
fn before_the_first_configuration_the_page_still_answers() {
    let mut view = view(Vec::new());
    (view.snapshot, view.config_age) = (None, None);
    let page = prometheus_text(&view);
    assert_line(&page, "sidecar_server_live 1");
    assert_line(&page, "fsm_proxy_config_applied_total 0");
    assert!(!page.contains("fsm_proxy_config_version") && !page.contains("config_age"));
    assert!(page.contains("process_resident_memory_bytes "));
}

#[test]
fn the_documentation_lists_exactly_what_is_exported() {
    const PAGE: &str = include_str!("../../../../docs/metrics.md");
    let documented: BTreeSet<(&str, &str)> = PAGE
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.strip_suffix('`')?;
            let kind = cells.next()?;
            ["counter", "gauge", "histogram"].contains(&kind).then_some((name, kind))
        })
        .collect();

    let remote = cluster("c", Direction::Outbound);
    remote.counters().response(StatusCode::OK, Duration::from_millis(1));
    let server = remote.counters().edges.of(&PeerName::verified(&"api.shop".into()));
    server.connections.increment();
    server.grpc(GrpcStatus::UNAVAILABLE);
    let mut view = view(vec![remote]);
    let inbound = view.telemetry.direction(Direction::Inbound);
    inbound.refused(Reason::NoRoute);
    let limit = ConnectionLimit { port: 80, protocol: "tcp".into() };
    view.telemetry.connection_limit(limit).increment();
    let local = cluster("l", Direction::Inbound);
    let caller = local.counters().edges.of(&PeerName::verified(&"web.shop".into()));
    caller.response(StatusCode::OK, Duration::from_millis(1));
    caller.connections.increment();
    let link = view.telemetry.control.get_or_init(|| Arc::new(ControlLink::new("https://control:1".into())));
    link.connected();
    link.connected();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["web".into()]).unwrap();
    let certificate =
        fsm_api::config::Certificate { cert_chain: params.self_signed(&key).unwrap().pem(), ..Default::default() };
    let document = fsm_api::config::Config { certificate: Some(certificate), ..Default::default() };
    let mut clusters = view.snapshot.unwrap().clusters.clone();
    clusters.insert(0, local);
    view.snapshot = Some(Arc::new(compiled(document, clusters)));
    let page = prometheus_text(&view);
    assert!(
        page.contains(r#"peer_namespace="shop",peer_name="api",grpc_status="14",classification="failure"} 1"#),
        "{page}"
    );
    assert_line(&page, "fsm_proxy_control_connected 1");
    assert_line(&page, "fsm_proxy_control_reconnects_total 1");
    let exported: BTreeSet<(&str, &str)> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();

    let undocumented: Vec<_> = exported.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&exported).collect();
    assert!(
        undocumented.is_empty() && gone.is_empty(),
        "not in docs/metrics.md: {undocumented:?}; not exported: {gone:?}"
    );
}
