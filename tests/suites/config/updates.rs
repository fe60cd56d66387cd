//! Changes of the document: in force at once for what is new, without disturbing what is under way.

use fsm_tests::{
    Authority, LeafRequest, Pair, Scene, Sidecar, SidecarOptions, TcpApplication, TlsClient, Wire, empty, eventually,
    next_data, request,
};
use serde_json::{Value, json};
use std::net::SocketAddr;

#[tokio::test]
async fn a_change_leaves_open_responses_and_tunnels_alone() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http1(&pair.scene.http).await;
    let mut events = client.send(request("GET", "api.shop", "/sse", empty())).await;
    assert_eq!(next_data(&mut events).await.unwrap(), "data: first\n\n");
    let mut tunnel = pair.dial(&pair.scene.tcp).await;
    tunnel.send("a").await;
    tunnel.read_exact(1).await;

    // Everybody is denied from now on, on both sides.
    let deny = json!([{"Path": ".*", "Type": "Regex", "AllowedServices": ["nobody.nowhere"], "TargetClusters": {"shop/api|8080|local": 100}}]);
    let rules = "/Inbound/TrafficMatches/80/HttpServiceRouteRules/api.shop/RouteRules";
    let server = pair.scene.server_document.clone().set(rules, deny);
    pair.server_sidecar.update(server.json()).await;
    let unrelated = pair.scene.client_document.clone().egress(true);
    pair.client_sidecar.update(unrelated.json()).await;

    let reply = pair.http1(&pair.scene.http).await.get("api.shop", "/new").await;
    assert_eq!((reply.status, reply.reason()), (403, Some("identity-not-allowed")));
    pair.application.release();
    assert_eq!(next_data(&mut events).await.unwrap(), "data: second\n\n");
    assert_eq!(next_data(&mut events).await, None);
    tunnel.send("b").await;
    assert_eq!(tunnel.read_exact(1).await, b"b");
}

#[tokio::test]
async fn tcp_connections_end_when_their_destination_is_withdrawn() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    scene.client_document = scene.client_document.clone().egress(true);
    let outside = scene.mesh.pod_at("outside", &["203.0.113.9".parse().unwrap()]);
    let at = SocketAddr::new(outside.ip(), 7000);
    let _echo = TcpApplication::echo(&outside, at);
    let pair = scene.start().await;
    let mut mesh = pair.dial(&pair.scene.tcp).await;
    let mut passing = Wire::connect(&pair.scene.client, at).await;
    for wire in [&mut mesh, &mut passing] {
        wire.send("a").await;
        assert_eq!(wire.read_exact(1).await, b"a");
    }

    let unrelated = pair.scene.client_document.clone().set("/Spec/SidecarTimeout", json!(59));
    pair.client_sidecar.update(unrelated.json()).await;
    for wire in [&mut mesh, &mut passing] {
        wire.send("b").await;
        assert_eq!(wire.read_exact(1).await, b"b", "an unrelated change ends nothing");
    }

    pair.client_sidecar.update(unrelated.clone().egress(false).json()).await;
    assert_eq!(passing.rest().await.0, b"", "egress was switched off");
    mesh.send("c").await;
    assert_eq!(mesh.read_exact(1).await, b"c", "the mesh is not the outside");

    let matches = format!("/Outbound/TrafficMatches/{}", pair.scene.tcp.port);
    let none = unrelated.egress(false).set(&matches, json!([]));
    pair.client_sidecar.update(none.json()).await;
    assert_eq!(mesh.rest().await.0, b"", "the service was withdrawn");
}

#[tokio::test]
async fn an_unrelated_change_keeps_connections_to_the_application() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http1(&pair.scene.http).await;
    assert_eq!(client.get("api.shop", "/before").await.status, 200);
    for on in [true, false] {
        pair.client_sidecar.update(pair.scene.client_document.clone().egress(on).json()).await;
        pair.server_sidecar.update(pair.scene.server_document.clone().egress(on).json()).await;
        assert_eq!(client.get("api.shop", "/after").await.status, 200);
    }
    assert_eq!(pair.application.connections(), 1, "pools survive unrelated changes");
}

#[tokio::test]
async fn a_kept_alive_connection_follows_the_new_rules() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http1(&pair.scene.http).await;
    assert_eq!(client.get("api.shop", "/x").await.status, 200);
    let rules = "/Inbound/TrafficMatches/80/HttpServiceRouteRules/api.shop/RouteRules";
    let none = pair.scene.server_document.clone().set(rules, json!([]));
    pair.server_sidecar.update(none.json()).await;
    let reply = client.get("api.shop", "/x").await;
    assert_eq!((reply.status, reply.reason()), (403, Some("no-route")), "revoked access ends at once");
    pair.server_sidecar.update(pair.scene.server_document.json()).await;
    assert_eq!(client.get("api.shop", "/x").await.status, 200);
}

