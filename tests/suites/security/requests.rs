//! A6, A7, A8, A10: requests that are clean one by one and poison the connection they share.

use super::Entrance;
use fsm_tests::{Pair, Recorder, Wire};
use std::time::Duration;

const UPGRADE: &str = "GET /u HTTP/1.1\r\nhost: raw.shop\r\nconnection: upgrade\r\nupgrade: ";

/// Asks the raw service on a new connection and expects the answer of `upstream` that names the target.
async fn next_client_gets_its_own_answer(pair: &Pair, target: &str) {
    let mut wire = pair.dial(&pair.scene.raw).await;
    let reply = wire.get("raw.shop", target).await;
    assert_eq!((reply.status(), reply.text().as_str()), (200, target));
}

/// A lenient server: answers each head it finds, wherever, with the target it asks for, and never reads bodies.
fn answer_heads(pair: &Pair, status_of_posts: &'static str) {
    let listener = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    tokio::spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let (wire, _) = Wire::of(accepted);
            let mut wire = wire.without_deadline();
            tokio::spawn(async move {
                while let Ok(head) = wire.try_read_until(b"\r\n\r\n").await {
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let status = if head.starts_with("POST") { status_of_posts } else { "200 OK" };
                    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let length = target.len();
                    wire.offer(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{target}")).await;
                }
            });
        }
    });
}

#[tokio::test]
async fn a6_an_unread_body_never_becomes_the_next_request() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    answer_heads(&pair, "413 Too Large");
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: raw.shop\r\n\r\n";
    for entrance in Entrance::BOTH {
        // The client stops half way through its body.
        let mut wire = entrance.open(&pair, &pair.leaf("mallory.evil")).await;
        wire.send(format!("POST /early HTTP/1.1\r\nhost: raw.shop\r\ncontent-length: 1000\r\n\r\n{hidden}")).await;
        assert_eq!(wire.response("POST").await.status(), 413);
        drop(wire);
        for number in 0..5 {
            next_client_gets_its_own_answer(&pair, &format!("/a{number}")).await;
        }
        // The client sends the whole body after the answer and goes on.
        let mut wire = entrance.open(&pair, &pair.leaf("mallory.evil")).await;
        let length = 3 * hidden.len();
        wire.send(format!("POST /early HTTP/1.1\r\nhost: raw.shop\r\ncontent-length: {length}\r\n\r\n")).await;
        assert_eq!(wire.response("POST").await.status(), 413);
        wire.offer(hidden.repeat(3)).await;
        wire.offer("GET /mine HTTP/1.1\r\nhost: raw.shop\r\n\r\n").await;
        if let Ok(reply) = wire.try_response("GET").await {
            assert_eq!(reply.text(), "/mine");
        }
        for number in 0..5 {
            next_client_gets_its_own_answer(&pair, &format!("/b{number}")).await;
        }
    }
}

#[tokio::test]
async fn a7_nothing_is_a_tunnel_before_the_application_has_switched() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let recorder = Recorder::start(&pair.scene.server, ([127, 0, 0, 1], 8081).into());
    for entrance in Entrance::BOTH {
        for protocol in ["foo", "websocket", "h2c", "TLS/1.0", "websocket, foo"] {
            recorder.clear();
            let mut wire = entrance.open(&pair, &pair.leaf("mallory.evil")).await;
            // Bytes that make sense inside a tunnel only. The application answers 200, so there is none.
            wire.offer(format!("{UPGRADE}{protocol}\r\n\r\n\x01\x02tunnelled\r\n\r\n")).await;
            let reply = wire.try_response("GET").await;
            if let Ok(reply) = reply {
                assert_ne!(reply.status(), 101, "{entrance:?} {protocol}");
            }
            let (rest, _) = wire.rest().await;
            assert!(!rest.starts_with(b"HTTP/1.1 200"), "{entrance:?} {protocol}: a second answer");
            assert_eq!(recorder.malformed(), [], "{entrance:?} {protocol}");
            assert!(!recorder.received(b"tunnelled"), "{entrance:?} {protocol}");
        }
        pair.assert_healthy().await;
    }
}

