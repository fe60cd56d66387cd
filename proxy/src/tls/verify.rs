//! Who the peer is, read from its verified certificate and from nothing else.
//!
//! An identity is taken from a SPIFFE URI, or, as FSM issues certificates without one, from the common name provided
//! that the same text is also a DNS name of the certificate: a common name alone is free text and identifies nobody.
//! A certificate with several SPIFFE URIs, or with a malformed one, has no identity at all.
//!
//! `MeshServerVerifier` is the client's check of a server: chain, validity and purpose always, then what is expected
//! of its identity. Nothing here looks at headers, addresses or the server name indication of the peer.

use arcstr::ArcStr;
use rustls::RootCertStore;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use std::net::IpAddr;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who is at the other end, according to its verified certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// `<service account>.<namespace>.<trust domain>`, or the common name of a certificate that FSM issued for somebody
    /// outside the mesh. `None`: the certificate identifies nobody.
    pub principal: Option<ArcStr>,
    /// `<service account>.<namespace>`, when the principal belongs to our own trust domain.
    pub service: Option<ArcStr>,
    /// Every subject alternative name: DNS names, URIs, and IP addresses as text. The common name is among them only
    /// if it is one of them.
    pub names: Vec<ArcStr>,
}

/// What a client expects of a server beyond a valid chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any certificate of the trusted roots: documents of FSM's own controller name no identities.
    AnyOfMesh,
    /// One of these: `<sa>.<ns>` (of our own trust domain), a whole principal, a SPIFFE id, or an exact subject
    /// alternative name. An empty list admits nobody.
    Principals(Arc<[ArcStr]>),
    /// The certificate covers the server name of the connection (RFC 6125), as on the public internet.
    HostName,
}

impl Expect {
    /// What the document's `ServiceIdentities` ask of a server of the mesh: one of them, or, if there are none, any.
    pub fn of_mesh(identities: &[String]) -> Self {
        if identities.is_empty() {
            Self::AnyOfMesh
        } else {
            Self::Principals(identities.iter().map(|name| name.as_str().into()).collect())
        }
    }
}

/// The certificate is valid but names somebody else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate names {presented:?}, expected one of {expected:?}")]
pub struct IdentityMismatch {
    /// Any of these would have done.
    pub expected: Vec<ArcStr>,
    /// Principal (first, if there is one) and subject alternative names of the certificate.
    pub presented: Vec<ArcStr>,
}

impl Peer {
    /// Reads a verified leaf. Bytes that do not parse identify nobody.
    pub fn from_leaf(leaf: &CertificateDer<'_>, trust_domain: Option<&str>) -> Self {
        match X509Certificate::from_der(leaf) {
            Ok((_, certificate)) => Self::from_certificate(&certificate, trust_domain),
            Err(_) => Self::default(),
        }
    }

    pub(super) fn from_certificate(certificate: &X509Certificate<'_>, trust_domain: Option<&str>) -> Self {
        let names = subject_alternative_names(certificate);
        let mut spiffe_ids = names.iter().filter(|name| is_spiffe(name));
        let (principal, service) = match (spiffe_ids.next(), spiffe_ids.next()) {
            (Some(id), None) => match SpiffeId::parse(id) {
                Some(id) => (Some(id.principal()), id.service(trust_domain)),
                None => (None, None),
            },
            (Some(_), Some(_)) => (None, None),
            (None, _) => {
                let principal = confirmed_common_name(certificate);
                let service = principal.as_deref().and_then(|principal| service_of(principal, trust_domain?));
                (principal, service)
            }
        };
        Self { principal, service, names }
    }

    /// Whether a configured name means this peer: `<sa>.<ns>` of our trust domain, a whole principal, a SPIFFE id, or an
    /// exact subject alternative name.
    ///
    /// What looks like an identity (`<sa>.<ns>`, with or without our trust domain) is compared with identities
    /// only: FSM writes the hosts of the services that a pod backs into its certificate, so that any account whose
    /// pod backs service `a` of namespace `b` has the subject alternative name `a.b`.
    pub fn is_named(&self, name: &str, trust_domain: Option<&str>) -> bool {
        if is_spiffe(name) {
            let wanted = SpiffeId::parse(name).map(|id| id.principal());
            return wanted.is_some() && wanted == self.principal;
        }
        if self.service.as_deref() == Some(name) || self.principal.as_deref() == Some(name) {
            return true;
        }
        let in_trust_domain = trust_domain.and_then(|domain| service_of(name, domain));
        let account = in_trust_domain.as_deref().unwrap_or(name);
        let looks_like_identity = account.bytes().filter(|byte| *byte == b'.').count() == 1;
        !looks_like_identity && self.has_name(name)
    }

