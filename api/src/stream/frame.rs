//! Frames: one message each. Five bytes of head (length of the payload, big endian in four bytes; kind, one byte), then the
//! payload as JSON. Decoding fails on a payload that is too long or no message of its kind; a kind that this version does
//! not know is no failure. Never holds more than it is given.

use super::{Ack, ControlMessage, Current, Delta, Hello, Nack, ProxyMessage, Trust, Update};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// No payload is longer; a longer one ends the stream.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 20;

/// Bytes before the payload.
pub const HEAD_BYTES: usize = 5;

/// Why bytes are no frame.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The length is beyond what anybody sends.
    #[error("a message of {length} bytes is announced, and no message has more than {MAX_PAYLOAD_BYTES}")]
    TooLong {
        /// As announced.
        length: usize,
    },
    /// The payload is no message of its kind.
    #[error("a message of kind {kind} cannot be read: {source}")]
    Payload {
        /// As sent.
        kind: u8,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// A frame at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    kind: u8,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that `bytes` begin with; `None` while it is incomplete.
    ///
    /// # Errors
    /// [`FrameError::TooLong`].
    pub fn first(bytes: &'a [u8]) -> Result<Option<Self>, FrameError> {
        let Some((&[a, b, c, d, kind], rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_PAYLOAD_BYTES {
            return Err(FrameError::TooLong { length });
        }
        Ok(rest.get(..length).map(|payload| Self { kind, payload }))
    }

    /// Bytes that the frame takes, head included.
    pub const fn len(&self) -> usize {
        HEAD_BYTES + self.payload.len()
    }

    /// Never: every frame has a head.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The frame as a message of a proxy.
    ///
    /// # Errors
    /// [`FrameError::Payload`].
    pub fn proxy_message(&self) -> Result<ProxyMessage, FrameError> {
        Ok(match self.kind {
            HELLO => ProxyMessage::Hello(self.read::<Hello>()?),
            ACK => ProxyMessage::Ack(self.read::<Ack>()?),
            NACK => ProxyMessage::Nack(self.read::<Nack>()?),
            _ => ProxyMessage::Unknown,
        })
    }

    /// The frame as a message of fsm-control.
    ///
    /// # Errors
    /// [`FrameError::Payload`].
    pub fn control_message(&self) -> Result<ControlMessage, FrameError> {
        Ok(match self.kind {
            UPDATE => ControlMessage::Update(self.read::<Update>()?),
            DELTA => ControlMessage::Delta(self.read::<Delta>()?),
            CURRENT => ControlMessage::Current(self.read::<Current>()?),
            TRUST => ControlMessage::Trust(self.read::<Trust>()?),
            _ => ControlMessage::Unknown,
        })
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        serde_json::from_slice(self.payload).map_err(|source| FrameError::Payload { kind: self.kind, source })
    }
}

impl ProxyMessage {
    /// The message as a frame; [`ProxyMessage::Unknown`] as nothing.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => encode(HELLO, hello),
            Self::Ack(ack) => encode(ACK, ack),
            Self::Nack(nack) => encode(NACK, nack),
            Self::Unknown => Vec::new(),
        }
    }
}

impl ControlMessage {
    /// The message as a frame; [`ControlMessage::Unknown`] as nothing.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Update(update) => encode(UPDATE, update),
            Self::Delta(delta) => encode(DELTA, delta),
            Self::Current(current) => encode(CURRENT, current),
            Self::Trust(trust) => encode(TRUST, trust),
            Self::Unknown => Vec::new(),
        }
    }
}

const HELLO: u8 = 1;
const ACK: u8 = 2;
const NACK: u8 = 3;
const UPDATE: u8 = 16;
// 17 were endpoints of clusters.
const CURRENT: u8 = 18;
const TRUST: u8 = 19;
const DELTA: u8 = 20;

fn encode<T: Serialize>(kind: u8, message: &T) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 0, kind];
    // Cannot fail: all messages are maps with string keys, and memory is always written to.
    if serde_json::to_writer(&mut frame, message).is_err() {
        return Vec::new();
    }
    // What is beyond all bounds is refused by whoever reads its length.
    let length = u32::try_from(frame.len() - HEAD_BYTES).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests;
