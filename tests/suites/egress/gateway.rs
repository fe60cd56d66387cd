//! The proxy as an egress gateway: who may ask it, for what, and what it tells about it.

use super::{at, client_hello, ip};
use fsm_tests::{
    Authority, Document, Mesh, Pod, Process, Sidecar, TcpApplication, TlsClient, Wire, binary, empty, eventually, http2,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;

const GATE: &str = "10.244.4.4:1080";
const WEB: &str = "203.0.113.30";

struct Scene {
    authority: Authority,
    gate: Pod,
    client: Pod,
    process: Process,
    echo: TcpApplication,
    _web: Pod,
    mesh: Mesh,
}

impl Scene {
    async fn start(arguments: &[&str]) -> Option<Self> {
        let mesh = Mesh::create()?;
        let authority = Authority::new("fsm-ca.fsm.io");
        let gate = mesh.pod_at("gate", &[ip("10.244.4.4")]);
        let client = mesh.pod("batch");
        gate.hosts(&[
            (WEB, "one.example.org"),
            ("127.0.0.1", "rebound.example.org"),
            ("10.244.4.4", "self.example.org"),
        ]);
        let document = Document::new(&authority.leaf("egress.gw")).allow(&client).allow(&gate);
        let config = gate.directory().join("config.json");
        std::fs::write(&config, document.json().to_string()).unwrap();
        let mut command = Command::new(binary("fsm-proxy"));
        command.args(["--gateway-listen", GATE]).args(arguments).arg("--config").arg(&config).env_clear();
        let process = Process::start(&gate, command);
        let web = mesh.pod_at("web", &[ip(WEB)]);
        let echo = TcpApplication::echo(&web, at(&format!("{WEB}:443")));
        let scene = Self { authority, gate, client, process, echo, _web: web, mesh };
        eventually("the gateway is ready", async || {
            let Ok(stream) = scene.gate.connect(at("127.0.0.1:15000")).await else { return false };
            Wire::new(stream).get("localhost", "/ready").await.status() == 200
        })
        .await;
        Some(scene)
    }

    fn tls(&self, alpn: &[&str]) -> TlsClient {
        TlsClient::new(&self.authority.leaf("batch.jobs")).alpn(alpn)
    }

    /// Asks over HTTP/1.1; whatever comes back.
    async fn ask(&self, tls: Option<&TlsClient>, lines: &str) -> Result<u16, fsm_tests::Fault> {
        let mut wire = match tls {
            Some(tls) => tls.connect(&self.client, at(GATE)).await.expect("the gateway shows a certificate"),
            None => Wire::connect(&self.client, at(GATE)).await,
        };
        wire.offer(format!("{lines}\r\n\r\n")).await;
        wire.try_response("GET").await.map(|reply| reply.status())
    }

    async fn metric(&self, name: &str) -> Option<String> {
        let at = SocketAddr::new(self.gate.ip(), 15010);
        let page = Wire::connect(&self.gate, at).await.get("gate", "/stats/prometheus").await.text();
        page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned))
    }

    fn records(&self) -> Vec<Value> {
        self.process.output().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The document of a sidecar whose TCP leaves through the gateway.
    fn sidecar_document(&self, identities: Option<&[&str]>, mode: &str) -> Value {
        let mut gateway = json!({"Endpoints": {GATE: {"Weight": 100}}, "Mode": mode});
        if let Some(identities) = identities {
            gateway["ServiceIdentities"] = json!(identities);
        }
        let document = Document::new(&self.authority.leaf("batch.jobs"))
            .set(
                "/Outbound",
                json!({
                    "TrafficMatches": {"443": [{
                        "DestinationIPRanges": null, "Port": 443, "Protocol": "https",
                        "TcpServiceRouteRules": {"TargetClusters": {"443": 100}, "AllowedEgressTraffic": false},
                    }]},
                    "ClustersConfigs": {"443": {"Endpoints": {"*.example.org:443": {"Weight": 100}}}},
                }),
            )
            .set(
                "/Forward",
                json!({
                    "ForwardMatches": {"*": {"gate.egress": 100}}, "EgressGateways": {"gate.egress": gateway},
                }),
            )
            .allow(&self.client);
        document.into()
    }

    /// A TLS client behind a sidecar reaches the echo through the gateway.
    async fn assert_reached(&self) {
        let hello = client_hello(Some("one.example.org"));
        let mut wire = Wire::connect(&self.client, at("203.0.113.200:443")).await;
        wire.send(&hello).await;
        assert_eq!(wire.read_exact(hello.len()).await, hello);
        assert_eq!(self.echo.peers().last().unwrap().ip(), self.gate.ip(), "it came from the gateway");
    }
}

