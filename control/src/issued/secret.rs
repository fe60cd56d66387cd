//! How a Secret that was made here looks, and what can be read from one.

use super::wish::Wish;
use crate::cert::renew_after;
use crate::cert::server::KeyAndChain;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Type of a Secret with a certificate and its key.
const TLS_TYPE: &str = "kubernetes.io/tls";
/// Who keeps an object (Kubernetes' recommended label).
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub(crate) const MANAGER: &str = "fsm-control";
/// Which mesh it belongs to, as FSM labels its own objects: two meshes of one cluster leave each other's Secrets alone.
const INSTANCE: &str = "app.kubernetes.io/instance";
/// The policy that asked for the certificate.
const ISSUED_FOR: &str = "flomesh.io/issued-for";
/// The validity that was asked for; the certificate may have got less.
const ISSUED_VALIDITY: &str = "flomesh.io/issued-validity";

/// Whose Secrets count as made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    mesh: String,
}

/// A Secret that was made here, as it is now. Its key is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The policy that it was made for, as `Kind namespace/name`.
    pub issued_for: String,
    /// The validity that was asked for, as written.
    pub validity: String,
    /// `ca.crt`.
    pub roots: String,
    /// What the certificate says; `None` when it cannot be used: unreadable, or the key is not its own.
    pub certificate: Option<Facts>,
}

/// What the certificate of a Secret says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// DNS names and addresses.
    pub names: BTreeSet<String>,
    /// When it should be replaced: after two thirds of its validity.
    pub renew_at: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
}

impl Owner {
    /// The control plane of a mesh.
    pub fn of_mesh(mesh: impl Into<String>) -> Self {
        Self { mesh: mesh.into() }
    }

    /// Whether an object was made by this control plane.
    pub fn made(&self, metadata: &ObjectMeta) -> bool {
        let label = |name: &str| metadata.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
        label(MANAGED_BY) == Some(MANAGER) && label(INSTANCE) == Some(&self.mesh)
    }

    /// The labels by which it knows its objects again.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let labels = [(MANAGED_BY, MANAGER), (INSTANCE, &self.mesh)];
        labels.map(|(key, text)| (key.to_owned(), text.to_owned())).into()
    }

    /// The Secret of a wish.
    pub(super) fn secret(&self, wish: &Wish, certificate: &KeyAndChain, roots: &str) -> Secret {
        let texts = |texts: [(&str, &str); 2]| Some(texts.map(|(key, text)| (key.to_owned(), text.to_owned())).into());
        let data = [("ca.crt", roots), ("tls.crt", &certificate.issued.chain), ("tls.key", &certificate.key)];
        Secret {
            metadata: ObjectMeta {
                namespace: Some(wish.secret.namespace.clone()),
                name: Some(wish.secret.name.clone()),
                labels: Some(self.labels()),
                annotations: texts([
                    (ISSUED_FOR, &wish.owner.to_string()),
                    (ISSUED_VALIDITY, &wish.validity.to_string()),
                ]),
                ..ObjectMeta::default()
            },
            type_: Some(TLS_TYPE.to_owned()),
            data: Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec()))).into()),
            ..Secret::default()
        }
    }
}

impl Found {
    /// Reads a Secret that was made here, whatever has become of it since.
    pub fn read(secret: &Secret) -> Self {
        let annotation = |name: &str| secret.metadata.annotations.as_ref()?.get(name).cloned();
        let usable = secret.type_.as_deref() == Some(TLS_TYPE);
        let pair = text(secret, "tls.crt").zip(text(secret, "tls.key")).filter(|_| usable);
        Self {
            issued_for: annotation(ISSUED_FOR).unwrap_or_default(),
            validity: annotation(ISSUED_VALIDITY).unwrap_or_default(),
            roots: text(secret, "ca.crt").unwrap_or_default(),
            certificate: pair.and_then(|(chain, key)| Facts::read(&chain, &key)),
        }
    }

    /// Whether it is what a wish asks for, apart from its age and its roots.
    pub fn serves(&self, wish: &Wish) -> bool {
        self.issued_for == wish.owner.to_string()
            && self.validity == wish.validity.to_string()
            && self.certificate.as_ref().is_some_and(|facts| facts.names == wish.names.all())
    }
}

impl Facts {
    fn read(chain: &str, key: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(chain.as_bytes()).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let key = KeyPair::from_pem(key).ok()?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return None;
        }
        let at = |seconds: i64| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?));
        let not_before = at(certificate.validity().not_before.timestamp())?;
        let not_after = at(certificate.validity().not_after.timestamp())?;
        let validity = not_after.duration_since(not_before).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let names = names.value.general_names.iter().filter_map(name_of).collect();
        Some(Self { names, renew_at: not_before + renew_after(validity, 0.0), not_after })
    }
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    // What a person writes plainly counts as an API server would have it.
    let plain = secret.string_data.as_ref().and_then(|data: &BTreeMap<_, _>| data.get(key)).cloned();
    plain.or_else(|| String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok())
}
