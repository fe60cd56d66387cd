//! What was cut off never looks whole: neither an upload to the application nor an answer to its client.

use fsm_tests::h2raw::{DATA, Outcome, RST_STREAM, RawHttp2};
use fsm_tests::{Pair, Scene, Wire, full, next_data, piecewise, request, within};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const RAW: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);
const UPLOAD: &str = "POST / HTTP/1.1\r\nhost: raw.shop\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n";

/// Error codes of RST_STREAM (RFC 9113 §7).
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;
const CODES: [u32; 3] = [CANCEL, INTERNAL_ERROR, NO_ERROR];

#[tokio::test]
async fn an_upload_that_its_client_closes_has_no_end() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let upstream = pair.scene.server.listen(RAW);
    for half_close in [true, false] {
        let mut client = pair.dial(&pair.scene.raw).await;
        client.send(UPLOAD).await;
        let mut server = Wire::accept(&upstream).await;
        server.read_until("part").await;
        match half_close {
            true => client.finish().await,
            false => drop(client),
        }
        assert_no_end(&mut server, &format!("half close: {half_close}")).await;
    }
    pair.assert_healthy().await;
}

#[tokio::test]
async fn an_upload_that_its_client_resets_has_no_end() {
    let Some(scene) = Scene::new() else {
        return;
    };
    resets_have_no_end(scene.start().await).await;
}

#[tokio::test]
async fn an_upload_that_is_kept_for_a_retry_and_reset_has_no_end() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let policy = json!({"RetryOn": "5xx", "NumRetries": 2, "RetryBackoffBaseInterval": 0.01});
    scene.client_document =
        scene.client_document.clone().set("/Outbound/ClustersConfigs/shop~1raw|8081/RetryPolicy", policy);
    resets_have_no_end(scene.start().await).await;
}

async fn resets_have_no_end(pair: Pair) {
    let upstream = pair.scene.server.listen(RAW);
    let fields: [(&[u8], &[u8]); 4] =
        [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"raw.shop")];
    for code in CODES {
        for inbound in [false, true] {
            let wire = match inbound {
                false => pair.dial(&pair.scene.raw).await,
                true => pair.intrude(&pair.scene.raw, &pair.leaf("web.shop")).await,
            };
            let mut client = RawHttp2::start(wire).await;
            client.headers(1, &fields, false).await;
            client.send(DATA, 0, 1, b"part").await;
            let mut server = Wire::accept(&upstream).await;
            server.read_until("part").await;
            client.send(RST_STREAM, 0, 1, &code.to_be_bytes()).await;
            assert_no_end(&mut server, &format!("error code {code}, inbound: {inbound}")).await;
            // The connection serves on.
            client.headers(3, &fields, true).await;
            let mut server = Wire::accept(&upstream).await;
            server.request().await;
            server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
            assert_eq!(client.outcome(3).await, Outcome::Status(204));
        }
    }
}

async fn assert_no_end(server: &mut Wire, how: &str) {
    let (rest, end) = server.rest().await;
    assert!(!rest.windows(5).any(|window| window == b"0\r\n\r\n"), "{how}: the upload got an end: {rest:?} {end:?}");
}

#[tokio::test]
async fn an_answer_that_its_application_resets_has_no_end() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let go = Arc::new(Notify::new());
    let listener = pair.scene.server.listen(RAW);
    tokio::spawn(answer_and_reset(listener, Arc::clone(&go)));
    for code in CODES {
        let mut client = pair.http2(&pair.scene.raw).await;
        // A gRPC call, so that the application is spoken to in HTTP/2 and can reset.
        let mut call = request("POST", "", "http://raw.shop/shop.Echo/Say", full("m"));
        call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let mut response = client.send(call).await;
        assert_eq!(next_data(&mut response).await.unwrap(), "part");
        go.notify_one();
        let collected = within("the answer's end", response.into_body().collect()).await;
        assert!(collected.is_err(), "error code {code}: the answer got an end");
    }
    pair.assert_healthy().await;
}

/// Answers the first stream of each connection half way, and resets it with the next code when told to.
async fn answer_and_reset(listener: TcpListener, go: Arc<Notify>) {
    for code in CODES {
        let (stream, _) = listener.accept().await.unwrap();
        let go = Arc::clone(&go);
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            body.send_data("part".into(), false).unwrap();
            tokio::select! {
                _ = connection.accept() => return,
                () = go.notified() => body.send_reset(code.into()),
            }
            connection.graceful_shutdown();
            while connection.accept().await.is_some() {}
        });
    }
}

#[tokio::test]
async fn an_early_answer_stays_whole_when_the_rest_of_the_upload_is_refused() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let listener = pair.scene.server.listen(RAW);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_early(stream));
        }
    });
    for round in 0..20 {
        let mut client = pair.http2(&pair.scene.raw).await;
        let (pieces, body) = piecewise();
        let mut call = request("POST", "", "http://raw.shop/shop.Echo/Say", body);
        call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        pieces.send(Frame::data("m".into())).await.unwrap();
        let reply = fsm_tests::Reply::of(client.send(call).await).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "enough"), "round {round}: {:?}", reply.reason());
        drop(pieces);
    }
    pair.assert_healthy().await;
}

async fn answer_early(stream: TcpStream) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
        body.send_data("enough".into(), true).unwrap();
        // The library then resets with NO_ERROR, as RFC 9113 §8.1 wants it.
        drop(request);
    }
}
