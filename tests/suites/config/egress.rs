//! The third example document: egress by host, by range, with mutual TLS, and through a gateway.

use super::{ask, at, ip, status};
use crate::egress::client_hello;
use fsm_tests::{
    Application, End, Fixture, Gateway, Mesh, Pod, Sidecar, TcpApplication, TlsClient, TlsServer, Wire, fixture,
};
use std::net::IpAddr;

const FEEDS: &str = "203.0.113.10";
const API: &str = "203.0.113.20";
const CDN: &str = "203.0.113.21";
const LEDGER: &str = "203.0.113.30";
const DATABASE: &str = "198.51.100.7";

struct Outside {
    example: Fixture,
    mesh: Mesh,
    batch: Pod,
    gateways: Vec<(IpAddr, Gateway)>,
    _sidecar: Sidecar,
}

async fn start() -> Option<Outside> {
    let mesh = Mesh::create()?;
    let example = fixture("egress");
    let batch = mesh.pod_at("batch", &[ip("10.244.8.8")]);
    let names = [
        (FEEDS, "feeds.example.org"),
        (API, "api.example.org"),
        (CDN, "cdn.example.org"),
        (LEDGER, "ledger.partner.test"),
    ];
    batch.hosts(&names);
    let known = [
        ("feeds.example.org:80", at(&format!("{FEEDS}:80"))),
        ("api.example.org:443", at(&format!("{API}:443"))),
        ("cdn.example.org:443", at(&format!("{CDN}:443"))),
    ];
    let mut gateways = Vec::new();
    for address in ["10.244.4.4", "10.244.4.5"] {
        let pod = mesh.pod_at("gateway", &[ip(address)]);
        gateways.push((ip(address), Gateway::start(&pod, at(&format!("{address}:1080")), &known)));
    }
    let sidecar = Sidecar::start(&batch, &example.document).await;
    Some(Outside { example, mesh, batch, gateways, _sidecar: sidecar })
}

impl Outside {
    fn is_gateway(&self, peer: IpAddr) -> bool {
        self.gateways.iter().any(|(address, _)| *address == peer)
    }

    fn tunnels(&self) -> usize {
        self.gateways.iter().map(|(_, gateway)| gateway.targets().len()).sum()
    }
}

#[tokio::test]
async fn an_egress_host_is_reached_through_the_gateway_and_by_its_rules() {
    let Some(outside) = start().await else { return };
    let pod = outside.mesh.pod_at("feeds", &[ip(FEEDS)]);
    let feeds = Application::start(&pod, &[at("203.0.113.10:80")]);
    let to = at("203.0.113.10:80");
    let lines = "GET /public/today HTTP/1.1\r\nhost: feeds.example.org";
    assert_eq!(status(&outside.batch, None, to, lines).await, 200);
    let seen = feeds.last();
    assert!(outside.is_gateway(seen.remote.ip()), "came from {}", seen.remote);
    assert_eq!(seen.target, "/public/today");
    assert_eq!(outside.tunnels(), 1);
    for (lines, reason) in [
        ("GET /private HTTP/1.1\r\nhost: feeds.example.org", "no-route"),
        ("POST /public/x HTTP/1.1\r\nhost: feeds.example.org\r\ncontent-length: 0", "no-route"),
        ("GET /public/x HTTP/1.1\r\nhost: other.example.org", "no-service"),
    ] {
        let reply = ask(&outside.batch, None, to, lines).await.unwrap();
        assert_eq!((reply.status(), reply.reason()), (403, Some(reason)), "{lines}");
    }
    assert_eq!(feeds.requests().len(), 1);
}

#[tokio::test]
async fn a_tls_connection_reaches_the_host_that_its_server_name_says() {
    let Some(outside) = start().await else { return };
    let mut echoes = Vec::new();
    for (address, banner) in [(API, &b"api "[..]), (CDN, &b"cdn "[..])] {
        let pod = outside.mesh.pod_at("web", &[ip(address)]);
        echoes.push((TcpApplication::banner(&pod, at(&format!("{address}:443")), banner), pod));
    }
    for (name, banner) in [("api.example.org", "api "), ("cdn.example.org", "cdn "), ("api.example.org", "api ")] {
        let mut wire = Wire::connect(&outside.batch, at("203.0.113.20:443")).await;
        wire.send(client_hello(Some(name))).await;
        assert_eq!(wire.read_exact(4).await, banner.as_bytes(), "{name}");
    }
    let before = outside.tunnels();
    let mut wire = Wire::connect(&outside.batch, at("203.0.113.20:443")).await;
    wire.offer(client_hello(Some("evil.example.org"))).await;
    assert!(!wire.rest().await.0.ends_with(b"i "), "an unlisted name was let out");
    assert_eq!(outside.tunnels(), before);
}