    /// Whether the certificate carries exactly this subject alternative name.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    fn presented(&self) -> Vec<ArcStr> {
        let first = self.principal.iter().cloned();
        first.chain(self.names.iter().filter(|name| Some(*name) != self.principal.as_ref()).cloned()).collect()
    }
}

/// DNS names, URIs and IP addresses of a certificate, in its own order, without repetitions.
pub(super) fn subject_alternative_names(certificate: &X509Certificate<'_>) -> Vec<ArcStr> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let mut names: Vec<ArcStr> = Vec::with_capacity(extension.value.general_names.len());
    for name in &extension.value.general_names {
        let text = match name {
            GeneralName::DNSName(text) | GeneralName::URI(text) => ArcStr::from(*text),
            GeneralName::IPAddress(octets) => match ip_address(octets) {
                Some(address) => ArcStr::from(address.to_string()),
                None => continue,
            },
            _ => continue,
        };
        names.push(text);
    }
    names
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4().or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

/// The common name, if there is exactly one, it is plain text, and it is also a DNS name of the certificate.
fn confirmed_common_name(certificate: &X509Certificate<'_>) -> Option<ArcStr> {
    let mut common_names = certificate.subject().iter_common_name();
    let (Some(common_name), None) = (common_names.next(), common_names.next()) else {
        return None;
    };
    let common_name = common_name.as_str().ok().filter(|name| is_plain(name))?;
    let extension = certificate.subject_alternative_name().ok().flatten()?;
    let confirmed = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(dns) if *dns == common_name);
    extension.value.general_names.iter().any(confirmed).then(|| ArcStr::from(common_name))
}

/// `<sa>.<ns>` of a principal within `trust_domain`. The namespace is the last label: namespaces have no dots,
/// service accounts may.
fn service_of(principal: &str, trust_domain: &str) -> Option<ArcStr> {
    let service = principal.strip_suffix(trust_domain)?.strip_suffix('.')?;
    let (account, namespace) = service.rsplit_once('.')?;
    (!account.is_empty() && !namespace.is_empty()).then(|| ArcStr::from(service))
}

/// The scheme is compared without case, so that `SPIFFE://…` counts as a (then malformed) SPIFFE id.
fn is_spiffe(name: &str) -> bool {
    name.get(..9).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe://"))
}

/// Letters that names of accounts, namespaces and trust domains are made of; no wildcard, no escape.
fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.bytes().all(allowed)
}

/// `spiffe://<td>/ns/<ns>/sa/<sa>`, `spiffe://<td>/<sa>/<ns>` or `spiffe://<td>/<sa>.<ns>`.
struct SpiffeId<'a> {
    trust_domain: &'a str,
    account: &'a str,
    namespace: &'a str,
}

impl<'a> SpiffeId<'a> {
    fn parse(id: &'a str) -> Option<Self> {
        let (trust_domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
        let mut segments = path.split('/');
        let found = [segments.next(), segments.next(), segments.next(), segments.next(), segments.next()];
        let (account, namespace) = match found {
            [Some("ns"), Some(namespace), Some("sa"), Some(account), None] => (account, namespace),
            [Some(account), Some(namespace), None, ..] => (account, namespace),
            [Some(both), None, ..] => both.rsplit_once('.')?,
            _ => return None,
        };
        let plain = is_plain(trust_domain) && is_plain(account) && is_plain(namespace) && !namespace.contains('.');
        plain.then_some(Self { trust_domain, account, namespace })
    }

    fn principal(&self) -> ArcStr {
        arcstr::format!("{}.{}.{}", self.account, self.namespace, self.trust_domain)
    }

    fn service(&self, trust_domain: Option<&str>) -> Option<ArcStr> {
        (Some(self.trust_domain) == trust_domain).then(|| arcstr::format!("{}.{}", self.account, self.namespace))
    }
}

/// The client's check of a server's certificate.
#[derive(Debug)]
pub(super) struct MeshServerVerifier {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) expect: Expect,
    pub(super) trust_domain: Option<ArcStr>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for MeshServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, self.algorithms.all)?;
        match &self.expect {
            Expect::AnyOfMesh => {}
            Expect::Principals(names) => {
                let peer = Peer::from_leaf(end_entity, self.trust_domain.as_deref());
                let named = names.iter().any(|name| peer.is_named(name, self.trust_domain.as_deref()));
                if !named {
                    return Err(mismatch(names.to_vec(), &peer));
                }
            }
            Expect::HostName => {
                if verify_server_name(&certificate, server_name).is_err() {
                    let peer = Peer::from_leaf(end_entity, self.trust_domain.as_deref());
                    return Err(mismatch(vec![ArcStr::from(server_name.to_str())], &peer));
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn mismatch(expected: Vec<ArcStr>, peer: &Peer) -> rustls::Error {
    let mismatch = IdentityMismatch { expected, presented: peer.presented() };
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(mismatch))))
}

#[cfg(test)]
mod tests;
