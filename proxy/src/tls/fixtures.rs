//! Certificates for tests, made when they run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::Identity;
use fsm_api::config::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::RootCertStore;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What a leaf is to say.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) common_names: Vec<String>,
    pub(crate) names: Vec<SanType>,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
}

impl Leaf {
    /// A leaf as FSM issues it: the common name is also the first DNS name, and the service's hosts follow.
    pub(crate) fn fsm(service_identity: &str, hosts: &[&str]) -> Self {
        let principal = format!("{service_identity}.cluster.local");
        let mut leaf = Self::named(Some(&principal));
        leaf.names = vec![dns(&principal)];
        leaf.names.extend(hosts.iter().map(|host| dns(host)));
        leaf
    }

    /// A leaf without alternative names.
    pub(crate) fn named(common_name: Option<&str>) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            common_names: common_name.map(str::to_owned).into_iter().collect(),
            names: Vec::new(),
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            not_before: now - Duration::hours(1),
            not_after: now + Duration::hours(24),
        }
    }

    pub(crate) fn with_names(mut self, names: Vec<SanType>) -> Self {
        self.names = names;
        self
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        for name in &self.common_names {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.distinguished_name.push(DnType::OrganizationName, "fsm");
        params.subject_alt_names = self.names.clone();
        params.extended_key_usages = self.usages.clone();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        (params.not_before, params.not_after) = (self.not_before, self.not_after);
        params
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "fsm test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A leaf in the form of the configuration, with an ECDSA P-256 key.
    pub(crate) fn issue(&self, leaf: &Leaf) -> Certificate {
        self.issue_for(leaf, &KeyPair::generate().unwrap())
    }

    pub(crate) fn issue_for(&self, leaf: &Leaf, key: &KeyPair) -> Certificate {
        let certificate = leaf.params().signed_by(key, &self.issuer).unwrap();
        Certificate {
            common_name: leaf.common_names.first().cloned().unwrap_or_default(),
            cert_chain: certificate.pem(),
            private_key: key.serialize_pem(),
            issuing_ca: self.pem.clone(),
            ..Certificate::default()
        }
    }

    /// A certificate for whoever made the request (PEM), as a control plane issues it.
    pub(crate) fn sign(&self, request: &str, leaf: &Leaf) -> String {
        let mut request = rcgen::CertificateSigningRequestParams::from_pem(request).unwrap();
        request.params = leaf.params();
        request.signed_by(&self.issuer).unwrap().pem()
    }

    /// The authority's own certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// The identity of a mesh service, as a proxy gets it from FSM.
    pub(crate) fn identity(&self, service_identity: &str) -> Identity {
        self.identity_of(&Leaf::fsm(service_identity, &[]))
    }

    pub(crate) fn identity_of(&self, leaf: &Leaf) -> Identity {
        Identity::from_config(&self.issue(leaf), "").unwrap()
    }

    /// An intermediate authority below this one, and its certificate.
    pub(crate) fn intermediate(&self, name: &str) -> (Self, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        (Self { issuer: Issuer::new(params, key), pem: self.pem.clone() }, pem)
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        super::roots_from_pem(&self.pem, "roots").unwrap()
    }
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub(crate) fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}
