//! What telemetry costs: one response counted, one request that nobody wants to know of, one that is traced; and the page
//! that Prometheus asks for.
#![allow(clippy::expect_used)] // a bench without its input has nothing to measure

use divan::{Bencher, black_box};
use fsm_api::config::{AccessLog, Config, Tracing};
use fsm_benches::{mesh, with_identity};
use fsm_proxy::config::compile::{Environment, compile};
use fsm_proxy::config::snapshot::Snapshot;
use fsm_proxy::http::body::ResponseBody;
use fsm_proxy::telemetry::families::{View, prometheus_text};
use fsm_proxy::telemetry::record::{Ends, Record, Session};
use fsm_proxy::telemetry::signals::PeerName;
use fsm_proxy::telemetry::workload::Workload;
use fsm_proxy::telemetry::{Direction, Telemetry};
use http::{HeaderMap, Request, Response, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

fn main() {
    divan::main();
}

fn snapshot(services: u16, change: impl FnOnce(&mut Config)) -> Snapshot {
    let (config, _) = Config::read(mesh(services).as_bytes()).expect("the document can be read");
    let mut config = with_identity(config, "web.shop").expect("a certificate can be made");
    change(&mut config);
    compile(Arc::new(config), Vec::new(), None, Environment::default())
}

/// One response, counted for the workload at the other end.
#[divan::bench]
fn count_response(bencher: Bencher<'_, '_>) {
    let snapshot = snapshot(1, |_| ());
    let cluster = snapshot.clusters.last().expect("there is a cluster");
    let edge = cluster.counters().edges.of(&PeerName::verified(&"pay.shop".into()));
    bencher.bench(|| edge.response(black_box(StatusCode::OK), black_box(Duration::from_micros(730))));
}

/// The record of a request, from its beginning to its end, with these settings.
fn record(bencher: Bencher<'_, '_>, change: impl FnOnce(&mut Config)) {
    let snapshot = snapshot(1, change);
    let telemetry = Arc::new(Telemetry::new());
    let address = SocketAddr::from(([10, 0, 0, 1], 80));
    let request = Request::builder()
        .uri("/orders/17?page=2")
        .header("host", "pay.shop")
        .header("user-agent", "curl/8.0")
        .body(())
        .expect("a request");
    let ends = Ends { peer: address, destination: address, identity: None, mtls: false, server_name: None };
    let session = Session::new(&telemetry, ends);
    bencher.bench(|| {
        let session = || Arc::clone(&session);
        let mut record =
            Record::begin(&telemetry, Some(&snapshot.observe), Direction::Outbound, &request, false, session);
        let mut headers = HeaderMap::new();
        record.tell(&mut headers);
        record.answered(&mut Response::new(ResponseBody::Empty), false);
        headers
    });
}

fn traced(config: &mut Config, fraction: f64) {
    let address = "127.0.0.1:9411".to_owned();
    config.spec.observability.tracing =
        Some(Tracing { address, sampled_fraction: Some(fraction), ..Tracing::default() });
}

/// Nobody wants to know: the usual case.
#[divan::bench]
fn record_unwanted(bencher: Bencher<'_, '_>) {
    record(bencher, |_| ());
}

/// An access log of errors, and no error.
#[divan::bench]
fn record_errors_only(bencher: Bencher<'_, '_>) {
    record(bencher, |config| {
        config.spec.observability.access_log = Some(AccessLog { errors_only: true, ..AccessLog::default() });
    });
}

/// Traced, but not recorded.
#[divan::bench]
fn record_unsampled(bencher: Bencher<'_, '_>) {
    record(bencher, |config| traced(config, 0.0));
}

/// Traced and recorded; the queue is full, as with a collector that is down.
#[divan::bench]
fn record_sampled(bencher: Bencher<'_, '_>) {
    record(bencher, |config| traced(config, 1.0));
}

/// The whole metrics page; every cluster has been called.
#[divan::bench(args = [50, 500], sample_size = 1, sample_count = 20)]
fn metrics_page(bencher: Bencher<'_, '_>, services: u16) {
    let snapshot = snapshot(services, |_| ());
    for cluster in &snapshot.clusters {
        let edge = cluster.counters().edges.of(&PeerName::verified(&format!("{}.shop", cluster.name.len()).into()));
        edge.response(StatusCode::OK, Duration::from_micros(730));
    }
    let workload =
        Workload { namespace: "shop".into(), kind: "Deployment".into(), name: "web".into(), pod: "web-1".into() };
    let view = View {
        snapshot: Some(Arc::new(snapshot)),
        config_age: Some(Duration::from_secs(1)),
        telemetry: Arc::new(Telemetry::new()),
        workload: Arc::new(workload),
    };
    bencher.bench(|| prometheus_text(&view));
}
