//! Who a workload is: its service account in its namespace.
//!
//! In certificates an identity is written twice, as FSM's name `<sa>.<ns>.<trust domain>` (common name and DNS name) and
//! as SPIFFE id `spiffe://<trust domain>/ns/<ns>/sa/<sa>`. It is read back from a *verified* leaf only: from its single
//! SPIFFE id, or, when it has none, from a common name that is a DNS name too. Anything ambiguous identifies nobody.

use rustls::pki_types::CertificateDer;
use std::fmt;
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    namespace: String,
    service_account: String,
}

/// Why names are no identity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Kubernetes would not accept the namespace.
    #[error(
        "{0:?} is no name of a namespace: it must have 1 to 63 lower-case letters, digits or '-', and no '-' at its \
         ends"
    )]
    Namespace(String),
    /// Kubernetes would not accept the account.
    #[error(
        "{0:?} is no name of a service account: it must have 1 to 253 lower-case letters, digits, '-' or '.', in parts \
         that neither begin nor end with '-'"
    )]
    ServiceAccount(String),
    /// The leaf says nothing that is an identity of this trust domain.
    #[error("the certificate names {presented}, which is no workload of the trust domain {trust_domain}")]
    Certificate {
        /// Its names.
        presented: String,
        /// Ours.
        trust_domain: String,
    },
}

impl Identity {
    /// A service account of a namespace.
    ///
    /// # Errors
    /// Names that Kubernetes would not accept: they could mean somebody else once they are part of a longer name.
    pub fn new(namespace: &str, service_account: &str) -> Result<Self, IdentityError> {
        if !is_label(namespace) {
            return Err(IdentityError::Namespace(namespace.to_owned()));
        }
        if service_account.len() > 253 || !service_account.split('.').all(is_label) {
            return Err(IdentityError::ServiceAccount(service_account.to_owned()));
        }
        Ok(Self { namespace: namespace.to_owned(), service_account: service_account.to_owned() })
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// `<sa>.<ns>.<trust domain>`.
    pub fn principal(&self, trust_domain: &str) -> String {
        format!("{self}.{trust_domain}")
    }

    /// `spiffe://<trust domain>/ns/<ns>/sa/<sa>`.
    pub fn spiffe_id(&self, trust_domain: &str) -> String {
        format!("spiffe://{trust_domain}/ns/{}/sa/{}", self.namespace, self.service_account)
    }

    /// Reads a verified leaf.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`] when it names no workload of this trust domain, or more than one.
    pub fn of_leaf(leaf: &CertificateDer<'_>, trust_domain: &str) -> Result<Self, IdentityError> {
        let names = LeafText::read(leaf);
        names.identity(trust_domain).ok_or_else(|| IdentityError::Certificate {
            presented: names.to_string(),
            trust_domain: trust_domain.to_owned(),
        })
    }

    fn of_spiffe_id(id: &str, trust_domain: &str) -> Option<Self> {
        let path = id.strip_prefix("spiffe://")?.strip_prefix(trust_domain)?.strip_prefix("/ns/")?;
        let (namespace, service_account) = path.split_once("/sa/")?;
        Self::new(namespace, service_account).ok()
    }

    fn of_principal(principal: &str, trust_domain: &str) -> Option<Self> {
        let account = principal.strip_suffix(trust_domain)?.strip_suffix('.')?;
        // A service account may have dots, a namespace may not.
        let (service_account, namespace) = account.rsplit_once('.')?;
        Self::new(namespace, service_account).ok()
    }
}

impl fmt::Display for Identity {
    /// `<sa>.<ns>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service_account, self.namespace)
    }
}

/// The names of a leaf that matter.
#[derive(Debug, Default)]
struct LeafText {
    common_names: Vec<String>,
    dns: Vec<String>,
    uris: Vec<String>,
}

impl LeafText {
    /// Bytes that do not parse name nobody.
    fn read(leaf: &CertificateDer<'_>) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Self::default() };
        let mut text = Self::default();
        for name in certificate.subject().iter_common_name() {
            text.common_names.push(name.as_str().unwrap_or_default().to_owned());
        }
        if let Ok(Some(names)) = certificate.subject_alternative_name() {
            for name in &names.value.general_names {
                match name {
                    GeneralName::DNSName(name) => text.dns.push((*name).to_owned()),
                    GeneralName::URI(uri) => text.uris.push((*uri).to_owned()),
                    _ => {}
                }
            }
        }
        text
    }

    fn identity(&self, trust_domain: &str) -> Option<Identity> {
        let mut spiffe_ids = self.uris.iter().filter(|uri| uri.starts_with("spiffe://"));
        match (spiffe_ids.next(), spiffe_ids.next(), self.common_names.as_slice()) {
            (Some(id), None, _) => Identity::of_spiffe_id(id, trust_domain),
            (None, _, [name]) if self.dns.contains(name) => Identity::of_principal(name, trust_domain),
            _ => None,
        }
    }
}

impl fmt::Display for LeafText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.uris.iter().chain(&self.dns).chain(&self.common_names).peekable();
        if names.peek().is_none() {
            return f.write_str("nobody");
        }
        for (index, name) in names.enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name:?}")?;
        }
        Ok(())
    }
}

/// RFC 1123: a label of a DNS name, lower case.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}
