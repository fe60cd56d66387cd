//! CVE-2025-43915 and its kind: clients who invent names must not make the metrics page or the memory grow.

use fsm_tests::{Pair, Scene, Sidecar, within};
use serde_json::json;
use std::fmt::Write;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Requests of a wave; each brings a host or a path of its own.
const REQUESTS: usize = 20_000;

/// TLS server names of a wave.
const NAMES: usize = 2_000;

/// Requests that are sent at once on one connection.
const BATCH: usize = 50;

/// Connections at a time, of each kind.
const CONNECTIONS: usize = 4;

/// What either sidecar may grow by, allocator's reserve included.
const GROWTH: usize = 8 << 20;

const OUTSIDE: [u8; 4] = [203, 0, 113, 7];

/// How much the second wave brings: `FSM_TEST_CARDINALITY=100000` makes it the whole attack.
fn sizes() -> (usize, usize) {
    let asked = std::env::var("FSM_TEST_CARDINALITY").ok();
    let asked = asked.map(|text| text.parse().expect("FSM_TEST_CARDINALITY is a number"));
    // Every other request has a host of its own.
    asked.map_or((REQUESTS, NAMES), |number| (2 * number, number))
}

async fn series(sidecar: &Sidecar) -> usize {
    sidecar.prometheus().await.lines().filter(|line| !line.starts_with('#')).count()
}

async fn requests(pair: &Pair, from: usize, count: usize) {
    let service = &pair.scene.http;
    let mut wire = pair.dial(service).await;
    for first in (from..from + count).step_by(BATCH) {
        let batch = first..(first + BATCH).min(from + count);
        let mut text = String::new();
        for number in batch.clone() {
            let (host, path) = match number % 2 {
                0 => (format!("h{number:x}.invented"), format!("/p{number:x}?q={number}")),
                _ => (service.host(), format!("/{number:x}/{:x}", number * 7919)),
            };
            write!(text, "GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
        }
        wire.send(text).await;
        for number in batch {
            let expected = if number % 2 == 0 { 403 } else { 200 };
            assert_eq!(wire.response("GET").await.status(), expected);
        }
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
        let to = SocketAddr::from((OUTSIDE, 443));
        let mut stream = pair.scene.client.connect(to).await.expect("the sidecar accepts");
        // Its end is a reset, so that nothing of it stays in the kernel for a minute.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        stream.write_all(&hello(&format!("n{number:x}.invented.example"))).await.unwrap();
        match within("an end", stream.read(&mut [0; 64])).await {
            Ok(0) => {}
            Ok(_) => panic!("nobody answers to a name that is not permitted"),
            Err(why) => assert_eq!(why.kind(), ErrorKind::ConnectionReset),
        }
    }
}

/// So many requests and server names, numbered from `first` on.
async fn wave(pair: &Pair, first: usize, (count, names): (usize, usize)) {
    let started = Instant::now();
    let shares = |all: usize| (0..CONNECTIONS).map(move |index| (all * index / CONNECTIONS, all / CONNECTIONS));
    let asking = futures(shares(count).map(|(offset, share)| requests(pair, first + offset, share)));
    let naming = futures(shares(names).map(|(offset, share)| server_names(pair, first + offset, share)));
    tokio::join!(asking, naming);
    eprintln!("{count} requests and {names} server names in {:?}", started.elapsed());
}

async fn futures(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|each| each.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
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
    let usual = (REQUESTS, NAMES);
    wave(&pair, 0, usual).await;
    let sidecars = [&pair.client_sidecar, &pair.server_sidecar];
    let mut before = Vec::new();
    for sidecar in sidecars {
        before.push((series(sidecar).await, sidecar.resident_bytes()));
    }

    let all = sizes();
    wave(&pair, REQUESTS, all).await;

    for (sidecar, (lines, bytes)) in sidecars.into_iter().zip(before) {
        let now = sidecar.resident_bytes();
        eprintln!(
            "{lines} series and {} KiB before, {} series and {} KiB after",
            bytes >> 10,
            series(sidecar).await,
            now >> 10
        );
        assert_eq!(series(sidecar).await, lines);
        let growth = now.saturating_sub(bytes);
        assert!(growth < GROWTH, "the memory grew by {} KiB", growth >> 10);
    }
    let refused = pair.client_sidecar.metric("fsm_proxy_refusals_total", &["reason=\"no-service\""]).await;
    assert!(refused >= ((usual.0 + all.0) / 2) as f64, "{refused}");
    let refused = pair.client_sidecar.metric("fsm_proxy_refusals_total", &["reason=\"unknown-server-name\""]).await;
    assert!(refused >= (usual.1 + all.1) as f64, "{refused}");
}
