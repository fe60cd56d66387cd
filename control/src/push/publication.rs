//! One version of a group's document, encoded once and shared by all who follow it.
//!
//! The version is a hash of the document's text: the same world gives the same version, also after a restart, so
//! that a proxy which has it needs nothing. A publication also knows how the ones before it differed: who has one of them is
//! sent the [`Change`]s since instead of the document. They are found and encoded once, whoever asks.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use fsm_api::config::{Change, Config};
use fsm_api::stream::{ControlMessage, Delta, Update};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use thiserror::Error;

/// Versions that are remembered for telling what changed since; older ones get the whole document.
const MAX_PAST: usize = 16;

/// Changes that have more than this part of their document are not worth the trouble …
const WORTHWHILE: usize = 4;

/// … unless they have less than so many bytes.
const SMALL: usize = 4 << 10;

/// One version of a group's document.
pub struct Publication {
    version: Arc<str>,
    caused: Instant,
    published: SystemTime,
    update: Bytes,
    document: Bytes,
    /// SHA-256, hexadecimal, of the document without stamps.
    digest: Box<str>,
    /// The document, for finding what the next one changes.
    config: Config,
    /// Newest first.
    past: Vec<Past>,
    /// Deltas that were asked for, by the version they build upon.
    deltas: Mutex<Vec<(Arc<str>, Bytes)>>,
}

/// The document cannot be written.
#[derive(Debug, Error)]
#[error("a sidecar document cannot be written as JSON: {0}")]
pub struct EncodeError(#[from] serde_json::Error);

/// A version of before, and what has changed since.
#[derive(Clone)]
struct Past {
    version: Arc<str>,
    changes: Vec<Arc<Change>>,
    /// Of all changes together.
    bytes: usize,
}

impl Publication {
    /// The document as the version after `before`; `None` when it says the same. `caused` is when the first of the
    /// changes that led to it was seen.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn make(
        mut config: Config,
        before: Option<&Self>,
        caused: Instant,
        now: SystemTime,
    ) -> Result<Option<Self>, EncodeError> {
        let digest = digest(&SHA256, &config.stampless()?);
        let version: Arc<str> = version(digest.as_ref()).into();
        if before.is_some_and(|before| before.version == version) {
            return Ok(None);
        }
        config.version = Some(version.to_string());
        let text = serde_json::value::to_raw_value(&config)?;
        config.version = None;
        let length = text.get().len();
        let update = Bytes::from(whole(&version, text));
        // The frame ends with the document and the brace of the message around it.
        let end = update.len() - 1;
        let document = update.slice(end - length..end);
        let most = (length / WORTHWHILE).max(SMALL);
        Ok(Some(Self {
            past: before.map(|before| before.as_past(&version, &config, most)).unwrap_or_default(),
            version,
            caused,
            published: now,
            update,
            document,
            digest: hexadecimal(digest.as_ref()),
            config,
            deltas: Mutex::default(),
        }))
    }

    /// Content hash, decimal digits.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// When the first of the changes that led to it was seen.
    pub fn caused(&self) -> Instant {
        self.caused
    }

    /// When it was made.
    pub fn published(&self) -> SystemTime {
        self.published
    }

    /// The document, JSON.
    pub fn document(&self) -> &Bytes {
        &self.document
    }

    /// The frame with the whole document.
    pub fn update(&self) -> &Bytes {
        &self.update
    }

    /// The frame that makes this version of version `base`; `None` when `base` is not remembered, or too much has changed
    /// since.
    pub fn delta(&self, base: &str) -> Option<Bytes> {
        let past = self.past.iter().find(|past| &*past.version == base)?;
        let mut deltas = self.deltas.lock();
        if let Some((_, frame)) = deltas.iter().find(|(known, _)| **known == *base) {
            return Some(frame.clone());
        }
        let delta = Delta {
            version: self.version.to_string(),
            base: base.to_owned(),
            digest: self.digest.to_string(),
            changes: past.changes.iter().map(|change| Change::clone(change)).collect(),
        };
        let frame = Bytes::from(ControlMessage::Delta(delta).encode());
        deltas.push((past.version.clone(), frame.clone()));
        Some(frame)
    }

    /// This version and those before it as the past of `next`; what has more than `most` bytes of changes is forgotten.
    fn as_past(&self, version: &str, next: &Config, most: usize) -> Vec<Past> {
        let Some(change) = Change::between(&self.config, next) else { return Vec::new() };
        let change = Arc::new(change);
        let bytes = size(&change);
        let newest = Past { version: self.version.clone(), changes: vec![change.clone()], bytes };
        // A version that comes back (an endpoint went and returned) is nobody's past.
        let older = self.past.iter().filter(|past| *past.version != *version).map(|past| Past {
            version: past.version.clone(),
            changes: past.changes.iter().chain([&change]).cloned().collect(),
            bytes: past.bytes + bytes,
        });
        std::iter::once(newest).chain(older).filter(|past| past.bytes <= most).take(MAX_PAST).collect()
    }
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publication({}, {} bytes)", self.version, self.document.len())
    }
}

fn whole(version: &str, document: Box<RawValue>) -> Vec<u8> {
    ControlMessage::Update(Update { version: version.to_owned(), document }).encode()
}

/// About as many bytes as the change has on the wire.
fn size(change: &Change) -> usize {
    let removed: usize = change.removed.iter().map(|pointer| pointer.len() + 3).sum();
    removed + change.put.as_ref().map_or(0, |put| put.get().len())
}

/// 63 bits in decimal digits: Pipy's runtime reads versions as signed 64-bit numbers.
fn version(digest: &[u8]) -> String {
    let first = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    (first >> 1).to_string()
}

fn hexadecimal(digest: &[u8]) -> Box<str> {
    digest
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing into a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
        .into()
}
