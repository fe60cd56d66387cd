//! Decisions of every request: canonical path, destination and host, rule, weighted choice.
#![allow(clippy::expect_used)] // a bench without its input has nothing to measure

use divan::{AllocProfiler, Bencher, black_box};
use fsm_api::config::Config;
use fsm_benches::{Rules, mesh, with_rules};
use fsm_proxy::config::compile::{Environment, compile};
use fsm_proxy::config::snapshot::{OutboundEntry, Snapshot};
use fsm_proxy::http::target::canonical_path;
use fsm_proxy::route::table::{Question, Service};
use fsm_proxy::upstream::balance::Rotation;
use http::{HeaderMap, Method};
use std::net::IpAddr;
use std::sync::Arc;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn snapshot(document: &str) -> Snapshot {
    let (config, problems) = Config::read(document.as_bytes()).expect("a generated document can be read");
    compile(Arc::new(config), problems, None, Environment::default())
}

#[divan::bench(args = [
    "/",
    "/api/v1/namespaces/shop/orders/8f14e45f-ceea-467f-9d0f-2c1b3c4d5e6f",
    "/api/%6frders/caf%c3%a9",
    "/api/./v1/../v2/orders",
])]
fn path(bencher: Bencher<'_, '_>, path: &str) {
    bencher.bench(|| canonical_path(black_box(path)));
}

const SERVICES: [u16; 2] = [10, 1000];

fn entry(snapshot: &Snapshot) -> &Arc<OutboundEntry> {
    snapshot.outbound.ports[&80].ranged.find(IpAddr::from([10, 96, 0, 7])).expect("the seventh service exists")
}

#[divan::bench(args = SERVICES)]
fn destination(bencher: Bencher<'_, '_>, services: u16) {
    let snapshot = snapshot(&mesh(services));
    let port = &snapshot.outbound.ports[&80];
    bencher.bench(|| port.ranged.find(black_box(IpAddr::from([10, 96, 0, 7]))).is_some());
}

fn bench_host(bencher: Bencher<'_, '_>, services: u16, host: &str) {
    let snapshot = snapshot(&mesh(services));
    let entry = entry(&snapshot);
    bencher.bench(|| entry.hosts.find(black_box(host)).is_some());
}

#[divan::bench(args = SERVICES)]
fn host_as_configured(bencher: Bencher<'_, '_>, services: u16) {
    bench_host(bencher, services, "service-7.shop.svc.cluster.local:80");
}

#[divan::bench(args = SERVICES)]
fn host_in_upper_case(bencher: Bencher<'_, '_>, services: u16) {
    bench_host(bencher, services, "Service-7.Shop");
}

#[divan::bench(args = SERVICES)]
fn host_with_another_port(bencher: Bencher<'_, '_>, services: u16) {
    bench_host(bencher, services, "service-7.shop:8443");
}

#[divan::bench(args = SERVICES)]
fn host_unknown(bencher: Bencher<'_, '_>, services: u16) {
    bench_host(bencher, services, "nowhere.example");
}

/// The last of so many rules fits: the worst case.
fn bench_rules(bencher: Bencher<'_, '_>, count: usize, rules: Rules) {
    let snapshot = snapshot(&with_rules(count, rules));
    let inbound = snapshot.inbound.as_ref().expect("the document has an inbound part");
    let service: &Arc<Service> = inbound.ports[&80].hosts.find("orders.shop").expect("the service exists");
    let tail = if rules == Rules::Regex { "17" } else { "orders" };
    let path = format!("/api/{}/{tail}", count - 1);
    let headers = HeaderMap::new();
    let question = Question { method: &Method::GET, path: &path, headers: &headers, caller: Some("web.shop") };
    bencher.bench(|| service.route(black_box(question)).is_ok());
}

const COUNTS: [usize; 3] = [1, 10, 100];

#[divan::bench(args = COUNTS)]
fn rule_exact(bencher: Bencher<'_, '_>, count: usize) {
    bench_rules(bencher, count, Rules::Exact);
}

#[divan::bench(args = COUNTS)]
fn rule_prefix(bencher: Bencher<'_, '_>, count: usize) {
    bench_rules(bencher, count, Rules::Prefix);
}

#[divan::bench(args = COUNTS)]
fn rule_regex(bencher: Bencher<'_, '_>, count: usize) {
    bench_rules(bencher, count, Rules::Regex);
}

/// One target, 75/25, and ten of different weights.
#[divan::bench(args = [1, 2, 10], threads = [1, 2])]
fn weighted_choice(bencher: Bencher<'_, '_>, targets: u32) {
    let weights: Vec<u32> = match targets {
        2 => vec![75, 25],
        _ => (1..=targets).collect(),
    };
    let rotation = Rotation::new(&weights, 0);
    bencher.bench(|| black_box(&rotation).next());
}
