//! HTTP/1.1 and 1.0: requests, routes and streaming.

use fsm_tests::{End, Pair, Wire, empty, next_data, piecewise, request};
use hyper::body::Frame;
use std::net::SocketAddr;

#[tokio::test]
async fn a_request_goes_through_both_sidecars_and_carries_the_clients_identity() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http1(&pair.scene.http).await;
    let reply = client.get("api.shop", "/hello?x=1").await;
    assert_eq!((reply.status, reply.reason()), (200, None), "{}", reply.text());
    let echo = reply.json();
    assert_eq!(echo["method"], "GET");
    assert_eq!(echo["target"], "/hello?x=1");
    assert_eq!(echo["version"], "HTTP/1.1");
    assert_eq!(echo["headers"]["host"], serde_json::json!(["api.shop"]));
    assert_eq!(echo["headers"]["serviceidentity"], serde_json::json!(["web.shop"]));
    let remote: SocketAddr = echo["remote"].as_str().unwrap().parse().unwrap();
    assert_eq!(remote.ip().to_string(), "127.0.0.6", "the address that redirect rules know");
    assert_eq!(reply.header("fsm-stats"), None, "for the client's sidecar, not for the client");
}

#[tokio::test]
async fn ipv6_is_intercepted_like_ipv4() {
    let Some(scene) = fsm_tests::Scene::new() else {
        return;
    };
    let mut scene = scene;
    let endpoint = scene.server.ipv6();
    scene.client_document = scene.client_document.clone().call(&scene.http, &[endpoint]);
    let service = SocketAddr::new(scene.http.cluster_ips[1], 80);
    let pair = scene.start().await;
    let mut wire = Wire::connect(&pair.scene.client, service).await;
    assert_eq!(wire.get("api.shop", "/six").await.status(), 200);
    assert_eq!(pair.application.last().header("serviceidentity"), Some("web.shop"));
}

#[tokio::test]
async fn a_connection_serves_many_requests_until_the_client_asks_to_close() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.http).await;
    for number in 0..5 {
        let reply = wire.get("api.shop", &format!("/{number}")).await;
        assert_eq!(reply.status(), 200);
        assert!(reply.keeps_alive());
    }
    wire.send("GET /last HTTP/1.1\r\nhost: api.shop\r\nconnection: close\r\n\r\n").await;
    let last = wire.response("GET").await;
    assert!(!last.keeps_alive(), "{:?}", last.headers);
    assert_eq!(wire.rest().await, (Vec::new(), End::Closed));
    assert_eq!(pair.application.connections(), 1, "the sidecars reuse their connection");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.http).await;
    let requests: String = (0..10).map(|number| format!("GET /{number} HTTP/1.1\r\nhost: api.shop\r\n\r\n")).collect();
    wire.send(requests).await;
    for number in 0..10 {
        let echo: serde_json::Value = serde_json::from_slice(&wire.response("GET").await.body).unwrap();
        assert_eq!(echo["target"], format!("/{number}"));
    }
}

#[tokio::test]
async fn http_1_0_clients_get_an_answer_and_an_end() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.http).await;
    wire.send("GET /old HTTP/1.0\r\nhost: api.shop\r\n\r\n").await;
    let reply = wire.response("GET").await;
    assert_eq!(reply.status(), 200);
    assert_eq!(wire.rest().await, (Vec::new(), End::Closed));
}

#[tokio::test]
async fn http_1_0_clients_never_get_chunks() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let upstream = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    let mut wire = pair.dial(&pair.scene.raw).await;
    wire.send("GET /old HTTP/1.0\r\nhost: raw.shop\r\n\r\n").await;
    let mut server = Wire::accept(&upstream).await;
    server.request().await;
    server.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    // The strict reader refuses transfer-encoding in HTTP/1.0; a 1.1 status line must not carry it here either.
    let reply = wire.response("GET").await;
    assert_eq!(reply.header("transfer-encoding"), None);
    assert_eq!(reply.text(), "hello");
}

#[tokio::test]
async fn http_1_0_clients_may_keep_the_connection() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.http).await;
    let ask = "GET /old HTTP/1.0\r\nhost: api.shop\r\nconnection: keep-alive\r\n\r\n";
    wire.send(ask).await;
    let reply = wire.response("GET").await;
    assert_eq!(reply.status(), 200);
    if reply.keeps_alive() {
        wire.send(ask).await;
        assert_eq!(wire.response("GET").await.status(), 200);
    } else {
        assert_eq!(wire.rest().await.1, End::Closed);
    }
}

