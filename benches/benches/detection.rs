//! Telling a connection's protocol from its first bytes: once for each connection that is peeked at.

use divan::{AllocProfiler, Bencher, black_box};
use fsm_benches::{client_hello, http1_request, http2_preface};
use fsm_proxy::detect::classify;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn bench_bytes(bencher: Bencher<'_, '_>, bytes: &[u8]) {
    bencher.bench(|| classify(black_box(bytes)));
}

#[divan::bench]
fn http1(bencher: Bencher<'_, '_>) {
    bench_bytes(bencher, &http1_request());
}

#[divan::bench]
fn http2(bencher: Bencher<'_, '_>) {
    bench_bytes(bencher, &http2_preface());
}

/// Key share of X25519, and of the post-quantum hybrid.
#[divan::bench(args = [36, 1256])]
fn tls(bencher: Bencher<'_, '_>, key_share: u16) {
    bench_bytes(bencher, &client_hello("orders.shop.svc.cluster.local", key_share));
}

/// All but the last byte: the worst case of a hello that comes in two segments.
#[divan::bench]
fn tls_incomplete(bencher: Bencher<'_, '_>) {
    let hello = client_hello("orders.shop.svc.cluster.local", 1256);
    bench_bytes(bencher, &hello[..hello.len() - 1]);
}

/// What a database client says first.
#[divan::bench]
fn other(bencher: Bencher<'_, '_>) {
    bench_bytes(bencher, b"\0\0\0\x08\x04\xd2\x16\x2f");
}
