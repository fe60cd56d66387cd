#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{MAX_ANSWER_BYTES, ProbeKind, serve_probes};
use crate::admin::fixtures::{Answer, PATIENCE, apply, ask, listener};
use crate::config::store::Store;
use crate::telemetry::Telemetry;
use fsm_api::config::Config;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

struct Ports {
    telemetry: Arc<Telemetry>,
    store: Arc<Store>,
    liveness: SocketAddr,
    tcp: SocketAddr,
}

async fn open(document: Option<Value>) -> Ports {
    let telemetry = Arc::new(Telemetry::new());
    let store = Arc::new(Store::new(telemetry.clone()));
    if let Some(document) = document {
        apply(&store, &document);
    }
    let mut addresses = Vec::new();
    for kind in [ProbeKind::Liveness, ProbeKind::Tcp] {
        let (listener, address) = listener().await;
        let (store, telemetry) = (store.clone(), telemetry.clone());
        tokio::spawn(serve_probes(listener, kind, store, telemetry, CancellationToken::new()));
        addresses.push(address);
    }
    Ports { telemetry, store, liveness: addresses[0], tcp: addresses[1] }
}

/// An application that answers every connection with `answer`. Gives its port and the requests that it got.
async fn application(answer: impl Into<Vec<u8>>) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = mpsc::unbounded_channel();
    let answer = answer.into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                    _ => break,
                }
            }
            let _ = sender.send(String::from_utf8(request).unwrap());
            let _ = stream.write_all(&answer).await;
        }
    });
    (port, requests)
}

async fn received(requests: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(PATIENCE, requests.recv()).await.unwrap().unwrap()
}

/// A port on which nobody listens.
async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

fn http_probe(port: u16, path: &str) -> Value {
    json!({ "httpGet": { "path": "/fsm-healthcheck", "port": 15901, "scheme": "HTTP", "httpHeaders": [
        { "name": "Original-Http-Port", "value": port.to_string() },
        { "name": "Original-Http-Path", "value": path },
    ] } })
}

fn tcp_probe(probe_port: u16, port: u16) -> Value {
    json!({ "httpGet": { "path": "/fsm-healthcheck", "port": probe_port, "httpHeaders": [
        { "name": "Original-Tcp-Port", "value": port.to_string() },
    ] } })
}

fn document(liveness: Vec<Value>, readiness: Vec<Value>) -> Value {
    json!({ "Version": "1", "Spec": { "Probes": { "LivenessProbes": liveness, "ReadinessProbes": readiness } } })
}

async fn probe(address: SocketAddr, headers: &str) -> Answer {
    ask(address, "GET", "/fsm-healthcheck", headers).await
}

fn to(port: u16, path: &str) -> String {
    format!("Original-Http-Port: {port}\r\nOriginal-Http-Path: {path}\r\n")
}

