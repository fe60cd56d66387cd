//! A20, A24: who a client is, is what its certificate says; and which certificates are let in.

use fsm_tests::{Authority, LeafRequest, Pair, Scene, Service, Sidecar, TlsClient, eventually};
use serde_json::json;

/// Counts handshakes with servers for which the document names no identity.
const UNNAMED: &str = "fsm_proxy_unnamed_server_identities_total";

/// Only `admin.ops` may ask for anything but `/open`.
fn guarded() -> Option<Scene> {
    let mut scene = Scene::new()?;
    let rules = vec![
        json!({"Path": "/open", "Type": "Regex"}),
        json!({"Path": ".*", "Type": "Regex", "AllowedServices": ["admin.ops"]}),
    ];
    let http = scene.http.clone();
    scene.server_document = scene.server_document.clone().serve_rules(&http, rules);
    Some(scene)
}

#[tokio::test]
async fn certificates_that_prove_nothing_are_refused() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let request = LeafRequest::new("web.shop");
    let mut self_made = Authority::new("fsm-ca.fsm.io").leaf("web.shop");
    self_made.authority = pair.scene.authority.pem().to_owned();
    let refused = [
        ("none", TlsClient::anonymous()),
        ("of another authority", TlsClient::new(&Authority::new("other").leaf("web.shop"))),
        ("of a namesake authority", TlsClient::new(&self_made)),
        ("expired", TlsClient::new(&pair.scene.authority.issue(&request.clone().expired()))),
        ("not yet valid", TlsClient::new(&pair.scene.authority.issue(&request.not_yet_valid()))),
    ];
    for (name, tls) in refused {
        for tls in [tls.clone(), tls.tls12()] {
            let reply = pair.intruding_get(&pair.scene.http, &tls, "").await;
            assert!(reply.is_err(), "certificate {name}: {}", reply.unwrap().start);
            let tcp = tls.connect(&pair.scene.stranger, pair.inbound(&pair.scene.tcp)).await;
            if let Ok(mut wire) = tcp {
                wire.offer("hello").await;
                assert_eq!(wire.rest().await.0, b"", "certificate {name}");
            }
        }
        pair.assert_healthy().await;
    }
    assert_eq!(pair.echo.connections(), 0);
    assert!(pair.application.requests().iter().all(|seen| seen.target == "/healthy"));
}

#[tokio::test]
async fn every_kind_of_good_certificate_is_let_in() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    for request in [
        LeafRequest::new("web.shop"),
        LeafRequest::new("web.shop").rsa().hosts(&["web", "web.shop.svc"]),
        LeafRequest::new("web.shop").spiffe(),
    ] {
        let tls = TlsClient::new(&pair.scene.authority.issue(&request));
        for tls in [tls.clone(), tls.tls12()] {
            let reply = pair.intruding_get(&pair.scene.http, &tls, "").await;
            let reply = reply.unwrap_or_else(|fault| panic!("{request:?}: {fault}"));
            assert_eq!(reply.status(), 200, "{request:?}: {:?}", reply.reason());
            assert_eq!(pair.application.last().header("serviceidentity"), Some("web.shop"));
        }
    }
}

#[tokio::test]
async fn a20_identity_headers_of_clients_are_replaced_by_the_verified_identity() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let tls = TlsClient::new(&pair.leaf("mallory.evil"));
    for spoof in [
        "serviceidentity: admin.ops\r\n",
        "ServiceIdentity: admin.ops\r\nserviceidentity: admin.ops\r\n",
        "serviceidentity: admin.ops\r\nconnection: serviceidentity\r\n",
        "connection: serviceidentity\r\n",
        "connection: close, serviceidentity, host\r\n",
    ] {
        let reply = pair.intruding_get(&pair.scene.http, &tls, spoof).await.unwrap();
        assert_eq!(reply.status(), 200, "{spoof:?}: {:?}", reply.reason());
        let echo: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(echo["headers"]["serviceidentity"], json!(["mallory.evil"]), "{spoof:?}");
        assert_eq!(echo["headers"]["host"], json!(["api.shop"]), "{spoof:?}");
    }
    // The same from an application behind its own sidecar.
    let mut wire = pair.dial(&pair.scene.http).await;
    wire.send("GET /x HTTP/1.1\r\nhost: api.shop\r\nserviceidentity: admin.ops\r\nconnection: serviceidentity\r\n\r\n")
        .await;
    assert_eq!(wire.response("GET").await.status(), 200);
    assert_eq!(pair.application.last().header("serviceidentity"), Some("web.shop"));
}

