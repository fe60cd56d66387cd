//! A root of the mesh: a self-signed certificate with its key, which signs leaves and nothing else.

use super::{CLOCK_SKEW, IssueError, Issued, LeafNames, LeafRequest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Validity of a root: ten years, as FSM's.
pub const ROOT_VALIDITY: Duration = Duration::from_secs(3650 * 24 * 3600);

/// The name of FSM's authority.
const COMMON_NAME: &str = "fsm-ca.flomesh.io";
const ORGANIZATION: &str = "Flomesh Service Mesh";

/// Which key roots are made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootKey {
    /// Small and fast.
    #[default]
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// For peers that verify nothing else.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
}

/// A root that can sign.
pub struct Root {
    issuer: rcgen::Issuer<'static, KeyPair>,
    certificate_pem: String,
    not_after: SystemTime,
}

/// Why there is no root.
#[derive(Debug, Error)]
pub enum RootError {
    /// The library refuses.
    #[error("a root of the mesh cannot be made: {0}")]
    Make(rcgen::Error),
    /// What was kept is no root.
    #[error("a kept root of the mesh cannot be used: {0}")]
    Read(String),
}

impl Root {
    /// A new root.
    ///
    /// # Errors
    /// [`RootError::Make`].
    pub fn make(key: RootKey, now: SystemTime) -> Result<Self, RootError> {
        let key = match key {
            RootKey::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            RootKey::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        }
        .map_err(RootError::Make)?;
        let serial = random_serial().map_err(RootError::Make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, COMMON_NAME);
        params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
        // Two roots of one mesh have the same name but for this: verifiers look for the issuer by its whole subject.
        params.distinguished_name.push(DnType::from_oid(&[2, 5, 4, 5]), hex(&serial));
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = OffsetDateTime::from(now - CLOCK_SKEW);
        params.not_after = OffsetDateTime::from(now + ROOT_VALIDITY);
        let certificate = params.self_signed(&key).map_err(RootError::Make)?;
        Self::load(&certificate.pem(), &key.serialize_pem())
    }

    /// A root that was kept.
    ///
    /// # Errors
    /// [`RootError::Read`], also when the key is not the certificate's.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, RootError> {
        let key = KeyPair::from_pem(key_pem).map_err(|error| RootError::Read(format!("its key: {error}")))?;
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| RootError::Read(format!("its certificate: {error}")))?;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|error| RootError::Read(format!("its certificate: {error}")))?;
        let public_key = rcgen::PublicKeyData::subject_public_key_info(&key);
        if certificate.public_key().raw != public_key.as_slice() {
            return Err(RootError::Read("the key belongs to another certificate".to_owned()));
        }
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
        let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let issuer = rcgen::Issuer::from_ca_cert_der(&der, key)
            .map_err(|error| RootError::Read(format!("its certificate: {error}")))?;
        Ok(Self { issuer, certificate_pem: certificate_pem.to_owned(), not_after })
    }

    /// PEM of the certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// PEM of the private key (PKCS #8). For storage only.
    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// End of its validity.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Signs a leaf for servers and clients.
    ///
    /// # Errors
    /// [`IssueError`] when a name cannot be written, or the root has expired.
    pub fn sign(&self, leaf: &LeafRequest, now: SystemTime) -> Result<Issued, IssueError> {
        let name = &leaf.names.common_name;
        let not_after = (now + leaf.validity).min(self.not_after);
        if not_after <= now {
            let reason = "its root has expired; rotate it".to_owned();
            return Err(IssueError::Unavailable { name: name.clone(), reason });
        }
        let not_before = now - CLOCK_SKEW;
        let refused = |source| IssueError::Names { name: name.clone(), source };
        let mut params = leaf_params(leaf).map_err(refused)?;
        params.not_before = OffsetDateTime::from(not_before);
        params.not_after = OffsetDateTime::from(not_after);
        let certificate = params.signed_by(leaf.request.key(), &self.issuer).map_err(refused)?;
        Ok(Issued { chain: certificate.pem(), not_before, not_after })
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl FromStr for RootKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ecdsa-p256" => Ok(Self::EcdsaP256),
            "rsa-2048" => Ok(Self::Rsa2048),
            _ => Err(format!("{text:?} is no kind of key; use ecdsa-p256 or rsa-2048")),
        }
    }
}

fn leaf_params(leaf: &LeafRequest) -> Result<CertificateParams, rcgen::Error> {
    let names = &leaf.names;
    // Given as text: CertificateParams::new would take an address for one.
    let mut params = CertificateParams::default();
    write_names(&mut params, names)?;
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Writes the names into a certificate, or into a request for one.
pub(super) fn write_names(params: &mut CertificateParams, names: &LeafNames) -> Result<(), rcgen::Error> {
    for name in names.all_dns() {
        params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
    }
    if let Some(id) = &names.spiffe {
        params.subject_alt_names.push(SanType::URI(id.as_str().try_into()?));
    }
    params.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, short_name(&names.common_name));
    Ok(())
}

/// A common name has at most 64 characters (RFC 5280, appendix A.1). A longer one is still the DNS name; the common name
/// then says only whose certificate this is, and verifiers that read identities from it find none.
pub(crate) fn short_name(name: &str) -> &str {
    name.get(..64).unwrap_or(name)
}

/// 127 random bits: positive, and far beyond the 64 that CAs are held to.
fn random_serial() -> Result<[u8; 16], rcgen::Error> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| rcgen::Error::RingUnspecified)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970; 0 before.
pub(super) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
