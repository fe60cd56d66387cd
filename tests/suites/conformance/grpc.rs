//! gRPC: messages, trailers and refusals as a gRPC library sees them.

use fsm_tests::{Pair, Scene, Sender, full, next_data, request};
use http_body_util::BodyExt;
use hyper::Version;
use serde_json::json;

const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";

fn call(host: &str, method: &str, kind: &str) -> http::Request<fsm_tests::RequestBody> {
    let uri = format!("http://{host}/shop.Echo/{method}");
    let mut call = request("POST", host, &uri, full(MESSAGE));
    call.headers_mut().insert("content-type", kind.parse().unwrap());
    call.headers_mut().insert("te", "trailers".parse().unwrap());
    call
}

#[tokio::test]
async fn a_call_returns_its_message_and_trailers() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    for (service, kind) in [
        (&pair.scene.grpc, "application/grpc"),
        (&pair.scene.grpc, "application/grpc+proto"),
        (&pair.scene.http, "application/grpc"),
        (&pair.scene.http, "application/grpc+proto"),
    ] {
        let mut client = pair.http2(service).await;
        let reply = client.call(call(&service.host(), "Say", kind)).await;
        assert_eq!(reply.status, 200, "{kind}: {:?}", reply.reason());
        assert_eq!(reply.body, MESSAGE);
        assert_eq!(reply.trailer("grpc-status"), Some("0"));
        assert_eq!(reply.trailer("grpc-message"), Some("done"));
        let seen = pair.application.last();
        assert_eq!(seen.version, Version::HTTP_2, "gRPC stays HTTP/2 up to the application");
        assert_eq!(seen.header("te"), Some("trailers"));
        assert_eq!(seen.header("serviceidentity"), Some("web.shop"));
    }
}

#[tokio::test]
async fn a_server_stream_flows_message_by_message() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http2(&pair.scene.grpc).await;
    let mut stream = client.send(call("grpc.shop", "Stream", "application/grpc")).await;
    assert_eq!(next_data(&mut stream).await.unwrap(), MESSAGE);
    pair.application.release();
    assert_eq!(next_data(&mut stream).await.unwrap(), MESSAGE);
    let rest = stream.into_body().collect().await.unwrap();
    assert_eq!(rest.trailers().unwrap()["grpc-status"], "0");
}

async fn refusal(client: &mut Sender, host: &str) -> (Option<String>, Option<String>) {
    let reply = client.call(call(host, "Say", "application/grpc")).await;
    assert_eq!(reply.status, 200, "a gRPC library wants 200 and reads grpc-status");
    let kind = reply.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/grpc"), "{kind:?}");
    let status = reply.header("grpc-status").or(reply.trailer("grpc-status"));
    (status.map(str::to_owned), reply.reason().map(str::to_owned))
}

#[tokio::test]
async fn refusals_are_grpc_statuses() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let rule = json!({"Path": ".*", "Type": "Regex", "AllowedServices": ["admin.ops"]});
    let grpc = scene.grpc.clone();
    scene.server_document = scene.server_document.clone().serve_rules(&grpc, vec![rule]);
    let pair = scene.start().await;
    let mut client = pair.http2(&grpc).await;
    let (status, reason) = refusal(&mut client, "nobody.shop").await;
    assert_eq!((status.as_deref(), reason.as_deref()), (Some("7"), Some("no-service")));
    let (status, reason) = refusal(&mut client, "grpc.shop").await;
    assert_eq!((status.as_deref(), reason.as_deref()), (Some("7"), Some("identity-not-allowed")));
}

#[tokio::test]
async fn a_service_without_endpoints_is_unavailable() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let grpc = scene.grpc.clone();
    scene.client_document = scene.client_document.clone().call(&grpc, &[]);
    let pair = scene.start().await;
    let mut client = pair.http2(&grpc).await;
    let (status, reason) = refusal(&mut client, "grpc.shop").await;
    assert_eq!((status.as_deref(), reason.as_deref()), (Some("14"), Some("no-endpoint")));
}
