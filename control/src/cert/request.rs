//! Signing requests (PKCS #10), checked: the key is of a kind and size that the mesh accepts, and whoever asks holds its
//! private half. Who asks is known from elsewhere: a request need not carry names, and may carry no others. Extensions and
//! attributes beyond names are ignored.

use super::LeafNames;
use super::names::AllNames;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use rcgen::{CertificateParams, SubjectPublicKeyInfo};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;
use thiserror::Error;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509;

/// No request is longer (PEM): one with an RSA-4096 key has less than 3 KiB.
pub const MAX_REQUEST_BYTES: usize = 16 << 10;

/// Sizes of RSA keys that are certified, in bits. Verifying with larger ones would cost everybody else's time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// A request whose signature was verified.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningRequest {
    der: CertificateSigningRequestDer<'static>,
    key: SubjectPublicKeyInfo,
    kind: KeyKind,
    claims: AllNames,
}

/// Which key is to be certified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA with curve P-256 or P-384.
    Ecdsa,
    /// RSA.
    Rsa,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Longer than any real one.
    #[error("the signing request has {0} bytes, and no request has more than {MAX_REQUEST_BYTES}")]
    TooLong(usize),
    /// Not PEM, or not PKCS #10.
    #[error("the signing request cannot be read ({0}); it must be one PEM block CERTIFICATE REQUEST (PKCS #10)")]
    Unreadable(String),
    /// A key that the mesh does not certify.
    #[error("the key of the signing request is {0}; use ECDSA with P-256 or P-384, or RSA with 2048 to 4096 bits")]
    Key(String),
    /// It claims to be somebody else.
    #[error("the signing request claims the names {claimed}, but whoever asks is {own}; leave the names out")]
    Names {
        /// What stands in it.
        claimed: String,
        /// Whose the token is.
        own: String,
    },
    /// The request is not signed with the key that it is about.
    #[error("the signature of the signing request is not by its own key, with SHA-256 or better")]
    Signature,
}

impl SigningRequest {
    /// Reads and verifies a request.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn check(pem: &str) -> Result<Self, RequestError> {
        if pem.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLong(pem.len()));
        }
        let unreadable = |error: &dyn fmt::Display| RequestError::Unreadable(error.to_string());
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|error| unreadable(&error))?;
        let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|error| unreadable(&error))?;
        if !rest.is_empty() {
            return Err(unreadable(&"bytes follow after its end"));
        }
        let info = &request.certification_request_info;
        let (kind, curve) = kind_of(&info.subject_pki)?;
        let algorithm = verification(kind, curve, request.signature_algorithm.oid()).ok_or(RequestError::Signature)?;
        UnparsedPublicKey::new(algorithm, info.subject_pki.subject_public_key.as_ref())
            .verify(info.raw, request.signature_value.as_ref())
            .map_err(|_| RequestError::Signature)?;
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|error| unreadable(&error))?;
        let claims = AllNames::of_request(&request);
        Ok(Self { key, kind, claims, der: der.clone() })
    }

    /// The request itself, for authorities that want to see it.
    pub fn der(&self) -> &CertificateSigningRequestDer<'static> {
        &self.der
    }

    /// The request as text.
    pub fn pem(&self) -> String {
        super::answer::pem("CERTIFICATE REQUEST", &self.der)
    }

    /// The names that stand in it.
    pub fn claims(&self) -> &AllNames {
        &self.claims
    }

    /// Whether all of these names stand in it.
    pub fn carries(&self, names: &LeafNames) -> bool {
        self.claims.missing(names).is_empty()
    }

    /// Refuses one that claims a name which is not among these.
    ///
    /// # Errors
    /// [`RequestError::Names`].
    pub fn claims_only(&self, names: &LeafNames) -> Result<(), RequestError> {
        if self.claims.are_within(names) {
            return Ok(());
        }
        Err(RequestError::Names { claimed: self.claims.to_string(), own: names.common_name.clone() })
    }

    /// Kind of the key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    pub(super) fn key(&self) -> &SubjectPublicKeyInfo {
        &self.key
    }
}

impl fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningRequest({:?} key)", self.kind)
    }
}

/// A request of our own, for these names.
pub(super) fn with_names(names: &LeafNames) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    super::root::write_names(&mut params, names)?;
    Ok(params)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

fn kind_of(key: &x509::SubjectPublicKeyInfo<'_>) -> Result<(KeyKind, Option<Curve>), RequestError> {
    let refused = |what: String| RequestError::Key(what);
    let oid = key.algorithm.oid();
    if *oid == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters().and_then(|parameters| parameters.as_oid().ok());
        return match curve {
            Some(curve) if curve == OID_EC_P256 => Ok((KeyKind::Ecdsa, Some(Curve::P256))),
            Some(curve) if curve == OID_NIST_EC_P384 => Ok((KeyKind::Ecdsa, Some(Curve::P384))),
            Some(curve) => Err(refused(format!("on the elliptic curve {curve}"))),
            None => Err(refused("on an elliptic curve that is not named".to_owned())),
        };
    }
    if *oid != OID_PKCS1_RSAENCRYPTION {
        return Err(refused(format!("of the algorithm {oid}")));
    }
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) if RSA_BITS.contains(&bits(rsa.modulus)) => Ok((KeyKind::Rsa, None)),
        Ok(PublicKey::RSA(rsa)) => Err(refused(format!("RSA with {} bits", bits(rsa.modulus)))),
        _ => Err(refused("an RSA key that cannot be read".to_owned())),
    }
}

/// Bits of an unsigned big-endian number.
fn bits(number: &[u8]) -> usize {
    let significant = number.iter().position(|&byte| byte != 0).map_or(&[][..], |first| &number[first..]);
    match significant.first() {
        Some(first) => significant.len() * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

fn verification(kind: KeyKind, curve: Option<Curve>, oid: &Oid<'_>) -> Option<&'static dyn VerificationAlgorithm> {
    let (sha256, sha384) = (*oid == OID_SIG_ECDSA_WITH_SHA256, *oid == OID_SIG_ECDSA_WITH_SHA384);
    match (kind, curve) {
        (KeyKind::Ecdsa, Some(Curve::P256)) if sha256 => Some(&ECDSA_P256_SHA256_ASN1),
        (KeyKind::Ecdsa, Some(Curve::P256)) if sha384 => Some(&ECDSA_P256_SHA384_ASN1),
        (KeyKind::Ecdsa, Some(Curve::P384)) if sha256 => Some(&ECDSA_P384_SHA256_ASN1),
        (KeyKind::Ecdsa, Some(Curve::P384)) if sha384 => Some(&ECDSA_P384_SHA384_ASN1),
        (KeyKind::Rsa, _) if *oid == OID_PKCS1_SHA256WITHRSA => Some(&RSA_PKCS1_2048_8192_SHA256),
        (KeyKind::Rsa, _) if *oid == OID_PKCS1_SHA384WITHRSA => Some(&RSA_PKCS1_2048_8192_SHA384),
        (KeyKind::Rsa, _) if *oid == OID_PKCS1_SHA512WITHRSA => Some(&RSA_PKCS1_2048_8192_SHA512),
        _ => None,
    }
}
