//! What breaks around a sidecar, and what must not break with it.

mod memory;

use fsm_tests::{End, Pair, Scene, Service, Wire, empty, eventually, next_data, request};
use std::net::SocketAddr;
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nhost: raw.shop\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn an_application_that_is_down_is_a_502_with_its_reason() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    // Nothing listens behind the raw service.
    let mut client = pair.http1(&pair.scene.raw).await;
    for _ in 0..3 {
        let reply = client.get("raw.shop", "/").await;
        assert_eq!((reply.status, reply.reason()), (502, Some("upstream-refused")));
    }
    // It comes back by itself when the application does.
    let _recorder = fsm_tests::Recorder::start(&pair.scene.server, ([127, 0, 0, 1], 8081).into());
    eventually("the application is reachable again", async || client.get("raw.shop", "/").await.status == 200).await;
}

#[tokio::test]
async fn a_pod_that_is_gone_is_a_gateway_error_with_a_reason() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let gone = Service::new("gone", "shop", "http", 85, 8085, &["10.96.0.20"]);
    // No sidecar and no application: the kernel refuses.
    let empty_pod = scene.mesh.pod("empty");
    scene.client_document = scene.client_document.clone().call(&gone, &[empty_pod.ip()]);
    let pair = scene.start().await;
    let reply = pair.http1(&gone).await.get("gone.shop", "/").await;
    assert!(matches!(reply.status, 502 | 503), "{}", reply.status);
    assert!(matches!(reply.reason(), Some("upstream-refused" | "no-endpoint")), "{:?}", reply.reason());
}

#[tokio::test]
async fn a_service_without_endpoints_is_a_503() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let http = scene.http.clone();
    scene.client_document = scene.client_document.clone().call(&http, &[]);
    let pair = scene.start().await;
    let reply = pair.http1(&http).await.get("api.shop", "/").await;
    assert_eq!((reply.status, reply.reason()), (503, Some("no-endpoint")));
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_request_when_another_one_lives() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let http = scene.http.clone();
    let empty_pod = scene.mesh.pod("empty");
    scene.client_document = scene.client_document.clone().call(&http, &[empty_pod.ip(), scene.server.ip()]);
    let pair = scene.start().await;
    for number in 0..10 {
        let reply = pair.http1(&http).await.get("api.shop", &format!("/{number}")).await;
        assert_eq!(reply.status, 200, "request {number}: {:?}", reply.reason());
    }
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_tcp_connection_when_another_one_lives() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let tcp = scene.tcp.clone();
    let empty_pod = scene.mesh.pod("empty");
    scene.client_document = scene.client_document.clone().call(&tcp, &[empty_pod.ip(), scene.server.ip()]);
    let pair = scene.start().await;
    for number in 0..20 {
        let mut wire = pair.dial(&tcp).await;
        wire.send("ping").await;
        assert_eq!(wire.read_exact(4).await, b"ping", "connection {number}");
    }
    let stats = pair.client_sidecar.stats().await;
    let ejections = format!("cluster.{}.ejections: 1", tcp.cluster());
    assert!(stats.contains(&ejections), "the dead one is left out after a while: {stats}");
}

#[tokio::test]
async fn an_application_that_closes_idle_connections_costs_no_request() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let upstream = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    let mut client = pair.dial(&pair.scene.raw).await;
    for _ in 0..5 {
        let serve = async {
            let mut server = Wire::accept(&upstream).await;
            server.request().await;
            server.send(OK).await;
            // Closed as soon as it is idle, just when the next request may be under way.
        };
        let ask = async {
            client.send(GET).await;
            client.response("GET").await
        };
        let ((), reply) = tokio::join!(serve, ask);
        assert_eq!(reply.status(), 200, "{:?}", reply.reason());
    }
}