#[tokio::test]
async fn a_sidecar_asks_its_gateway_over_mutual_tls_and_the_gateway_tells_about_it() {
    let Some(scene) = Scene::start(&[]).await else { return };
    let document = scene.sidecar_document(Some(&["egress.gw"]), "http2tunnel");
    let _sidecar = Sidecar::start(&scene.client, &document).await;
    scene.assert_reached().await;
    eventually("the tunnel is recorded", async || scene.records().len() == 1).await;
    let record = &scene.records()[0];
    assert_eq!(record["id"].as_str().unwrap().len(), 16);
    assert_eq!(record["source_address"], json!(scene.client.ip()));
    assert_eq!(record["source_principal"], "batch.jobs.cluster.local");
    assert_eq!((&record["destination_address"], &record["destination_port"]), (&json!("one.example.org"), &json!(443)));
    assert_eq!((&record["connected_address"], &record["serverNames"]), (&json!(WEB), &json!(["one.example.org"])));
    assert!(record["start_time"].as_str().unwrap() <= record["end_time"].as_str().unwrap());
    assert_eq!(record["bytes_sent"], json!(client_hello(Some("one.example.org")).len()));
    assert_eq!(scene.metric("http2tunnel_total_connection").await.as_deref(), Some("1"));
    eventually("nothing is open", async || scene.metric("http2tunnel_active_connection").await.as_deref() == Some("0"))
        .await;
}

#[tokio::test]
async fn a_sidecar_refuses_a_gateway_with_another_identity() {
    let Some(scene) = Scene::start(&[]).await else { return };
    let sidecar = Sidecar::start(&scene.client, &scene.sidecar_document(Some(&["other.gw"]), "http2tunnel")).await;
    let mut wire = Wire::connect(&scene.client, at("203.0.113.200:443")).await;
    wire.offer(client_hello(Some("one.example.org"))).await;
    assert_eq!(wire.rest().await.0, b"");
    eventually("it is counted", async || {
        sidecar.metric("fsm_proxy_refusals_total", &["reason=\"upstream-identity\""]).await >= 1.0
    })
    .await;
    assert_eq!(scene.echo.connections(), 0);
}

#[tokio::test]
async fn who_is_not_of_the_mesh_is_reset() {
    let Some(scene) = Scene::start(&[]).await else { return };
    let connect = "CONNECT one.example.org:443 HTTP/1.1\r\nhost: one.example.org:443";
    assert!(scene.ask(None, connect).await.is_err(), "plaintext, even from an address of the mesh");
    for tls in [TlsClient::anonymous(), TlsClient::new(&Authority::new("other").leaf("batch.jobs"))] {
        assert!(scene.ask(Some(&tls), connect).await.is_err());
    }
    let stranger = scene.mesh.pod("stranger");
    if let Ok(mut wire) = scene.tls(&[]).connect(&stranger, at(GATE)).await {
        wire.offer(format!("{connect}\r\n\r\n")).await;
        assert!(wire.try_response("GET").await.is_err(), "a stolen certificate from an unknown address");
    }
    assert_eq!(scene.echo.connections(), 0);
    let tls = scene.tls(&["http/1.1"]);
    let mut wire = tls.connect(&scene.client, at(GATE)).await.unwrap();
    wire.send(format!("{connect}\r\n\r\n")).await;
    assert!(wire.read_until("\r\n\r\n").await.starts_with(b"HTTP/1.1 200"));
    wire.send("ping").await;
    assert_eq!(wire.read_exact(4).await, b"ping");
}

