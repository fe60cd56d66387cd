//! Upstreams that die, reset, stall or answer garbage: the right reason, and nothing else suffers.

use fsm_tests::{End, Pair, Scene, Wire};
use serde_json::json;
use tokio::net::TcpListener;

const GET: &str = "GET / HTTP/1.1\r\nhost: raw.shop\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Two pods with sidecars that wait a second for a response, and the raw service's listener.
async fn start() -> Option<(Pair, TcpListener)> {
    let mut scene = Scene::new()?;
    scene.server_document = scene.server_document.clone().set("/Spec/SidecarTimeout", json!(1));
    let pair = scene.start().await;
    let upstream = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    Some((pair, upstream))
}

/// Asks, lets `misbehave` answer, and returns what the client got.
async fn ask(pair: &Pair, upstream: &TcpListener, misbehave: impl AsyncFn(Wire)) -> (u16, Option<String>) {
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send(GET).await;
    let serve = async {
        let mut server = Wire::accept(upstream).await;
        server.request().await;
        misbehave(server).await;
    };
    let ((), reply) = tokio::join!(serve, client.response("GET"));
    (reply.status(), reply.reason().map(str::to_owned))
}

/// The raw service answers again, and the other service never stopped.
async fn assert_unharmed(pair: &Pair, upstream: &TcpListener) {
    let good = ask(pair, upstream, async |mut server| server.send(OK).await).await;
    assert_eq!(good, (200, None));
    pair.assert_healthy().await;
}

#[tokio::test]
async fn an_upstream_that_resets_before_its_response_is_a_502() {
    let Some((pair, upstream)) = start().await else { return };
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send(GET).await;
    // A GET that died without an answer may be tried again by the proxy; then it is reset again.
    let reset_all = async {
        while let Ok((stream, _)) = upstream.accept().await {
            let _ = stream.peek(&mut [0]).await;
            // A close without lingering is a reset.
            stream.set_zero_linger().unwrap();
        }
    };
    let reply = tokio::select! {
        reply = client.response("GET") => reply,
        () = reset_all => unreachable!("a listener accepts"),
    };
    assert_eq!((reply.status(), reply.reason()), (502, Some("upstream-reset")));
    assert_unharmed(&pair, &upstream).await;
}

#[tokio::test]
async fn an_upstream_that_closes_before_its_response_is_a_502() {
    let Some((pair, upstream)) = start().await else { return };
    let got = ask(&pair, &upstream, async |server| drop(server)).await;
    assert_eq!(got, (502, Some("upstream-reset".to_owned())));
    assert_unharmed(&pair, &upstream).await;
}

#[tokio::test]
async fn an_upstream_that_stalls_is_a_504() {
    let Some((pair, upstream)) = start().await else { return };
    let got = ask(&pair, &upstream, async |mut server| {
        // It keeps the connection until the proxy gives up.
        server.rest().await;
    })
    .await;
    assert_eq!(got, (504, Some("upstream-timeout".to_owned())));
    assert_unharmed(&pair, &upstream).await;
}

#[tokio::test]
async fn an_upstream_that_stalls_within_its_head_is_a_504() {
    let Some((pair, upstream)) = start().await else { return };
    let got = ask(&pair, &upstream, async |mut server| {
        server.send("HTTP/1.1 200 OK\r\ncontent-le").await;
        server.rest().await;
    })
    .await;
    assert_eq!(got, (504, Some("upstream-timeout".to_owned())));
    assert_unharmed(&pair, &upstream).await;
}

#[tokio::test]
async fn an_upstream_that_answers_garbage_is_a_502() {
    let Some((pair, upstream)) = start().await else { return };
    for garbage in [
        "\x16\x03\x01\x02\x00\x01\x00\x01",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    ] {
        let got = ask(&pair, &upstream, async |mut server| server.offer(garbage).await).await;
        assert_eq!(got, (502, Some("upstream-protocol".to_owned())), "{garbage:?}");
    }
    assert_unharmed(&pair, &upstream).await;
}

#[tokio::test]
async fn an_upstream_that_dies_within_its_body_cuts_only_its_own_response_off() {
    let Some((pair, upstream)) = start().await else { return };
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send(GET).await;
    let mut server = Wire::accept(&upstream).await;
    server.request().await;
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nfirst part").await;
    drop(server);
    // The head has gone out, so there is no reason to be given: the client must see that the body is not whole.
    let (bytes, end) = client.rest().await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.ends_with("first part"), "{text}");
    assert!(matches!(end, End::Closed | End::Reset), "{end:?}");
    assert_unharmed(&pair, &upstream).await;
}
