//! Failures of gRPC calls are seen, although their HTTP status is 200: in counters, in the success rate and in access logs.

use super::records::{lines, writable};
use fsm_tests::{Pair, RequestBody, Scene, Sidecar, eventually, full, request};
use serde_json::{Value, json};

fn call(host: &str, method: &str) -> http::Request<RequestBody> {
    let mut call = request("POST", host, &format!("http://{host}/shop.Echo/{method}"), full(MESSAGE));
    call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    call
}

/// One message of five bytes.
const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";

async fn edge(sidecar: &Sidecar, direction: &str, cluster: &str) -> Value {
    let shown: Value = serde_json::from_slice(&sidecar.admin("/signals").await.body).unwrap();
    let found = shown[direction].as_array().unwrap().iter().find(|shown| shown["cluster"] == cluster).cloned();
    found.map(|found| found["edges"][0].clone()).unwrap_or_default()
}

#[tokio::test]
async fn calls_are_judged_by_their_own_status_on_both_sides() {
    let Some(pair) = Pair::start().await else { return };
    let service = &pair.scene.grpc;
    let mut client = pair.http2(service).await;
    for method in ["Say", "End/13", "End/14", "End/5", "Refuse/12", "Refuse/7", "End/99"] {
        assert_eq!(client.call(call(&service.host(), method)).await.status, 200, "{method}");
    }
    for (sidecar, direction, cluster) in [
        (&pair.client_sidecar, "outbound", service.cluster()),
        (&pair.server_sidecar, "inbound", service.local_cluster()),
    ] {
        eventually("every call is counted", async || edge(sidecar, direction, &cluster).await["grpc"]["2"] == 1).await;
        let edge = edge(sidecar, direction, &cluster).await;
        let statuses = json!({ "0": 1, "13": 1, "14": 1, "5": 1, "12": 1, "7": 1, "2": 1 });
        assert_eq!((&edge["grpc"], &edge["grpcFailures"]), (&statuses, &json!(4)), "{edge}");
        assert_eq!(edge["responses"], json!({ "200": 7 }), "{edge}");
        let labels = |classification: &'static str| [classification, "direction", direction];
        let failures = sidecar.metric("fsm_proxy_grpc_responses_total", &labels("classification=\"failure\"")).await;
        let successes = sidecar.metric("fsm_proxy_grpc_responses_total", &labels("classification=\"success\"")).await;
        assert_eq!((failures, successes), (4.0, 3.0));
    }
}

#[tokio::test]
async fn a_call_that_its_client_gives_up_is_cancelled_and_no_failure() {
    let Some(pair) = Pair::start().await else { return };
    let service = &pair.scene.grpc;
    let mut client = pair.http2(service).await;
    drop(client.send(call(&service.host(), "Stream")).await);
    let (sidecar, cluster) = (&pair.client_sidecar, service.cluster());
    eventually("the call is counted", async || edge(sidecar, "outbound", &cluster).await["grpc"]["1"] == 1).await;
    assert_eq!(edge(sidecar, "outbound", &cluster).await["grpcFailures"], 0);
}

#[tokio::test]
async fn failed_calls_are_errors_in_access_logs() {
    let Some(mut scene) = Scene::new() else { return };
    let path = writable(&scene).join("errors.log");
    let log = json!({ "accessLog": { "path": path.display().to_string(), "errorsOnly": true } });
    scene.client_document = scene.client_document.set("/Spec/Observability", log);
    let pair = scene.start().await;
    let service = &pair.scene.grpc;
    let mut client = pair.http2(service).await;
    for method in ["Say", "End/13", "Refuse/5"] {
        client.call(call(&service.host(), method)).await;
    }
    let lines = lines(&path, 2).await;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = lines.iter().map(|line| (line["status"].clone(), line["grpcStatus"].clone())).collect();
    assert_eq!(seen, [(json!(200), json!(13)), (json!(200), json!(5))]);
}