#[tokio::test]
async fn the_gateway_connects_neither_to_itself_nor_to_the_machine() {
    let Some(scene) = Scene::start(&[]).await else { return };
    let tls = scene.tls(&["h2"]);
    for (target, status) in [
        ("127.0.0.1:15000", 403),
        ("[::1]:15000", 403),
        (GATE, 403),
        ("10.244.4.4:15010", 403),
        ("169.254.169.254:80", 403),
        ("rebound.example.org:15000", 403),
        ("self.example.org:1080", 403),
        ("nowhere.example.org:443", 502),
        ("*.example.org:443", 400),
    ] {
        let mut sender = http2(tls.connect(&scene.client, at(GATE)).await.unwrap()).await;
        let request = http::Request::connect(target).body(empty());
        // What is no authority never reaches the gateway.
        let Ok(request) = request else { continue };
        let reply = sender.call(request).await;
        assert_eq!(reply.status, status, "{target}: {:?}", reply.reason());
        if status == 403 {
            assert_eq!(reply.reason(), Some("destination-not-allowed"), "{target}");
        }
    }
    let tls = scene.tls(&["http/1.1"]);
    let get = scene.ask(Some(&tls), "GET http://one.example.org/ HTTP/1.1\r\nhost: one.example.org").await;
    assert_eq!(get.unwrap(), 404, "FSM's answer to everything else");
}

#[tokio::test]
async fn only_listed_destinations_are_reached_where_there_is_a_list() {
    let Some(scene) = Scene::start(&["--gateway-allow", "*.example.org:443,198.51.100.0/24:5432"]).await else {
        return;
    };
    let tls = scene.tls(&["http/1.1"]);
    let ask = async |target: &str| {
        let mut wire = tls.connect(&scene.client, at(GATE)).await.unwrap();
        wire.send(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n")).await;
        String::from_utf8(wire.read_until("\r\n").await).unwrap()
    };
    assert!(ask("one.example.org:443").await.starts_with("HTTP/1.1 200"));
    for refused in ["one.example.org:80", "example.org:443", "203.0.113.30:443", "rebound.example.org:443"] {
        assert!(ask(refused).await.starts_with("HTTP/1.1 403"), "{refused}");
    }
}

#[tokio::test]
async fn sidecars_without_tls_are_served_where_the_operator_says_so_and_strangers_are_not() {
    let Some(scene) = Scene::start(&["--gateway-plaintext"]).await else { return };
    let _sidecar = Sidecar::start(&scene.client, &scene.sidecar_document(None, "http2tunnel")).await;
    scene.assert_reached().await;
    let stranger = scene.mesh.pod("stranger");
    // The reset may come before the client knows that it was connected.
    let Ok(stream) = stranger.connect(at(GATE)).await else { return };
    let mut wire = Wire::new(stream);
    wire.offer("CONNECT one.example.org:443 HTTP/1.1\r\nhost: one.example.org:443\r\n\r\n").await;
    assert!(wire.try_response("GET").await.is_err());
}

#[tokio::test]
async fn socks5_works_over_mutual_tls_as_well() {
    let Some(scene) = Scene::start(&["--gateway-mode", "sock5"]).await else { return };
    let _sidecar = Sidecar::start(&scene.client, &scene.sidecar_document(Some(&["egress.gw"]), "sock5")).await;
    scene.assert_reached().await;
    eventually("the tunnel is recorded", async || scene.records().len() == 1).await;
    assert_eq!(scene.metric("socks_total_connection").await.as_deref(), Some("1"));
    let mut wire = Wire::connect(&scene.gate, at(GATE)).await;
    wire.offer(b"\x05\x01\x00").await;
    assert_eq!(wire.rest().await.0, b"", "plaintext");
}

#[tokio::test]
async fn a_gateway_that_is_told_to_end_lets_its_tunnels_finish() {
    let Some(mut scene) = Scene::start(&["--drain-min", "0"]).await else { return };
    let tls = scene.tls(&["http/1.1"]);
    let mut wire = tls.connect(&scene.client, at(GATE)).await.unwrap();
    wire.send("CONNECT one.example.org:443 HTTP/1.1\r\nhost: one.example.org:443\r\n\r\n").await;
    assert!(wire.read_until("\r\n\r\n").await.starts_with(b"HTTP/1.1 200"));
    scene.process.signal(nix::sys::signal::Signal::SIGTERM);
    eventually("nobody else is let in", async || scene.client.connect(at(GATE)).await.is_err()).await;
    wire.send("ping").await;
    assert_eq!(wire.read_exact(4).await, b"ping");
    wire.finish().await;
    assert_eq!(wire.rest().await.0, b"bye");
    assert!(scene.process.exit().await.success());
    assert_eq!(scene.records().len(), 1, "its record is written before the end");
}
