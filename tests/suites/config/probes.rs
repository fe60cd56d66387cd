//! Ports 15901–15904: the kubelet's probes reach every container of the pod, and nothing that no probe names.

use super::{at, status};
use fsm_tests::{Application, Pair, Pod, Scene, TcpApplication, Wire};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

fn probe(port: u16, headers: &[(&str, &str)]) -> Value {
    let headers = headers.iter().map(|(name, value)| json!({"name": name, "value": value}));
    json!({
        "httpGet": {
            "path": "/fsm-healthcheck",
            "port": port,
            "scheme": "HTTP",
            "httpHeaders": headers.collect::<Vec<_>>(),
        },
        "timeoutSeconds": 1,
    })
}

fn http(port: u16, target: &str, path: &str) -> Value {
    probe(port, &[("Original-Http-Port", target), ("Original-Http-Path", path)])
}

fn tcp(port: u16, target: &str) -> Value {
    probe(port, &[("Original-Tcp-Port", target)])
}

/// Two containers, the second one's HTTP at 8090; one more that speaks TLS at 8443.
fn scene() -> Option<Scene> {
    let mut scene = Scene::new()?;
    let probes = json!({
        "LivenessProbes": [http(15901, "8080", "/live/first"), http(15901, "8090", "/live/second")],
        "ReadinessProbes": [tcp(15902, "8443"), http(15902, "8090", "/status/503")],
        "StartupProbes": [http(15903, "8080", "/start?deep=1"), tcp(15904, "9000")],
    });
    scene.server_document = scene.server_document.clone().set("/Spec/Probes", probes);
    Some(scene)
}

/// The status that the kubelet would see. It is no pod of the mesh and has no certificate.
async fn ask(kubelet: &Pod, ip: IpAddr, port: u16, headers: &[(&str, &str)]) -> u16 {
    let headers: String = headers.iter().map(|(name, value)| format!("\r\n{name}: {value}")).collect();
    let lines = format!("GET /fsm-healthcheck HTTP/1.1\r\nhost: {ip}:{port}{headers}");
    status(kubelet, None, SocketAddr::new(ip, port), &lines).await
}

fn http_target<'a>(port: &'a str, path: &'a str) -> [(&'static str, &'a str); 2] {
    [("Original-Http-Port", port), ("Original-Http-Path", path)]
}

async fn start() -> Option<(Pair, Pod, Application)> {
    let pair = scene()?.start().await;
    let kubelet = pair.scene.mesh.pod("kubelet");
    let second = Application::start(&pair.scene.server, &[at("127.0.0.1:8090")]);
    Some((pair, kubelet, second))
}

#[tokio::test]
async fn http_probes_reach_the_container_that_they_name() {
    let Some((pair, kubelet, second)) = start().await else { return };
    for ip in [pair.scene.server.ip(), pair.scene.server.ipv6()] {
        assert_eq!(ask(&kubelet, ip, 15901, &http_target("8080", "/live/first")).await, 200);
        let seen = pair.application.last();
        assert_eq!((seen.target.as_str(), seen.method.as_str()), ("/live/first", "GET"));
        assert_eq!(seen.header("original-http-port"), None);
        assert_eq!(ask(&kubelet, ip, 15901, &http_target("8090", "/live/second")).await, 200);
        assert_eq!(second.last().target, "/live/second");
        // What the container answers is what the kubelet sees.
        assert_eq!(ask(&kubelet, ip, 15902, &http_target("8090", "/status/503")).await, 503);
        assert_eq!(ask(&kubelet, ip, 15903, &http_target("8080", "/start?deep=1")).await, 200);
        assert_eq!(pair.application.last().target, "/start?deep=1");
        // Without headers: the first one of the kind.
        assert_eq!(ask(&kubelet, ip, 15901, &[]).await, 200);
        assert_eq!(pair.application.last().target, "/live/first");
    }
    let failures = pair.server_sidecar.metric("fsm_proxy_probe_failures_total", &["probe=\"readiness\""]).await;
    assert_eq!(failures as u64, 2);
    let failures = pair.server_sidecar.metric("fsm_proxy_probe_failures_total", &["probe=\"liveness\""]).await;
    assert_eq!(failures as u64, 0);
}

#[tokio::test]
async fn tcp_and_https_probes_tell_whether_the_container_accepts() {
    let Some((pair, kubelet, _second)) = start().await else { return };
    let ip = pair.scene.server.ip();
    // Nobody listens yet; neither with IPv4 nor with IPv6.
    assert_eq!(ask(&kubelet, ip, 15902, &[("Original-Tcp-Port", "8443")]).await, 404);
    for listener in ["127.0.0.1:8443", "[::1]:8443"] {
        let secure = pair.scene.server.listen(at(listener));
        assert_eq!(ask(&kubelet, ip, 15902, &[("Original-Tcp-Port", "8443")]).await, 200, "{listener}");
        drop(secure);
    }
    assert_eq!(ask(&kubelet, ip, 15902, &[("Original-Tcp-Port", "8443")]).await, 404);
    assert_eq!(ask(&kubelet, ip, 15904, &[("Original-Tcp-Port", "9000")]).await, 200);
    assert_eq!(ask(&kubelet, ip, 15904, &[]).await, 400);
}

#[tokio::test]
async fn nothing_is_reached_that_no_probe_names() {
    let Some((pair, kubelet, second)) = start().await else { return };
    let ip = pair.scene.server.ip();
    let hidden = TcpApplication::banner(&pair.scene.server, at("127.0.0.1:5432"), b"");
    let before = (pair.application.requests().len(), second.requests().len());
    for headers in [
        &http_target("8090", "/secret")[..],
        &http_target("8080", "/live/second"),
        &http_target("5432", "/live/first"),
        &http_target("15000", "/config_dump"),
        &http_target("8080", "/live/../secret"),
        &[("Original-Tcp-Port", "5432")],
        &[("Original-Tcp-Port", "15000")],
        &[("Original-Http-Port", "0"), ("Original-Http-Path", "/live/first")],
        &[("Original-Http-Port", "8080"), ("Original-Http-Port", "8090"), ("Original-Http-Path", "/live/second")],
    ] {
        let status = ask(&kubelet, ip, 15901, headers).await;
        assert!((400..500).contains(&status), "{headers:?}: {status}");
    }
    for (lines, expected) in [
        ("GET /config_dump HTTP/1.1\r\nhost: x", 404),
        ("GET /fsm-healthcheck/../config_dump HTTP/1.1\r\nhost: x", 404),
        ("POST /fsm-healthcheck HTTP/1.1\r\nhost: x\r\ncontent-length: 0", 405),
    ] {
        assert_eq!(status(&kubelet, None, SocketAddr::new(ip, 15901), lines).await, expected, "{lines}");
    }
    assert_eq!((pair.application.requests().len(), second.requests().len()), before);
    assert_eq!(hidden.connections(), 0);
}

#[tokio::test]
async fn a_kubelet_that_says_nothing_holds_up_no_other_probe() {
    let Some((pair, kubelet, _second)) = start().await else { return };
    let to = SocketAddr::new(pair.scene.server.ip(), 15901);
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(Wire::connect(&kubelet, to).await);
    }
    assert_eq!(ask(&kubelet, to.ip(), 15901, &http_target("8080", "/live/first")).await, 200);
    pair.assert_healthy().await;
}
