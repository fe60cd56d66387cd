//! One small HTTP/1 server for all admin ports.
//!
//! A port that the kubelet depends on must not be blocked by somebody who opens connections and says nothing. So the
//! number of connections is bounded, and when it is reached the oldest connection makes room for the newest: a probe
//! takes milliseconds, whoever hoards connections loses them. Every phase has a deadline besides.

use super::reply::{Ask, Reply, text};
use crate::limits::{ACCEPT_BACKOFF, ADMIN_TIMEOUT};
use http::header::{CONNECTION, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Open connections of one admin port.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// Bytes of a request body. No endpoint reads one; it is swallowed so that the connection stays usable.
const MAX_BODY_BYTES: usize = 64 << 10;

/// Bytes of a request header. hyper's smallest buffer is 8 KiB.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// A connection is retired after so long, and cut off [`ADMIN_TIMEOUT`] later: a client that does not read its answer
/// would otherwise keep it in memory for ever.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);

/// Serves until `stop` is cancelled; requests that run then get [`ADMIN_TIMEOUT`] to end.
///
/// `deadline` bounds one call of `handler`.
pub(super) async fn serve_connections<H, F>(
    listener: TcpListener,
    handler: H,
    deadline: Duration,
    stop: CancellationToken,
) where
    H: Fn(Ask) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            // A panic has ended one connection; the process's hook has counted and logged it.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                warn!(%error, "cannot accept a connection on an admin port; trying again");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        oldest_first.retain(|connection| !connection.is_finished());
        while oldest_first.len() >= MAX_CONNECTIONS {
            if let Some(oldest) = oldest_first.pop_front() {
                oldest.abort();
            }
        }
        let connection = serve_connection(stream, handler.clone(), deadline, stop.clone());
        oldest_first.push_back(connections.spawn(connection));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection<H, F>(stream: TcpStream, handler: H, deadline: Duration, stop: CancellationToken)
where
    H: Fn(Ask) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let _ = stream.set_nodelay(true);
    let endless = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&endless);
    let service = service_fn(move |request| {
        let answer = answer(request, handler.clone(), deadline);
        let endless = Arc::clone(&watched);
        async move {
            let answer = answer.await;
            endless.fetch_or(answer.body().is_endless(), Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    // Somebody who watches may do so for as long as they read: what waits for them is bounded.
    let retired = async {
        tokio::time::sleep(CONNECTION_LIFETIME).await;
        while endless.load(Relaxed) {
            tokio::time::sleep(CONNECTION_LIFETIME).await;
        }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = retired => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(ADMIN_TIMEOUT, connection).await;
}

/// The body is swallowed first: an unread body would end the connection, and no endpoint wants one.
async fn answer<H, F>(request: Request<Incoming>, handler: H, deadline: Duration) -> Reply
where
    H: Fn(Ask) -> F,
    F: Future<Output = Reply>,
{
    let (head, body) = request.into_parts();
    match tokio::time::timeout(ADMIN_TIMEOUT, swallow(body)).await {
        Ok(true) => {}
        Ok(false) => {
            return closing(text(StatusCode::PAYLOAD_TOO_LARGE, "no request here needs a body\n"));
        }
        Err(_) => {
            return closing(text(StatusCode::REQUEST_TIMEOUT, "the request body took too long\n"));
        }
    }
    let asked = handler(Request::from_parts(head, ()));
    let late = || text(StatusCode::GATEWAY_TIMEOUT, "the answer took too long\n");
    tokio::time::timeout(deadline, asked).await.unwrap_or_else(|_| late())
}

/// Whether the body was small enough.
async fn swallow(body: Incoming) -> bool {
    let announced = body.size_hint().lower();
    let mut body = Limited::new(body, MAX_BODY_BYTES);
    if announced > MAX_BODY_BYTES as u64 {
        return false;
    }
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return false;
        }
    }
    true
}

fn closing(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
