//! Certificates from authorities outside of fsm-control, and who gets none.

mod cert_manager;
mod handover;
mod mesh;
mod vault;

use fsm_control::cert::{Identity, LeafNames, LeafRequest, SigningRequest};
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
pub(crate) use vault::ROLE;

/// The names of an account.
fn names(namespace: &str, account: &str) -> LeafNames {
    LeafNames::of_workload(&Identity::new(namespace, account).unwrap(), "cluster.local")
}

/// A request as fsm-proxy makes it when it is asked for names.
fn request(key: &KeyPair, names: &LeafNames) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, names.common_name.as_str());
    params.subject_alt_names.push(SanType::DnsName(names.common_name.as_str().try_into().unwrap()));
    if let Some(uri) = &names.spiffe {
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri.as_str()).unwrap()));
    }
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn leaf(names: LeafNames, validity: Duration) -> LeafRequest {
    let key = KeyPair::generate().unwrap();
    LeafRequest { request: SigningRequest::check(&request(&key, &names)).unwrap(), names, validity }
}

/// Whether whoever trusts this bundle accepts a server with this chain as `<account>.<namespace>.cluster.local`.
fn is_trusted(chain: &str, bundle: &str, name: &str) -> bool {
    is_trusted_at(chain, bundle, name, SystemTime::now())
}

/// The same at another time.
fn is_trusted_at(chain: &str, bundle: &str, name: &str, at: SystemTime) -> bool {
    let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let ders = |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let mut store = RootCertStore::empty();
    ders(bundle).into_iter().for_each(|root| store.add(root).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build().unwrap();
    let (chain, name) = (ders(chain), ServerName::try_from(name.to_owned()).unwrap());
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at).is_ok()
}
