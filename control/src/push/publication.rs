//! One version of a group's document, encoded once and shared by all who follow it.
//!
//! The version is a hash of what the document says: the same world gives the same version, also after a restart, so
//! that a proxy which has it needs nothing. A publication also knows how the ones before it differed: where only
//! endpoints of outbound clusters changed, their new endpoints are sent instead of the document.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use fsm_api::config::{Config, Endpoint};
use fsm_api::stream::{ControlMessage, EndpointUpdate, Update};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use thiserror::Error;

/// Versions that are remembered for telling what changed since; older ones get the whole document.
const MAX_PAST: usize = 16;

/// One version of a group's document.
pub struct Publication {
    version: Arc<str>,
    caused: Instant,
    published: SystemTime,
    update: Bytes,
    document: Bytes,
    skeleton: Digest,
    clusters: Clusters,
    /// One for each of `clusters`, in their order.
    endpoints: Arc<[u64]>,
    /// Newest first. All have the same skeleton, and with it the same clusters.
    past: Vec<Past>,
    /// Updates of endpoints that were asked for, by the version they build upon.
    partial: Mutex<Vec<(Arc<str>, Bytes)>>,
}

/// The document cannot be written.
#[derive(Debug, Error)]
#[error("a sidecar document cannot be written as JSON: {0}")]
pub struct EncodeError(#[from] serde_json::Error);

type Clusters = BTreeMap<String, BTreeMap<String, Endpoint>>;
type Digest = [u8; 32];

#[derive(Clone)]
struct Past {
    version: Arc<str>,
    endpoints: Arc<[u64]>,
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
        (config.ts, config.version) = (None, None);
        let clusters = take_endpoints(&mut config);
        let skeleton = digest(&config)?;
        let digests = clusters.values().map(digest).collect::<Result<Vec<_>, _>>()?;
        let version: Arc<str> = version(&skeleton, &digests).into();
        if before.is_some_and(|before| before.version == version) {
            return Ok(None);
        }
        put_endpoints(&mut config, clusters);
        config.version = Some(version.to_string());
        let text = serde_json::value::to_raw_value(&config)?;
        let length = text.get().len();
        let update = Bytes::from(whole(&version, text));
        // The frame ends with the document and the brace of the message around it.
        let end = update.len() - 1;
        let document = update.slice(end - length..end);
        Ok(Some(Self {
            past: before.filter(|before| before.skeleton == skeleton).map(Self::as_past).unwrap_or_default(),
            version,
            caused,
            published: now,
            update,
            document,
            skeleton,
            clusters: take_endpoints(&mut config),
            endpoints: digests.iter().map(short).collect(),
            partial: Mutex::default(),
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

    /// The frame that makes this version of version `base`; `None` when more than endpoints changed, or `base` is not
    /// remembered.
    pub fn endpoint_update(&self, base: &str) -> Option<Bytes> {
        let past = self.past.iter().find(|past| &*past.version == base)?;
        let mut partial = self.partial.lock();
        if let Some((_, frame)) = partial.iter().find(|(known, _)| **known == *base) {
            return Some(frame.clone());
        }
        let pairs = self.endpoints.iter().zip(past.endpoints.iter());
        let changed = self.clusters.iter().zip(pairs).filter(|(_, (new, old))| new != old);
        let clusters = changed.map(|((name, endpoints), _)| (name.clone(), endpoints.clone())).collect();
        let update = EndpointUpdate { version: self.version.to_string(), base: base.to_owned(), clusters };
        let frame = Bytes::from(ControlMessage::Endpoints(update).encode());
        partial.push((past.version.clone(), frame.clone()));
        Some(frame)
    }

    fn as_past(&self) -> Vec<Past> {
        let newest = Past { version: self.version.clone(), endpoints: self.endpoints.clone() };
        // A version that comes back (an endpoint went and returned) is remembered once.
        let older = self.past.iter().filter(|past| past.version != self.version).cloned();
        std::iter::once(newest).chain(older).take(MAX_PAST).collect()
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

fn take_endpoints(config: &mut Config) -> Clusters {
    let Some(outbound) = &mut config.outbound else { return Clusters::new() };
    let clusters = outbound.clusters_configs.iter_mut();
    clusters.map(|(name, cluster)| (name.clone(), std::mem::take(&mut cluster.endpoints))).collect()
}

fn put_endpoints(config: &mut Config, clusters: Clusters) {
    let Some(outbound) = &mut config.outbound else { return };
    for (cluster, endpoints) in outbound.clusters_configs.values_mut().zip(clusters.into_values()) {
        cluster.endpoints = endpoints;
    }
}

/// 63 bits in decimal digits: Pipy's runtime reads versions as signed 64-bit numbers.
fn version(skeleton: &Digest, endpoints: &[Digest]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(skeleton);
    for digest in endpoints {
        context.update(digest);
    }
    let mut whole = [0; 32];
    whole.copy_from_slice(context.finish().as_ref());
    (short(&whole) >> 1).to_string()
}

fn short(digest: &Digest) -> u64 {
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn digest<T: Serialize>(value: &T) -> Result<Digest, EncodeError> {
    struct Hasher(Context);
    impl io::Write for Hasher {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hasher = io::BufWriter::new(Hasher(Context::new(&SHA256)));
    serde_json::to_writer(&mut hasher, value)?;
    let hasher = hasher.into_inner().map_err(|error| EncodeError(serde_json::Error::io(error.into_error())))?;
    let mut digest = [0; 32];
    digest.copy_from_slice(hasher.0.finish().as_ref());
    Ok(digest)
}
