//! What survives a restart: the document, the certificate with key and roots.
//!
//! Two files of the [`Cache`]: `config.json` is the latest document as an [`Update`], `identity.json` the certificate. A whole
//! document is kept as it came, at once; what deltas have made of it since is kept from time to time. Each file is replaced as
//! a whole. Blocks on the disk: asynchronous callers run it on a blocking thread.

use super::identity::Issued;
use crate::config::cache::{Cache, DOCUMENT, IDENTITY};
use crate::tls::Identity;
use fsm_api::config::{Certificate, Config};
use fsm_api::stream::Update;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use tracing::warn;

/// What survives a restart.
#[derive(Debug)]
pub(super) struct Keepsake {
    cache: Arc<Cache>,
    /// The document in force is not the one on disk.
    changed: AtomicBool,
}

/// A certificate as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    certificate_chain: String,
    private_key: String,
    trust_bundle: String,
    /// Unix time.
    renewal: u64,
}

/// A document as it is kept.
pub(super) struct KeptDocument {
    pub(super) path: PathBuf,
    pub(super) update: Update,
}

impl Keepsake {
    pub(super) fn new(cache: Arc<Cache>) -> Self {
        Self { cache, changed: AtomicBool::new(false) }
    }

    /// The document of an earlier run.
    pub(super) fn document(&self) -> Option<KeptDocument> {
        let (update, path): (Update, _) = self.read(DOCUMENT)?;
        Some(KeptDocument { path, update })
    }

    /// The certificate of an earlier run, if it is still valid.
    pub(super) fn identity(&self, namespace: &str, now: SystemTime) -> Option<Issued> {
        let (kept, path): (Kept, _) = self.read(IDENTITY)?;
        let certificate = Certificate {
            cert_chain: kept.certificate_chain,
            private_key: kept.private_key,
            issuing_ca: kept.trust_bundle,
            ..Certificate::default()
        };
        let identity = match Identity::issued(&certificate, namespace) {
            Ok(identity) => identity,
            Err(error) => {
                warn!("{} in the cache is not used ({error}); a new certificate is asked for", path.display());
                return None;
            }
        };
        if identity.expires() <= now {
            warn!(
                "the certificate in the cache ({}) has expired; a new one is asked for, and nothing enters or leaves over \
                 mTLS until it is there",
                path.display()
            );
            return None;
        }
        let renewal = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(kept.renewal)).unwrap_or(now);
        Some(Issued { certificate, identity, renew_after: renewal.duration_since(now).unwrap_or_default() })
    }

    /// Keeps a certificate that is to be renewed at `renewal`.
    pub(super) fn keep_identity(&self, certificate: &Certificate, renewal: SystemTime) {
        let renewal = renewal.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.write(
            IDENTITY,
            &Kept {
                certificate_chain: certificate.cert_chain.clone(),
                private_key: certificate.private_key.clone(),
                trust_bundle: certificate.issuing_ca.clone(),
                renewal,
            },
        );
    }

    /// Keeps a whole document.
    pub(super) fn keep_document(&self, update: &Update) {
        self.changed.store(false, Relaxed);
        self.write(DOCUMENT, update);
    }

    /// A delta is in force; [`Keepsake::keep_change`] keeps what it has made.
    pub(super) fn note_change(&self) {
        self.changed.store(true, Relaxed);
    }

    /// Whether there is something for [`Keepsake::keep_change`] to do.
    pub(super) fn has_unsaved(&self) -> bool {
        self.changed.load(Relaxed)
    }

    /// The same, for somebody who is about to do it with a document that is looked up afterwards.
    pub(super) fn take_unsaved(&self) -> bool {
        self.changed.swap(false, Relaxed)
    }

    /// Keeps the document that deltas have made.
    pub(super) fn keep_change(&self, in_force: &Config) {
        let Some(version) = in_force.version.clone() else { return };
        match serde_json::value::to_raw_value(in_force) {
            Ok(document) => self.write(DOCUMENT, &Update { version, document }),
            Err(error) => warn!("{DOCUMENT} cannot be kept in the cache: {error}"),
        }
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Option<(T, PathBuf)> {
        let (bytes, path) = self.cache.load_file(name)?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Some((value, path)),
            Err(error) => {
                // Line and column; never the text, which may be a key.
                let at = (error.line(), error.column());
                warn!("{} in the cache is damaged (line {}, column {}) and is not used", path.display(), at.0, at.1);
                None
            }
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.cache.save_file(name, &bytes),
            Err(error) => warn!("{name} cannot be kept in the cache: {error}"),
        }
    }
}
