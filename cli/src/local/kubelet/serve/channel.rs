//! Streams in one WebSocket, as Kubernetes has them: the first byte of each message says to which stream the rest belongs
//! (`v4.channel.k8s.io`; `v5` adds that a stream can be closed).

use super::{Reply, text};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role};

/// What is spoken, the best first.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// The stream by which version 5 closes another.
const CLOSE: u8 = 255;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What arrives.
pub(super) enum Piece {
    /// Bytes of a stream.
    Bytes(u8, Bytes),
    /// The stream has no more.
    End(u8),
}

/// Sends pieces.
pub(super) struct Sender {
    socket: Mutex<SplitSink<Socket, Message>>,
}

/// Receives pieces.
pub(super) struct Receiver {
    socket: SplitStream<Socket>,
}

/// Answers the upgrade, and goes on with `serve` once it has happened.
pub(super) fn upgrade<F>(
    mut request: Request<Incoming>,
    serve: impl FnOnce(Sender, Receiver) -> F + Send + 'static,
) -> Reply
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let header =
        |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if !header(header::UPGRADE).eq_ignore_ascii_case("websocket") {
        let why = "this node speaks WebSocket only; kubectl 1.31 or newer does, and so does `fsm`\n";
        return text(StatusCode::BAD_REQUEST, why);
    }
    let offered = header(header::SEC_WEBSOCKET_PROTOCOL);
    let is_offered = |protocol: &&&str| offered.split(',').any(|one| one.trim() == **protocol);
    let Some(protocol) = PROTOCOLS.iter().find(is_offered) else {
        return text(
            StatusCode::BAD_REQUEST,
            format!("none of these is spoken: {offered:?}; use {}\n", PROTOCOLS.join(" or ")),
        );
    };
    let accept = derive_accept_key(header(header::SEC_WEBSOCKET_KEY).as_bytes());
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        let (sending, receiving) = socket.split();
        if let Err(error) = serve(Sender { socket: Mutex::new(sending) }, Receiver { socket: receiving }).await {
            tracing::debug!(%error, "a stream broke");
        }
    });
    let mut reply = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    reply
}

impl Sender {
    pub(super) async fn send(&self, stream: u8, bytes: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(bytes.len() + 1);
        message.push(stream);
        message.extend_from_slice(bytes);
        self.socket.lock().await.send(Message::Binary(message.into())).await.map_err(io::Error::other)
    }

    /// The end of everything, as it should be: kubectl takes an end without this code for a broken connection, and does
    /// not believe how the program is said to have ended.
    pub(super) async fn close(&self) -> io::Result<()> {
        let end = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        self.socket.lock().await.send(Message::Close(Some(end))).await.map_err(io::Error::other)
    }
}

impl Receiver {
    /// `None`: the other side is gone.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        loop {
            let bytes: Bytes = match self.socket.next().await? {
                Ok(Message::Binary(bytes)) => bytes,
                Ok(Message::Text(text)) => text.into(),
                Ok(Message::Close(_)) | Err(_) => return None,
                // Pings are answered by the library.
                Ok(_) => continue,
            };
            match bytes.first() {
                Some(&CLOSE) => return bytes.get(1).map(|stream| Piece::End(*stream)),
                Some(stream) => return Some(Piece::Bytes(*stream, bytes.slice(1..))),
                None => {}
            }
        }
    }
}
