//! From bytes to a snapshot: once for each update, on the admin thread.
#![allow(clippy::expect_used)] // a bench without its input has nothing to measure

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use fsm_api::config::{Config, Touched};
use fsm_benches::{FIXTURES, fixture, mesh, with_identity};
use fsm_proxy::config::compile::{Environment, compile, with_other_endpoints};
use std::sync::Arc;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn document(text: &str) -> Arc<Config> {
    let (config, _) = Config::read(text.as_bytes()).expect("the document can be read");
    Arc::new(with_identity(config, "web.shop").expect("a certificate can be made"))
}

fn bench_read(bencher: Bencher<'_, '_>, text: &str) {
    bencher.counter(BytesCount::of_str(text)).bench(|| Config::read(black_box(text.as_bytes())).is_ok());
}

fn bench_compile(bencher: Bencher<'_, '_>, document: &Arc<Config>) {
    bencher.bench(|| compile(Arc::clone(document), Vec::new(), None, Environment::default()));
}

#[divan::bench(args = FIXTURES)]
fn read_fixture(bencher: Bencher<'_, '_>, name: &str) {
    bench_read(bencher, fixture(name));
}

#[divan::bench(args = FIXTURES)]
fn compile_fixture(bencher: Bencher<'_, '_>, name: &str) {
    bench_compile(bencher, &document(fixture(name)));
}

#[divan::bench(args = [100, 1000], sample_size = 1, sample_count = 20)]
fn read_mesh(bencher: Bencher<'_, '_>, services: u16) {
    bench_read(bencher, &mesh(services));
}

#[divan::bench(args = [100, 1000], sample_size = 1, sample_count = 20)]
fn compile_mesh(bencher: Bencher<'_, '_>, services: u16) {
    bench_compile(bencher, &document(&mesh(services)));
}

/// An update that changes nothing: what every push costs a proxy that it does not concern.
#[divan::bench(args = [100, 1000], sample_size = 1, sample_count = 20)]
fn compile_mesh_again(bencher: Bencher<'_, '_>, services: u16) {
    let document = document(&mesh(services));
    let first = compile(Arc::clone(&document), Vec::new(), None, Environment::default());
    bencher.bench(|| compile(Arc::clone(&document), Vec::new(), Some(&first), Environment::default()));
}

/// Other endpoints of one cluster, as fsm-control's stream announces them: the document is copied, one cluster's endpoints
/// are replaced, nothing is compiled anew.
#[divan::bench(args = [100, 1000], sample_size = 1, sample_count = 20)]
fn replace_endpoints(bencher: Bencher<'_, '_>, services: u16) {
    let document = document(&mesh(services));
    let first = compile(Arc::clone(&document), Vec::new(), None, Environment::default());
    let cluster = "shop/service-7|8080";
    let touched = Touched { endpoints: [cluster.to_owned()].into(), ..Touched::default() };
    bencher.bench(|| {
        let mut other = Config::clone(&document);
        let clusters = other.outbound.as_mut().map(|outbound| &mut outbound.clusters_configs);
        let endpoints = clusters.and_then(|clusters| clusters.get_mut(cluster)).map(|config| &mut config.endpoints);
        endpoints.expect("the cluster exists").pop_first();
        let other = Arc::new(other);
        with_other_endpoints(&other, &touched, &first, Environment::default()).expect("nothing else changes")
    });
}
