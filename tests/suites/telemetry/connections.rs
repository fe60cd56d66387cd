//! Connections that carry no HTTP: a line when they end, and counters that name both ends.

use super::records::{lines, logging_pair, writable};
use fsm_tests::{End, Pair, Scene, Wire};
use serde_json::{Value, json};
use std::net::SocketAddr;

async fn logged(path: &std::path::Path, count: usize) -> Vec<Value> {
    lines(path, count).await.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn each_side_logs_a_tcp_connection_when_it_has_ended() {
    let Some((pair, directory)) = logging_pair().await else { return };
    let service = &pair.scene.tcp;
    let mut wire = pair.dial(service).await;
    wire.send("twelve bytes").await;
    wire.read_exact(12).await;
    wire.finish().await;
    assert_eq!(wire.rest().await, (b"bye".to_vec(), End::Closed));

    let client = &logged(&directory.join("client.log"), 1).await[0];
    let server = &logged(&directory.join("server.log"), 1).await[0];
    for line in [client, server] {
        assert_eq!((&line["protocol"], &line["ended"]), (&json!("TCP"), &json!("closed")), "{line}");
        assert_eq!((&line["requestBytes"], &line["responseBytes"]), (&json!(12), &json!(15)), "{line}");
        assert_eq!(line["mtls"], true, "{line}");
        assert!(line["durationMs"].as_f64().unwrap() > 0.0 && line["method"].is_null(), "{line}");
    }
    assert_eq!((&client["direction"], &client["cluster"]), (&json!("outbound"), &json!(service.cluster())));
    assert!(client["serverIdentity"].as_str().unwrap().starts_with("api.shop"), "{client}");
    assert_eq!(server["direction"], "inbound");
    assert!(server["identity"].as_str().unwrap().starts_with("web.shop"), "{server}");
}

#[tokio::test]
async fn what_was_refused_or_cut_off_is_logged_with_its_reason_and_what_went_well_is_not() {
    let Some(mut scene) = Scene::new() else { return };
    let path = writable(&scene).join("errors.log");
    let log = json!({ "accessLog": { "path": path.display().to_string(), "errorsOnly": true } });
    scene.client_document = scene.client_document.set("/Spec/Observability", log);
    let pair = scene.start().await;
    let service = pair.scene.tcp.clone();
    let mut well = pair.dial(&service).await;
    well.finish().await;
    well.rest().await;

    let outside = SocketAddr::from(([203, 0, 113, 7], 7777));
    Wire::connect(&pair.scene.client, outside).await.rest().await;
    let refused = &logged(&path, 1).await[0];
    assert_eq!(refused["reason"], "unknown-destination", "{refused}");
    assert_eq!(refused["destination"], outside.to_string(), "{refused}");

    let mut wire = pair.dial(&service).await;
    wire.send("hello").await;
    wire.read_exact(5).await;
    let without = pair.scene.client_document.clone().set("/Outbound/TrafficMatches/9000", json!([]));
    pair.client_sidecar.update(without.json()).await;
    wire.rest().await;
    let cut = &logged(&path, 2).await[1];
    assert_eq!((&cut["requestBytes"], &cut["responseBytes"]), (&json!(5), &json!(5)), "{cut}");
    assert!(cut["reason"].is_string() && cut["detail"].as_str().unwrap().contains("configuration"), "{cut}");
}

#[tokio::test]
async fn the_server_name_that_a_client_asks_for_is_logged() {
    let Some(mut scene) = Scene::new() else { return };
    let path = writable(&scene).join("access.log");
    let log = json!({ "accessLog": { "path": path.display().to_string() } });
    scene.client_document = scene
        .client_document
        .set("/Spec/Observability", log)
        .set("/Outbound/ClustersConfigs/outside|443", json!({ "Endpoints": { "known.example:443": { "Weight": 100 } } }))
        .set(
            "/Outbound/TrafficMatches/443",
            json!([{ "Port": 443, "Protocol": "https", "TcpServiceRouteRules": { "TargetClusters": { "outside|443": 100 } } }]),
        );
    let pair = scene.start().await;
    let mut wire = Wire::connect(&pair.scene.client, SocketAddr::from(([203, 0, 113, 7], 443))).await;
    wire.offer(super::cardinality::hello("wanted.example")).await;
    wire.rest().await;
    let line = &logged(&path, 1).await[0];
    assert_eq!(
        (&line["serverName"], &line["reason"]),
        (&json!("wanted.example"), &json!("unknown-server-name")),
        "{line}"
    );
}

#[tokio::test]
async fn tcp_connections_name_the_server_by_its_certificate() {
    let Some(pair) = Pair::start().await else { return };
    let service = &pair.scene.tcp;
    let mut wire = pair.dial(service).await;
    wire.finish().await;
    wire.rest().await;
    let shown: Value = serde_json::from_slice(&pair.client_sidecar.admin("/signals").await.body).unwrap();
    let cluster =
        shown["outbound"].as_array().unwrap().iter().find(|shown| shown["cluster"] == service.cluster()).unwrap();
    let edge = &cluster["edges"][0];
    assert_eq!(
        (&edge["peer"], &edge["mtls"]),
        (&json!({ "namespace": "shop", "name": "api" }), &json!(true)),
        "{edge}"
    );
    assert_eq!(edge["connections"], 1, "{edge}");
    let labels = ["destination_namespace=\"shop\"", "destination_name=\"api\"", "mtls=\"true\""];
    assert_eq!(pair.client_sidecar.metric("fsm_proxy_outbound_connections_total", &labels).await, 1.0);
}