#[tokio::test]
async fn a_broken_document_leaves_the_last_good_one_in_force() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    let good = pair.server_sidecar.version().await;
    for broken in [&b""[..], b"{", b"[]", b"null", b"\"x\"", b"\xff\xfe", b"\x1f\x8b\x08broken"] {
        pair.server_sidecar.replace(broken);
        let before = pair.server_sidecar.log().len();
        let sidecar = &pair.server_sidecar;
        eventually(&format!("{broken:?} is reported"), async || {
            let log = sidecar.log();
            log.len() > before && log[before..].iter().any(|line| line.contains("config.json"))
        })
        .await;
        assert_eq!(pair.server_sidecar.version().await, good, "{broken:?}");
        pair.assert_healthy().await;
    }
    assert!(pair.server_sidecar.is_running());
    // The next good one is taken.
    pair.server_sidecar.update(pair.scene.server_document.json()).await;
    pair.assert_healthy().await;
}

#[tokio::test]
async fn a_broken_rule_denies_and_leaves_the_others_in_force() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let rules = "/Inbound/TrafficMatches/81/HttpServiceRouteRules/raw.shop/RouteRules";
    let broken = json!([{"Path": "(", "Type": "Regex", "TargetClusters": {"shop/raw|8081|local": 100}}]);
    let document = pair.scene.server_document.clone().set(rules, broken);
    pair.server_sidecar.update(document.json()).await;
    pair.assert_healthy().await;
    let reply = pair.http1(&pair.scene.raw).await.get("raw.shop", "/").await;
    assert_eq!((reply.status, reply.reason()), (403, Some("broken-rule")));
    pair.server_sidecar.logs("RouteRules").await;
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_leaves_old_ones() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut old = pair.intrude(&pair.scene.http, &pair.leaf("web.shop")).await;
    assert_eq!(old.get("api.shop", "/old").await.status(), 200);
    let mut tunnel = pair.dial(&pair.scene.tcp).await;
    tunnel.send("a").await;
    tunnel.read_exact(1).await;

    let request = LeafRequest::new("api.shop").hosts(&["renewed.shop"]);
    let renewed = pair.scene.authority.issue(&request);
    let document = pair.scene.server_document.clone().set("/Certificate", renewed.json());
    pair.server_sidecar.update(document.json()).await;

    let stream = pair.scene.stranger.connect(pair.inbound(&pair.scene.http)).await.unwrap();
    let tls = TlsClient::new(&pair.leaf("web.shop"));
    let (mut new, certificate) = tls.wrap(stream).await.unwrap();
    let renewed_name = b"renewed.shop";
    assert!(
        certificate.windows(renewed_name.len()).any(|window| window == renewed_name),
        "new connections get the new certificate"
    );
    assert_eq!(new.get("api.shop", "/new").await.status(), 200);
    assert_eq!(old.get("api.shop", "/old").await.status(), 200);
    tunnel.send("b").await;
    assert_eq!(tunnel.read_exact(1).await, b"b");
    pair.assert_healthy().await;
}

#[tokio::test]
async fn a_new_authority_is_trusted_and_the_old_one_no_more() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let next = Authority::new("next");
    let document = pair.scene.server_document.clone().set("/Certificate", next.leaf("api.shop").json());
    pair.server_sidecar.update(document.json()).await;
    let of = |authority: &Authority| TlsClient::new(&authority.leaf("web.shop"));
    let old = pair.intruding_get(&pair.scene.http, &of(&pair.scene.authority), "").await;
    assert!(old.is_err(), "{}", old.unwrap().start);
    let new = pair.intruding_get(&pair.scene.http, &of(&next), "").await.unwrap();
    assert_eq!(new.status(), 200);
}

#[tokio::test]
async fn a_new_port_opens_and_a_removed_one_closes() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let extra = fsm_tests::Service::new("extra", "shop", "http", 8088, 8080, &["10.96.0.30"]);
    let tls = TlsClient::new(&pair.leaf("web.shop"));
    assert!(pair.intruding_get(&extra, &tls, "").await.is_err(), "unknown ports are closed");
    let served = pair.scene.server_document.clone().serve(&extra);
    pair.server_sidecar.update(served.json()).await;
    let called = pair.scene.client_document.clone().call(&extra, &[pair.scene.server.ip()]);
    pair.client_sidecar.update(called.json()).await;
    assert_eq!(pair.http1(&extra).await.get("extra.shop", "/").await.status, 200);
    pair.server_sidecar.update(pair.scene.server_document.json()).await;
    assert!(pair.intruding_get(&extra, &tls, "").await.is_err());
    pair.assert_healthy().await;
}

#[tokio::test]
async fn a_proxy_without_a_document_is_not_ready_and_admits_nobody() {
    let Some(scene) = fsm_tests::Scene::new() else {
        return;
    };
    let mut sidecar = Sidecar::launch(&scene.server, b"not json", &SidecarOptions::default());
    eventually("the admin port answers", async || {
        let admin = ([127, 0, 0, 1], 15000).into();
        scene.server.connect(admin).await.is_ok()
    })
    .await;
    assert_eq!(sidecar.admin("/ready").await.status(), 503);
    let tls = TlsClient::new(&scene.authority.leaf("web.shop"));
    let to = std::net::SocketAddr::new(scene.server.ip(), 80);
    assert!(tls.connect(&scene.stranger, to).await.is_err());
    assert!(sidecar.is_running());
    // The right document brings it up.
    let mut document: Value = scene.server_document.json().clone();
    document["Version"] = json!("1");
    sidecar.replace(&serde_json::to_vec(&document).unwrap());
    sidecar.ready().await;
    assert!(tls.connect(&scene.stranger, to).await.is_ok());
}