#[tokio::test]
async fn a7_a_switch_nobody_asked_for_is_an_error_of_the_application() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let upstream = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    let plain = "GET /u HTTP/1.1\r\nhost: raw.shop\r\n\r\n".to_owned();
    let switch = |protocol: &str| {
        format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\ntunnel")
    };
    for (ask, answer) in [
        (plain.clone(), switch("websocket")),
        (plain, "HTTP/1.1 101 Switching Protocols\r\n\r\ntunnel".to_owned()),
        (format!("{UPGRADE}websocket\r\n\r\n"), switch("foo")),
        (format!("{UPGRADE}websocket\r\n\r\n"), "HTTP/1.1 101 Switching Protocols\r\n\r\ntunnel".to_owned()),
    ] {
        let mut client = pair.dial(&pair.scene.raw).await;
        client.send(&ask).await;
        let mut server = Wire::accept(&upstream).await;
        server.request_head().await;
        server.send(&answer).await;
        let reply = client.response("GET").await;
        assert_eq!((reply.status(), reply.reason()), (502, Some("upstream-protocol")), "{ask:?} {answer:?}");
        assert!(!reply.text().contains("tunnel"));
        // Its connection is not used again.
        assert_eq!(server.rest().await.0, b"");
    }
    pair.assert_healthy().await;
}

#[tokio::test]
async fn a8_bytes_after_a_refused_connect_are_never_read_as_requests() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let recorder = Recorder::start(&pair.scene.server, ([127, 0, 0, 1], 8081).into());
    for entrance in Entrance::BOTH {
        for target in ["raw.shop:81", "127.0.0.1:8081", "10.244.1.11:81", "/", "*"] {
            let mut wire = entrance.open(&pair, &pair.leaf("mallory.evil")).await;
            wire.offer(format!(
                "CONNECT {target} HTTP/1.1\r\nhost: raw.shop\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: raw.shop\r\n\r\n"
            ))
            .await;
            let reply = wire.response("GET").await;
            assert!(matches!(reply.status(), 400 | 403 | 405), "{target}: {}", reply.start);
            let (rest, _) = wire.rest().await;
            assert_eq!(String::from_utf8_lossy(&rest), "", "{entrance:?} {target}");
        }
    }
    assert!(!recorder.received(b"smuggled") && !recorder.received(b"CONNECT"));
    pair.assert_healthy().await;
}

#[tokio::test]
async fn a10_surplus_bytes_of_an_answer_are_nobodys_answer() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let listener = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    tokio::spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let mut wire = Wire::of(accepted).0.without_deadline();
            tokio::spawn(async move {
                while let Ok(request) = wire.try_request().await {
                    let target = request.target();
                    let length = target.len();
                    let poison = match target {
                        "/poison" => "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
                        _ => "",
                    };
                    wire.offer(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{target}{poison}")).await;
                }
            });
        }
    });
    for round in 0..5 {
        let mut attacker = pair.dial(&pair.scene.raw).await;
        assert_eq!(attacker.get("raw.shop", "/poison").await.text(), "/poison");
        assert_eq!(attacker.get("raw.shop", "/mine").await.text(), "/mine");
        for number in 0..3 {
            next_client_gets_its_own_answer(&pair, &format!("/{round}-{number}")).await;
        }
    }
}

#[tokio::test]
async fn a10_pipelined_answers_keep_their_order_when_the_first_is_slow() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.http).await;
    wire.send("GET /wait HTTP/1.1\r\nhost: api.shop\r\n\r\nGET /fast HTTP/1.1\r\nhost: api.shop\r\n\r\n").await;
    let early = tokio::time::timeout(Duration::from_millis(100), wire.try_response("GET")).await;
    assert!(early.is_err(), "the second answer overtook the first: {early:?}");
    pair.application.release();
    for target in ["/wait", "/fast"] {
        let reply = wire.response("GET").await;
        let echo: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(echo["target"], target);
    }
}
