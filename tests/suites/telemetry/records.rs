//! Access logs and live requests of a pair of sidecars.

use fsm_tests::{Pair, Reply, Scene, TlsClient, eventually, http2, within};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A directory that sidecars may write to.
pub(super) fn writable(scene: &Scene) -> PathBuf {
    let directory = scene.server.directory().join("logs");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    directory
}

pub(super) async fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    eventually("the access log is written", async || read().lines().count() >= count).await;
    read().lines().map(str::to_owned).collect()
}

/// A pair whose sidecars log into `client.log` and `server.log` of a directory.
pub(super) async fn logging_pair() -> Option<(Pair, PathBuf)> {
    let mut scene = Scene::new()?;
    let directory = writable(&scene);
    let log = |name: &str| json!({ "accessLog": { "path": directory.join(name).display().to_string() } });
    scene.client_document = scene.client_document.set("/Spec/Observability", log("client.log"));
    scene.server_document = scene.server_document.set("/Spec/Observability", log("server.log"));
    Some((scene.start().await, directory))
}

#[tokio::test]
async fn each_side_logs_a_request_with_what_it_knows() {
    let Some((pair, directory)) = logging_pair().await else { return };
    let service = &pair.scene.http;
    let reply = pair.http1(service).await.get(&service.host(), "/hello?token=s3cret&page=1").await;
    assert_eq!(reply.status, 200);

    let client = lines(&directory.join("client.log"), 1).await;
    let server = lines(&directory.join("server.log"), 1).await;
    let [client, server]: [Value; 2] = [&client[0], &server[0]].map(|line| serde_json::from_str(line).unwrap());
    for side in [&client, &server] {
        assert_eq!((&side["method"], &side["status"]), (&json!("GET"), &json!(200)), "{side}");
        assert_eq!(side["path"], "/hello?token=[hidden]&page=1");
        assert_eq!((&side["attempts"], &side["complete"], &side["mtls"]), (&json!(1), &json!(true), &json!(true)));
        assert_eq!(side["responseBytes"], reply.body.len());
    }
    assert_eq!((&client["direction"], &client["cluster"]), (&json!("outbound"), &json!(service.cluster())));
    assert_eq!(server["direction"], "inbound");
    assert!(server["identity"].as_str().unwrap().starts_with("web.shop"), "{server}");
}

#[tokio::test]
async fn refused_requests_are_logged_with_their_reason_and_others_not() {
    let Some(mut scene) = Scene::new() else { return };
    let directory = writable(&scene);
    let path = directory.join("errors.log");
    let template = "{method} {host} {path} {status} {reason} \"{userAgent}\"";
    scene.client_document = scene.client_document.set(
        "/Spec/Observability",
        json!({ "accessLog": {
            "path": path.display().to_string(), "format": "text", "template": template, "errorsOnly": true,
        } }),
    );
    let pair = scene.start().await;
    let service = &pair.scene.http;
    assert_eq!(pair.http1(service).await.get(&service.host(), "/fine").await.status, 200);
    assert_eq!(pair.http1(service).await.get("nobody.knows", "/denied").await.status, 403);
    let lines = lines(&path, 1).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("GET nobody.knows /denied 403 no-service \""), "{}", lines[0]);
}

#[tokio::test]
async fn an_operator_watches_the_requests_that_matter() {
    let Some(pair) = Pair::start().await else { return };
    let service = &pair.scene.http;
    let watching = pair.client_sidecar.admin("/tap?direction=outbound&status=403&limit=1");
    let asking = async {
        // Whoever watches sees what happens from then on, so something has to happen until it is seen.
        loop {
            pair.http1(service).await.get(&service.host(), "/fine").await;
            pair.http1(service).await.get("nobody.knows", "/denied").await;
        }
    };
    let seen = tokio::select! {
        seen = within("a refused request is seen", watching) => seen,
        () = asking => unreachable!("it goes on for ever"),
    };
    let seen: Value = serde_json::from_str(seen.text().trim()).unwrap();
    assert_eq!((&seen["host"], &seen["reason"]), (&json!("nobody.knows"), &json!("no-service")), "{seen}");
}

