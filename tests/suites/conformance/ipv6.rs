//! Pods that have IPv6 addresses only.

use fsm_tests::{
    Application, Authority, Document, LeafRequest, Mesh, Service, Sidecar, TcpApplication, TlsClient, Wire, http2,
};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn everything_works_without_ipv4() {
    let Some(mesh) = Mesh::create() else { return };
    let authority = Authority::new("fsm-ca.fsm.io");
    let client = mesh.pod_at("client", &[ip("fd00:244::1:1")]);
    let server = mesh.pod_at("server", &[ip("fd00:244::2:1")]);
    let stranger = mesh.pod_at("stranger", &[ip("fd00:244::3:1")]);
    let unlisted = mesh.pod_at("unlisted", &[ip("fd00:244::4:1")]);
    let http = Service::new("api", "shop", "http", 80, 8080, &["fd00:96::1"]);
    let tcp = Service::new("tcp", "shop", "tcp", 9000, 9000, &["fd00:96::4"]);
    let mut calls = Document::new(&authority.leaf("web.shop")).allow(&server);
    let mut serves = Document::new(&authority.leaf("api.shop")).allow(&client).allow(&stranger);
    for service in [&http, &tcp] {
        calls = calls.call(service, &[server.ip()]).identities(service, &["api.shop"]);
        serves = serves.serve(service);
    }
    // As FSM configures it: the application's address is IPv4's loopback, which every pod has.
    let application = Application::start(&server, &[SocketAddr::from(([127, 0, 0, 1], 8080))]);
    let echo = TcpApplication::echo(&server, SocketAddr::from(([127, 0, 0, 1], 9000)));
    let (client_sidecar, server_sidecar) =
        tokio::join!(Sidecar::start(&client, calls.json()), Sidecar::start(&server, serves.json()));

    let mut wire = Wire::connect(&client, http.address()).await;
    assert_eq!(wire.get("api.shop", "/one").await.status(), 200);
    assert_eq!(application.last().header("serviceidentity"), Some("web.shop"));
    let reply = http2(Wire::connect(&client, http.address()).await).await.get("api.shop", "/two").await;
    assert_eq!(reply.status, 200, "{:?}", reply.reason());
    let mut wire = Wire::connect(&client, tcp.address()).await;
    wire.send("six").await;
    assert_eq!(wire.read_exact(3).await, b"six");
    // An address in brackets is a host like any other.
    let mut wire = Wire::connect(&client, http.address()).await;
    let reply = wire.get("[fd00:96::1]:80", "/").await;
    assert_eq!((reply.status(), reply.reason()), (403, Some("no-service")));

    let inbound = SocketAddr::new(server.ip(), 80);
    let tls = TlsClient::new(&authority.issue(&LeafRequest::new("batch.jobs").spiffe()));
    let mut wire = tls.connect(&stranger, inbound).await.unwrap();
    assert_eq!(wire.get("api.shop", "/in").await.status(), 200);
    assert_eq!(application.last().header("serviceidentity"), Some("batch.jobs"));
    assert!(tls.connect(&unlisted, inbound).await.is_err(), "AllowedEndpoints holds for IPv6 too");
    let mut plain = Wire::connect(&stranger, inbound).await;
    plain.offer("GET / HTTP/1.1\r\nhost: api.shop\r\n\r\n").await;
    assert!(!plain.rest().await.0.starts_with(b"HTTP/1.1 200"), "plaintext is let in");

    let metrics = SocketAddr::new(server.ip(), 15010);
    let reply = Wire::connect(&stranger, metrics).await.get("x", "/stats/prometheus").await;
    assert_eq!(reply.status(), 200);
    let admin = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 15000);
    assert_eq!(Wire::connect(&client, admin).await.get("localhost", "/ready").await.status(), 200);
    // The proxy's own port is no way in, and no loop.
    for port in [15001, 15003] {
        let at = SocketAddr::new(server.ip(), port);
        assert!(tls.connect(&stranger, at).await.is_err());
    }
    assert_eq!(echo.connections(), 1);
    drop((client_sidecar, server_sidecar));
}
