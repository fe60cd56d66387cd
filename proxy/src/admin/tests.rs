#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::fixtures::{Answer, PATIENCE, apply, ask, get, listener, read, send, state};
use super::{AdminState, prometheus, serve, server};
use crate::limits::ADMIN_TIMEOUT;
use crate::reason::Reason;
use crate::telemetry::Direction;
use crate::telemetry::control::ControlLink;
use http::StatusCode;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Port {
    state: Arc<AdminState>,
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

async fn open() -> Port {
    let state = state();
    let (listener, address) = listener().await;
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, state.clone(), stop.clone()));
    Port { state, address, stop, server }
}

impl Port {
    async fn get(&self, target: &str) -> Answer {
        get(self.address, target).await
    }

    async fn post(&self, target: &str) -> Answer {
        ask(self.address, "POST", target, "content-length: 0\r\n").await
    }
}

#[tokio::test]
async fn ready_says_what_is_missing_until_nothing_is() {
    let port = open().await;
    let answer = port.get("/ready").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("config:") && answer.body.contains("listeners:"));

    port.state.readiness.set_config(true);
    port.state.readiness.set_listeners(true);
    let answer = port.get("/ready").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "LIVE\n"));

    port.state.readiness.set_identity(false);
    let answer = port.get("/ready").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("identity:") && !answer.body.contains("config: "));
    port.state.readiness.set_identity(true);

    port.state.readiness.begin_draining();
    let answer = port.get("/ready").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("draining:"));
    assert_eq!(port.get("/live").await.status, 200);
}

#[tokio::test]
async fn unknown_paths_get_the_list_and_wrong_methods_the_right_ones() {
    let port = open().await;
    let answer = port.get("/nothing").await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.starts_with("Not Found\n") && answer.body.contains("/config_dump"));
    assert_eq!(port.get("/").await.status, 200);
    assert!(port.get("/help").await.body.contains("/quitquitquit"));

    let answer = port.get("/quitquitquit").await;
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: post"), "{}", answer.head);
    assert!(!port.state.quit.is_cancelled());
    assert_eq!(port.post("/stats").await.status, 405);
    assert_eq!(ask(port.address, "DELETE", "/logging", "").await.status, 405);

    let answer = ask(port.address, "HEAD", "/stats", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test]
async fn drain_and_quit_are_handed_on() {
    let port = open().await;
    assert_eq!(port.post("/drain").await.status, 200);
    assert!(port.state.drain.is_cancelled() && !port.state.quit.is_cancelled());
    assert!(port.get("/ready").await.body.contains("draining:"));
    assert_eq!(port.post("/quitquitquit").await.body, "DONE\n");
    assert!(port.state.quit.is_cancelled());
}

#[tokio::test]
async fn only_loopback_names_are_answered() {
    let port = open().await;
    let with_host = |hosts: &'static str| {
        let request = format!("GET /stats HTTP/1.1\r\nconnection: close\r\n{hosts}\r\n");
        async move { send(port.address, request.as_bytes()).await.unwrap().status }
    };
    for host in
        ["host: localhost\r\n", "host: LocalHost:1234\r\n", "host: 127.0.0.1:15000\r\n", "host: [::1]:15000\r\n"]
    {
        assert_eq!(with_host(host).await, 200, "{host}");
    }
    for host in [
        "host: evil.example\r\n",
        "host: localhost.evil.example\r\n",
        "host: 127.0.0.1.evil.example:15000\r\n",
        "host: evil@localhost\r\nx: y\r\nhost: localhost\r\n",
        "host: localhost\r\nhost: evil.example\r\n",
        "host: 10.0.0.1:15000\r\n",
        "host:\r\n",
        "",
    ] {
        assert!([400, 403].contains(&with_host(host).await), "{host}");
    }
    let absolute = b"GET http://evil.example/stats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(send(port.address, absolute).await.unwrap().status, 403);
    let old = send(port.address, b"GET /ready HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.unwrap().status, 503);
}

#[tokio::test]
async fn web_pages_cannot_change_anything() {
    let port = open().await;
    for target in ["/drain", "/quitquitquit", "/logging?level=debug"] {
        for origin in ["http://localhost:3000", "null", "https://evil.example"] {
            let extra = format!("origin: {origin}\r\ncontent-length: 0\r\n");
            let answer = ask(port.address, "POST", target, &extra).await;
            assert_eq!(answer.status, 403, "{target} from {origin}");
        }
    }
    assert!(!port.state.drain.is_cancelled() && !port.state.quit.is_cancelled());
    assert_eq!(port.state.log.get().to_string(), "warn");
}

