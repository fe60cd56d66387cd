//! What an authority outside has answered, looked at before anybody uses it: the key of the request, the names that were
//! proved and no other, both usages, and no right to sign. Such an authority has rules of its own, and some of them are
//! about what it writes without being asked.

use super::names::AllNames;
use super::{Issued, LeafRequest};
use rcgen::PublicKeyData;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Certificates of an authority, by what they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Leaf and intermediates.
    pub(super) issued: Issued,
    /// PEM of whom to trust: the roots among the authority's certificates, or where there are none the one that signs.
    pub(super) roots: Vec<String>,
}

/// Why an answer is not used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// No certificate.
    #[error("what it answered cannot be read: {0}")]
    Unreadable(String),
    /// Somebody else's key.
    #[error("it certified another key than the one that was asked for")]
    Key,
    /// Names were left out.
    #[error("it left names out: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// Names that nobody proved.
    #[error("it certified other names than those that were asked for: {0}")]
    Surplus(String),
    /// Not for both sides of a connection, or for more.
    #[error("its certificate {0}")]
    Usage(&'static str),
}

/// Looks at an answer: PEM of the leaf, then of the authority's certificates in any order.
pub(super) fn look_at(leaf_pem: &str, authority_pem: &[String], asked: &LeafRequest) -> Result<Answer, Mismatch> {
    let mut chain = certificates(leaf_pem)?.into_iter();
    let leaf = chain.next().ok_or_else(|| Mismatch::Unreadable("there is no certificate".to_owned()))?;
    let (_, certificate) = X509Certificate::from_der(&leaf).map_err(|error| Mismatch::Unreadable(error.to_string()))?;
    check(&certificate, asked)?;
    let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let (not_before, not_after) =
        (at(certificate.validity().not_before.timestamp()), at(certificate.validity().not_after.timestamp()));
    let mut others: Vec<CertificateDer<'static>> = chain.collect();
    for pem in authority_pem {
        others.extend(certificates(pem)?);
    }
    let mut seen: Vec<CertificateDer<'static>> = Vec::new();
    others.retain(|other| {
        let news = !seen.contains(other) && *other != leaf;
        seen.extend(news.then(|| other.clone()));
        news
    });
    let (mut roots, intermediates): (Vec<_>, Vec<_>) = others.into_iter().partition(is_self_signed);
    if roots.is_empty() {
        let issuer = intermediates.iter().find(|one| signs(one, &certificate));
        roots.extend(issuer.cloned());
    }
    let mut pem = encode(&leaf);
    pem.extend(intermediates.iter().filter(|one| !roots.contains(one)).map(encode));
    let roots = roots.iter().map(encode).collect();
    Ok(Answer { issued: Issued { chain: pem, not_before, not_after }, roots })
}

/// The trust anchors among certificates in PEM: those that are self-signed, else all.
pub(super) fn anchors(pem: &str) -> Result<Vec<String>, Mismatch> {
    let all = certificates(pem)?;
    let roots: Vec<_> = all.iter().filter(|one| is_self_signed(one)).map(encode).collect();
    Ok(if roots.is_empty() { all.iter().map(encode).collect() } else { roots })
}

/// Each certificate of a bundle, in one spelling; what cannot be read is left out.
pub(super) fn each(pem: &str) -> Vec<String> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().map(|der| encode(&der)).collect()
}

fn check(certificate: &X509Certificate<'_>, asked: &LeafRequest) -> Result<(), Mismatch> {
    if certificate.public_key().raw != asked.request.key().subject_public_key_info() {
        return Err(Mismatch::Key);
    }
    let names = AllNames::of_certificate(certificate);
    let missing = names.missing(&asked.names);
    if !missing.is_empty() {
        return Err(Mismatch::Missing(missing));
    }
    if !names.are_within(&asked.names) {
        return Err(Mismatch::Surplus(names.to_string()));
    }
    if certificate.is_ca() {
        return Err(Mismatch::Usage("may sign others"));
    }
    match certificate.extended_key_usage() {
        Ok(Some(usage)) if usage.value.server_auth && usage.value.client_auth => Ok(()),
        Ok(None) => Ok(()),
        _ => Err(Mismatch::Usage("is not for both servers and clients (extended key usage)")),
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Mismatch> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    all.map_err(|error| Mismatch::Unreadable(error.to_string()))
}

fn is_self_signed(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, one)| one.subject() == one.issuer())
}

fn signs(der: &CertificateDer<'_>, leaf: &X509Certificate<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, one)| one.subject() == leaf.issuer())
}

/// PEM as everybody else writes it, so that the same certificate is the same text wherever it comes from.
fn encode(der: &CertificateDer<'_>) -> String {
    pem("CERTIFICATE", der)
}

/// RFC 7468.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        // Base64 is ASCII.
        pem.push_str(std::str::from_utf8(line).unwrap_or_default());
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests;
