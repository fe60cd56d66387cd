//! A request body that can be sent again: what has been sent is kept, the rest still streams.
//!
//! Kept are at most [`REPLAY_BYTES_PER_REQUEST`], and no more than the allowance that all requests share. A body that
//! outgrows either streams on and can no longer be sent again. Only the latest attempt may read; an earlier one whose
//! connection has not noticed yet gets an error, so that no byte goes to the wrong attempt.

use super::{Received, RequestBody, RequestBodyError};
use crate::policy::budget::{Allowance, REPLAY_BYTES_PER_REQUEST, Share};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The kept part of a body, in the hands of whoever may send it again.
#[derive(Debug)]
pub struct Kept(Option<Arc<Mutex<Recording>>>);

/// One attempt's view of the body.
#[derive(Debug)]
pub(super) struct Reader {
    recording: Arc<Mutex<Recording>>,
    attempt: u32,
    position: usize,
}

#[derive(Debug)]
struct Recording {
    received: Received,
    whole: SizeHint,
    frames: Vec<Piece>,
    /// `None`: too much has been sent to keep it.
    share: Option<Share>,
    ended: bool,
    attempt: u32,
}

#[derive(Clone, Debug)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

pub(super) fn keep(received: Received, allowance: &Arc<Allowance>) -> (Kept, Reader) {
    let recording = Recording {
        whole: received.size_hint(),
        received,
        frames: Vec::new(),
        share: allowance.take(0),
        ended: false,
        attempt: 0,
    };
    let recording = Arc::new(Mutex::new(recording));
    (Kept(Some(Arc::clone(&recording))), Reader { recording, attempt: 0, position: 0 })
}

impl Kept {
    /// For a request without a body.
    pub const fn nothing() -> Self {
        Self(None)
    }

    /// Whether the whole body can be sent again.
    pub fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|recording| recording.lock().share.is_some())
    }

    /// The body from its beginning, for another attempt; the earlier one can read no more of it.
    pub fn again(&self) -> RequestBody {
        let Some(recording) = &self.0 else { return RequestBody::empty() };
        let attempt = {
            let mut recording = recording.lock();
            recording.attempt += 1;
            recording.attempt
        };
        RequestBody::replayed(Reader { recording: Arc::clone(recording), attempt, position: 0 })
    }
}

impl Reader {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let mut recording = self.recording.lock();
        if recording.attempt != self.attempt {
            return Poll::Ready(Some(Err(RequestBodyError::TakenOver)));
        }
        if let Some(piece) = recording.frames.get(self.position) {
            self.position += 1;
            return Poll::Ready(Some(Ok(match piece.clone() {
                Piece::Data(data) => Frame::data(data),
                Piece::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        if recording.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(recording.received.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                recording.record(frame);
                self.position = recording.frames.len();
            }
            Some(Err(_)) => recording.give_up(),
            None => recording.ended = true,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError::from)))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let recording = self.recording.lock();
        self.position >= recording.frames.len() && (recording.ended || recording.received.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let recording = self.recording.lock();
        if self.position == 0 { recording.whole } else { SizeHint::default() }
    }
}

impl Recording {
    fn record(&mut self, frame: &Frame<Bytes>) {
        let Some(share) = &mut self.share else { return };
        let piece = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Piece::Data(data.clone()),
            (None, Some(trailers)) => Piece::Trailers(trailers.clone()),
            (None, None) => return,
        };
        // An estimate for trailers: their number is limited by the codec.
        let size = match &piece {
            Piece::Data(data) => data.len() as u64,
            Piece::Trailers(trailers) => trailers.len() as u64 * 64,
        };
        if share.amount() + size > REPLAY_BYTES_PER_REQUEST || !share.grow(size) {
            self.give_up();
            return;
        }
        self.frames.push(piece);
    }

    fn give_up(&mut self) {
        self.share = None;
        self.frames = Vec::new();
    }
}
