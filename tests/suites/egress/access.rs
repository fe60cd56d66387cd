//! Into the mesh: sources outside of it, and TCP clients whose permission is withdrawn.

use fsm_tests::{Authority, Pair, Scene, TlsClient, Wire, eventually};
use serde_json::json;

const PORT: &str = "/Inbound/TrafficMatches/80/SourceIPRanges";

#[tokio::test]
async fn a_live_tcp_connection_ends_when_its_permission_is_withdrawn() {
    let Some(mut scene) = Scene::new() else { return };
    let allowed = "/Inbound/TrafficMatches/9000/TcpServiceRouteRules/AllowedServices";
    scene.server_document = scene.server_document.clone().set(allowed, json!(["web.shop"]));
    let pair = scene.start().await;
    let mut wire = pair.dial(&pair.scene.tcp).await;
    wire.send("one").await;
    assert_eq!(wire.read_exact(3).await, b"one");
    // A change that still admits it leaves it alone.
    let document = pair.scene.server_document.clone().set(allowed, json!(["other.shop", "web.shop"]));
    pair.server_sidecar.update(document.json()).await;
    wire.send("two").await;
    assert_eq!(wire.read_exact(3).await, b"two");
    let document = document.set(allowed, json!(["other.shop"]));
    pair.server_sidecar.update(document.json()).await;
    assert_eq!(wire.rest().await.0, b"", "the connection ends without a byte more");
    let reason = ["direction=\"inbound\"", "reason=\"identity-not-allowed\""];
    eventually("the end is counted under its reason", async || {
        pair.server_sidecar.metric("fsm_proxy_refusals_total", &reason).await >= 1.0
    })
    .await;
}

#[tokio::test]
async fn skipping_the_validation_of_clients_skips_the_names_and_not_the_certificate() {
    let Some(mut scene) = Scene::new() else { return };
    let range = format!("{}/32", scene.stranger.ip());
    let rules = json!({"RouteRules": [{
        "Path": ".*", "Type": "Regex", "TargetClusters": {scene.http.local_cluster(): 100},
    }]});
    let how = json!({"mTLS": true, "SkipClientCertValidation": true, "AuthenticatedPrincipals": ["nobody.nowhere"]});
    scene.server_document = scene
        .server_document
        .clone()
        .set(PORT, json!({range: how}))
        .set("/Inbound/TrafficMatches/80/HttpServiceRouteRules/acl", rules)
        .set("/Inbound/TrafficMatches/80/HttpHostPort2Service/*", json!({"RuleName": "acl"}));
    let pair: Pair = scene.start().await;
    let service = &pair.scene.http;
    let reply = pair.intruding_get(service, &TlsClient::new(&pair.leaf("anyone.outside")), "").await.unwrap();
    assert_eq!(reply.status(), 200, "{:?}", reply.reason());
    let foreign = Authority::new("other").leaf("anyone.outside");
    for tls in [TlsClient::anonymous(), TlsClient::new(&foreign)] {
        assert!(pair.intruding_get(service, &tls, "").await.is_err(), "no certificate of the mesh's authority");
    }
}

#[tokio::test]
async fn where_a_request_came_from_is_told_of_outsiders_and_kept_of_the_mesh() {
    let Some(mut scene) = Scene::new() else { return };
    let range = format!("{}/32", scene.stranger.ip());
    let rules = json!({"RouteRules": [{
        "Path": ".*", "Type": "Regex", "TargetClusters": {scene.http.local_cluster(): 100},
    }]});
    scene.server_document = scene
        .server_document
        .clone()
        .set(PORT, json!({range: null}))
        .set("/Inbound/TrafficMatches/80/HttpServiceRouteRules/acl", rules)
        .set("/Inbound/TrafficMatches/80/HttpHostPort2Service/*", json!({"RuleName": "acl"}));
    let pair = scene.start().await;

    let ask = async |mut sender: fsm_tests::Sender, path: &str| {
        let mut asked = fsm_tests::request("GET", "api.shop", path, fsm_tests::empty());
        asked.headers_mut().insert("x-forwarded-for", "198.51.100.7".parse().unwrap());
        assert_eq!(sender.call(asked).await.status, 200);
    };
    let stranger = Wire::connect(&pair.scene.stranger, pair.inbound(&pair.scene.http)).await;
    ask(fsm_tests::http1(stranger).await, "/outside").await;
    ask(pair.http1(&pair.scene.http).await, "/mesh").await;

    let requests = pair.application.requests();
    let header = |path: &str, name: &str| {
        let request = requests.iter().find(|request| request.target == path).expect("it arrived");
        request.header(name).map(str::to_owned)
    };
    let outside = format!("198.51.100.7, {}", pair.scene.stranger.ip());
    assert_eq!(header("/outside", "x-forwarded-for").as_deref(), Some(outside.as_str()));
    assert_eq!(header("/outside", "x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(header("/mesh", "x-forwarded-for").as_deref(), Some("198.51.100.7"), "pods are no proxies");
    assert_eq!(header("/mesh", "x-forwarded-proto"), None);
}
