//! CVE-2025-43915 and its kind: clients who invent names must not make the metrics page or the memory grow.

use fsm_tests::{Pair, Scene, Sidecar, Wire};
use serde_json::json;
use std::net::SocketAddr;

/// Requests of a wave; each brings a host or a path of its own.
const REQUESTS: usize = 20_000;

/// TLS server names of a wave.
const NAMES: usize = 1_000;

/// What either sidecar may grow by, allocator's reserve included.
const GROWTH: usize = 8 << 20;

const OUTSIDE: [u8; 4] = [203, 0, 113, 7];

async fn series(sidecar: &Sidecar) -> usize {
    sidecar.prometheus().await.lines().filter(|line| !line.starts_with('#')).count()
}

async fn requests(pair: &Pair, from: usize, count: usize) {
    let service = &pair.scene.http;
    let mut sender = pair.http1(service).await;
    for number in from..from + count {
        let (host, path) = match number % 2 {
            0 => (format!("h{number:x}.invented"), format!("/p{number:x}?q={number}")),
            _ => (service.host(), format!("/{number:x}/{:x}", number * 7919)),
        };
        sender.get(&host, &path).await;
    }
}

/// A TLS hello with this server name, as far as the proxy reads it.
pub(super) fn hello(name: &str) -> Vec<u8> {
    let mut extension = vec![0, 0];
    let list = [&[0][..], &u16::try_from(name.len()).unwrap().to_be_bytes(), name.as_bytes()].concat();
    let body = [&u16::try_from(list.len()).unwrap().to_be_bytes()[..], &list].concat();
    extension.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    extension.extend(body);
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    hello.extend(u16::try_from(extension.len()).unwrap().to_be_bytes());
    hello.extend(extension);
    let mut message = vec![1, 0];
    message.extend(u16::try_from(hello.len()).unwrap().to_be_bytes());
    message.extend(hello);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    record.extend(message);
    record
}

async fn server_names(pair: &Pair, from: usize, count: usize) {
    for number in from..from + count {
        let mut wire = Wire::connect(&pair.scene.client, SocketAddr::from((OUTSIDE, 443))).await;
        wire.offer(hello(&format!("n{number:x}.invented.example"))).await;
        wire.try_response("GET").await.expect_err("nobody answers to a name that is not permitted");
    }
}

/// The same load again, with other names.
async fn wave(pair: &Pair, number: usize) {
    let (each, first) = (REQUESTS / 4, number * REQUESTS);
    tokio::join!(
        requests(pair, first, each),
        requests(pair, first + each, each),
        requests(pair, first + 2 * each, each),
        requests(pair, first + 3 * each, each),
        server_names(pair, number * NAMES, NAMES),
    );
}

#[tokio::test]
async fn invented_hosts_paths_and_server_names_leave_metrics_and_memory_flat() {
    let Some(mut scene) = Scene::new() else { return };
    scene.client_document = scene
        .client_document
        .set("/Outbound/ClustersConfigs/outside|443", json!({ "Endpoints": { "known.example:443": { "Weight": 100 } } }))
        .set(
            "/Outbound/TrafficMatches/443",
            json!([{ "Port": 443, "Protocol": "https", "TcpServiceRouteRules": { "TargetClusters": { "outside|443": 100 } } }]),
        );
    let pair = scene.start().await;
    // Everything that appears with the first of its kind is there now, and the allocator has what such a load needs.
    wave(&pair, 0).await;
    let sidecars = [&pair.client_sidecar, &pair.server_sidecar];
    let mut before = Vec::new();
    for sidecar in sidecars {
        before.push((series(sidecar).await, sidecar.resident_bytes()));
    }

    wave(&pair, 1).await;

    for (sidecar, (lines, bytes)) in sidecars.into_iter().zip(before) {
        assert_eq!(series(sidecar).await, lines);
        let growth = sidecar.resident_bytes().saturating_sub(bytes);
        assert!(growth < GROWTH, "the memory grew by {} KiB", growth >> 10);
    }
    let refused = pair.client_sidecar.metric("fsm_proxy_refusals_total", &["reason=\"no-service\""]).await;
    assert!(refused >= REQUESTS as f64, "{refused}");
    let refused = pair.client_sidecar.metric("fsm_proxy_refusals_total", &["reason=\"unknown-server-name\""]).await;
    assert!(refused >= (2 * NAMES) as f64, "{refused}");
}
