//! What to send to one proxy: a pure machine.
//!
//! One message is on its way at a time: only when the proxy has answered is it told of what became of the world in the
//! meantime. So versions are skipped by a slow proxy, and a delta always builds upon a version that the proxy said it
//! has. A refused version is not sent again; the next one is. A proxy for which deltas have failed twice gets whole
//! documents for the rest of its stream: it is of another version, and reads the document in another way.

use super::Publication;
use bytes::Bytes;
use fsm_api::stream::{Ack, ControlMessage, Current, Nack};
use std::sync::Arc;
use std::time::Instant;

/// Deltas may fail so often on one stream.
const MAX_FAILED: u32 = 2;

/// The state of one proxy's document.
#[derive(Debug)]
pub(super) struct Session {
    /// In force at the proxy, as far as it said.
    in_force: Option<Arc<str>>,
    on_its_way: Option<Sent>,
    refused: Option<Arc<str>>,
    /// The proxy takes deltas.
    deltas: bool,
    /// Deltas that the proxy could not use.
    failed: u32,
    /// The proxy asked for a whole document.
    wants_whole: bool,
    greeted: bool,
}

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) frame: Bytes,
    pub(super) kind: MessageKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum MessageKind {
    Update,
    Delta,
    Current,
    Trust,
}

#[derive(Clone, Debug)]
struct Sent {
    version: Arc<str>,
    caused: Instant,
    at: Instant,
    whole: bool,
}

/// What an answer of the proxy meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// The version is in force; the change that led to it was seen then.
    InForce { version: Arc<str>, caused: Instant },
    /// The version is refused for good.
    Refused,
    /// A delta does not fit what the proxy has; the whole document is next.
    LacksBase,
    /// About a version that was not asked about.
    Stray,
}

impl Session {
    /// `version` is what the proxy said it has, `deltas` whether it takes them.
    pub(super) fn new(version: Option<String>, deltas: bool) -> Self {
        Self {
            in_force: version.filter(|version| !version.is_empty()).map(Into::into),
            on_its_way: None,
            refused: None,
            deltas,
            failed: 0,
            wants_whole: false,
            greeted: false,
        }
    }

    /// The message that is due, given the newest publication. Must be sent.
    pub(super) fn next(&mut self, newest: &Publication, now: Instant) -> Option<Message> {
        if self.on_its_way.is_some() {
            return None;
        }
        let version = newest.version();
        let greeted = std::mem::replace(&mut self.greeted, true);
        if self.in_force.as_ref() == Some(version) && !self.wants_whole {
            let current = || ControlMessage::Current(Current { version: version.to_string() }).encode().into();
            return (!greeted).then(|| Message { frame: current(), kind: MessageKind::Current });
        }
        if self.refused.as_ref() == Some(version) {
            return None;
        }
        let may_differ = self.deltas && self.failed < MAX_FAILED && !self.wants_whole;
        let base = self.in_force.as_deref().filter(|_| may_differ);
        let delta = base.and_then(|base| newest.delta(base));
        let sent = Sent { version: version.clone(), caused: newest.caused(), at: now, whole: delta.is_none() };
        self.on_its_way = Some(sent);
        self.wants_whole = false;
        Some(match delta {
            Some(frame) => Message { frame, kind: MessageKind::Delta },
            None => Message { frame: newest.update().clone(), kind: MessageKind::Update },
        })
    }

    pub(super) fn acknowledged(&mut self, ack: &Ack) -> Answered {
        match self.on_its_way.take_if(|sent| *sent.version == ack.version) {
            Some(sent) => {
                self.in_force = Some(sent.version.clone());
                self.refused = None;
                Answered::InForce { version: sent.version, caused: sent.caused }
            }
            None => Answered::Stray,
        }
    }

    pub(super) fn refused(&mut self, nack: &Nack) -> Answered {
        match self.on_its_way.take_if(|sent| *sent.version == nack.version) {
            // Whoever lacks something for a whole document lacks it for every one.
            Some(sent) if nack.wants_whole && !sent.whole => {
                self.wants_whole = true;
                self.failed += 1;
                Answered::LacksBase
            }
            Some(sent) => {
                self.refused = Some(sent.version);
                Answered::Refused
            }
            None => Answered::Stray,
        }
    }

    /// Since when an answer is waited for.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.on_its_way.as_ref().map(|sent| sent.at)
    }
}

#[cfg(test)]
mod tests;