#[tokio::test]
async fn signals_name_both_ends_of_what_passed() {
    let Some(mut scene) = Scene::new() else { return };
    // The application's sidecar says which workload it belongs to; the identity must be the one that is expected.
    scene.options.environment = [
        ("POD_NAMESPACE", "shop"),
        ("POD_CONTROLLER_KIND", "Deployment"),
        ("SERVICE_ACCOUNT", "api"),
        ("POD_NAME", "api-1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let pair = scene.start().await;
    let service = &pair.scene.http;
    let reply = pair.http1(service).await.get(&service.host(), "/").await;
    assert_eq!((reply.status, reply.header("fsm-stats")), (200, None));

    let edge = async |sidecar: &fsm_tests::Sidecar, direction: &str, cluster: &str| {
        let shown: Value = serde_json::from_slice(&sidecar.admin("/signals").await.body).unwrap();
        let clusters = shown[direction].as_array().unwrap().clone();
        let found = clusters.into_iter().find(|shown| shown["cluster"] == cluster).unwrap();
        found["edges"][0].clone()
    };
    let outbound = edge(&pair.client_sidecar, "outbound", &service.cluster()).await;
    assert_eq!(outbound["peer"], json!({ "namespace": "shop", "kind": "Deployment", "name": "api" }), "{outbound}");
    assert_eq!((&outbound["mtls"], &outbound["responses"]), (&json!(true), &json!({ "200": 1 })));
    let inbound = edge(&pair.server_sidecar, "inbound", &service.local_cluster()).await;
    assert_eq!((&inbound["peer"], &inbound["mtls"]), (&json!({ "namespace": "shop", "name": "web" }), &json!(true)));

    let labels = ["destination_name=\"api\"", "response_code=\"200\""];
    assert_eq!(pair.client_sidecar.metric("fsm_request_total", &labels).await, 1.0);
    let labels = ["source_name=\"web\"", "mtls=\"true\"", "class=\"2\""];
    assert_eq!(pair.server_sidecar.metric("fsm_proxy_inbound_requests_total", &labels).await, 1.0);

    // The server's sidecar introduces itself with the first response of a connection, and all that follow are its too.
    let mut client = pair.http1(service).await;
    for _ in 0..69 {
        let reply = client.get(&service.host(), "/").await;
        assert_eq!((reply.status, reply.header("fsm-stats")), (200, None));
    }
    let shown: Value = serde_json::from_slice(&pair.client_sidecar.admin("/signals").await.body).unwrap();
    let clusters = shown["outbound"].as_array().unwrap();
    let edges = &clusters.iter().find(|shown| shown["cluster"] == service.cluster()).unwrap()["edges"];
    assert_eq!(edges.as_array().unwrap().len(), 1, "{edges}");
    assert_eq!(edges[0]["responses"], json!({ "200": 70 }), "{edges}");
}

#[tokio::test]
async fn requests_that_nobody_writes_down_get_no_identifiers() {
    for errors_only in [true, false] {
        let Some(mut scene) = Scene::new() else { return };
        let path = writable(&scene).join("access.log").display().to_string();
        let observed = json!({
            "accessLog": { "path": path, "errorsOnly": errors_only },
            "tracing": { "address": "127.0.0.1:9", "sampledFraction": "0" },
        });
        scene.client_document = scene.client_document.set("/Spec/Observability", observed.clone());
        scene.server_document = scene.server_document.set("/Spec/Observability", observed);
        let pair = scene.start().await;
        let service = &pair.scene.http;
        let reply = pair.http1(service).await.get(&service.host(), "/").await;
        let echo: Value = serde_json::from_slice(&reply.body).unwrap();
        let headers = &echo["headers"];
        assert_eq!(headers["x-b3-sampled"], json!(["0"]), "{headers}");
        for name in ["x-b3-traceid", "x-b3-spanid", "x-request-id"] {
            assert_eq!(headers[name].is_null(), errors_only, "{name}: {headers}");
        }
    }
}

/// What the application got of a request without any context.
fn decision(reply: &Reply) -> Value {
    let echo: Value = serde_json::from_slice(&reply.body).unwrap();
    echo["headers"]["x-b3-sampled"].clone()
}

fn traced(fraction: &str) -> Value {
    json!({ "tracing": { "address": "127.0.0.1:9", "sampledFraction": fraction } })
}

#[tokio::test]
async fn only_our_own_sidecars_are_not_told_that_a_trace_is_not_recorded() {
    for mtls in [true, false] {
        let Some(mut scene) = Scene::new() else { return };
        // The server's sidecar does not trace: it passes on what it was told.
        scene.client_document = scene.client_document.set("/Spec/Observability", traced("0"));
        if !mtls {
            scene.client_document = scene.client_document.set("/Certificate", Value::Null);
            scene.server_document = scene.server_document.set("/Certificate", Value::Null);
        }
        let pair = scene.start().await;
        let service = &pair.scene.http;
        let told = if mtls { Value::Null } else { json!(["0"]) };
        for _ in 0..2 {
            assert_eq!(decision(&pair.http1(service).await.get(&service.host(), "/").await), told, "mTLS: {mtls}");
            assert_eq!(decision(&pair.http2(service).await.get(&service.host(), "/").await), told, "mTLS: {mtls}");
        }
    }
}

#[tokio::test]
async fn the_silence_of_our_own_sidecars_is_a_decision_and_that_of_others_is_none() {
    let Some(mut scene) = Scene::new() else { return };
    scene.server_document = scene.server_document.set("/Spec/Observability", traced("1"));
    let pair = scene.start().await;
    let leaf = pair.leaf("web.shop");
    for (protocol, sampled) in [("fsm-h2", "0"), ("h2", "1")] {
        let tls = TlsClient::new(&leaf).alpn(&[protocol]);
        let wire = tls.connect(&pair.scene.stranger, pair.inbound(&pair.scene.http)).await.unwrap();
        let reply = http2(wire).await.get(&pair.scene.http.host(), "/").await;
        assert_eq!(decision(&reply), json!([sampled]), "{protocol}");
    }
}
