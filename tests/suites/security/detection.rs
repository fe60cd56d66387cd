//! Garbage before and after the protocol is told, and hellos that never end.

use fsm_tests::{Fault, Pair, TlsClient, Wire};
use std::time::Duration;

const GARBAGE: &[&[u8]] = &[
    b"\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\r\n\r\n",
    b"\r\n\r\n\r\n\r\n",
    b"hello there\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n",
    b"GET",
    b"\x16",
    b"\x16\x03\x01",
    b"\x16\x03\x01\xff\xff\x01\xff\xff\xff",
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"\x15\x03\x01\x00\x02\x02\x28",
    b"\x80\x2e\x01\x03\x01",
    b"\x05\x01\x00",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
];

#[tokio::test]
async fn garbage_never_reaches_an_http_application_and_ends_in_a_close() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut bystander = pair.dial(&pair.scene.http).await;
    for garbage in GARBAGE {
        let outbound = pair.dial(&pair.scene.http).await;
        let inbound = Wire::connect(&pair.scene.stranger, pair.inbound(&pair.scene.http)).await;
        let secured = pair.intrude(&pair.scene.http, &pair.leaf("web.shop")).await;
        for mut wire in [outbound, inbound, secured] {
            wire.offer(garbage).await;
            wire.finish().await;
            let (answer, _) = wire.rest().await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(!answer.contains(" 200 "), "{garbage:?}: {answer}");
        }
        assert_eq!(bystander.get("api.shop", "/bystander").await.status(), 200, "{garbage:?}");
    }
    assert!(pair.application.requests().iter().all(|seen| seen.target == "/bystander"));
    pair.assert_healthy().await;
}

#[tokio::test]
async fn garbage_after_a_request_ends_the_connection_but_not_the_request() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    for mut wire in [pair.dial(&pair.scene.http).await, pair.intrude(&pair.scene.http, &pair.leaf("web.shop")).await] {
        wire.send(b"GET /first HTTP/1.1\r\nhost: api.shop\r\n\r\n\x00\xff\x01 garbage\r\n\r\n").await;
        assert_eq!(wire.response("GET").await.status(), 200);
        let (rest, _) = wire.rest().await;
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 4"), "{rest}");
    }
    assert_eq!(pair.application.requests().len(), 2);
    pair.assert_healthy().await;
}

#[tokio::test]
async fn half_a_client_hello_holds_up_nobody() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let hello = client_hello();
    let mut stalled = Vec::new();
    for length in [1, 5, 6, 43, hello.len() / 2, hello.len() - 1] {
        for (pod, to) in [
            (&pair.scene.stranger, pair.inbound(&pair.scene.http)),
            (&pair.scene.client, pair.scene.http.address()),
            (&pair.scene.client, pair.scene.tcp.address()),
        ] {
            let mut wire = Wire::connect(pod, to).await;
            wire.send(&hello[..length]).await;
            stalled.push(wire);
        }
    }
    pair.assert_healthy().await;
    // Still there, and still served in order once they end: closed, without an answer from any application.
    for mut wire in stalled {
        wire.finish().await;
        let (rest, _) = wire.rest().await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
    }
    pair.assert_healthy().await;
}

#[tokio::test]
async fn a_handshake_in_pieces_is_still_a_handshake() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    // rustls writes its hello in one piece; the relay cuts everything into single bytes.
    let at = ([127, 0, 0, 1], 7001).into();
    let relay = pair.scene.stranger.listen(at);
    let target = pair.inbound(&pair.scene.http);
    let stranger = pair.scene.stranger.clone();
    tokio::spawn(async move {
        let (near, _) = relay.accept().await.unwrap();
        let far = stranger.connect(target).await.unwrap();
        byte_by_byte(near, far).await;
    });
    let mut wire = TlsClient::new(&pair.leaf("web.shop")).connect(&pair.scene.stranger, at).await.unwrap();
    assert_eq!(wire.get("api.shop", "/pieces").await.status(), 200);
}

#[tokio::test]
async fn plaintext_to_an_mtls_port_is_refused_fast() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    for service in [&pair.scene.http, &pair.scene.tcp] {
        let mut wire = Wire::connect(&pair.scene.stranger, pair.inbound(service)).await;
        wire.offer("GET / HTTP/1.1\r\nhost: api.shop\r\n\r\n").await;
        let refused = tokio::time::timeout(Duration::from_secs(2), wire.try_response("GET")).await;
        let refused = refused.expect("refused at once");
        match &refused {
            Ok(reply) => assert_eq!((reply.status(), reply.reason()), (403, Some("mtls-required"))),
            Err(fault) => assert!(is_close_or_alert(fault), "{fault}"),
        }
    }
    assert!(pair.application.requests().is_empty());
    assert_eq!(pair.echo.connections(), 0);
    pair.assert_healthy().await;
}

/// Nothing at all, or a TLS alert record.
fn is_close_or_alert(fault: &Fault) -> bool {
    matches!(fault, Fault::Ended(_, bytes) if bytes.is_empty() || bytes[0] == 0x15)
}

async fn byte_by_byte(near: tokio::net::TcpStream, far: tokio::net::TcpStream) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let up = async {
        while let Ok(byte) = near_read.read_u8().await {
            if far_write.write_u8(byte).await.is_err() {
                return;
            }
        }
        let _ = far_write.shutdown().await;
    };
    let down = async {
        while let Ok(byte) = far_read.read_u8().await {
            if near_write.write_u8(byte).await.is_err() {
                return;
            }
        }
        let _ = near_write.shutdown().await;
    };
    tokio::join!(up, down);
}

/// A plausible TLS 1.2-style hello: record, handshake header, version, random, no session, two suites, one compression.
fn client_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0x13, 1, 0xc0, 0x2b, 1, 0]);
    let mut handshake = vec![1, 0, 0, body.len() as u8];
    handshake.extend(body);
    let mut record = vec![0x16, 3, 1, 0, handshake.len() as u8];
    record.extend(handshake);
    record
}
