//! Frames of the response body, and those that we send as request body.

use super::link::{ControlError, broken, within};
use crate::limits;
use bytes::{Buf, Bytes, BytesMut};
use fsm_api::stream::frame::Frame;
use fsm_api::stream::{ControlMessage, ProxyMessage};
use http_body_util::BodyExt;
use hyper::body::Body;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Messages that wait for being sent. Each message of fsm-control has one answer and is taken after the answer to the one
/// before, so there are never many.
const WAITING: usize = 4;

/// Messages of fsm-control, as they arrive.
pub(super) struct Received<B> {
    authority: String,
    body: B,
    buffer: BytesMut,
    /// When the message at the beginning of the buffer must be complete.
    deadline: Option<Instant>,
}

impl<B> Received<B>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    pub(super) fn new(authority: String, body: B) -> Self {
        Self { authority, body, buffer: BytesMut::new(), deadline: None }
    }

    /// The next message. Waits for its first byte for as long as the connection lives, and for its last one until the
    /// deadline. May be cancelled at any time without losing anything.
    pub(super) async fn next(&mut self) -> Result<ControlMessage, ControlError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            let frame = match self.deadline {
                None => self.body.frame().await,
                Some(deadline) => timeout_at(deadline, self.body.frame()).await.map_err(|_| ControlError::Timeout {
                    authority: self.authority.clone(),
                    what: "complete a message",
                    limit: limits::CONTROL_MESSAGE_TIMEOUT,
                })?,
            };
            match frame {
                None => return Err(ControlError::Ended { authority: self.authority.clone() }),
                Some(Err(error)) => return Err(broken(&self.authority, &error)),
                // Trailers say nothing to us.
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            }
        }
    }

    fn take(&mut self) -> Result<Option<ControlMessage>, ControlError> {
        let unusable = |source| ControlError::Frame { authority: self.authority.clone(), source };
        let Some(frame) = Frame::first(&self.buffer).map_err(unusable)? else {
            if self.buffer.is_empty() {
                self.deadline = None;
            } else if self.deadline.is_none() {
                self.deadline = Some(Instant::now() + limits::CONTROL_MESSAGE_TIMEOUT);
            }
            return Ok(None);
        };
        let message = frame.control_message().map_err(unusable)?;
        let length = frame.len();
        self.buffer.advance(length);
        self.deadline = None;
        if self.buffer.is_empty() {
            // A large document shall not be held in memory until the next one.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }
}

/// The sending half of a request body.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    authority: String,
    queue: mpsc::Sender<Bytes>,
}

/// A request body of frames; ends with its [`Answers`].
pub(super) struct Sent(mpsc::Receiver<Bytes>);

/// Both halves.
pub(super) fn answers(authority: String) -> (Answers, Sent) {
    let (queue, waiting) = mpsc::channel(WAITING);
    (Answers { authority, queue }, Sent(waiting))
}

impl Answers {
    /// Hands a message over for sending; fails when fsm-control takes nothing for too long.
    pub(super) async fn send(&self, message: &ProxyMessage) -> Result<(), ControlError> {
        let authority = &self.authority;
        let sent = within(authority, "take an answer", self.queue.send(message.encode().into())).await?;
        sent.map_err(|_| ControlError::Ended { authority: authority.clone() })
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|next| next.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}