#[tokio::test]
async fn the_log_level_is_shown_and_changed() {
    let port = open().await;
    assert!(port.get("/logging").await.body.starts_with("level: warn\n"));
    assert_eq!(port.get("/logging?level=debug").await.status, 400);
    assert_eq!(port.state.log.get().to_string(), "warn");
    assert_eq!(port.post("/logging?level=debug").await.body, "level: debug\n");
    assert_eq!(ask(port.address, "PUT", "/logging?level=disabled", "").await.status, 200);
    assert_eq!(port.state.log.get().to_string(), "disabled");
    let answer = port.post("/logging?level=lo%0aud").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("\"lo\\nud\""), "{}", answer.body);
}

#[tokio::test]
async fn keys_are_never_shown() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["web.shop.cluster.local".into()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "web.shop.cluster.local");
    let certificate = params.self_signed(&key).unwrap();
    let port = open().await;
    let own = json!({
        "CommonName": "web.shop.cluster.local",
        "Expiration": "2030-01-01 00:00:00",
        "CertChain": certificate.pem(),
        "PrivateKey": key.serialize_pem(),
        "IssuingCA": certificate.pem(),
    });
    let mut egress = own.clone();
    egress["FsmIssued"] = json!(false);
    egress["IssuingCA"] = json!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let document = json!({
        "Version": "7",
        "Certificate": own,
        "Outbound": {
            "TrafficMatches": {},
            "ClustersConfigs": { "ext": { "Endpoints": {}, "SourceCert": egress } },
        },
    });
    apply(&port.state.store, &document);

    let dump = port.get("/config_dump").await;
    assert_eq!(dump.status, 200);
    assert_eq!(dump.json()["Version"], "7");
    assert_eq!(dump.json()["Certificate"]["CommonName"], "web.shop.cluster.local");
    let certs = port.get("/certs").await;
    let list = certs.json();
    assert_eq!(list[0]["role"], "mesh-chain");
    assert_eq!(list[0]["path"], "Certificate.CertChain[0]");
    assert_eq!(list[0]["names"], json!(["web.shop.cluster.local"]));
    assert!(list[0]["secondsLeft"].as_i64().unwrap() > 0);
    assert_eq!(list[1]["role"], "mesh-root");
    assert_eq!(list[2]["role"], "egress-chain");
    assert!(list[3]["error"].as_str().unwrap().contains("not an X.509 certificate"));

    let metrics = port.get("/stats/prometheus").await.body;
    assert!(metrics.contains("fsm_proxy_certificate_expiry_timestamp_seconds{role=\"mesh-chain\"} "));
    for page in [&dump.body, &certs.body, &metrics, &port.get("/config_status").await.body] {
        assert!(!page.contains("PRIVATE KEY"));
    }
}

#[tokio::test]
async fn the_state_of_the_configuration_is_told_before_and_after_the_first_one() {
    let port = open().await;
    assert_eq!(port.get("/config_dump").await.status, 503);
    assert_eq!(port.get("/clusters").await.body, "");
    assert_eq!(port.get("/certs").await.json(), json!([]));
    let status = port.get("/config_status").await.json();
    assert_eq!(status["origin"], json!(null));
    assert_eq!(status["notReady"].as_array().unwrap().len(), 2);

    apply(&port.state.store, &json!({ "Version": "8", "Spec": { "SidecarTimeout": "soon" } }));
    let status = port.get("/config_status").await.json();
    assert_eq!(status["version"], "8");
    assert_eq!(status["origin"], "file config.json");
    assert!(status["ageSeconds"].as_u64().is_some());
    assert_eq!(status["details"].as_array().unwrap().len() as u64, status["problems"].as_u64().unwrap());
    assert!(status["details"][0]["path"].as_str().unwrap().contains("SidecarTimeout"));
    let metrics = port.get("/stats/prometheus").await.body;
    assert!(metrics.contains("fsm_proxy_config_version{version=\"8\"} 1\n"));
    assert!(metrics.contains("fsm_proxy_config_applied_total 1\n"));
}

