//! What survives a restart: document, endpoints that changed since, certificate with key and roots.
//!
//! Three files of the [`Cache`]: `config.json` is the latest whole [`Update`] as it came, `endpoints.json` the
//! [`EndpointUpdate`]s since, merged into one, `identity.json` the certificate. Each is replaced as a whole; what does not fit
//! together after a crash (endpoints that build upon another document, a key of another certificate) is left out.
//! Blocks on the disk: asynchronous callers run it on a blocking thread.

use super::identity::Issued;
use crate::config::cache::{Cache, DOCUMENT, ENDPOINTS, IDENTITY};
use crate::tls::Identity;
use fsm_api::config::Certificate;
use fsm_api::stream::{EndpointUpdate, Update};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tracing::warn;

/// What survives a restart.
#[derive(Debug)]
pub(super) struct Keepsake {
    cache: Arc<Cache>,
    endpoints: Mutex<Merged>,
}

/// Endpoints that have changed since the document was kept.
#[derive(Debug, Default)]
struct Merged {
    /// Version of the document that is kept.
    base: String,
    latest: Option<EndpointUpdate>,
    /// Not on disk yet.
    unsaved: bool,
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
    pub(super) endpoints: Option<EndpointUpdate>,
}

impl Keepsake {
    pub(super) fn new(cache: Arc<Cache>) -> Self {
        Self { cache, endpoints: Mutex::default() }
    }

    /// The document of an earlier run.
    pub(super) fn document(&self) -> Option<KeptDocument> {
        let (update, path): (Update, _) = self.read(DOCUMENT)?;
        let endpoints: Option<EndpointUpdate> = self.read(ENDPOINTS).map(|(endpoints, _)| endpoints);
        // The document was replaced, and then the process ended before its endpoints were.
        let endpoints = endpoints.filter(|endpoints| endpoints.base == update.version);
        *self.endpoints.lock() = Merged { base: update.version.clone(), latest: endpoints.clone(), unsaved: false };
        Some(KeptDocument { path, update, endpoints })
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
        self.write(DOCUMENT, update);
        *self.endpoints.lock() = Merged { base: update.version.clone(), latest: None, unsaved: false };
    }

    /// Remembers endpoints; [`Keepsake::keep_endpoints`] keeps them.
    pub(super) fn remember(&self, update: &EndpointUpdate) {
        let mut merged = self.endpoints.lock();
        let base = merged.base.clone();
        let latest = merged.latest.get_or_insert_with(|| EndpointUpdate {
            version: String::new(),
            base,
            clusters: std::collections::BTreeMap::new(),
        });
        latest.version.clone_from(&update.version);
        latest.clusters.extend(update.clusters.iter().map(|(name, endpoints)| (name.clone(), endpoints.clone())));
        merged.unsaved = true;
    }

    /// Whether there is something for [`Keepsake::keep_endpoints`] to do.
    pub(super) fn has_unsaved(&self) -> bool {
        self.endpoints.lock().unsaved
    }

    /// Keeps what was remembered.
    pub(super) fn keep_endpoints(&self) {
        let latest = {
            let mut merged = self.endpoints.lock();
            match std::mem::take(&mut merged.unsaved) {
                true => merged.latest.clone(),
                false => None,
            }
        };
        if let Some(latest) = latest {
            self.write(ENDPOINTS, &latest);
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
