//! Bodies that stream through the proxy. Nothing here buffers more than the frame in hand, except what a retry may need, and
//! nothing that was cut off gets an end.

mod received;
mod replay;

use crate::policy::budget::Allowance;
use crate::telemetry::grpc::{Call, GrpcStatus};
use crate::telemetry::record::Transit;
use crate::telemetry::signals::Edge;
use crate::upstream::balance::InFlight;
use crate::upstream::pool::Lease;
use bytes::Bytes;
use http::{Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
pub use received::{BodyError, Received};
pub use replay::Kept;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

/// A request body on its way upstream.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    progress: Option<Arc<BodyProgress>>,
}

#[derive(Debug)]
enum Source {
    /// Nothing to send.
    Empty,
    /// The downstream's body as it comes.
    Stream(Received),
    /// The downstream's body, kept in case it has to be sent again.
    Kept(replay::Reader),
}

/// Why a request body broke off.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// The client broke off.
    #[error("the client broke off: {0}")]
    Downstream(#[from] BodyError),
    /// Another attempt has taken the body over.
    #[error("the request is being sent again elsewhere")]
    TakenOver,
}

/// How far a request body has got; shared with whoever waits for the response.
#[derive(Debug, Default)]
pub struct BodyProgress {
    frames: AtomicU64,
    bytes: AtomicU64,
    ended: AtomicBool,
}

impl BodyProgress {
    /// Frames handed upstream so far; a response deadline starts anew while this grows.
    pub fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    /// Bytes handed upstream so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Whether the whole body was handed upstream. Until then its connection must not serve another request.
    pub fn ended(&self) -> bool {
        self.ended.load(Relaxed)
    }
}

impl RequestBody {
    /// A request without a body.
    pub const fn empty() -> Self {
        Self { source: Source::Empty, progress: None }
    }

    /// The body of a downstream request that came in this version. One that is known to be empty costs nothing.
    pub fn stream(incoming: Incoming, version: Version) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        Self { source: Source::Stream(Received::new(incoming, version)), progress: Some(Arc::default()) }
    }

    /// Whether there is nothing to send, so that the request can be sent again as it is.
    pub const fn is_empty(&self) -> bool {
        matches!(self.source, Source::Empty)
    }

    /// Keeps what is sent from now on, within the limits of `allowance`, so that [`Kept::again`] can send it again.
    pub fn keep(&mut self, allowance: &Arc<Allowance>) -> Kept {
        match std::mem::replace(&mut self.source, Source::Empty) {
            Source::Stream(received) => {
                let (kept, reader) = replay::keep(received, allowance);
                self.source = Source::Kept(reader);
                kept
            }
            other => {
                self.source = other;
                Kept::nothing()
            }
        }
    }

    fn replayed(reader: replay::Reader) -> Self {
        Self { source: Source::Kept(reader), progress: Some(Arc::default()) }
    }

    /// How far the body has got; `None` for a request without one.
    pub fn progress(&self) -> Option<Arc<BodyProgress>> {
        self.progress.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let frame = match &mut self.source {
            Source::Empty => return Poll::Ready(None),
            Source::Stream(received) => {
                ready!(received.poll_frame(cx)).map(|frame| frame.map_err(RequestBodyError::from))
            }
            Source::Kept(reader) => ready!(reader.poll_frame(cx)),
        };
        if let Some(progress) = &self.progress {
            progress.frames.fetch_add(1, Relaxed);
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
            {
                progress.bytes.fetch_add(data.len() as u64, Relaxed);
            }
            if frame.is_none() || self.is_end_stream() {
                progress.ended.store(true, Relaxed);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Stream(received) => received.is_end_stream(),
            Source::Kept(reader) => reader.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Stream(received) => received.size_hint(),
            Source::Kept(reader) => reader.size_hint(),
        }
    }
}

