//! A body as it is received, whose end is an end: what was cut off is an error in every version of HTTP.
//!
//! hyper takes an HTTP/2 stream that its sender resets with `NO_ERROR` for one that has ended. Behind a proxy half a
//! body would then look whole. RFC 9113 §8.1 gives that code a meaning only after a whole response.

use bytes::Bytes;
use http::Version;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use thiserror::Error;

/// Why a body broke off.
#[derive(Debug, Error)]
pub enum BodyError {
    /// Its connection or stream failed.
    #[error(transparent)]
    Codec(#[from] hyper::Error),
    /// Its sender reset the stream before the end, without an error.
    #[error("the stream was reset before its end")]
    CutOff,
}

/// A body on its way in.
#[derive(Debug)]
pub struct Received {
    incoming: Incoming,
    is_http2: bool,
}

impl Received {
    /// The body of a message of this version.
    pub fn new(incoming: Incoming, version: Version) -> Self {
        Self { incoming, is_http2: version == Version::HTTP_2 }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        Poll::Ready(match frame {
            Some(frame) => Some(frame.map_err(BodyError::Codec)),
            // Only of HTTP/2 bodies the codec tells afterwards whether they had an end.
            None if self.is_http2 && !self.incoming.is_end_stream() => Some(Err(BodyError::CutOff)),
            None => None,
        })
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
