//! One small HTTP/1 server for the ports that people and tools ask: admin and repository, and, within TLS, webhooks.
//!
//! Connections are bounded (the oldest makes room for the newest: whoever hoards connections loses them), every phase has
//! a deadline, and a body is read up to a limit before its request is answered.

use crate::accept::is_of_one_connection;
use crate::limits;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(crate) type Reply = Response<Full<Bytes>>;
/// A request whose body was read; `None`: it was too long.
pub(crate) type Ask = Request<Option<Bytes>>;

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Whether a request came from this machine.
pub(crate) fn comes_from_here<T>(request: &Request<T>) -> bool {
    request.extensions().get::<Peer>().is_some_and(|Peer(address)| address.to_canonical().is_loopback())
}

/// What one port admits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortLimits {
    /// Open connections.
    pub(crate) connections: usize,
    /// Bytes of a body that are read; what is longer is swallowed.
    pub(crate) body: usize,
    /// How long a connection may wait for its next request.
    pub(crate) idle: Duration,
}

/// Serves until `stop`.
pub(crate) async fn serve<H, F>(listener: TcpListener, handler: H, port: PortLimits, stop: CancellationToken)
where
    H: Fn(Ask) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(limits::ACCEPT_BACKOFF).await;
                continue;
            }
        };
        oldest_first.retain(|connection| !connection.is_finished());
        while oldest_first.len() >= port.connections {
            if let Some(oldest) = oldest_first.pop_front() {
                oldest.abort();
            }
        }
        let _ = stream.set_nodelay(true);
        let handler = handler.clone();
        let handler = move |mut ask: Ask| {
            ask.extensions_mut().insert(Peer(peer.ip()));
            handler(ask)
        };
        oldest_first.push_back(connections.spawn(serve_connection(stream, handler, port, stop.clone())));
    }
    drop(listener);
    let _ = timeout(limits::SHUTDOWN_GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain; charset=utf-8", body)
}

pub(crate) fn json(value: &impl serde::Serialize) -> Reply {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            reply(StatusCode::OK, "application/json", body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("this cannot be shown as JSON: {error}\n")),
    }
}

pub(crate) fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// GET or HEAD.
pub(crate) fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// One connection, over whatever carries it, until its end.
pub(crate) async fn serve_connection<S, H, F>(stream: S, handler: H, port: PortLimits, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Ask) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(answer(request, handler, port.body).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(port.idle)
        .max_buf_size(limits::MAX_HEADER_BYTES as usize)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits::SHUTDOWN_GRACE, connection).await;
}

async fn answer<H, F>(request: Request<Incoming>, handler: H, most: usize) -> Reply
where
    H: Fn(Ask) -> F,
    F: Future<Output = Reply>,
{
    let (head, body) = request.into_parts();
    let collected = match timeout(limits::REQUEST_TIMEOUT, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Some(body.to_bytes()),
        Ok(Err(_)) => None,
        Err(_) => return closing(text(StatusCode::REQUEST_TIMEOUT, "the request's body took too long\n")),
    };
    let too_long = collected.is_none();
    let reply = timeout(limits::REQUEST_TIMEOUT, handler(Request::from_parts(head, collected))).await;
    let reply = reply.unwrap_or_else(|_| text(StatusCode::GATEWAY_TIMEOUT, "the answer took too long\n"));
    // What was not read of a body would be taken for the next request.
    if too_long { closing(reply) } else { reply }
}

fn closing(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}
