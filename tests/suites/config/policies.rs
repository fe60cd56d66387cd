//! The fourth example document: limits, retries, and what the application sees of them.

use super::{ask, at, ip, status};
use fsm_tests::{
    Application, Fixture, Mesh, Pod, Recorder, Sidecar, TcpApplication, TlsClient, TlsServer, Wire, fixture,
};
use serde_json::json;

struct Gate {
    example: Fixture,
    mesh: Mesh,
    gate: Pod,
    peer: Pod,
    sidecar: Sidecar,
}

async fn start() -> Option<Gate> {
    let mesh = Mesh::create()?;
    let mut example = fixture("policies");
    // Retries back off by a second in the document; no test should take that long.
    let cluster = &mut example.document["Outbound"]["ClustersConfigs"]["risk/fraud|14001"];
    cluster["RetryPolicy"]["RetryBackoffBaseInterval"] = json!(0.01);
    let gate = mesh.pod_at("gate", &[ip("10.244.6.9")]);
    let sidecar = Sidecar::start(&gate, &example.document).await;
    Some(Gate { peer: mesh.pod_at("fraud", &[ip("10.244.6.1")]), example, mesh, gate, sidecar })
}

#[tokio::test]
async fn a_route_of_three_a_minute_answers_the_fourth_as_configured() {
    let Some(gate) = start().await else { return };
    let application = Application::start(&gate.gate, &[at("127.0.0.1:8080")]);
    let tls = TlsClient::new(&gate.example.leaf("fraud.risk"));
    let to = at("10.244.6.9:8080");
    let lines = "GET /charge HTTP/1.1\r\nhost: gate.pay";
    let mut passed = 0;
    for _ in 0..10 {
        let reply = ask(&gate.peer, Some(&tls), to, lines).await.unwrap();
        if reply.status() == 200 {
            passed += 1;
            continue;
        }
        assert_eq!((reply.status(), reply.reason()), (509, Some("rate-limited-route")));
        assert_eq!(reply.header("x-limited-by"), Some("route"));
        assert_eq!(reply.text(), "");
    }
    assert_eq!(passed, 3);
    assert_eq!(application.requests().len(), 3);
    // Other routes of the service have their own allowance.
    assert_eq!(status(&gate.peer, Some(&tls), to, "GET /free HTTP/1.1\r\nhost: gate.pay").await, 200);
    let stats = gate.sidecar.stats().await;
    let line = "http_local_rate_limiter.http_local_rate_limit.rate_limited: 7";
    assert!(stats.contains(line), "{stats}");
}

#[tokio::test]
async fn a_port_of_ten_connections_resets_the_eleventh() {
    let Some(gate) = start().await else { return };
    let echo = TcpApplication::echo(&gate.gate, at("127.0.0.1:8078"));
    let tls = TlsClient::new(&gate.example.leaf("fraud.risk"));
    let to = at("10.244.6.9:8078");
    for number in 0..10 {
        let mut wire = tls.connect(&gate.peer, to).await.unwrap();
        wire.send("x").await;
        assert_eq!(wire.read_exact(1).await, b"x", "connection {number}");
    }
    for _ in 0..3 {
        if let Ok(mut wire) = tls.connect(&gate.peer, to).await {
            wire.offer("x").await;
            assert_eq!(wire.rest().await.0, b"");
        }
    }
    assert_eq!(echo.connections(), 10);
    let stats = gate.sidecar.stats().await;
    assert!(stats.contains("rate_limited: 3"), "{stats}");
}

#[tokio::test]
async fn a_failed_call_is_tried_again_until_it_succeeds_or_the_retries_are_used_up() {
    let Some(gate) = start().await else { return };
    let leaf = gate.example.leaf("fraud.risk");
    let other = gate.mesh.pod_at("fraud-2", &[ip("10.244.6.2")]);
    let first = Application::start_tls(&gate.peer, &[at("10.244.6.1:14001")], &TlsServer::new(&leaf));
    let second = Application::start_tls(&other, &[at("10.244.6.2:14001")], &TlsServer::new(&leaf));
    let to = at("10.96.77.1:14001");
    let asked = || first.requests().len() + second.requests().len();
    // Five retries after the first attempt, then the last answer.
    let failing = "GET /status/503 HTTP/1.1\r\nhost: fraud.risk";
    assert_eq!(status(&gate.gate, None, to, failing).await, 503);
    assert_eq!(asked(), 6);
    // What is no 5xx is an answer.
    assert_eq!(status(&gate.gate, None, to, "GET /status/404 HTTP/1.1\r\nhost: fraud.risk").await, 404);
    assert_eq!(asked(), 7);
    let stats = gate.sidecar.stats().await;
    let line = |name: &str, value: u32| format!("cluster.risk/fraud|14001.upstream_rq_retry{name}: {value}");
    for line in [line("", 5), line("_limit_exceeded", 1), line("_success", 0)] {
        assert!(stats.contains(&line), "{line} is not in\n{stats}");
    }
}

#[tokio::test]
async fn requests_to_an_application_keep_their_bytes_under_all_policies() {
    let Some(gate) = start().await else { return };
    let recorder = Recorder::start(&gate.gate, at("127.0.0.1:8080"));
    let tls = TlsClient::new(&gate.example.leaf("fraud.risk"));
    let mut wire: Wire = tls.connect(&gate.peer, at("10.244.6.9:8080")).await.unwrap();
    wire.send("POST /x HTTP/1.1\r\nhost: gate.pay\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!(wire.response("POST").await.status(), 200);
    assert_eq!(recorder.requests()[0].text(), "hello");
    assert_eq!(recorder.malformed(), []);
}
