//! HTTP/1 messages as bytes: framing, interim responses, trailers, fields that belong to one connection only.

use fsm_tests::{Message, Pair, Wire};
use tokio::net::TcpListener;

async fn start() -> Option<(Pair, TcpListener)> {
    let pair = Pair::start().await?;
    let upstream = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    Some((pair, upstream))
}

/// Sends a request to the raw service and lets `answer` be its response.
async fn exchange(pair: &Pair, upstream: &TcpListener, ask: &str, answer: &str) -> (Message, Wire, Wire) {
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send(ask).await;
    let mut server = Wire::accept(upstream).await;
    let seen = server.request().await;
    server.send(answer).await;
    (seen, client, server)
}

const GET: &str = "GET / HTTP/1.1\r\nhost: raw.shop\r\n\r\n";

#[tokio::test]
async fn chunked_requests_arrive_whole() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let ask = "POST / HTTP/1.1\r\nhost: raw.shop\r\ntransfer-encoding: chunked\r\n\r\n\
               5\r\nhello\r\n6;name=value\r\n world\r\n0\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (seen, mut client, _server) = exchange(&pair, &upstream, ask, answer).await;
    assert_eq!(seen.text(), "hello world");
    assert_eq!(client.response("POST").await.status(), 200);
}

#[tokio::test]
async fn request_bodies_with_a_length_keep_it() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let ask = "POST / HTTP/1.1\r\nhost: raw.shop\r\ncontent-length: 5\r\n\r\nhello";
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (seen, mut client, _server) = exchange(&pair, &upstream, ask, answer).await;
    assert_eq!((seen.text().as_str(), seen.header("content-length")), ("hello", Some("5")));
    assert_eq!(client.response("POST").await.status(), 200);
}

#[tokio::test]
async fn responses_of_every_framing_arrive_whole() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ] {
        let (_, mut client, _server) = exchange(&pair, &upstream, GET, answer).await;
        assert_eq!(client.response("GET").await.text(), "hello", "{answer:?}");
    }
    for answer in ["HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.0 200 OK\r\n\r\nhello"] {
        let (_, mut client, server) = exchange(&pair, &upstream, GET, answer).await;
        drop(server);
        assert_eq!(client.response("GET").await.text(), "hello", "{answer:?}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_does_not_look_complete() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let (_, mut client, server) = exchange(&pair, &upstream, GET, answer).await;
        client.read_until("hello").await;
        drop(server);
        let (rest, _) = client.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{answer:?} got an end: {rest:?}");
        assert!(rest.len() < 45, "{answer:?} was filled up");
    }
}

#[tokio::test]
async fn responses_without_a_body_leave_the_connection_usable() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.http).await;
    for status in [204, 304, 404, 500] {
        assert_eq!(wire.get("api.shop", &format!("/status/{status}")).await.status(), status);
    }
    wire.send("HEAD /large/77 HTTP/1.1\r\nhost: api.shop\r\n\r\n").await;
    let head = wire.response("HEAD").await;
    assert_eq!((head.status(), head.header("content-length")), (200, Some("77")));
    assert_eq!(wire.get("api.shop", "/after").await.status(), 200);
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it_and_then_the_answer() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send("POST / HTTP/1.1\r\nhost: raw.shop\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n").await;
    let mut server = Wire::accept(&upstream).await;
    let serve = async {
        let head = server.request_head().await;
        if head.header("expect").is_some() {
            server.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        assert_eq!(server.read_exact(4).await, b"body");
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    };
    let ask = async {
        assert_eq!(client.response("POST").await.status(), 100);
        client.send("body").await;
        assert_eq!(client.response("POST").await.status(), 200);
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_waits_for_100_continue() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send("POST / HTTP/1.1\r\nhost: raw.shop\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n").await;
    let mut server = Wire::accept(&upstream).await;
    server.request_head().await;
    server.send("HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n").await;
    let mut reply = client.response("POST").await;
    if reply.status() == 100 {
        reply = client.response("POST").await;
    }
    assert_eq!(reply.status(), 417);
}

#[tokio::test]
async fn interim_responses_are_never_taken_for_the_answer() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let answer = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n\
                  HTTP/1.1 102 Processing\r\n\r\n\
                  HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfinal";
    let (_, mut client, _server) = exchange(&pair, &upstream, GET, answer).await;
    // Passing them on is allowed, and so is dropping them.
    let mut reply = client.response("GET").await;
    while reply.status() < 200 {
        reply = client.response("GET").await;
    }
    assert_eq!((reply.status(), reply.text().as_str()), (200, "final"));
}

