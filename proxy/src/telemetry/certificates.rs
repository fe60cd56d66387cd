//! What the configured certificates say, without their keys.

use crate::config::snapshot::Snapshot;
use crate::tls::Identity;
use fsm_api::config::Certificate;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a certificate is configured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The pod's own certificate and its intermediates.
    MeshChain,
    /// A root that mesh peers are verified with.
    MeshRoot,
    /// A client certificate for servers outside the mesh, and its intermediates.
    EgressChain,
    /// A root that servers outside the mesh are verified with.
    EgressRoot,
}

impl Role {
    /// The role as documents and metrics spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::MeshChain => "mesh-chain",
            Role::MeshRoot => "mesh-root",
            Role::EgressChain => "egress-chain",
            Role::EgressRoot => "egress-root",
        }
    }
}

/// One certificate of the configuration.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// What it is for.
    pub role: Role,
    /// Where it stands in the document.
    pub path: String,
    /// Subject, as X.509 spells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Issuer, as X.509 spells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Serial number, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// DNS names, URIs and addresses of the subject.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Start of validity (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// End of validity (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// Seconds until then; negative when it has expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<i64>,
    /// End of validity, Unix time.
    #[serde(skip)]
    pub expires: Option<i64>,
    /// Why the certificate cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Every certificate of the configuration in force: the mesh chain (leaf first), the mesh roots, then those of egress. Where
/// the document leaves the mesh's to fsm-control, that is what it has issued.
///
/// Total: an unreadable one is an entry with an `error`. Keys are never looked at.
pub fn summaries(snapshot: &Snapshot) -> Vec<Summary> {
    let document = &snapshot.document;
    let mut found = Vec::new();
    let now = Timestamp::now().as_second();
    match (&document.certificate, &snapshot.identity) {
        (Some(certificate), Some(identity)) if certificate.is_issued_by_control() => {
            add_issued(&mut found, identity, now)
        }
        (Some(certificate), None) if certificate.is_issued_by_control() => found.push(unreadable(
            Role::MeshChain,
            "Certificate".to_owned(),
            "fsm-control has issued none yet; see `control` in /config_status".to_owned(),
        )),
        (Some(certificate), _) => {
            add(&mut found, certificate, "Certificate", (Role::MeshChain, Role::MeshRoot), now);
        }
        (None, _) => {}
    }
    let egress = (Role::EgressChain, Role::EgressRoot);
    let Some(outbound) = &document.outbound else {
        return found;
    };
    for (name, cluster) in &outbound.clusters_configs {
        if let Some(certificate) = &cluster.source_cert {
            add(&mut found, certificate, &format!("Outbound.ClustersConfigs[{name:?}].SourceCert"), egress, now);
        }
    }
    for (port, matches) in &outbound.traffic_matches {
        for (index, traffic) in matches.iter().enumerate() {
            for (range, settings) in traffic.destination_ip_ranges.iter().flatten() {
                let certificate = settings.as_ref().and_then(|settings| settings.source_cert.as_ref());
                if let Some(certificate) = certificate {
                    let path = format!(
                        "Outbound.TrafficMatches[\"{port}\"][{index}].DestinationIPRanges[{range:?}].SourceCert"
                    );
                    add(&mut found, certificate, &path, egress, now);
                }
            }
        }
    }
    found
}

fn add_issued(found: &mut Vec<Summary>, identity: &Identity, now: i64) {
    let (chain, roots) = identity.certificates();
    for (role, key, certificates) in [(Role::MeshChain, "CertChain", chain), (Role::MeshRoot, "IssuingCA", roots)] {
        for (index, der) in certificates.iter().enumerate() {
            found.push(summary(role, format!("Certificate.{key}[{index}]"), der, now));
        }
    }
}

fn add(found: &mut Vec<Summary>, certificate: &Certificate, path: &str, (chain, root): (Role, Role), now: i64) {
    let parts = [(chain, "CertChain", &certificate.cert_chain), (root, "IssuingCA", &certificate.issuing_ca)];
    for (role, key, pem) in parts {
        for (index, der) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
            let path = format!("{path}.{key}[{index}]");
            found.push(match der {
                Ok(der) => summary(role, path, &der, now),
                Err(error) => unreadable(role, path, format!("not PEM: {error}")),
            });
        }
    }
}

fn summary(role: Role, path: String, der: &[u8], now: i64) -> Summary {
    let certificate = match X509Certificate::from_der(der) {
        Ok((_, certificate)) => certificate,
        Err(error) => return unreadable(role, path, format!("not an X.509 certificate: {error}")),
    };
    let (from, until) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    let moment = |seconds| Timestamp::from_second(seconds).ok().map(|moment: Timestamp| moment.to_string());
    Summary {
        subject: Some(certificate.subject().to_string()),
        issuer: Some(certificate.issuer().to_string()),
        serial: Some(certificate.raw_serial_as_string()),
        names: names(&certificate),
        not_before: moment(from),
        not_after: moment(until),
        seconds_left: Some(until.saturating_sub(now)),
        expires: Some(until),
        ..unreadable(role, path, String::new()).without_error()
    }
}

impl Summary {
    fn without_error(mut self) -> Self {
        self.error = None;
        self
    }
}

fn unreadable(role: Role, path: String, error: String) -> Summary {
    Summary {
        role,
        path,
        subject: None,
        issuer: None,
        serial: None,
        names: Vec::new(),
        not_before: None,
        not_after: None,
        seconds_left: None,
        expires: None,
        error: Some(error),
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => address(bytes),
        other => other.to_string(),
    };
    extension.value.general_names.iter().map(name).collect()
}

fn address(bytes: &[u8]) -> String {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    let sixteen = <[u8; 16]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    four.or(sixteen).unwrap_or_else(|_| format!("address of {} bytes", bytes.len()))
}
