//! A plain HTTP/1.1 client: one request, one connection, a deadline for all of it.

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// For the whole exchange, connecting included.
const DEADLINE: Duration = Duration::from_secs(5);

/// Largest body that is read.
const BODY_BYTES: usize = 1 << 20;

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Asks `http://AUTHORITY PATH`. The error is a sentence without a period.
pub(super) async fn ask(
    method: Method,
    authority: &str,
    path: &str,
    headers: &[(&'static str, String)],
) -> Result<Answer, String> {
    match tokio::time::timeout(DEADLINE, exchange(method, authority, path, headers)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("{authority} has not answered within {} s", DEADLINE.as_secs())),
    }
}

async fn exchange(
    method: Method,
    authority: &str,
    path: &str,
    headers: &[(&'static str, String)],
) -> Result<Answer, String> {
    let stream =
        TcpStream::connect(authority).await.map_err(|error| format!("cannot connect to {authority}: {error}"))?;
    let wrong = |error: &dyn std::fmt::Display| format!("{authority} has not answered: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, authority).header(CONNECTION, "close");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::<Bytes>::default()).map_err(|error| wrong(&error))?;
    let response = sender.send_request(request).await.map_err(|error| wrong(&error))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, BODY_BYTES).collect().await.map_err(|error| wrong(&error))?;
    connection.abort();
    Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
}
