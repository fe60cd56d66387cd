//! HTTP/2: prior knowledge from applications, TLS between sidecars.

use fsm_tests::{Pair, Recorder, Reply, TlsClient, empty, http2, next_data, piecewise, request};
use hyper::body::Frame;

#[tokio::test]
async fn prior_knowledge_clients_are_served() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http2(&pair.scene.http).await;
    let reply = client.get("api.shop", "/two?x").await;
    assert_eq!((reply.status, reply.reason()), (200, None), "{}", reply.text());
    let seen = pair.application.last();
    assert_eq!(seen.target, "/two?x");
    assert_eq!(seen.header("host").or(Some("api.shop")), Some("api.shop"));
    assert_eq!(seen.header("serviceidentity"), Some("web.shop"));
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let client = pair.http2(&pair.scene.http).await;
    let mut calls = Vec::new();
    for number in 0..50 {
        let mut client = client.another();
        calls.push(tokio::spawn(async move { client.get("api.shop", &format!("/{number}")).await }));
    }
    for (number, call) in calls.into_iter().enumerate() {
        let reply = call.await.unwrap();
        assert_eq!(reply.json()["target"], format!("/{number}"));
    }
}

#[tokio::test]
async fn a_waiting_stream_does_not_hold_up_another() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let client = pair.http2(&pair.scene.http).await;
    let mut waiting = client.another();
    let waiting = tokio::spawn(async move { waiting.get("api.shop", "/wait").await });
    fsm_tests::eventually("the application is asked", async || !pair.application.requests().is_empty()).await;
    assert_eq!(client.another().get("api.shop", "/now").await.status, 200);
    pair.application.release();
    assert_eq!(waiting.await.unwrap().status, 200);
}

#[tokio::test]
async fn events_and_uploads_stream() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http2(&pair.scene.http).await;
    let sse = request("GET", "api.shop", "http://api.shop/sse", empty());
    let mut events = client.send(sse).await;
    assert_eq!(next_data(&mut events).await.unwrap(), "data: first\n\n");

    let (body, upload) = piecewise();
    let mut second = client.another();
    let response = second.send(request("POST", "api.shop", "http://api.shop/count", upload));
    let upload = async {
        body.send(Frame::data("first".into())).await.unwrap();
        pair.application.uploaded(5).await;
        drop(body);
    };
    let (response, ()) = tokio::join!(response, upload);
    assert_eq!(Reply::of(response).await.text(), "5");

    pair.application.release();
    assert_eq!(next_data(&mut events).await.unwrap(), "data: second\n\n");
    assert_eq!(next_data(&mut events).await, None);
}

#[tokio::test]
async fn large_bodies_pass_whole_through_flow_control() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http2(&pair.scene.http).await;
    let upload = fsm_tests::full(vec![b'u'; 3 << 20]);
    let reply = client.call(request("POST", "api.shop", "http://api.shop/count", upload)).await;
    assert_eq!(reply.text(), (3 << 20).to_string());
    let reply = client.get("api.shop", &format!("/large/{}", 3 << 20)).await;
    assert_eq!(reply.body.len(), 3 << 20);
}

#[tokio::test]
async fn cookie_crumbs_become_one_field_for_http_1() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let recorder = Recorder::start(&pair.scene.server, ([127, 0, 0, 1], 8081).into());
    let mut client = pair.http2(&pair.scene.raw).await;
    let mut ask = request("GET", "raw.shop", "http://raw.shop/", empty());
    ask.headers_mut().append("cookie", "a=1".parse().unwrap());
    ask.headers_mut().append("cookie", "b=2".parse().unwrap());
    assert_eq!(client.call(ask).await.status, 200);
    // RFC 9113 §8.2.3
    assert_eq!(recorder.requests()[0].values("cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn a_cancelled_stream_leaves_the_others_alone() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http2(&pair.scene.http).await;
    let sse = request("GET", "api.shop", "http://api.shop/sse", empty());
    let mut events = client.send(sse).await;
    assert_eq!(next_data(&mut events).await.unwrap(), "data: first\n\n");
    drop(events);
    assert_eq!(client.get("api.shop", "/after").await.status, 200);
    fsm_tests::eventually("the cancelled request's connection to the application ends", async || {
        pair.application.open_connections() < pair.application.connections()
    })
    .await;
}

#[tokio::test]
async fn connect_and_unknown_hosts_are_refused_with_a_reason() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http2(&pair.scene.http).await;
    let reply = client.get("nobody.shop", "/").await;
    assert_eq!((reply.status, reply.reason()), (403, Some("no-service")));
    let connect = http::Request::connect("api.shop:80").body(empty()).unwrap();
    let reply = client.call(connect).await;
    assert_eq!((reply.status, reply.reason()), (405, Some("connect-refused")));
    assert_eq!(client.get("api.shop", "/after").await.status, 200);
}

#[tokio::test]
async fn the_inbound_side_takes_http2_with_and_without_alpn() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let leaf = pair.leaf("web.shop");
    for tls in [TlsClient::new(&leaf), TlsClient::new(&leaf).alpn(&["h2", "http/1.1"])] {
        let wire = tls.connect(&pair.scene.stranger, pair.inbound(&pair.scene.http)).await.unwrap();
        let reply = http2(wire).await.get("api.shop", "/direct").await;
        assert_eq!(reply.status, 200, "{:?}", reply.reason());
    }
}
