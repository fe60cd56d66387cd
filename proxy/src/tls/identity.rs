//! Who we are: our certificate chain with its key, the roots we trust, and the names that follow from them.
//!
//! An identity is made from the configuration, or from what fsm-control has issued to us. Who it stands for never
//! changes; an issued certificate is renewed in place ([`Identity::renew`]), and whatever was built from the identity shows
//! the new one from its next handshake on. Live connections keep what they were made with.
//!
//! Making one fails, with the JSON key at fault, when PEM is missing or damaged or the key does not belong to the
//! certificate. An expired certificate is no failure here: its peers refuse it, and the summary shows it. The private
//! key never appears in an error, in `Debug` or in a summary.

use super::provider::provider;
use super::summary::{CertificateSummary, CertificateUse};
use super::verify::Peer;
use arc_swap::{ArcSwap, Guard};
use arcstr::ArcStr;
use fsm_api::config::Certificate;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// What a mesh without a configured trust domain uses; FSM's default.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// Our certificate chain, its key, and the roots we trust. Clones are one and the same: renewing one renews all.
#[derive(Clone)]
pub struct Identity {
    current: Arc<ArcSwap<Material>>,
    principal: ArcStr,
    trust_domain: ArcStr,
}

/// What an identity is proved with at the moment.
pub(super) struct Material {
    pub(super) certified_key: Arc<CertifiedKey>,
    pub(super) roots: Arc<RootCertStore>,
    root_certificates: Arc<[CertificateDer<'static>]>,
    begins: SystemTime,
    expires: SystemTime,
}

/// Why a certificate of the configuration cannot be used. `path` is the JSON path of the value at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The value is empty or holds no PEM block of the expected kind.
    #[error("{path} holds no PEM block of type {expected}: put the PEM text there, with its BEGIN and END lines")]
    Missing {
        /// JSON path.
        path: String,
        /// The PEM labels that would do.
        expected: &'static str,
    },
    /// The PEM text is damaged.
    #[error("{path} is not readable PEM: {detail}")]
    Pem {
        /// JSON path.
        path: String,
        /// What is wrong; never text of the value.
        detail: &'static str,
    },
    /// The key is protected by a passphrase.
    #[error("{path} is encrypted with a passphrase: store the key unencrypted (openssl pkcs8 -topk8 -nocrypt)")]
    EncryptedKey {
        /// JSON path.
        path: String,
    },
    /// A certificate cannot be parsed.
    #[error("certificate {number} in {path} cannot be used: {detail}")]
    Certificate {
        /// JSON path.
        path: String,
        /// Position within the value, from 1.
        number: usize,
        /// What is wrong.
        detail: String,
    },
    /// The key cannot be parsed or is of a kind that TLS does not use.
    #[error("{path} is no key that can be used: RSA of 2048 to 8192 bits, ECDSA P-256, P-384, P-521 or Ed25519")]
    Key {
        /// JSON path.
        path: String,
    },
    /// The key belongs to another certificate.
    #[error("{path} does not belong to the first certificate of CertChain: publish the pair that was issued together")]
    KeyMismatch {
        /// JSON path.
        path: String,
    },
    /// The TLS library refused the combination; a defect of the proxy.
    #[error("{path} cannot be used for TLS: {detail}")]
    Unusable {
        /// JSON path.
        path: String,
        /// What the library said.
        detail: String,
    },
}

impl IdentityError {
    /// JSON path of the value at fault, for instance `Certificate.PrivateKey`.
    pub fn path(&self) -> &str {
        match self {
            Self::Missing { path, .. }
            | Self::Pem { path, .. }
            | Self::EncryptedKey { path }
            | Self::Certificate { path, .. }
            | Self::Key { path }
            | Self::KeyMismatch { path }
            | Self::Unusable { path, .. } => path,
        }
    }
}

impl Identity {
    /// Reads the document's `Certificate`. `service_identity` is `<service account>.<namespace>`.
    pub fn from_config(certificate: &Certificate, service_identity: &str) -> Result<Self, IdentityError> {
        Self::from_config_at(certificate, service_identity, "Certificate")
    }