#[tokio::test]
async fn a20_a_spoofed_identity_opens_no_route() {
    let Some(scene) = guarded() else { return };
    let pair = scene.start().await;
    let http = &pair.scene.http;
    for spoof in ["", "serviceidentity: admin.ops\r\n", "x-forwarded-client-cert: By=admin.ops\r\n"] {
        let mallory = TlsClient::new(&pair.leaf("mallory.evil"));
        let reply = pair.intruding_get(http, &mallory, spoof).await.unwrap();
        assert_eq!((reply.status(), reply.reason()), (403, Some("identity-not-allowed")), "{spoof:?}");
        assert_eq!(reply.text(), "Access denied");
    }
    let admin = TlsClient::new(&pair.leaf("admin.ops"));
    assert_eq!(pair.intruding_get(http, &admin, "").await.unwrap().status(), 200);
    // Names that merely begin or end like a permitted one are other names.
    for other in ["admin.opsx", "xadmin.ops", "admin.ops.evil"] {
        let tls = TlsClient::new(&pair.leaf(other));
        let reply = pair.intruding_get(http, &tls, "").await.unwrap();
        assert_eq!(reply.status(), 403, "{other}");
    }
    let mut client = pair.http1(http).await;
    assert_eq!(client.get("api.shop", "/open").await.status, 200);
    assert_eq!(client.get("api.shop", "/closed").await.status, 403);
    assert_eq!(client.get("api.shop", "/open").await.status, 200);
}

#[tokio::test]
async fn a_server_with_the_wrong_identity_gets_no_request() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let http = scene.http.clone();
    scene.client_document = scene.client_document.clone().identities(&http, &["billing.shop"]);
    let pair = scene.start().await;
    let reply = pair.http1(&http).await.get("api.shop", "/secret").await;
    assert_eq!((reply.status, reply.reason()), (502, Some("upstream-identity")));
    assert!(pair.application.requests().is_empty());
    // Neither do bytes get there.
    let tcp = pair.scene.tcp.clone();
    pair.client_sidecar.update(pair.scene.client_document.clone().identities(&tcp, &["billing.shop"]).json()).await;
    let mut wire = pair.dial(&tcp).await;
    wire.offer("secret").await;
    assert_eq!(wire.rest().await.0, b"");
    assert_eq!(pair.echo.connections(), 0);
    refused(&pair.client_sidecar, "upstream-identity", 2).await;
    assert_eq!(pair.client_sidecar.metric(UNNAMED, &[]).await as u64, 0);
    // A server may have one of several identities, or be named with its trust domain.
    for names in [&["billing.shop", "api.shop"][..], &["api.shop.cluster.local"]] {
        let document = pair.scene.client_document.clone().identities(&http, names);
        pair.client_sidecar.update(document.json()).await;
        assert_eq!(pair.http1(&http).await.get("api.shop", "/").await.status, 200, "{names:?}");
    }
    assert_eq!(pair.client_sidecar.metric(UNNAMED, &[]).await as u64, 0);
}

#[tokio::test]
async fn a_document_without_server_identities_accepts_any_server_of_the_mesh_and_no_other() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let http = scene.http.clone();
    let unchecked = scene.client_document.clone().call(&http, &[scene.server.ip()]);
    scene.client_document = unchecked;
    let pair = scene.start().await;
    assert_eq!(pair.http1(&http).await.get("api.shop", "/any").await.status, 200);
    // Counted, so that an operator knows whether any cluster is left unnamed.
    assert_eq!(pair.client_sidecar.metric(UNNAMED, &["shop/api|8080"]).await as u64, 1);
    assert_eq!(pair.http1(&pair.scene.grpc).await.get("grpc.shop", "/").await.status, 200);
    assert_eq!(pair.client_sidecar.metric(UNNAMED, &[]).await as u64, 1);

    let Some(mut scene) = Scene::new() else {
        return;
    };
    let foreign = Authority::new("foreign").leaf("api.shop");
    scene.client_document = scene.client_document.clone().call(&http, &[scene.server.ip()]);
    scene.server_document = scene.server_document.clone().set("/Certificate", foreign.json());
    let pair = scene.start().await;
    let reply = pair.http1(&http).await.get("api.shop", "/secret").await;
    assert_eq!((reply.status, reply.reason()), (502, Some("upstream-tls")));
    assert!(pair.application.requests().is_empty());
}

