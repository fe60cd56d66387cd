#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::admin::fixtures::{PATIENCE, apply, get, listener, state};
use crate::admin::{AdminState, serve};
use crate::http::body::ResponseBody;
use crate::reason::Reason;
use crate::telemetry::fixtures::session;
use crate::telemetry::observe::Observe;
use crate::telemetry::record::Record;
use crate::telemetry::signals::PeerName;
use crate::telemetry::{Direction, Telemetry};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

async fn open() -> (SocketAddr, Arc<AdminState>) {
    let state = state();
    let (listener, address) = listener().await;
    tokio::spawn(serve(listener, Arc::clone(&state), CancellationToken::new()));
    (address, state)
}

fn request(telemetry: &Arc<Telemetry>, path: &str) {
    let request = Request::builder().uri(path).header("host", "pay").body(()).unwrap();
    let session = || session(telemetry, None);
    let record =
        Record::begin(telemetry, Some(&Arc::new(Observe::default())), Direction::Inbound, &request, false, session);
    record.answered(&mut Response::new(ResponseBody::Empty), false);
}

#[tokio::test]
async fn requests_come_as_lines_until_the_limit() {
    let (address, state) = open().await;
    let watching = tokio::spawn(async move { get(address, "/tap?path=/pay&limit=2").await });
    let watched = async {
        while !state.telemetry.observers.tap.is_watched() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, watched).await.unwrap();
    for path in ["/pay/1", "/other", "/pay/2", "/pay/3"] {
        request(&state.telemetry, path);
    }
    let answer = watching.await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("application/x-ndjson"), "{}", answer.head);
    // The body is chunked: lines are found by their braces.
    let lines: Vec<Value> = answer
        .body
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let paths: Vec<&Value> = lines.iter().map(|line| &line["path"]).collect();
    assert_eq!(paths, [&json!("/pay/1"), &json!("/pay/2")]);
}

#[tokio::test]
async fn filters_that_are_spelled_wrong_are_refused() {
    let (address, state) = open().await;
    for wrong in ["verb=GET", "status=abc", "direction=up", "limit=some"] {
        let answer = get(address, &format!("/tap?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
    assert!(!state.telemetry.observers.tap.is_watched());
}

#[tokio::test]
async fn signals_tell_clusters_by_the_workload_at_the_other_end() {
    let (address, state) = open().await;
    apply(
        &state.store,
        &json!({
            "Outbound": { "ClustersConfigs": { "shop/pay|80": { "Endpoints": { "10.1.2.3:80": { "Weight": 100 } } } } }
        }),
    );
    let snapshot = state.store.snapshot().unwrap();
    let pay = snapshot.cluster(Direction::Outbound, "shop/pay|80").unwrap();
    let peer = PeerName::verified(&"pay.shop".into());
    pay.counters().edges.of(&peer).response(StatusCode::OK, Duration::from_millis(3));
    let inbound = state.telemetry.direction(Direction::Inbound);
    inbound.refused_to(&peer, Reason::NoRoute);
    inbound.refused(Reason::NoRoute);

    let shown = get(address, "/signals").await.json();
    assert_eq!(shown["workload"]["name"], "web");
    let cluster = &shown["outbound"][0];
    assert_eq!(cluster["cluster"], "shop/pay|80");
    let edge = &cluster["edges"][0];
    assert_eq!(edge["peer"], json!({ "namespace": "shop", "name": "pay" }));
    assert_eq!((&edge["mtls"], &edge["requests"], &edge["responses"]), (&json!(true), &json!(1), &json!({ "200": 1 })));
    assert_eq!(
        edge["latencyBuckets"].as_array().unwrap().len(),
        shown["latencyBoundsMs"].as_array().unwrap().len() + 1
    );
    let refusals = shown["refusals"].as_array().unwrap();
    let counts: Vec<_> = refusals.iter().map(|refusal| (&refusal["peer"]["name"], &refusal["count"])).collect();
    assert_eq!(counts, [(&json!("pay"), &json!(1)), (&Value::Null, &json!(1))]);
}
