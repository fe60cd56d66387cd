//! Certificates as shown to people: `/certs`, the CLI and the log. Public facts only.

use super::verify::subject_alternative_names;
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use std::time::SystemTime;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// What a certificate is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CertificateUse {
    /// Our own.
    Leaf,
    /// Links our own to a root.
    Intermediate,
    /// Peers must chain to it.
    Root,
}

/// One certificate as shown to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSummary {
    /// What it is to us.
    pub used_as: CertificateUse,
    /// Subject in RFC 4514 style.
    pub subject: String,
    /// Subject alternative names: DNS names, URIs and IP addresses as text.
    pub subject_alternative_names: Vec<String>,
    /// Issuer in RFC 4514 style.
    pub issuer: String,
    /// Serial number, lower-case hexadecimal without separators.
    pub serial: String,
    /// RFC 3339, UTC.
    pub not_before: String,
    /// RFC 3339, UTC.
    pub not_after: String,
    /// Until `not_after`; negative when expired.
    pub seconds_left: i64,
    /// For instance `RSA 2048` or `EC 256`.
    pub key_algorithm: String,
}

impl CertificateSummary {
    /// `None` when the bytes are no certificate.
    pub(super) fn read(der: &CertificateDer<'_>, used_as: CertificateUse, now: SystemTime) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let names = subject_alternative_names(&certificate);
        Some(Self {
            used_as,
            subject: certificate.subject().to_string(),
            subject_alternative_names: names.iter().map(ToString::to_string).collect(),
            issuer: certificate.issuer().to_string(),
            serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: rfc3339(validity.not_before),
            not_after: rfc3339(validity.not_after),
            seconds_left: validity.not_after.timestamp().saturating_sub(now),
            key_algorithm: key_algorithm(&certificate),
        })
    }
}

fn rfc3339(time: ASN1Time) -> String {
    jiff::Timestamp::from_second(time.timestamp()).map_or_else(|_| time.to_string(), |time| time.to_string())
}

fn key_algorithm(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("EC {}", point.key_size()),
        _ => certificate.public_key().algorithm.algorithm.to_id_string(),
    }
}
