//! Well-behaved HTTP clients: hyper over any connection of a pod.

use crate::{Wire, within};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use tokio::sync::mpsc;

/// A request's body.
pub type RequestBody = BoxBody<Bytes, Infallible>;

/// A whole response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: HeaderMap,
}

impl Reply {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A trailer as text.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The proxy's reason, if the proxy itself answered.
    pub fn reason(&self) -> Option<&str> {
        self.header("x-fsm-reason")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, as the echo application answers.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|why| panic!("status {}, not JSON ({why}): {}", self.status, self.text()))
    }

    /// Reads a response to its end.
    pub async fn of(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let collected = within("the response's end", body.collect())
            .await
            .unwrap_or_else(|why| panic!("the response broke off: {why:?}"));
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Self { status: head.status.as_u16(), headers: head.headers, body: collected.to_bytes().to_vec(), trailers }
    }
}

/// A connection that requests can be sent on.
pub enum Sender {
    /// HTTP/1.1: one at a time.
    Http1(client1::SendRequest<RequestBody>),
    /// HTTP/2.
    Http2(client2::SendRequest<RequestBody>),
}

impl Sender {
    /// Sends a request and waits for the response's head.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Response<Incoming> {
        self.try_send(request).await.unwrap_or_else(|why| panic!("no response: {why:?}"))
    }

    /// Sends a request and waits for the response's head.
    ///
    /// # Errors
    /// hyper's, for instance when the server resets the stream.
    pub async fn try_send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, hyper::Error> {
        match self {
            Self::Http1(sender) => {
                within("the client's connection is ready", sender.ready()).await?;
                within("a response", sender.send_request(request)).await
            }
            Self::Http2(sender) => {
                within("the client's connection is ready", sender.ready()).await?;
                within("a response", sender.send_request(request)).await
            }
        }
    }

    /// Sends a request and reads the whole response.
    pub async fn call(&mut self, request: Request<RequestBody>) -> Reply {
        Reply::of(self.send(request).await).await
    }

    /// Asks for a target and reads the whole response.
    pub async fn get(&mut self, host: &str, target: &str) -> Reply {
        let request = match self {
            Self::Http1(_) => request("GET", host, target, empty()),
            Self::Http2(_) => request("GET", host, &format!("http://{host}{target}"), empty()),
        };
        self.call(request).await
    }

    /// Another handle to the same HTTP/2 connection.
    pub fn another(&self) -> Self {
        match self {
            Self::Http2(sender) => Self::Http2(sender.clone()),
            Self::Http1(_) => panic!("HTTP/1 connections serve one request at a time"),
        }
    }
}

/// Speaks HTTP/1.1 on a connection.
pub async fn http1(wire: Wire) -> Sender {
    let (sender, connection) = client1::handshake(TokioIo::new(wire.into_stream())).await.expect("nothing is sent yet");
    tokio::spawn(connection.with_upgrades());
    Sender::Http1(sender)
}

/// Speaks HTTP/2 with prior knowledge on a connection.
pub async fn http2(wire: Wire) -> Sender {
    let stream = TokioIo::new(wire.into_stream());
    let (sender, connection) = client2::handshake(TokioExecutor::new(), stream).await.expect("a preface can be sent");
    tokio::spawn(connection);
    Sender::Http2(sender)
}

/// A request. HTTP/2 wants the target in absolute form and no host header: the authority is the host.
pub fn request(method: &str, host: &str, target: &str, body: RequestBody) -> Request<RequestBody> {
    let builder = Request::builder().method(method).uri(target);
    let builder = if target.starts_with('/') || target == "*" { builder.header("host", host) } else { builder };
    builder.body(body).expect("a request of a test's own making")
}

/// No body.
pub fn empty() -> RequestBody {
    Empty::new().boxed()
}

/// A body in one piece.
pub fn full(bytes: impl Into<Bytes>) -> RequestBody {
    Full::new(bytes.into()).boxed()
}

/// A body in pieces that the test sends one by one; dropping the sender ends it.
pub fn piecewise() -> (mpsc::Sender<Frame<Bytes>>, RequestBody) {
    let (sender, receiver) = mpsc::channel(4);
    (sender, crate::servers::Frames(receiver).boxed())
}

/// The next piece of data of a response that is still open.
pub async fn next_data(response: &mut Response<Incoming>) -> Option<Bytes> {
    loop {
        let frame = within("more of the response", response.body_mut().frame()).await;
        match frame {
            None => return None,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Some(data);
                }
            }
            Some(Err(why)) => panic!("the response broke off: {why:?}"),
        }
    }
}

/// Whether a response has ended.
pub fn has_ended(response: &Response<Incoming>) -> bool {
    response.body().is_end_stream()
}
