//! The drop-in: Pipy's command line, FSM's repository.

use flate2::{Compression, write::GzEncoder};
use fsm_tests::{Pair, Repository, Sidecar, TlsClient, eventually};
use serde_json::{Value, json};
use std::io::Write;

fn packed(document: &Value) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&serde_json::to_vec(document).unwrap()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_sidecar_lives_on_what_the_repository_publishes() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    let host = pair.scene.mesh.pod("controller");
    let repository = Repository::start(&host, std::net::SocketAddr::new(host.ip(), 6060));
    let document = |version: &str| {
        let mut document = pair.scene.server_document.json().clone();
        document["Version"] = json!(version);
        document
    };
    let (first, mut second) = (document("71"), document("72"));
    second["Inbound"]["TrafficMatches"]["80"]["HttpServiceRouteRules"]["api.shop"]["RouteRules"] = json!([]);

    // Compressed, and the base's empty document shines through: the first is the real one.
    let packed_first = packed(&first);
    repository.publish(&[("config.json.gz", &packed_first), ("config.json", b"{}"), ("plugins/x.js", b"")]);
    pair.server_sidecar.kill().await;
    pair.server_sidecar = Sidecar::launch_from_repository(&pair.scene.server, &repository.url());
    pair.server_sidecar.ready().await;
    assert_eq!(pair.server_sidecar.version().await, "71");
    pair.assert_healthy().await;
    eventually("a status is reported", async || repository.was_asked("POST", "")).await;

    // Uncompressed, as older controllers publish.
    repository.publish(&[("config.json", &serde_json::to_vec(&second).unwrap())]);
    let sidecar = &pair.server_sidecar;
    eventually("the second document is in force", async || sidecar.version().await == "72").await;
    let reply = pair.http1(&pair.scene.http).await.get("api.shop", "/").await;
    assert_eq!((reply.status, reply.reason()), (403, Some("no-route")));

    // Between two publications only the base's document is there.
    repository.publish(&[("config.json", b"{}")]);
    eventually("the base's document is fetched", async || repository.was_asked("GET", "config.json")).await;
    repository.publish(&[]);
    eventually("the missing codebase is asked for", async || !repository.requests().is_empty()).await;
    assert_eq!(pair.server_sidecar.version().await, "72");

    repository.publish(&[("config.json.gz", &packed_first)]);
    let sidecar = &pair.server_sidecar;
    eventually("the first document is in force again", async || sidecar.version().await == "71").await;

    // The controller is gone, and the sidecar restarts. It has kept what it has reported.
    eventually("the first document is reported again", async || repository.was_asked("POST", "")).await;
    repository.go_down();
    pair.server_sidecar.kill().await;
    pair.server_sidecar = Sidecar::launch_from_repository(&pair.scene.server, &repository.url());
    pair.server_sidecar.ready().await;
    let tls = TlsClient::new(&pair.leaf("web.shop"));
    assert_eq!(pair.intruding_get(&pair.scene.http, &tls, "").await.unwrap().status(), 200);
}

#[tokio::test]
async fn without_a_document_captured_connections_are_refused() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let host = pair.scene.mesh.pod("controller");
    let repository = Repository::start(&host, std::net::SocketAddr::new(host.ip(), 6060));
    repository.publish(&[("config.json", b"{}")]);
    let pod = pair.scene.mesh.pod("new");
    let sidecar = Sidecar::launch_from_repository(&pod, &repository.url());
    eventually("the base's document is fetched", async || repository.was_asked("GET", "config.json")).await;
    assert_eq!(sidecar.admin("/ready").await.status(), 503);
    assert!(pod.connect(pair.scene.http.address()).await.is_err(), "nobody listens yet");
}
