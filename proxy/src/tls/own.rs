//! The key that a proxy makes for itself, and the request by which it asks for a certificate (PKCS #10).
//!
//! ECDSA P-256: the smallest signatures and the cheapest handshakes among what every peer understands. The key leaves
//! this process only into a private cache directory; requests carry its public half and no name unless they are asked to,
//! because whoever issues the certificate knows by other means who asks. Fails only when the cryptography library does.

use fsm_api::stream::IdentityNames;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use std::fmt;

/// A key of our own; a new one for each certificate.
pub struct OwnKey(KeyPair);

/// The cryptography library refused.
#[derive(Debug, thiserror::Error)]
#[error("a key for the proxy's own certificate cannot be made ({0}); this is a defect, please report it")]
pub struct OwnKeyError(#[from] rcgen::Error);

impl OwnKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`OwnKeyError`].
    pub fn generate() -> Result<Self, OwnKeyError> {
        Ok(Self(KeyPair::generate()?))
    }

    /// A request for a certificate of this key (PEM).
    ///
    /// # Errors
    /// [`OwnKeyError`].
    pub fn request(&self) -> Result<String, OwnKeyError> {
        self.request_for(&IdentityNames::default())
    }

    /// The same with names in it, for authorities that take them from there.
    ///
    /// # Errors
    /// [`OwnKeyError`], also when they are no names.
    pub fn request_for(&self, names: &IdentityNames) -> Result<String, OwnKeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if !names.common_name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, names.common_name.as_str());
        }
        for name in &names.dns {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        for uri in &names.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        Ok(params.serialize_request(&self.0)?.pem()?)
    }

    /// The private key itself (PEM, PKCS #8).
    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }
}

impl fmt::Debug for OwnKey {
    /// Never shows key material.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnKey")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer;

    #[test]
    fn a_request_proves_possession_of_a_p256_key_and_names_nobody() {
        let key = OwnKey::generate().unwrap();
        let request = key.request().unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(request.as_bytes()).unwrap();
        assert_eq!(pem.label, "CERTIFICATE REQUEST");
        let (_, parsed) = X509CertificationRequest::from_der(&pem.contents).unwrap();
        let info = &parsed.certification_request_info;
        assert_eq!(info.subject.to_string(), "");
        assert_eq!(info.subject_pki.algorithm.algorithm.to_id_string(), "1.2.840.10045.2.1");
        assert_eq!(parsed.signature_algorithm.algorithm.to_id_string(), "1.2.840.10045.4.3.2");
        assert!(rcgen::CertificateSigningRequestParams::from_pem(&request).is_ok(), "the signature is right");
        assert!(key.pem().contains("BEGIN PRIVATE KEY") && !request.contains("PRIVATE"));
        assert_ne!(OwnKey::generate().unwrap().pem(), key.pem());
        assert_eq!(format!("{key:?}"), "OwnKey");
    }
}
