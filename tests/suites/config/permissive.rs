//! The first example document: permissive mode, one pod that serves and calls.

use super::{ask, at, ip, status};
use fsm_tests::{Application, Mesh, Sidecar, TcpApplication, TlsClient, TlsServer, Wire, fixture, http2};
use std::collections::BTreeSet;

#[tokio::test]
async fn the_permissive_document_serves_calls_and_passes_through() {
    let Some(mesh) = Mesh::create() else { return };
    let example = fixture("permissive");
    let web = mesh.pod_at("web", &[ip("10.244.1.11")]);
    let carts = [mesh.pod_at("cart-a", &[ip("10.244.1.21")]), mesh.pod_at("cart-b", &[ip("10.244.2.22")])];
    let rates = mesh.pod_at("rates", &[ip("10.244.3.9")]);
    let redis = mesh.pod_at("redis", &[ip("10.244.1.40")]);

    let application = Application::start(&web, &[at("127.0.0.1:8080"), at("127.0.0.1:8081")]);
    let cart_tls = TlsServer::new(&example.leaf("cart.shop"));
    // An old peer: TLS 1.2 is all that it has.
    let rates_tls = TlsServer::tls12(&example.leaf("rates.bank"));
    let cart_a = Application::start_tls(&carts[0], &[at("10.244.1.21:80")], &cart_tls);
    let cart_b = Application::start_tls(&carts[1], &[at("10.244.2.22:80")], &cart_tls);
    let rates_application = Application::start_tls(&rates, &[at("10.244.3.9:80")], &rates_tls);
    let redis_application =
        Application::start_tls(&redis, &[at("10.244.1.40:6379")], &TlsServer::new(&example.leaf("redis.shop")));
    let sidecar = Sidecar::start(&web, &example.document).await;

    // Inbound: service port 80 is container port 8080, for any certificate of the mesh …
    let cart = TlsClient::new(&example.leaf("cart.shop"));
    let inbound = at("10.244.1.11:80");
    for host in ["web", "web.shop:80", "web.shop.svc.cluster.local"] {
        let get = format!("GET /in HTTP/1.1\r\nhost: {host}");
        assert_eq!(status(&carts[0], Some(&cart), inbound, &get).await, 200, "{host}");
    }
    assert_eq!(application.last().header("serviceidentity"), Some("cart.shop"));
    assert_eq!(status(&carts[0], Some(&cart), inbound, "GET / HTTP/1.1\r\nhost: cart.shop").await, 403);
    // … but not in plaintext, nor from an address that is not listed.
    let get = "GET / HTTP/1.1\r\nhost: web.shop";
    assert!(!matches!(ask(&carts[0], None, inbound, get).await, Ok(reply) if reply.status() == 200));
    let stranger = mesh.pod_at("stranger", &[ip("10.244.9.9")]);
    assert!(!matches!(ask(&stranger, Some(&cart), inbound, get).await, Ok(reply) if reply.status() == 200));

    // Outbound HTTP: both endpoints get their share, one connection each time.
    let mut pods = BTreeSet::new();
    for _ in 0..4 {
        let reply = ask(&web, None, at("10.96.14.7:80"), "GET /out HTTP/1.1\r\nhost: cart.shop").await.unwrap();
        assert_eq!(reply.status(), 200, "{:?}", reply.reason());
        let echo: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        pods.insert(echo["pod"].as_str().unwrap().to_owned());
    }
    assert_eq!(pods.len(), 2, "only {pods:?} was asked");
    assert_eq!(cart_a.requests().len(), 2);
    assert_eq!(cart_b.last().header("serviceidentity"), Some("web.shop"));

    // Two services share the port; the host tells them apart, by either cluster IP's match.
    let mut client = http2(Wire::connect(&web, at("10.96.20.31:80")).await).await;
    let mut call = fsm_tests::request("POST", "", "http://rates.bank/bank.Rates/Get", fsm_tests::full("m"));
    call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let reply = client.call(call).await;
    assert_eq!((reply.status, reply.trailer("grpc-status")), (200, Some("0")), "{:?}", reply.reason());
    assert_eq!(rates_application.last().remote.ip(), web.ip());
    let unknown = ask(&web, None, at("10.96.14.7:80"), "GET / HTTP/1.1\r\nhost: nobody.shop").await.unwrap();
    assert_eq!((unknown.status(), unknown.reason()), (403, Some("no-service")));

    // Outbound TCP is opaque: HTTP passes as bytes, without identity header.
    assert_eq!(status(&web, None, at("10.96.33.2:6379"), "GET /tcp HTTP/1.1\r\nhost: anything").await, 200);
    assert_eq!(redis_application.last().header("serviceidentity"), None);

    // EnableEgress: what nobody knows passes through.
    let outside = mesh.pod_at("outside", &[ip("203.0.113.1")]);
    let _echo = TcpApplication::echo(&outside, at("203.0.113.1:7000"));
    let mut wire = Wire::connect(&web, at("203.0.113.1:7000")).await;
    wire.send("out").await;
    assert_eq!(wire.read_exact(3).await, b"out");

    // The probe of the document, answered by the application's own path.
    assert_eq!(status(&stranger, None, at("10.244.1.11:15901"), "GET /fsm-healthcheck HTTP/1.1\r\nhost: x").await, 200);
    assert_eq!(application.last().target, "/livez");
    assert_eq!(sidecar.admin("/ready").await.status(), 200);
}