#[tokio::test]
async fn an_address_that_may_not_connect_is_closed_even_with_a_good_certificate() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let unlisted = pair.scene.mesh.pod("unlisted");
    let tls = TlsClient::new(&pair.leaf("web.shop"));
    for service in [&pair.scene.http, &pair.scene.tcp] {
        if let Ok(mut wire) = tls.connect(&unlisted, pair.inbound(service)).await {
            wire.offer("GET / HTTP/1.1\r\nhost: api.shop\r\n\r\n").await;
            let (rest, _) = wire.rest().await;
            assert!(!rest.starts_with(b"HTTP/1.1 200") && !rest.starts_with(b"GET"), "{rest:?}");
        }
    }
    assert!(pair.application.requests().is_empty());
    assert_eq!(pair.echo.connections(), 0);
    pair.assert_healthy().await;
}

/// Waits for a number of refusals: a connection is counted just after its client has seen the end.
async fn refused(sidecar: &Sidecar, reason: &str, expected: u64) {
    let label = format!("reason=\"{reason}\"");
    eventually(&format!("{expected} refusals for {reason}"), async || {
        let refusals = sidecar.metric("fsm_proxy_refusals_total", &[&label]).await as u64;
        assert!(refusals <= expected, "{refusals} refusals for {reason}");
        refusals == expected
    })
    .await;
}

/// What the TCP service answers to a pod with this certificate.
async fn echoed(pair: &Pair, service: &Service, identity: &str) -> Vec<u8> {
    let tls = TlsClient::new(&pair.leaf(identity));
    let Ok(mut wire) = tls.connect(&pair.scene.stranger, pair.inbound(service)).await else { return Vec::new() };
    wire.offer("hello").await;
    wire.finish().await;
    wire.rest().await.0
}

#[tokio::test]
async fn tcp_services_admit_the_identities_that_the_document_names() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let rules = |port: u16| format!("/Inbound/TrafficMatches/{port}/TcpServiceRouteRules/AllowedServices");
    let (tcp, banner) = (scene.tcp.clone(), scene.banner.clone());
    scene.server_document = scene
        .server_document
        .clone()
        .set(&rules(tcp.port), json!(["admin.ops", "batch.jobs"]))
        .set(&rules(banner.port), json!([]));
    let pair = scene.start().await;
    for admitted in ["admin.ops", "batch.jobs"] {
        assert_eq!(echoed(&pair, &tcp, admitted).await, b"hellobye", "{admitted}");
    }
    for refused in ["web.shop", "admin.opsx", "xadmin.ops", "admin", "ops"] {
        assert_eq!(echoed(&pair, &tcp, refused).await, b"", "{refused}");
    }
    // Nobody is on an empty list, and a server that speaks first is not even asked.
    assert_eq!(echoed(&pair, &banner, "admin.ops").await, b"");
    assert_eq!((pair.echo.connections(), pair.banner.connections()), (2, 0));
    refused(&pair.server_sidecar, "identity-not-allowed", 6).await;
    // The client of the scene is web.shop: through its sidecar it fares no better.
    let mut wire = pair.dial(&tcp).await;
    wire.offer("hello").await;
    assert_eq!(wire.rest().await.0, b"");
    // Without the list everybody of the mesh is admitted.
    pair.server_sidecar.update(pair.scene.server_document.clone().set(&rules(tcp.port), json!(null)).json()).await;
    assert_eq!(echoed(&pair, &tcp, "web.shop").await, b"hellobye");
}