    /// The same for a certificate elsewhere in the document (`SourceCert`); errors name `path` and the key below it.
    pub fn from_config_at(
        certificate: &Certificate,
        service_identity: &str,
        path: &str,
    ) -> Result<Self, IdentityError> {
        let chain_path = format!("{path}.CertChain");
        let chain = certificates_from_pem(&certificate.cert_chain, &chain_path)?;
        let leaf = leaf_facts(&chain, &chain_path)?;
        let key = key_from_pem(&certificate.private_key, &format!("{path}.PrivateKey"))?;
        let certified_key = certified(chain, key, &format!("{path}.PrivateKey"))?;
        let root_certificates = certificates_from_pem(&certificate.issuing_ca, &format!("{path}.IssuingCA"))?;
        let roots = root_store(&root_certificates, &format!("{path}.IssuingCA"))?;

        let common_name = match certificate.common_name.as_str() {
            "" => leaf.common_name,
            name => ArcStr::from(name),
        };
        let trust_domain = trust_domain(&common_name, service_identity);
        let material = Material {
            certified_key: Arc::new(certified_key),
            roots: Arc::new(roots),
            root_certificates: root_certificates.into(),
            begins: leaf.begins,
            expires: leaf.expires,
        };
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(material)), principal: common_name, trust_domain })
    }

    /// Reads what fsm-control has issued to a pod of `namespace`.
    ///
    /// # Errors
    /// [`IdentityError`], also when the certificate stands for nobody.
    pub fn issued(certificate: &Certificate, namespace: &str) -> Result<Self, IdentityError> {
        let mut identity = Self::from_config(certificate, "")?;
        if identity.principal.is_empty() {
            return Err(IdentityError::Certificate {
                path: "Certificate.CertChain".to_owned(),
                number: 1,
                detail: "it names no service account, neither by a SPIFFE id nor by its common name".to_owned(),
            });
        }
        // Names of service accounts may have dots, so only the namespace tells where the trust domain begins.
        if let Some((account, _)) = identity.principal.split_once(&format!(".{namespace}.")) {
            identity.trust_domain = trust_domain(&identity.principal, &format!("{account}.{namespace}"));
        }
        Ok(identity)
    }

    /// Takes over certificate, key and roots of `newer`. Changes nothing and answers `false` when `newer` stands for
    /// somebody else: then whatever was built from this identity must be built anew.
    pub fn renew(&self, newer: &Self) -> bool {
        let same = self.principal == newer.principal && self.trust_domain == newer.trust_domain;
        if same {
            self.current.store(newer.current.load_full());
        }
        same
    }

    /// Trusts these roots (PEM) and no others from now on; the certificate stays. `path` names the value in errors.
    ///
    /// # Errors
    /// [`IdentityError`] when the text holds no usable root; nothing changes then.
    pub fn trust(&self, pem: &str, path: &str) -> Result<(), IdentityError> {
        let root_certificates = certificates_from_pem(pem, path)?;
        let roots = Arc::new(root_store(&root_certificates, path)?);
        let root_certificates: Arc<[_]> = root_certificates.into();
        self.current.rcu(|before| Material {
            certified_key: Arc::clone(&before.certified_key),
            roots: Arc::clone(&roots),
            root_certificates: Arc::clone(&root_certificates),
            begins: before.begins,
            expires: before.expires,
        });
        Ok(())
    }

    /// Certificate chain and key, for handshakes.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.load().certified_key)
    }

    /// The roots that peers must chain to.
    pub fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.current.load().roots)
    }

    pub(super) fn material(&self) -> Guard<Arc<Material>> {
        self.current.load()
    }

    /// `<service account>.<namespace>.<trust domain>`: the document's `CommonName`, else the certificate's own identity;
    /// empty for certificates without one (egress certificates).
    pub fn principal(&self) -> &ArcStr {
        &self.principal
    }

    /// The trust domain of the mesh, for instance `cluster.local`.
    pub fn trust_domain(&self) -> &ArcStr {
        &self.trust_domain
    }

    /// When our own leaf certificate begins to be valid.
    pub fn begins(&self) -> SystemTime {
        self.current.load().begins
    }

    /// When our own leaf certificate expires.
    pub fn expires(&self) -> SystemTime {
        self.current.load().expires
    }

    /// The certificates that we show, leaf first, and the roots that we trust.
    pub fn certificates(&self) -> (Vec<CertificateDer<'static>>, Vec<CertificateDer<'static>>) {
        let current = self.current.load();
        (current.certified_key.cert.clone(), current.root_certificates.to_vec())
    }

    /// Whether both hold the same certificates, roots and names, so that everything built from one serves the other.
    /// The key needs no look: it belongs to the certificate, or there would be no identity.
    pub fn same_material(&self, other: &Self) -> bool {
        let (own, others) = (self.current.load(), other.current.load());
        own.certified_key.cert == others.certified_key.cert
            && own.root_certificates == others.root_certificates
            && self.principal == other.principal
            && self.trust_domain == other.trust_domain
    }

    /// Our certificate chain, leaf first, and then the roots, as shown to people. Never the key.
    pub fn summary(&self) -> Vec<CertificateSummary> {
        let now = SystemTime::now();
        let position_use = |position| {
            if position == 0 { CertificateUse::Leaf } else { CertificateUse::Intermediate }
        };
        let current = self.current.load();
        let chain = current.certified_key.cert.iter().enumerate();
        let chain = chain.map(|(position, certificate)| (position_use(position), certificate));
        let roots = current.root_certificates.iter().map(|certificate| (CertificateUse::Root, certificate));
        chain.chain(roots).filter_map(|(used_as, der)| CertificateSummary::read(der, used_as, now)).collect()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.current.load();
        f.debug_struct("Identity")
            .field("principal", &self.principal)
            .field("trust_domain", &self.trust_domain)
            .field("certificates", &current.certified_key.cert.len())
            .field("roots", &current.root_certificates.len())
            .field("expires", &current.expires)
            .finish_non_exhaustive()
    }
}

