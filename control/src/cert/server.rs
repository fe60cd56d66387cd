//! The certificate that fsm-control itself shows to proxies, and whose certificates it accepts.
//!
//! It comes from the same [`Issuer`] as everybody's, is renewed at two thirds of its validity and whenever the roots
//! change. Roots that are news are accepted at once, whether or not there is a new certificate. Client certificates
//! are asked for and not required, because a proxy that has none yet must be able to ask for one. Sessions are not
//! resumed: a resumed session would skip the check of the certificate.

use super::{IssueError, Issuer, LeafNames, LeafRequest, RequestError, SigningRequest, TrustBundle, renew_after};
use arc_swap::ArcSwap;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Validity of control's own certificate.
pub const SERVER_VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// After a failed renewal it is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What control's own certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames {
    /// The first is what proxies expect.
    pub dns: Vec<String>,
    /// For clients that connect to an address and verify it.
    pub addresses: Vec<IpAddr>,
}

/// TLS of control's server, always with the newest certificate and roots.
#[derive(Debug)]
pub struct ServerTls {
    issuer: Arc<dyn Issuer>,
    names: ServerNames,
    own: ArcSwap<Shown>,
    config: ArcSwap<ServerConfig>,
    bundle_file: Option<PathBuf>,
}

/// What control shows.
#[derive(Debug)]
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why control has no certificate.
#[derive(Debug, Error)]
pub enum ServerTlsError {
    /// The key or the request.
    #[error("a key for fsm-control cannot be made: {0}")]
    Key(#[from] rcgen::Error),
    /// Our own request is refused.
    #[error("fsm-control's own certificate is refused: {0}")]
    Request(#[from] RequestError),
    /// No certificate.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// What was issued cannot be used.
    #[error("the certificate authority's answer cannot be used for fsm-control's server: {0}")]
    Answer(String),
    /// The file for pods.
    #[error("the trust bundle cannot be written to {}: {source}", path.display())]
    BundleFile {
        /// `--write-ca-bundle`.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A key with its certificate chain.
pub struct KeyAndChain {
    /// PEM (PKCS #8).
    pub key: String,
    /// As issued.
    pub issued: super::Issued,
}

impl KeyAndChain {
    /// Makes a key here and has it certified.
    ///
    /// # Errors
    /// [`ServerTlsError`].
    pub async fn make(issuer: &dyn Issuer, names: LeafNames, validity: Duration) -> Result<Self, ServerTlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let request = super::request::with_names(&names)?.serialize_request(&key)?.pem()?;
        let request = SigningRequest::check(&request)?;
        let issued = issuer.issue(LeafRequest { request, names, validity }).await?;
        Ok(Self { key: key.serialize_pem(), issued })
    }
}

impl ServerTls {
    /// Gets the first certificate and writes the trust bundle, if a file for it is given.
    ///
    /// # Errors
    /// [`ServerTlsError`].
    pub async fn start(
        issuer: Arc<dyn Issuer>,
        names: ServerNames,
        bundle_file: Option<PathBuf>,
    ) -> Result<Self, ServerTlsError> {
        let bundle = issuer.trust_bundle();
        let own = Shown::get(issuer.as_ref(), &names).await?;
        let config = ArcSwap::from_pointee(configuration(&own, &bundle)?);
        let tls = Self { issuer, names, own: ArcSwap::from_pointee(own), config, bundle_file };
        tls.write_bundle(&bundle)?;
        Ok(tls)
    }

    /// For the next connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Changes with each certificate of its own.
    #[cfg(test)]
    pub(super) fn shown(&self) -> Arc<impl Sized + use<>> {
        self.own.load_full()
    }

    /// Renews for as long as the program runs.
    pub async fn maintain(&self, stop: CancellationToken) {
        let mut changes = self.issuer.changes();
        let mut wait = renew_after(SERVER_VALIDITY, 0.5);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
            let bundle = changes.borrow_and_update().clone();
            wait = match self.renew(&bundle).await {
                Ok(()) => renew_after(SERVER_VALIDITY, 0.5),
                Err(error) => {
                    warn!("{error}; it is tried again in {} s", RETRY.as_secs());
                    RETRY
                }
            };
        }
    }

    async fn renew(&self, bundle: &TrustBundle) -> Result<(), ServerTlsError> {
        // Pods that start from now on must find the roots in the file before the certificate needs them.
        self.write_bundle(bundle)?;
        // Proxies may have certificates of a new root before control gets one.
        self.config.store(Arc::new(configuration(&self.own.load_full(), bundle)?));
        let own = Shown::get(self.issuer.as_ref(), &self.names).await?;
        self.config.store(Arc::new(configuration(&own, bundle)?));
        self.own.store(Arc::new(own));
        Ok(())
    }

    fn write_bundle(&self, bundle: &TrustBundle) -> Result<(), ServerTlsError> {
        let Some(path) = &self.bundle_file else { return Ok(()) };
        write_whole(path, bundle.pem.as_bytes())
            .map_err(|source| ServerTlsError::BundleFile { path: path.clone(), source })
    }
}

/// Readers of the file see the old content or the new one, never half of it.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.tmp", std::process::id()));
    std::fs::write(&aside, content)?;
    std::fs::rename(&aside, path)
}

impl Shown {
    async fn get(issuer: &dyn Issuer, names: &ServerNames) -> Result<Self, ServerTlsError> {
        let leaf = LeafNames {
            common_name: names.dns.first().cloned().unwrap_or_else(|| "fsm-controller".to_owned()),
            dns: names.dns.clone(),
            spiffe: None,
            addresses: names.addresses.clone(),
        };
        let own = KeyAndChain::make(issuer, leaf, SERVER_VALIDITY).await?;
        let chain = CertificateDer::pem_slice_iter(own.issued.chain.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| answer(&error))?;
        Ok(Self { chain, key: PrivateKeyDer::from_pem_slice(own.key.as_bytes()).map_err(|error| answer(&error))? })
    }
}

fn answer(error: &dyn std::fmt::Display) -> ServerTlsError {
    ServerTlsError::Answer(error.to_string())
}

fn configuration(own: &Shown, bundle: &TrustBundle) -> Result<ServerConfig, ServerTlsError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(bundle.pem.as_bytes()) {
        let root = root.map_err(|error| answer(&error))?;
        roots.add(root).map_err(|error| answer(&error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| answer(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| answer(&error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(own.chain.clone(), own.key.clone_key())
        .map_err(|error| answer(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