#[tokio::test]
async fn each_containers_probe_reaches_its_own_application() {
    let (first, mut first_requests) =
        application("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}").await;
    let (second, mut second_requests) = application("HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\nsick").await;
    let probes = vec![http_probe(first, "/livez?full=1"), http_probe(second, "/health")];
    let ports = open(Some(document(probes, Vec::new()))).await;

    let answer = probe(ports.liveness, &to(first, "/livez?full=1")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    assert!(answer.head.contains("content-type: application/json"));
    assert!(received(&mut first_requests).await.starts_with("GET /livez?full=1 HTTP/1.1\r\n"));

    let answer = probe(ports.liveness, &to(second, "/health")).await;
    assert_eq!((answer.status, answer.body.as_str()), (500, "sick"));
    assert!(received(&mut second_requests).await.starts_with("GET /health HTTP/1.1\r\n"));
}

#[tokio::test]
async fn the_port_is_no_relay_to_targets_that_the_configuration_does_not_name() {
    let (allowed, mut requests) = application("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let (secret, mut secret_requests) = application("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    // The readiness probe must not be reachable through the liveness port either.
    let other_kind = vec![http_probe(secret, "/ready")];
    let ports = open(Some(document(vec![http_probe(allowed, "/livez")], other_kind))).await;
    for headers in [
        to(secret, "/livez"),
        to(secret, "/ready"),
        to(allowed, "/admin"),
        to(allowed, "/livez?x"),
        format!("Original-Tcp-Port: {secret}\r\n"),
    ] {
        assert_eq!(probe(ports.liveness, &headers).await.status, 403, "{headers}");
    }
    assert_eq!(probe(ports.tcp, &format!("Original-Tcp-Port: {secret}\r\n")).await.status, 403);
    for headers in ["Original-Http-Port: 0\r\n", "Original-Http-Port: 70000\r\n", "Original-Http-Port: x\r\n"] {
        assert_eq!(probe(ports.liveness, headers).await.status, 400, "{headers}");
    }
    let twice = format!("{}Original-Http-Port: {secret}\r\n", to(allowed, "/livez"));
    assert_eq!(probe(ports.liveness, &twice).await.status, 400);
    assert_eq!(ask(ports.liveness, "GET", "/livez", &to(allowed, "/livez")).await.status, 404);
    assert_eq!(ask(ports.liveness, "POST", "/fsm-healthcheck", "content-length: 0\r\n").await.status, 405);
    assert!(requests.try_recv().is_err() && secret_requests.try_recv().is_err());
}

#[tokio::test]
async fn without_headers_the_first_probe_is_meant() {
    let (port, mut requests) = application("HTTP/1.1 204 No\r\n\r\n").await;
    let ports = open(Some(document(vec![http_probe(port, "/livez")], Vec::new()))).await;
    assert_eq!(probe(ports.liveness, "").await.status, 204);
    assert!(received(&mut requests).await.starts_with("GET /livez "));
}

#[tokio::test]
async fn a_probe_without_target_goes_to_the_first_open_http_port() {
    let (port, mut requests) = application("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let other = closed_port().await;
    let mut document = document(vec![json!({ "httpGet": { "path": "/live", "port": 15901 } })], Vec::new());
    let range = json!({ "10.0.0.0/8": null });
    document["Inbound"] = json!({ "ClustersConfigs": {}, "TrafficMatches": {
        "1": { "Port": other, "Protocol": "tcp" },
        "2": { "Port": other, "Protocol": "http", "SourceIPRanges": range },
        "3": { "Port": port, "Protocol": "http" },
    } });
    let ports = open(Some(document)).await;
    assert_eq!(probe(ports.liveness, "").await.status, 200);
    assert!(received(&mut requests).await.starts_with("GET /live "));
}

#[tokio::test]
async fn the_application_sees_the_request_that_it_would_see_without_a_mesh() {
    let (port, mut requests) = application("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let ports = open(Some(document(vec![http_probe(port, "/")], Vec::new()))).await;
    let request = format!(
        "GET /fsm-healthcheck HTTP/1.1\r\nHost: 10.1.2.3:15901\r\nConnection: close\r\nUser-Agent: kube-probe/1.33\r\n\
         X-Token: t\r\n{}\r\n",
        to(port, "/")
    );
    crate::admin::fixtures::send(ports.liveness, request.as_bytes()).await.unwrap();
    let seen = received(&mut requests).await.to_ascii_lowercase();
    assert!(seen.contains(&format!("\r\nhost: 10.1.2.3:{port}\r\n")), "{seen}");
    assert!(seen.contains("\r\nuser-agent: kube-probe/1.33\r\n") && seen.contains("\r\nx-token: t\r\n"));
    assert!(!seen.contains("original-"));
}

#[tokio::test]
async fn a_redirect_keeps_its_status_and_loses_its_target() {
    let redirect = "HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n";
    let (port, _requests) = application(redirect).await;
    let ports = open(Some(document(vec![http_probe(port, "/")], Vec::new()))).await;
    let answer = probe(ports.liveness, &to(port, "/")).await;
    assert_eq!(answer.status, 302);
    assert!(!answer.head.contains("location"));
}

#[tokio::test]
async fn a_huge_answer_is_cut() {
    let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    answer.resize(answer.len() + (1 << 20), b'x');
    let (port, _requests) = application(answer).await;
    let ports = open(Some(document(vec![http_probe(port, "/")], Vec::new()))).await;
    let answer = probe(ports.liveness, &to(port, "/")).await;
    assert_eq!((answer.status, answer.body.len()), (200, MAX_ANSWER_BYTES));
}

#[tokio::test]
async fn failures_are_errors_with_a_reason() {
    let nobody = closed_port().await;
    let (garbage, _requests) = application("220 smtp ready\r\n").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let probes = vec![http_probe(nobody, "/"), http_probe(garbage, "/"), http_probe(silent_port, "/")];
    let ports = open(Some(document(probes, Vec::new()))).await;
    for (port, status, reason) in
        [(nobody, 502, "upstream-refused"), (garbage, 502, "upstream-protocol"), (silent_port, 504, "upstream-timeout")]
    {
        let answer = probe(ports.liveness, &to(port, "/")).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.head.contains(&format!("x-fsm-reason: {reason}")), "{}", answer.head);
    }
    let failures = &ports.telemetry.probe_failures;
    assert_eq!((failures.liveness.get(), failures.tcp.get()), (3, 0));
}

#[tokio::test]
async fn tcp_and_https_probes_check_that_somebody_listens() {
    let open_port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listening = open_port.local_addr().unwrap().port();
    let nobody = closed_port().await;
    let inbound_only = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inbound_port = inbound_only.local_addr().unwrap().port();
    // An HTTPS probe keeps the port of its kind, a TCP probe has 15904.
    let probes = vec![tcp_probe(15901, listening), tcp_probe(15904, nobody)];
    let mut document = document(probes, Vec::new());
    document["Inbound"] = json!({ "ClustersConfigs": {}, "TrafficMatches": {
        "80": { "Port": inbound_port, "Protocol": "tcp" },
    } });
    let ports = open(Some(document)).await;
    let header = |port: u16| format!("Original-Tcp-Port: {port}\r\n");
    for (address, port, status) in [
        (ports.liveness, listening, 200),
        (ports.tcp, listening, 200),
        (ports.tcp, nobody, 404),
        (ports.tcp, inbound_port, 200),
        (ports.liveness, inbound_port, 403),
    ] {
        assert_eq!(probe(address, &header(port)).await.status, status);
    }
    assert_eq!(probe(ports.tcp, "").await.status, 400);
    assert_eq!(probe(ports.tcp, "Original-Tcp-Port: x\r\n").await.status, 400);
}

#[tokio::test]
async fn an_application_on_ipv6_loopback_only_is_found() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        return; // No IPv6 here.
    };
    let port = listener.local_addr().unwrap().port();
    let ports = open(Some(document(vec![tcp_probe(15904, port)], Vec::new()))).await;
    assert_eq!(probe(ports.tcp, &format!("Original-Tcp-Port: {port}\r\n")).await.status, 200);
}

#[tokio::test]
async fn before_the_first_configuration_every_probe_fails_and_later_ones_follow_it() {
    let ports = open(None).await;
    assert_eq!(probe(ports.liveness, "").await.status, 503);
    let (port, _requests) = application("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    apply(&ports.store, &document(vec![http_probe(port, "/")], Vec::new()));
    assert_eq!(probe(ports.liveness, &to(port, "/")).await.status, 200);
    apply(&ports.store, &document(Vec::new(), Vec::new()));
    assert_eq!(probe(ports.liveness, "").await.status, 404);
    assert_eq!(probe(ports.liveness, &to(port, "/")).await.status, 403);
}

#[test]
fn ports_are_wanted_when_a_probe_points_to_them() {
    let document = document(vec![tcp_probe(15904, 80)], vec![json!({ "httpGet": { "path": "/", "port": 15902 } })]);
    let (config, _) = Config::read(document.to_string().as_bytes()).unwrap();
    let wanted = ProbeKind::ALL.map(|kind| kind.is_wanted(&config));
    assert_eq!(wanted, [false, true, false, true]);
}
