//! Upgrades: WebSocket and what looks like it.

use fsm_tests::{End, Pair, Wire};
use tokio::net::TcpListener;

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: raw.shop\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn start() -> Option<(Pair, TcpListener)> {
    let pair = Pair::start().await?;
    let upstream = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    Some((pair, upstream))
}

#[tokio::test]
async fn a_websocket_carries_bytes_both_ways_until_either_side_ends_it() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send(ASK).await;
    let mut server = Wire::accept(&upstream).await;
    let seen = server.request().await;
    assert!(seen.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(seen.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    // The first bytes of the new protocol come together with the switch.
    server.send(format!("{SWITCH}\u{1}first")).await;
    let reply = client.response("GET").await;
    assert_eq!(reply.status(), 101);
    assert_eq!(reply.header("upgrade"), Some("websocket"));
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(client.read_exact(6).await, b"\x01first");
    client.send([0, 255, b'\r', b'\n']).await;
    assert_eq!(server.read_exact(4).await, [0, 255, b'\r', b'\n']);
    server.send("back").await;
    assert_eq!(client.read_exact(4).await, b"back");
    drop(server);
    assert_eq!(client.rest().await.0, b"");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_response() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send(ASK).await;
    let mut server = Wire::accept(&upstream).await;
    server.request().await;
    server.send("HTTP/1.1 426 No\r\ncontent-length: 2\r\n\r\nno").await;
    let reply = client.response("GET").await;
    assert_eq!((reply.status(), reply.text().as_str()), (426, "no"));
}

#[tokio::test]
async fn a_connection_that_was_upgraded_never_serves_another_request() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send(ASK).await;
    let mut server = Wire::accept(&upstream).await;
    server.request().await;
    server.send(SWITCH).await;
    assert_eq!(client.response("GET").await.status(), 101);
    drop(client);
    assert_eq!(server.rest().await.0, b"");
    let mut next = pair.dial(&pair.scene.raw).await;
    next.send("GET /next HTTP/1.1\r\nhost: raw.shop\r\n\r\n").await;
    let mut fresh = Wire::accept(&upstream).await;
    assert_eq!(fresh.request().await.target(), "/next");
    fresh.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(next.response("GET").await.status(), 200);
}

#[tokio::test]
async fn the_end_of_a_client_reaches_the_server() {
    let Some((pair, upstream)) = start().await else {
        return;
    };
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send(ASK).await;
    let mut server = Wire::accept(&upstream).await;
    server.request().await;
    server.send(SWITCH).await;
    assert_eq!(client.response("GET").await.status(), 101);
    client.send("last words").await;
    client.finish().await;
    assert_eq!(server.rest().await, (b"last words".to_vec(), End::Closed));
}
