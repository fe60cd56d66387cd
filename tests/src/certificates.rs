//! A mesh's certificate authority and what it issues, in FSM's form.
//!
//! FSM's leaves carry `<service account>.<namespace>.<trust domain>` as common name and first DNS name, and the
//! hostnames of the pod's services as further DNS names; the injector's default key is RSA-2048.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, SanType,
};
use serde_json::{Value, json};
use std::sync::OnceLock;
use time::{Duration, OffsetDateTime};

/// The trust domain of every test mesh.
pub(crate) const TRUST_DOMAIN: &str = "cluster.local";

/// A certificate authority.
pub struct Authority {
    name: String,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// Which key a leaf has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA with curve P-256.
    Ecdsa,
    /// RSA with 2048 bits, FSM's default.
    Rsa,
}

/// What a leaf is to say.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// `<service account>.<namespace>`.
    pub identity: String,
    /// Common name; FSM's form by default.
    pub common_name: String,
    /// DNS names; the common name by default.
    pub dns_names: Vec<String>,
    /// URI names, such as `spiffe://…`; none by default.
    pub uris: Vec<String>,
    /// Its key.
    pub key: KeyKind,
    /// Valid from, relative to now.
    pub from: Duration,
    /// Valid until, relative to now.
    pub until: Duration,
}

/// A certificate with its private key.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// `<service account>.<namespace>`.
    pub identity: String,
    /// Common name.
    pub common_name: String,
    /// PEM of the certificate.
    pub certificate: String,
    /// PEM of the private key (PKCS #8).
    pub key: String,
    /// PEM of the authority that issued it.
    pub authority: String,
}

impl LeafRequest {
    /// A leaf in FSM's form, valid from an hour ago for a day, with an ECDSA key.
    pub fn new(identity: &str) -> Self {
        let common_name = format!("{identity}.{TRUST_DOMAIN}");
        Self {
            identity: identity.to_owned(),
            dns_names: vec![common_name.clone()],
            common_name,
            uris: Vec::new(),
            key: KeyKind::Ecdsa,
            from: Duration::hours(-1),
            until: Duration::hours(24),
        }
    }

    /// With these further DNS names.
    pub fn hosts(mut self, names: &[&str]) -> Self {
        self.dns_names.extend(names.iter().map(|&name| name.to_owned()));
        self
    }

    /// With an RSA key.
    pub fn rsa(mut self) -> Self {
        self.key = KeyKind::Rsa;
        self
    }

    /// Expired an hour ago.
    pub fn expired(mut self) -> Self {
        self.from = Duration::hours(-48);
        self.until = Duration::hours(-1);
        self
    }

    /// Not valid for another hour.
    pub fn not_yet_valid(mut self) -> Self {
        self.from = Duration::hours(1);
        self
    }

    /// With a SPIFFE identity as its only name.
    pub fn spiffe(mut self) -> Self {
        let (account, namespace) = self.identity.split_once('.').expect("<sa>.<ns>");
        self.uris = vec![format!("spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{account}")];
        self.dns_names.clear();
        self
    }
}

impl Authority {
    /// A new authority with its own key.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, "Flomesh");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = OffsetDateTime::now_utc() - Duration::days(30);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(365);
        let certificate = params.self_signed(&key).expect("a certificate can be signed");
        Self { name: name.to_owned(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// PEM of the authority's own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// An ordinary leaf for `<service account>.<namespace>`.
    pub fn leaf(&self, identity: &str) -> Leaf {
        self.issue(&LeafRequest::new(identity))
    }

    /// Any leaf.
    pub fn issue(&self, request: &LeafRequest) -> Leaf {
        let key = match request.key {
            KeyKind::Ecdsa => KeyPair::generate().expect("a key can be made"),
            KeyKind::Rsa => rsa_key(),
        };
        let mut params = CertificateParams::new(request.dns_names.clone())
            .unwrap_or_else(|why| panic!("{}: DNS names: {why}", self.name));
        params
            .subject_alt_names
            .extend(request.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().expect("a URI is ASCII"))));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, request.common_name.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = OffsetDateTime::now_utc() + request.from;
        params.not_after = OffsetDateTime::now_utc() + request.until;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate can be signed");
        Leaf {
            identity: request.identity.clone(),
            common_name: request.common_name.clone(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            authority: self.pem.clone(),
        }
    }
}

impl Leaf {
    /// The document's `Certificate` object.
    pub fn json(&self) -> Value {
        json!({
            "CommonName": self.common_name,
            "Expiration": "2036-12-01 08:30:00",
            "CertChain": self.certificate,
            "PrivateKey": self.key,
            "IssuingCA": self.authority,
        })
    }
}

/// One RSA key for the whole run: making one takes longer than most tests.
fn rsa_key() -> KeyPair {
    static KEY: OnceLock<String> = OnceLock::new();
    let pem =
        KEY.get_or_init(|| KeyPair::generate_for(&PKCS_RSA_SHA256).expect("an RSA key can be made").serialize_pem());
    KeyPair::from_pem(pem).expect("it was a key before")
}
