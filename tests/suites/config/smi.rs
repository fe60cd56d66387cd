//! The second example document: SMI mode with identities, ingress sources, and traffic splits.

use super::{ask, at, ip, status};
use fsm_tests::{
    Application, Fixture, LeafRequest, Mesh, Pod, Sidecar, TcpApplication, TlsClient, TlsServer, Wire, fixture,
};

struct Shop {
    example: Fixture,
    application: Application,
    web: Pod,
    admin: Pod,
    orders: Pod,
    mesh: Mesh,
    _sidecar: Sidecar,
}

async fn start() -> Option<Shop> {
    let mesh = Mesh::create()?;
    let example = fixture("smi");
    let orders = mesh.pod_at("orders", &[ip("10.244.7.7")]);
    let application = Application::start(&orders, &[at("127.0.0.1:8080")]);
    let sidecar = Sidecar::start(&orders, &example.document).await;
    Some(Shop {
        web: mesh.pod_at("web", &[ip("10.244.1.11")]),
        admin: mesh.pod_at("admin", &[ip("10.244.5.3")]),
        example,
        application,
        orders,
        mesh,
        _sidecar: sidecar,
    })
}

const ORDERS: &str = "10.244.7.7:80";

#[tokio::test]
async fn rules_decide_by_identity_method_path_and_header() {
    let Some(shop) = start().await else { return };
    let web = TlsClient::new(&shop.example.leaf("web.shop"));
    let admin = TlsClient::new(&shop.example.leaf("admin.ops"));
    let table = [
        ("web", "GET /orders HTTP/1.1\r\nhost: orders", 200),
        ("web", "GET /orders?page=2 HTTP/1.1\r\nhost: orders", 200),
        ("web", "POST /orders HTTP/1.1\r\nhost: orders\r\ncontent-length: 0", 403),
        ("web", "GET /orders/7 HTTP/1.1\r\nhost: orders", 403),
        ("web", "GET /x?y=/orders HTTP/1.1\r\nhost: orders", 403),
        ("web", "GET /other HTTP/1.1\r\nhost: orders", 403),
        ("admin", "GET /orders HTTP/1.1\r\nhost: orders", 403),
        ("web", "GET /orders HTTP/1.1\r\nhost: orders-v1.shop:80", 200),
        ("web", "POST /orders HTTP/1.1\r\nhost: orders-v1\r\nx-tenant: red\r\ncontent-length: 0", 200),
        ("web", "POST /orders HTTP/1.1\r\nhost: orders-v1\r\nX-Tenant: blue\r\ncontent-length: 0", 200),
        ("web", "POST /orders HTTP/1.1\r\nhost: orders-v1\r\nx-tenant: green\r\ncontent-length: 0", 403),
        ("web", "POST /orders HTTP/1.1\r\nhost: orders-v1\r\nx-tenant: bluered\r\ncontent-length: 0", 403),
        ("web", "POST /orders HTTP/1.1\r\nhost: orders-v1\r\ncontent-length: 0", 403),
        ("web", "GET /other HTTP/1.1\r\nhost: orders-v1", 403),
        ("web", "GET /other HTTP/1.1\r\nhost: orders-v1\r\nserviceidentity: admin.ops", 403),
        ("admin", "DELETE /anything HTTP/1.1\r\nhost: orders-v1", 200),
        ("admin", "GET / HTTP/1.1\r\nhost: nobody", 403),
    ];
    for (who, lines, expected) in table {
        let (pod, tls) = if who == "web" { (&shop.web, &web) } else { (&shop.admin, &admin) };
        let reply = ask(pod, Some(tls), at(ORDERS), lines).await.unwrap();
        assert_eq!(reply.status(), expected, "{who}: {lines:?} {:?}", reply.reason());
        assert_eq!(reply.reason().is_some(), expected == 403, "{who}: {lines:?}");
    }
    // The certificate decides, not the address: admin's certificate in web's pod is admin.
    let lines = "DELETE /anything HTTP/1.1\r\nhost: orders-v1";
    assert_eq!(status(&shop.web, Some(&admin), at(ORDERS), lines).await, 200);
}