/// Roots from PEM text, for trust that comes without a certificate of our own. `path` names the value in errors.
pub fn roots_from_pem(pem: &str, path: &str) -> Result<Arc<RootCertStore>, IdentityError> {
    let certificates = certificates_from_pem(pem, path)?;
    Ok(Arc::new(root_store(&certificates, path)?))
}

/// FSM puts `<service account>.<namespace>.<trust domain>` into the common name and the trust domain nowhere else.
fn trust_domain(common_name: &str, service_identity: &str) -> ArcStr {
    let after_identity = common_name.strip_prefix(service_identity).and_then(|rest| rest.strip_prefix('.'));
    let after_second_dot = || common_name.splitn(3, '.').nth(2);
    let own = if service_identity.is_empty() { None } else { after_identity };
    match own.or_else(after_second_dot) {
        Some(domain) if !domain.is_empty() => ArcStr::from(domain),
        _ => ArcStr::from(DEFAULT_TRUST_DOMAIN),
    }
}

fn certificates_from_pem(pem: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(IdentityError::Missing { path: path.to_owned(), expected: "CERTIFICATE" })
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(IdentityError::Pem { path: path.to_owned(), detail: pem_detail(&error) }),
    }
}

fn key_from_pem(pem: &str, path: &str) -> Result<PrivateKeyDer<'static>, IdentityError> {
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") => {
            Err(IdentityError::EncryptedKey { path: path.to_owned() })
        }
        Err(pem::Error::NoItemsFound) => Err(IdentityError::Missing {
            path: path.to_owned(),
            expected: "PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY",
        }),
        Err(error) => Err(IdentityError::Pem { path: path.to_owned(), detail: pem_detail(&error) }),
    }
}

/// The library's own messages quote the text, which may be a piece of a private key.
fn pem_detail(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a BEGIN line has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "the text between BEGIN and END is not base64",
        pem::Error::NoItemsFound => "there is no BEGIN line",
        _ => "the text is malformed",
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    path: &str,
) -> Result<CertifiedKey, IdentityError> {
    let key = provider().key_provider.load_private_key(key);
    // The library's error may describe the key's innards: it is dropped on purpose.
    let key = key.map_err(|_| IdentityError::Key { path: path.to_owned() })?;
    let certified_key = CertifiedKey::new(chain, key);
    match certified_key.keys_match() {
        Ok(()) => Ok(certified_key),
        Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::KeyMismatch { path: path.to_owned() }),
        Err(error) => Err(IdentityError::Unusable { path: path.to_owned(), detail: error.to_string() }),
    }
}

fn root_store(certificates: &[CertificateDer<'static>], path: &str) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        roots.add(certificate.clone()).map_err(|error| IdentityError::Certificate {
            path: path.to_owned(),
            number: index + 1,
            detail: error.to_string(),
        })?;
    }
    Ok(roots)
}

struct LeafFacts {
    common_name: ArcStr,
    begins: SystemTime,
    expires: SystemTime,
}

fn leaf_facts(chain: &[CertificateDer<'static>], path: &str) -> Result<LeafFacts, IdentityError> {
    let unreadable = |number: usize, detail: &str| IdentityError::Certificate {
        path: path.to_owned(),
        number,
        detail: detail.to_owned(),
    };
    let mut facts = None;
    for (index, der) in chain.iter().enumerate() {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| unreadable(index + 1, "it is not an X.509 certificate"))?;
        if index == 0 {
            let validity = certificate.validity();
            facts = Some(LeafFacts {
                common_name: Peer::from_certificate(&certificate, None).principal.unwrap_or_default(),
                begins: moment(validity.not_before),
                expires: moment(validity.not_after),
            });
        }
    }
    facts.ok_or_else(|| unreadable(1, "it is missing"))
}

fn moment(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
