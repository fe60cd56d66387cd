//! The port that proxies speak to: HTTP/2 over TLS, two paths.
//!
//! Everything is bounded: connections, streams of one connection, header sections, bodies, and every phase has a
//! deadline. A connection without a request in progress is closed after a while. When the program stops, all streams
//! end; proxies keep what they have and come back to whoever serves them next.

use super::{Push, identity, stream};
use crate::accept;
use crate::cert::server::ServerTls;
use crate::cert::{CLOCK_SKEW, Identity, IdentityError};
use crate::limits;
use bytes::Bytes;
use fsm_api::stream::{IDENTITY_PATH, STREAM_PATH};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use x509_parser::prelude::{FromDer, X509Certificate};

/// An answer.
pub(super) type Reply = Response<ReplyBody>;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum ReplyBody {
    /// Known beforehand.
    Whole(Option<Bytes>),
    /// One frame after the other, until the sender is gone.
    Frames(mpsc::Receiver<Bytes>),
}

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// `None`: no certificate was shown.
    pub(super) identity: Option<Result<Identity, IdentityError>>,
    /// When the certificate was issued.
    pub(super) issued: SystemTime,
    /// End of the certificate.
    pub(super) expires: SystemTime,
}

/// Binds a listener for many connections at once.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::LISTEN_BACKLOG)
}

/// Serves proxies until `stop`; what is in progress then has [`limits::SHUTDOWN_GRACE`] to end.
pub async fn serve(listener: TcpListener, push: Arc<Push>, tls: Arc<ServerTls>, stop: CancellationToken) {
    let connection = |socket, from| serve_connection(socket, from, push.clone(), tls.clone(), stop.clone());
    accept::serve_each(listener, "a proxy", limits::MAX_CONNECTIONS, &stop, connection).await;
}

async fn serve_connection(
    socket: TcpStream,
    from: SocketAddr,
    push: Arc<Push>,
    tls: Arc<ServerTls>,
    stop: CancellationToken,
) {
    let handshake = TlsAcceptor::from(tls.config()).accept(socket);
    let secured = tokio::select! {
        () = stop.cancelled() => return,
        secured = timeout(limits::HANDSHAKE_TIMEOUT, handshake) => secured,
    };
    let secured = match secured {
        Ok(Ok(secured)) => secured,
        Ok(Err(error)) => {
            push.telemetry.count_refused("handshake");
            return debug!("the TLS handshake with {from} failed: {error}");
        }
        Err(_) => return debug!("the TLS handshake with {from} took too long"),
    };
    let peer = Arc::new(Peer::of(&secured, &push.trust_domain));
    let in_progress = Arc::new(AtomicUsize::new(0));
    let service = {
        let (in_progress, stop) = (in_progress.clone(), stop.clone());
        service_fn(move |request| {
            let guard = InProgress::begin(&in_progress);
            let answer = answer(request, push.clone(), peer.clone(), stop.clone());
            async move {
                let reply = answer.await;
                Ok::<_, Infallible>(reply.map(|body| Counted { body, _guard: guard }))
            }
        })
    };
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits::UPWARD_WINDOW)
        .initial_connection_window_size(limits::UPWARD_WINDOW)
        .max_concurrent_streams(limits::MAX_STREAMS)
        .max_header_list_size(limits::MAX_HEADER_BYTES)
        .keep_alive_interval(limits::KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEP_ALIVE_TIMEOUT)
        .serve_connection(TokioIo::new(secured), service);
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = stop.cancelled() => break,
            () = sleep(limits::CONNECTION_IDLE) => if in_progress.load(Relaxed) == 0 { break },
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits::SHUTDOWN_GRACE, connection).await;
}

async fn answer(request: Request<Incoming>, push: Arc<Push>, peer: Arc<Peer>, stop: CancellationToken) -> Reply {
    let (head, body) = request.into_parts();
    match (head.method, head.uri.path()) {
        (Method::POST, STREAM_PATH) => stream::open(push, peer, body, stop).await,
        (Method::POST, IDENTITY_PATH) => identity::issue(push, head.headers, body).await,
        (_, STREAM_PATH | IDENTITY_PATH) => refusal(StatusCode::METHOD_NOT_ALLOWED, "only POST is served here"),
        _ => refusal(StatusCode::NOT_FOUND, "there is nothing here; proxies use /v1/identity and /v1/stream"),
    }
}

/// A refusal with the reason as text.
pub(super) fn refusal(status: StatusCode, reason: &str) -> Reply {
    let mut reply = Response::new(ReplyBody::whole(format!("{reason}\n").into()));
    *reply.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}

impl Peer {
    fn of(connection: &TlsStream<TcpStream>, trust_domain: &str) -> Self {
        let (_, tls) = connection.get_ref();
        let Some(leaf) = tls.peer_certificates().and_then(<[CertificateDer<'_>]>::first) else {
            let never = SystemTime::UNIX_EPOCH;
            return Self { identity: None, issued: never, expires: never };
        };
        let (not_before, expires) = validity(leaf);
        let identity = Some(Identity::of_leaf(leaf, trust_domain));
        Self { identity, issued: not_before + CLOCK_SKEW, expires }
    }

    /// How long the certificate is still valid; `None` without one.
    pub(super) fn expires_in(&self) -> Option<Duration> {
        self.identity.as_ref()?;
        Some(self.expires.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

fn validity(leaf: &CertificateDer<'_>) -> (SystemTime, SystemTime) {
    let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    match X509Certificate::from_der(leaf) {
        Ok((_, certificate)) => {
            let validity = certificate.validity();
            (at(validity.not_before.timestamp()), at(validity.not_after.timestamp()))
        }
        // rustls has read it, so that this is not expected; it expires at once.
        Err(_) => (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH),
    }
}

/// Counts a request for as long as its answer is being sent.
struct InProgress(Arc<AtomicUsize>);

impl InProgress {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count.clone())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// An answer that counts as in progress until it is sent.
struct Counted {
    body: ReplyBody,
    _guard: InProgress,
}

impl ReplyBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes))
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut self.body {
            ReplyBody::Whole(bytes) => bytes.take(),
            ReplyBody::Frames(frames) => std::task::ready!(frames.poll_recv(cx)),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.body, ReplyBody::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            ReplyBody::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            ReplyBody::Frames(_) => SizeHint::default(),
        }
    }
}