#[tokio::test]
async fn a_reused_connection_that_dies_before_its_answer_is_replaced_once() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let upstream = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send(GET).await;
    let mut first = Wire::accept(&upstream).await;
    first.request().await;
    first.send(OK).await;
    assert_eq!(client.response("GET").await.status(), 200);
    // The second request arrives on the same connection, which ends without a byte of an answer.
    client.send(GET).await;
    first.request().await;
    drop(first);
    let mut second = Wire::accept(&upstream).await;
    second.request().await;
    second.send(OK).await;
    assert_eq!(client.response("GET").await.status(), 200);
}

#[tokio::test]
async fn a_request_that_changes_things_is_not_sent_twice() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let upstream = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send("POST / HTTP/1.1\r\nhost: raw.shop\r\ncontent-length: 2\r\n\r\nhi").await;
    let mut server = Wire::accept(&upstream).await;
    server.request().await;
    drop(server);
    let reply = client.response("POST").await;
    assert_eq!((reply.status(), reply.reason()), (502, Some("upstream-reset")));
    let again = tokio::time::timeout(Duration::from_millis(100), upstream.accept()).await;
    assert!(again.is_err(), "the request was sent again");
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_then_ends() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    let mut client = pair.http1(&pair.scene.http).await;
    let mut events = client.send(request("GET", "api.shop", "/sse", empty())).await;
    assert_eq!(next_data(&mut events).await.unwrap(), "data: first\n\n");
    let mut tunnel = pair.dial(&pair.scene.tcp).await;
    tunnel.send("a").await;
    tunnel.read_exact(1).await;

    pair.server_sidecar.terminate();
    let server = &pair.server_sidecar;
    eventually("readiness is off", async || server.admin("/ready").await.status() == 503).await;
    // Who has not heard yet is still served.
    pair.assert_healthy().await;
    tunnel.send("b").await;
    assert_eq!(tunnel.read_exact(1).await, b"b");
    pair.application.release();
    assert_eq!(next_data(&mut events).await.unwrap(), "data: second\n\n");
    assert_eq!(next_data(&mut events).await, None);
    tunnel.finish().await;
    assert_eq!(tunnel.rest().await, (b"bye".to_vec(), End::Closed));
    drop(events);
    drop(client);
    let status = pair.server_sidecar.exit().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_draining_server_tells_its_clients_to_go() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.intrude(&pair.scene.http, &pair.leaf("web.shop")).await;
    assert!(wire.get("api.shop", "/").await.keeps_alive());
    pair.server_sidecar.terminate();
    let server = &pair.server_sidecar;
    eventually("readiness is off", async || server.admin("/ready").await.status() == 503).await;
    // Either the next answer says so, or the idle connection is closed before another request.
    wire.offer("GET / HTTP/1.1\r\nhost: api.shop\r\n\r\n").await;
    if let Ok(reply) = wire.try_response("GET").await {
        assert_eq!(reply.status(), 200);
        assert!(!reply.keeps_alive(), "{:?}", reply.headers);
    }
    assert_eq!(wire.rest().await.0, b"");
}

#[tokio::test]
async fn a_restarted_sidecar_serves_again() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.assert_healthy().await;
    pair.server_sidecar.stop().await;
    let refused = pair.scene.stranger.connect(pair.inbound(&pair.scene.http)).await;
    assert!(refused.is_err(), "nobody listens any more");
    pair.server_sidecar = fsm_tests::Sidecar::start(&pair.scene.server, pair.scene.server_document.json()).await;
    eventually("the client's sidecar finds its peer again", async || {
        pair.http1(&pair.scene.http).await.get("api.shop", "/").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn hundreds_of_idle_connections_cost_others_nothing() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(pair.scene.client.connect(pair.scene.http.address()).await.unwrap());
    }
    let at = SocketAddr::new(pair.scene.server.ip(), 80);
    for _ in 0..200 {
        idle.push(pair.scene.stranger.connect(at).await.unwrap());
    }
    pair.assert_healthy().await;
    assert_eq!(idle.len(), 400);
}