/// A response body on its way downstream: an upstream's, or a local reply's.
///
/// It holds the [`Lease`] of the upstream connection and gives it back when the last byte has passed; dropping the
/// body earlier (the client went away) closes an HTTP/1 connection and resets an HTTP/2 stream.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // nearly all of them are the large one
pub enum ResponseBody {
    /// No body.
    Empty,
    /// The text of a local reply.
    Full(Option<Bytes>),
    /// The upstream's body.
    Upstream {
        /// The upstream's body.
        received: Received,
        /// What is given back when it ends.
        lease: Option<Lease>,
        /// Told when it ends, where somebody wants to know.
        observer: Observer,
        /// The gRPC call whose end is in the trailers.
        call: Call,
    },
}

/// Tells a record what passes, where there is one.
#[derive(Debug, Default)]
pub struct Observer(Option<Transit>);

impl Observer {
    fn end(&mut self, complete: bool) {
        if let Some(transit) = self.0.take() {
            transit.end(complete);
        }
    }
}

impl Drop for Observer {
    /// The body was dropped before its end: the client went away.
    fn drop(&mut self) {
        self.end(false);
    }
}

impl ResponseBody {
    /// The text of a local reply.
    pub fn full(text: impl Into<Bytes>) -> Self {
        let bytes: Bytes = text.into();
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }

    /// Holds something more until the body has ended.
    pub fn hold(&mut self, in_flight: InFlight) {
        if let Self::Upstream { lease: Some(lease), .. } = self {
            lease.hold(in_flight);
        }
    }

    /// Tells a record when the body has passed.
    pub fn observe(&mut self, transit: Transit) {
        if let Self::Upstream { observer, .. } = self {
            *observer = Observer(Some(transit));
        }
    }

    /// Counts how the gRPC call ends whose response this is, on the edge that the response was counted on.
    pub fn count_call(response: &mut Response<Self>, edge: Arc<Edge>) {
        let over = !matches!(response.body(), Self::Upstream { .. });
        let judged = Call::judge(edge, response.status(), response.headers(), over);
        if let Self::Upstream { call, .. } = response.body_mut() {
            *call = judged;
        }
    }

    /// The upstream's body; a lease whose body has ended already is given back at once.
    pub fn upstream(incoming: Incoming, lease: Lease) -> Self {
        if incoming.is_end_stream() {
            lease.finish();
            return Self::Empty;
        }
        let version = if lease.is_http2() { Version::HTTP_2 } else { Version::HTTP_11 };
        Self::Upstream {
            received: Received::new(incoming, version),
            lease: Some(lease),
            observer: Observer::default(),
            call: Call::default(),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Upstream { received, lease, observer, call } => {
                let frame = ready!(received.poll_frame(cx));
                let clean = !matches!(frame, Some(Err(_)));
                let ended = frame.is_none() || received.is_end_stream() || !clean;
                if call.is_open() {
                    follow(call, frame.as_ref(), ended);
                }
                if let Some(transit) = &mut observer.0 {
                    if let Some(Ok(frame)) = &frame {
                        transit.frame(frame);
                    }
                    if ended {
                        observer.end(clean);
                    }
                }
                if ended && let Some(lease) = lease.take() {
                    if clean { lease.finish() } else { lease.broken() }
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Upstream { received, .. } => received.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Upstream { received, .. } => received.size_hint(),
        }
    }
}

/// What this frame, or its absence, says of a gRPC call.
fn follow(call: &mut Call, frame: Option<&Result<Frame<Bytes>, BodyError>>, ended: bool) {
    match frame {
        Some(Err(_)) => call.end(GrpcStatus::UNAVAILABLE),
        Some(Ok(frame)) if frame.is_trailers() => {
            call.end(frame.trailers_ref().and_then(GrpcStatus::of).unwrap_or(GrpcStatus::UNKNOWN));
        }
        _ if ended => call.end(GrpcStatus::UNKNOWN),
        _ => {}
    }
}