#[tokio::test]
async fn trailers_of_a_response_reach_a_client_that_takes_them() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let ask = "GET / HTTP/1.1\r\nhost: raw.shop\r\nte: trailers\r\nconnection: te\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-checksum\r\n\r\n\
                  5\r\nhello\r\n0\r\nx-checksum: 42\r\n\r\n";
    let (_, mut client, _server) = exchange(&pair, &upstream, ask, answer).await;
    let reply = client.response("GET").await;
    assert_eq!((reply.text().as_str(), reply.trailer("x-checksum")), ("hello", Some("42")));
}

#[tokio::test]
async fn trailers_of_a_request_reach_the_application() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let ask = "POST / HTTP/1.1\r\nhost: raw.shop\r\ntransfer-encoding: chunked\r\n\
               trailer: x-checksum\r\n\r\n5\r\nhello\r\n0\r\nx-checksum: 42\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (seen, mut client, _server) = exchange(&pair, &upstream, ask, answer).await;
    assert_eq!((seen.text().as_str(), seen.trailer("x-checksum")), ("hello", Some("42")));
    assert_eq!(client.response("POST").await.status(), 200);
}

#[tokio::test]
async fn repeated_fields_stay_repeated() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let ask = "GET / HTTP/1.1\r\nhost: raw.shop\r\nx-many: 1\r\nx-many: 2\r\ncookie: a=1\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n";
    let (seen, mut client, _server) = exchange(&pair, &upstream, ask, answer).await;
    assert_eq!(seen.values("x-many"), ["1", "2"]);
    assert_eq!(client.response("GET").await.values("set-cookie"), ["a=1", "b=2"]);
}

#[tokio::test]
async fn fields_of_one_connection_are_not_forwarded() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let ask = "GET / HTTP/1.1\r\nhost: raw.shop\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\n\
               keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nproxy-authorization: x\r\n\
               x-end: kept\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x-back\r\nx-back: 1\r\n\
                  keep-alive: timeout=5\r\nx-end: kept\r\n\r\n";
    let (seen, mut client, _server) = exchange(&pair, &upstream, ask, answer).await;
    let reply = client.response("GET").await;
    for (message, name) in [(&seen, "x-hop"), (&reply, "x-back")] {
        assert_eq!(message.header(name), None);
        assert_eq!(message.header("keep-alive"), None);
        assert_eq!(message.header("proxy-connection"), None);
        assert_eq!(message.header("x-end"), Some("kept"));
    }
}

#[tokio::test]
async fn an_oversized_header_is_refused_and_costs_others_nothing() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut patient = pair.dial(&pair.scene.http).await;
    assert_eq!(patient.get("api.shop", "/before").await.status(), 200);
    let large = "x".repeat(200 << 10);
    for ask in [
        format!("GET / HTTP/1.1\r\nhost: api.shop\r\nx-large: {large}\r\n\r\n"),
        format!("GET /{large} HTTP/1.1\r\nhost: api.shop\r\n\r\n"),
    ] {
        let mut wire = pair.dial(&pair.scene.http).await;
        wire.offer(ask).await;
        if let Ok(reply) = wire.try_response("GET").await {
            assert!(matches!(reply.status(), 400 | 414 | 431), "{}", reply.start);
        }
    }
    assert_eq!(patient.get("api.shop", "/after").await.status(), 200);
    assert_eq!(pair.application.requests().len(), 2);
}