#[tokio::test]
async fn the_first_event_of_a_stream_arrives_while_the_response_is_open() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http1(&pair.scene.http).await;
    let mut events = client.send(request("GET", "api.shop", "/sse", empty())).await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    assert_eq!(next_data(&mut events).await.unwrap(), "data: first\n\n");
    pair.application.release();
    assert_eq!(next_data(&mut events).await.unwrap(), "data: second\n\n");
    assert_eq!(next_data(&mut events).await, None);
}

#[tokio::test]
async fn an_upload_arrives_while_it_is_being_sent() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http1(&pair.scene.http).await;
    let (body, upload) = piecewise();
    let response = client.send(request("POST", "api.shop", "/count", upload));
    let upload = async {
        body.send(Frame::data("first".into())).await.unwrap();
        pair.application.uploaded(5).await;
        body.send(Frame::data("second".into())).await.unwrap();
        pair.application.uploaded(11).await;
        drop(body);
    };
    let (response, ()) = tokio::join!(response, upload);
    assert_eq!(fsm_tests::Reply::of(response).await.text(), "11");
}

#[tokio::test]
async fn large_bodies_pass_whole_in_both_directions() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http1(&pair.scene.http).await;
    let large = vec![b'u'; 4 << 20];
    let upload = request("POST", "api.shop", "/count", fsm_tests::full(large));
    assert_eq!(client.call(upload).await.text(), (4 << 20).to_string());
    let download = client.get("api.shop", &format!("/large/{}", 4 << 20)).await;
    assert_eq!(download.body.len(), 4 << 20);
    assert!(download.body.iter().all(|&byte| byte == b'x'));
}

#[tokio::test]
async fn connect_is_refused() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.http).await;
    wire.send("CONNECT api.shop:80 HTTP/1.1\r\nhost: api.shop:80\r\n\r\n").await;
    let reply = wire.response("GET").await;
    assert_eq!(reply.status(), 405);
    assert_eq!(reply.reason(), Some("connect-refused"));
    assert!(pair.application.requests().is_empty());
}

#[tokio::test]
async fn an_absolute_target_is_forwarded_in_origin_form() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.http).await;
    wire.send("GET http://api.shop/abs?q HTTP/1.1\r\nhost: api.shop\r\n\r\n").await;
    assert_eq!(wire.response("GET").await.status(), 200);
    let seen = pair.application.last();
    assert_eq!((seen.target.as_str(), seen.header("host")), ("/abs?q", Some("api.shop")));
}

#[tokio::test]
async fn a_host_that_contradicts_the_absolute_target_decides_nothing() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.http).await;
    wire.send("GET http://api.shop/abs HTTP/1.1\r\nhost: raw.shop\r\n\r\n").await;
    let reply = wire.response("GET").await;
    if reply.status() == 200 {
        // RFC 9112 §3.2.2: the target wins, also in what is forwarded.
        assert_eq!(pair.application.last().header("host"), Some("api.shop"));
    } else {
        assert_eq!((reply.status(), reply.reason()), (400, Some("bad-host")));
    }
}

#[tokio::test]
async fn an_unknown_host_is_denied_with_a_reason() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.http).await;
    let reply = wire.get("nobody.shop", "/").await;
    assert_eq!((reply.status(), reply.reason()), (403, Some("no-service")));
    assert_eq!(reply.text(), "Access denied");
    assert!(reply.keeps_alive(), "a denial costs the connection nothing");
    assert_eq!(wire.get("api.shop", "/").await.status(), 200);
}

#[tokio::test]
async fn hosts_compare_without_case_and_port() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.http).await;
    for host in ["API.Shop", "api.shop:80", "api", "api.shop.svc.cluster.local", "api.shop.svc:80"] {
        let reply = wire.get(host, "/").await;
        assert_eq!(reply.status(), 200, "{host}: {:?}", reply.reason());
    }
}

#[tokio::test]
async fn unusual_methods_pass_where_all_methods_may() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    for method in ["PROPFIND", "OPTIONS", "DELETE", "PATCH", "PUT"] {
        let mut client = pair.http1(&pair.scene.http).await;
        let reply = client.call(request(method, "api.shop", "/m", empty())).await;
        assert_eq!(reply.status, 200, "{method}: {:?}", reply.reason());
        assert_eq!(pair.application.last().method, method);
    }
}
