//! Switching protocols: WebSocket and its like.
//!
//! The tunnel opens only after the upstream answered 101 with the protocol that the client offered; until then not one
//! byte beyond the request is forwarded, and the upstream connection never returns to a pool (CVE-2026-2833).

use super::body::ResponseBody;
use crate::limits;
use crate::runtime;
use crate::tcp::copy::{RelayOptions, relay};
use crate::telemetry::counters::Counter;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// Whether the upstream agreed to what the client offered.
pub fn accepted(response: &Response<ResponseBody>, offered: &HeaderValue) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        && response.headers().get(UPGRADE).is_some_and(|chosen| {
            // A client may offer several protocols in one header; the server picks among them.
            let mut offers = offered.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            offers.any(|offer| offer.eq_ignore_ascii_case(chosen.as_bytes().trim_ascii()))
        })
}

/// Joins both ends once each has switched; the response that makes the client switch is returned.
pub fn tunnel(
    downstream: OnUpgrade,
    mut response: Response<ResponseBody>,
    offered: &HeaderValue,
) -> Response<ResponseBody> {
    let upstream = hyper::upgrade::on(&mut response);
    runtime::spawn(async move {
        let switched = tokio::time::timeout(limits::RESPONSE_TIMEOUT, async { tokio::try_join!(downstream, upstream) });
        match switched.await {
            Ok(Ok((downstream, upstream))) => {
                // The upstream connection counts its own bytes.
                let (sent, received) = (Counter::default(), Counter::default());
                let options =
                    RelayOptions { idle: limits::TCP_IDLE_TIMEOUT, sent: &sent, received: &received, moved: None };
                let (mut downstream, mut upstream) = (TokioIo::new(downstream), TokioIo::new(upstream));
                relay(&mut downstream, &mut upstream, options).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection ended before it could switch protocols")
            }
            Err(_) => tracing::debug!("a connection did not switch protocols in time"),
        }
    });
    let mut reply = Response::new(ResponseBody::Empty);
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *reply.headers_mut() = std::mem::take(response.headers_mut());
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    reply.headers_mut().entry(UPGRADE).or_insert_with(|| offered.clone());
    reply
}