#[tokio::test]
async fn ingress_sources_are_let_in_as_the_document_says() {
    let Some(shop) = start().await else { return };
    let plain = shop.mesh.pod_at("ingress", &[ip("10.244.9.5")]);
    let edge = shop.mesh.pod_at("edge", &[ip("172.20.3.4")]);
    let get = "GET /from/outside HTTP/1.1\r\nhost: www.example.org";
    assert_eq!(status(&plain, None, at(ORDERS), get).await, 200);
    assert_eq!(shop.application.last().target, "/from/outside");

    let principal = |name: &str| {
        let mut request = LeafRequest::new("edge.ingress");
        request.common_name = name.to_owned();
        request.dns_names = vec![name.to_owned()];
        TlsClient::new(&shop.example.mesh.issue(&request))
    };
    let known = principal("edge.example.internal");
    assert_eq!(status(&edge, Some(&known), at(ORDERS), get).await, 200);
    let other = ask(&edge, Some(&principal("other.example.internal")), at(ORDERS), get).await.unwrap();
    assert_eq!((other.status(), other.reason()), (403, Some("principal-not-allowed")));
    assert_eq!(other.text(), "Access denied");
    for refused in [None, Some(TlsClient::anonymous())] {
        let reply = ask(&edge, refused.as_ref(), at(ORDERS), get).await;
        assert!(!matches!(&reply, Ok(reply) if reply.status() < 400), "{reply:?}");
    }
    // Nobody else gets in through the wildcard host.
    let web = TlsClient::new(&shop.example.leaf("web.shop"));
    assert_eq!(status(&shop.web, Some(&web), at(ORDERS), get).await, 403);
    assert_eq!(shop.application.requests().len(), 2);
}

#[tokio::test]
async fn tcp_is_served_to_the_mesh_and_unknown_destinations_are_closed() {
    let Some(shop) = start().await else { return };
    let _echo = TcpApplication::echo(&shop.orders, at("127.0.0.1:9000"));
    let web = TlsClient::new(&shop.example.leaf("web.shop"));
    let mut wire = web.connect(&shop.web, at("10.244.7.7:9000")).await.unwrap();
    wire.send("tcp").await;
    assert_eq!(wire.read_exact(3).await, b"tcp");

    let outside = shop.mesh.pod_at("outside", &[ip("203.0.113.1")]);
    let unseen = TcpApplication::banner(&outside, at("203.0.113.1:7000"), b"hi");
    let mut wire = Wire::connect(&shop.orders, at("203.0.113.1:7000")).await;
    assert_eq!(wire.rest().await.0, b"");
    assert_eq!(unseen.connections(), 0);
}

#[tokio::test]
async fn a_split_of_75_to_25_is_exact() {
    let Some(shop) = start().await else { return };
    let tls = TlsServer::new(&shop.example.leaf("billing.shop"));
    let mut versions = Vec::new();
    let mut pods = Vec::new();
    for (name, address) in [("v1a", "10.244.1.61"), ("v1b", "10.244.2.62"), ("v2", "10.244.3.63")] {
        let pod = shop.mesh.pod_at(name, &[ip(address)]);
        versions.push(Application::start_tls(&pod, &[at(&format!("{address}:80"))], &tls));
        pods.push(pod);
    }
    let billing = at("10.96.50.1:80");
    for _ in 0..40 {
        let lines = "GET /v2/invoice HTTP/1.1\r\nhost: billing.shop";
        assert_eq!(status(&shop.orders, None, billing, lines).await, 200);
    }
    let counts: Vec<_> = versions.iter().map(|version| version.requests().len()).collect();
    assert_eq!(counts[2], 10, "{counts:?}");
    assert_eq!(counts[0] + counts[1], 30, "{counts:?}");
    assert_eq!(counts[0], 15, "both endpoints of a cluster share alike: {counts:?}");
    // Another method and another path take the second rule: all to the first version.
    for lines in [
        "POST /v2/invoice HTTP/1.1\r\nhost: billing\r\ncontent-length: 0",
        "GET /v1/invoice HTTP/1.1\r\nhost: billing.shop.svc:80",
    ] {
        for _ in 0..4 {
            assert_eq!(status(&shop.orders, None, billing, lines).await, 200);
        }
    }
    assert_eq!(versions[2].requests().len(), 10);
    let lines = "GET / HTTP/1.1\r\nhost: billing-v2";
    assert_eq!(status(&shop.orders, None, at("10.96.50.3:80"), lines).await, 200);
    assert_eq!(versions[2].requests().len(), 11);
}
