//! Bodies that stream through the proxy. Nothing here buffers more than the frame in hand.

use crate::upstream::pool::Lease;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

/// A request body on its way upstream.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<Incoming>,
    progress: Option<Arc<BodyProgress>>,
}

/// How far a request body has got; shared with whoever waits for the response.
#[derive(Debug, Default)]
pub struct BodyProgress {
    frames: AtomicU64,
    ended: AtomicBool,
}

impl BodyProgress {
    /// Frames handed upstream so far; a response deadline starts anew while this grows.
    pub fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    /// Whether the whole body was handed upstream. Until then its connection must not serve another request.
    pub fn ended(&self) -> bool {
        self.ended.load(Relaxed)
    }
}

impl RequestBody {
    /// A request without a body.
    pub const fn empty() -> Self {
        Self { incoming: None, progress: None }
    }

    /// The body of a downstream request. One that is known to be empty costs nothing.
    pub fn stream(incoming: Incoming) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        Self { incoming: Some(incoming), progress: Some(Arc::default()) }
    }

    /// Whether there is nothing to send, so that the request can be sent again as it is.
    pub const fn is_empty(&self) -> bool {
        self.incoming.is_none()
    }

    /// How far the body has got; `None` for a request without one.
    pub fn progress(&self) -> Option<Arc<BodyProgress>> {
        self.progress.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = self.incoming.as_mut() else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        let ended = frame.is_none() || incoming.is_end_stream();
        if let Some(progress) = &self.progress {
            progress.frames.fetch_add(1, Relaxed);
            if ended {
                progress.ended.store(true, Relaxed);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A response body on its way downstream: an upstream's, or a local reply's.
///
/// It holds the [`Lease`] of the upstream connection and gives it back when the last byte has passed; dropping the
/// body earlier (the client went away) closes an HTTP/1 connection and resets an HTTP/2 stream.
#[derive(Debug)]
pub enum ResponseBody {
    /// No body.
    Empty,
    /// The text of a local reply.
    Full(Option<Bytes>),
    /// The upstream's body.
    Upstream {
        /// The upstream's body.
        incoming: Incoming,
        /// What is given back when it ends.
        lease: Option<Lease>,
    },
}

impl ResponseBody {
    /// The text of a local reply.
    pub fn full(text: impl Into<Bytes>) -> Self {
        let bytes: Bytes = text.into();
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }

    /// The upstream's body; a lease whose body has ended already is given back at once.
    pub fn upstream(incoming: Incoming, lease: Lease) -> Self {
        if incoming.is_end_stream() {
            lease.finish();
            return Self::Empty;
        }
        Self::Upstream { incoming, lease: Some(lease) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Upstream { incoming, lease } => {
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                let clean = !matches!(frame, Some(Err(_)));
                if (frame.is_none() || incoming.is_end_stream() || !clean)
                    && let Some(lease) = lease.take()
                {
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
            Self::Upstream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Upstream { incoming, .. } => incoming.size_hint(),
        }
    }
}