#[tokio::test]
async fn stats_listeners_version_and_reasons_are_shown() {
    let port = open().await;
    port.state.telemetry.direction(Direction::Inbound).refused(Reason::NoRoute);
    let stats = port.get("/stats?filter=refusals.").await;
    assert_eq!(stats.body, "refusals.inbound.no-route: 1\n");
    assert!(port.get("/stats?filter=config%2Eapplied").await.body.starts_with("config.applied: 0\n"));

    let address = "0.0.0.0:15001".parse().unwrap();
    port.state.listeners.opened("outbound-listener", address);
    port.state.listeners.opened("outbound-listener", address);
    assert_eq!(port.get("/listeners").await.body, "outbound-listener::0.0.0.0:15001\n");
    port.state.listeners.closed("outbound-listener");
    assert_eq!(port.get("/listeners").await.body, "");

    assert_eq!(port.get("/version").await.json()["version"], crate::telemetry::build::VERSION);
    let reasons = port.get("/reasons").await.body;
    assert_eq!(reasons.lines().count(), Reason::ALL.len() + 1);
    assert!(reasons.contains("no-endpoint"));
    assert_eq!(port.get("/clusters?format=xml").await.status, 400);
    assert_eq!(port.get("/clusters?format=json").await.json(), json!([]));
}

#[tokio::test]
async fn the_metrics_port_serves_metrics_and_nothing_else() {
    let state = state();
    let (listener, address) = listener().await;
    let stop = CancellationToken::new();
    let server = tokio::spawn(prometheus::serve(listener, state, stop.clone()));
    for target in ["/stats/prometheus", "/metrics"] {
        // Prometheus asks by the pod's address.
        let extra = "x-prometheus-scrape-timeout-seconds: 10\r\n";
        let answer = ask(address, "GET", target, extra).await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: text/plain; version=0.0.4"));
        assert!(answer.body.contains("sidecar_server_live 1\n"));
    }
    for target in ["/", "/config_dump", "/stats", "/certs", "/quitquitquit", "/metrics/x"] {
        assert_eq!(get(address, target).await.status, 404, "{target}");
    }
    assert_eq!(ask(address, "POST", "/metrics", "content-length: 0\r\n").await.status, 405);
    stop.cancel();
    tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap();
}

#[tokio::test]
async fn garbage_is_refused_and_costs_nobody_else_anything() {
    let port = open().await;
    let long = format!("GET /stats HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(64 << 10));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET /stats\r\n\r\n",
        b"GET /stats HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        long.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let answer = read(&mut stream).await;
        assert!(answer.is_none_or(|answer| (400..600).contains(&answer.status)));
        assert_eq!(port.get("/live").await.status, 200);
    }
    assert_eq!(port.state.telemetry.panics.get(), 0);
}

#[tokio::test]
async fn a_body_is_swallowed_up_to_its_limit() {
    let port = open().await;
    let request = |length: usize| {
        format!("POST /drain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n")
    };
    let small = [request(1000).as_bytes(), &[b'x'; 1000]].concat();
    assert_eq!(send(port.address, &small).await.unwrap().status, 200);
    // Announced too large: refused at once, without waiting for the body.
    let large = send(port.address, request(1 << 20).as_bytes()).await.unwrap();
    assert_eq!(large.status, 413);
    assert!(large.head.contains("connection: close"));
    let chunk = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
    let chunked =
        format!("POST /drain HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
    assert_eq!(send(port.address, chunked.as_bytes()).await.unwrap().status, 413);
}

#[tokio::test]
async fn whoever_hoards_connections_loses_the_oldest_and_others_are_served() {
    let port = open().await;
    let mut hoard = Vec::new();
    for _ in 0..server::MAX_CONNECTIONS + 5 {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(b"GET /ready HTTP/1.1\r\n").await.unwrap();
        hoard.push(stream);
    }
    assert_eq!(port.get("/live").await.status, 200);
    let mut rest = Vec::new();
    let read = hoard[0].read_to_end(&mut rest);
    // Well before the deadline that ends every silent connection.
    let ended = tokio::time::timeout(ADMIN_TIMEOUT / 2, read).await.unwrap();
    assert!(ended.is_err() || rest.is_empty());
}

#[tokio::test(start_paused = true)]
async fn silent_clients_are_closed_after_the_deadline() {
    let port = open().await;
    let started = tokio::time::Instant::now();
    for start in [
        &b""[..],
        b"GET /ready HTTP/1.1\r\nhost: loc",
        b"POST /drain HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nx",
    ] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
    }
    assert!(started.elapsed() >= ADMIN_TIMEOUT);
    assert!(!port.state.drain.is_cancelled());
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_the_port() {
    let port = open().await;
    let mut idle = TcpStream::connect(port.address).await.unwrap();
    idle.write_all(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    port.stop.cancel();
    tokio::time::timeout(PATIENCE, port.server).await.unwrap().unwrap();
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(port.address).await.is_err());
}

#[tokio::test]
async fn the_documentation_has_a_row_for_every_endpoint() {
    const PAGE: &str = include_str!("../../../docs/admin.md");
    let port = open().await;
    let help = port.get("/help").await.body;
    let paths: Vec<&str> =
        help.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| word.starts_with('/')).collect();
    assert!(paths.len() > 10);
    for path in paths {
        let named = |line: &str| line.starts_with("| `/") && line.contains(&format!("`{path}`"));
        assert!(PAGE.lines().any(named), "docs/admin.md has no row for {path}");
    }
}