#[tokio::test]
async fn a_range_lets_tcp_out_and_everything_else_is_closed() {
    let Some(outside) = start().await else { return };
    let pod = outside.mesh.pod_at("database", &[ip(DATABASE)]);
    let database = TcpApplication::echo(&pod, at("198.51.100.7:5432"));
    let other = TcpApplication::echo(&pod, at("198.51.100.7:5433"));
    let mut wire = Wire::connect(&outside.batch, at("198.51.100.7:5432")).await;
    wire.send("select").await;
    assert_eq!(wire.read_exact(6).await, b"select");
    assert!(outside.is_gateway(database.peers()[0].ip()));
    wire.finish().await;
    assert_eq!(wire.rest().await, (b"bye".to_vec(), End::Closed));
    for to in ["198.51.100.7:5433", "203.0.113.77:5432"] {
        let mut wire = Wire::connect(&outside.batch, at(to)).await;
        wire.offer("hello").await;
        assert_eq!(wire.rest().await.0, b"", "{to}");
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_partner_gets_mutual_tls_with_its_own_certificate_and_no_gateway() {
    let Some(outside) = start().await else { return };
    let pod = outside.mesh.pod_at("ledger", &[ip(LEDGER)]);
    // Accepts certificates of the partner's authority only.
    let mut request = fsm_tests::LeafRequest::new("ledger.partner");
    request.dns_names = vec!["ledger.partner.test".to_owned()];
    let tls = TlsServer::new(&outside.example.partner.issue(&request));
    let ledger = Application::start_tls(&pod, &[at("203.0.113.30:8443")], &tls);
    let lines = "GET /accounts HTTP/1.1\r\nhost: ledger.partner.test:8443";
    let reply = ask(&outside.batch, None, at("203.0.113.30:8443"), lines).await.unwrap();
    assert_eq!(reply.status(), 200, "{:?}", reply.reason());
    assert_eq!(ledger.last().remote.ip(), outside.batch.ip(), "a client certificate bypasses the gateway");
    assert_eq!(outside.tunnels(), 0);
}

#[tokio::test]
async fn a_partner_of_another_authority_is_not_spoken_to() {
    let Some(outside) = start().await else { return };
    let pod = outside.mesh.pod_at("ledger", &[ip(LEDGER)]);
    // A mesh certificate is no partner's certificate (S-6).
    let mut request = fsm_tests::LeafRequest::new("ledger.partner");
    request.dns_names = vec!["ledger.partner.test".to_owned()];
    let tls = TlsServer::new(&outside.example.mesh.issue(&request));
    let ledger = Application::start_tls(&pod, &[at("203.0.113.30:8443")], &tls);
    let lines = "GET /accounts HTTP/1.1\r\nhost: ledger.partner.test:8443";
    let reply = ask(&outside.batch, None, at("203.0.113.30:8443"), lines).await.unwrap();
    assert_eq!((reply.status(), reply.reason()), (502, Some("upstream-tls")));
    assert!(ledger.requests().is_empty());
}

#[tokio::test]
async fn nothing_enters_a_pod_that_serves_nothing() {
    let Some(outside) = start().await else { return };
    let _application = Application::start(&outside.batch, &[at("10.244.8.8:80")]);
    let pod = outside.mesh.pod_at("peer", &[ip("10.244.8.9")]);
    let tls = TlsClient::new(&outside.example.leaf("web.shop"));
    for tls in [None, Some(&tls)] {
        let reply = ask(&pod, tls, at("10.244.8.8:80"), "GET / HTTP/1.1\r\nhost: batch").await;
        assert!(!matches!(&reply, Ok(reply) if reply.status() == 200), "{reply:?}");
    }
}
