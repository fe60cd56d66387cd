//! Bodies stream: however large they are, the sidecars hold a small part of them.

use fsm_tests::{Pair, Sender, Sidecar, empty, next_data, piecewise, request};
use hyper::body::{Bytes, Frame};
use std::time::Duration;
use tokio::sync::mpsc;

const BODY: usize = 100 << 20;
const PIECE: usize = 64 << 10;

/// What one body may cost each sidecar, all buffers and the allocator's own reserve included.
const GROWTH: usize = 32 << 20;

struct Memory([usize; 2]);

impl Memory {
    fn now(pair: &Pair) -> Self {
        Self([&pair.client_sidecar, &pair.server_sidecar].map(Sidecar::resident_bytes))
    }

    fn assert_bounded(&self, pair: &Pair, what: &str) {
        let now = Self::now(pair);
        for (name, (before, now)) in ["client", "server"].iter().zip(self.0.into_iter().zip(now.0)) {
            let growth = now.saturating_sub(before);
            assert!(growth < GROWTH, "{what}: the {name}'s sidecar grew by {} MiB", growth >> 20);
        }
    }
}

async fn both(pair: &Pair) -> [(&'static str, Sender); 2] {
    [("HTTP/1.1", pair.http1(&pair.scene.http).await), ("HTTP/2", pair.http2(&pair.scene.http).await)]
}

fn ask(
    client: &Sender,
    method: &str,
    path: &str,
    body: fsm_tests::RequestBody,
) -> http::Request<fsm_tests::RequestBody> {
    match client {
        Sender::Http1(_) => request(method, "api.shop", path, body),
        Sender::Http2(_) => request(method, "api.shop", &format!("http://api.shop{path}"), body),
    }
}

/// Sends pieces until the body is whole; tells how much the sidecars ever took in one go.
async fn send_all(pieces: mpsc::Sender<Frame<Bytes>>, mut observe: impl FnMut()) {
    let piece = Bytes::from(vec![b'u'; PIECE]);
    for number in 0..BODY / PIECE {
        if pieces.send(Frame::data(piece.clone())).await.is_err() {
            return;
        }
        if number % 200 == 0 {
            observe();
        }
    }
}

#[tokio::test]
async fn a_hundred_megabytes_up_and_down_cost_little_memory() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    pair.assert_healthy().await;
    let before = Memory::now(&pair);
    for (version, mut client) in both(&pair).await {
        let (pieces, body) = piecewise();
        let upload = ask(&client, "POST", "/count", body);
        let feed = send_all(pieces, || before.assert_bounded(&pair, version));
        let (response, ()) = tokio::join!(client.send(upload), feed);
        assert_eq!(fsm_tests::Reply::of(response).await.text(), BODY.to_string(), "{version}");

        let download = ask(&client, "GET", &format!("/stream/{BODY}"), empty());
        let mut response = client.send(download).await;
        let (mut received, mut checked) = (0, 0);
        while let Some(piece) = next_data(&mut response).await {
            received += piece.len();
            if received > checked {
                checked += BODY / 8;
                before.assert_bounded(&pair, version);
            }
        }
        assert_eq!(received, BODY, "{version}");
        before.assert_bounded(&pair, version);
    }
}

#[tokio::test]
async fn an_upload_that_nobody_reads_is_held_back_and_goes_on_when_somebody_does() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    pair.assert_healthy().await;
    let before = Memory::now(&pair);
    for (version, mut client) in both(&pair).await {
        let (pieces, body) = piecewise();
        // The application reads nothing before it is released.
        let upload = ask(&client, "POST", "/wait", body);
        let feed = async {
            let mut sent = 0;
            loop {
                let frame = Frame::data(Bytes::from(vec![b'u'; PIECE]));
                match tokio::time::timeout(Duration::from_secs(1), pieces.send(frame)).await {
                    Ok(sending) => sending.unwrap(),
                    Err(_) => break,
                }
                sent += PIECE;
                assert!(sent < BODY, "{version}: nothing holds the upload back");
            }
            before.assert_bounded(&pair, version);
            pair.application.release();
            drop(pieces);
            sent
        };
        let (response, sent) = tokio::join!(client.send(upload), feed);
        let echo = fsm_tests::Reply::of(response).await.json();
        assert_eq!(echo["body"].as_str().unwrap().len(), sent, "{version}");
    }
}