#[tokio::test]
async fn clusters_show_their_endpoints_and_counters_in_both_formats() {
    let port = open().await;
    let document = json!({ "Outbound": { "TrafficMatches": {}, "ClustersConfigs": {
        "shop/pay|8080": { "Endpoints": { "10.1.2.3:8080": { "Weight": 100 } } },
        "shop/empty|1": { "Endpoints": {} },
    } } });
    apply(&port.state.store, &document);
    let snapshot = port.state.store.snapshot().unwrap();
    let pay = snapshot.cluster(Direction::Outbound, "shop/pay|8080").unwrap();
    pay.counters().response(StatusCode::OK, Duration::from_millis(1));

    let text = port.get("/clusters").await.body;
    let mut lines = text.lines().skip_while(|line| !line.starts_with("shop/pay|8080 outbound requests=1 2xx=1 "));
    assert!(lines.next().is_some(), "{text}");
    let endpoint = "  10.1.2.3:8080 healthy weight=100 connections=0 requests=0";
    assert_eq!(lines.next(), Some(endpoint), "{text}");
    assert!(text.contains("\n  no endpoints\n"), "{text}");

    let list = port.get("/clusters?format=json").await.json();
    let pay = list.as_array().unwrap().iter().find(|cluster| cluster["name"] == "shop/pay|8080").unwrap();
    assert_eq!(pay["responses"], json!([0, 1, 0, 0, 0]));
    assert_eq!(pay["endpoints"][0]["address"], "10.1.2.3:8080");
    assert_eq!(pay["endpoints"][0]["security"], "plaintext");
    assert_eq!(pay["endpoints"][0]["identities"], json!([]));
    let metrics = get(port.address, "/stats/prometheus").await.body;
    let series = "fsm_request_duration_ms_count{source_namespace=\"shop\",source_kind=\"Deployment\",\
        source_name=\"web\",source_pod=\"web-7d4b9-x2x\",destination_namespace=\"unknown\",\
        destination_kind=\"unknown\",destination_name=\"unknown\"} 1\n";
    assert!(metrics.contains(series), "{metrics}");
}

#[tokio::test]
async fn the_link_to_fsm_control_is_shown_where_there_is_one() {
    let port = open().await;
    assert!(port.get("/config_status").await.json().get("control").is_none());
    let link = Arc::new(ControlLink::new("https://control:15128".into()));
    port.state.telemetry.control.set(Arc::clone(&link)).unwrap();
    let shown = port.get("/config_status").await.json()["control"].clone();
    let keys: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["address", "connected", "since", "streams", "version", "lastFailure", "certificate", "certificateFailure"];
    assert_eq!(keys, expected);
    for key in expected {
        let page = include_str!("../../../docs/admin.md");
        assert!(page.contains(&format!("`{key}`")), "docs/admin.md does not explain `{key}`");
    }
    assert_eq!((shown["connected"].clone(), shown["certificate"].clone()), (json!(false), json!(null)));

    let expires = std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    link.certified("web.shop.cluster.local", expires, expires - Duration::from_secs(3600));
    link.connected();
    link.in_force("7");
    let shown = port.get("/config_status").await.json()["control"].clone();
    assert_eq!((shown["connected"].clone(), shown["version"].clone()), (json!(true), json!("7")));
    let certificate = json!({
        "principal": "web.shop.cluster.local", "expires": "2027-01-15T08:00:00Z", "renewal": "2027-01-15T07:00:00Z",
    });
    assert_eq!(shown["certificate"], certificate);
    assert!(port.get("/stats?filter=control.connected").await.body.contains("control.connected: 1"));

    assert!(link.not_certified("the token has expired".into(), expires));
    assert!(!link.not_certified("the token has expired".into(), expires), "the same cause is no news");
    link.failed("it ended".into());
    let shown = port.get("/config_status").await.json()["control"].clone();
    assert_eq!(shown["connected"], json!(false));
    assert_eq!(shown["lastFailure"]["message"], "it ended");
    assert_eq!(shown["certificateFailure"]["message"], "the token has expired");
    assert_eq!(shown["certificate"]["principal"], "web.shop.cluster.local", "the old one stays");
    assert!(port.get("/stats/prometheus").await.body.contains("fsm_proxy_certificate_renewal_failures_total 2"));
}
