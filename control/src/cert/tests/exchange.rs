//! Several issuers that look like one.

use super::{Hand, bookbuyer, open, request};
use crate::cert::{Exchange, Issuer, LeafRequest};
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

fn roots(issuer: &dyn Issuer) -> usize {
    issuer.trust_bundle().pem.matches("BEGIN CERTIFICATE").count()
}

/// Whether the certificate was signed by the root of this issuer, which has one.
fn signed_by(chain: &str, issuer: &dyn Issuer) -> bool {
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (leaf, root) = (der(chain), der(&issuer.trust_bundle().pem));
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let (_, root) = x509_parser::parse_x509_certificate(&root).unwrap();
    // Roots have names of their own.
    leaf.issuer().as_raw() == root.subject().as_raw()
}

#[tokio::test]
async fn one_signs_all_are_trusted_and_whoever_follows_the_roots_hears_of_each_change() {
    let (one, two, hand) = (TempDir::new().unwrap(), TempDir::new().unwrap(), Hand::now());
    let (old, new) = (Arc::new(open(one.path(), &hand)), Arc::new(open(two.path(), &hand)));
    let exchange = Exchange::new(old.clone());
    let mut changes = exchange.changes();
    exchange.refresh(hand.forward(Duration::from_secs(1)));
    assert!(!changes.has_changed().unwrap(), "nothing changed");
    let key = KeyPair::generate().unwrap();
    let sign = async || {
        let leaf = LeafRequest { request: request(&key), names: bookbuyer(), validity: Duration::from_secs(7200) };
        exchange.issue(leaf).await.unwrap().chain
    };
    assert!(signed_by(&sign().await, old.as_ref()));
    assert_eq!(exchange.longest_validity(), Duration::from_secs(7200));

    exchange.set(vec![old.clone(), new.clone()], hand.forward(Duration::from_secs(1)));
    assert!(changes.has_changed().unwrap());
    let told = changes.borrow_and_update().clone();
    assert_eq!((roots(&exchange), told.since), (2, hand.forward(Duration::ZERO)));
    assert!(signed_by(&sign().await, old.as_ref()), "the new one is only trusted");

    exchange.set(vec![new.clone(), old.clone()], hand.forward(Duration::from_secs(1)));
    assert!(changes.has_changed().unwrap(), "time for new certificates");
    changes.borrow_and_update();
    assert!(signed_by(&sign().await, new.as_ref()));

    new.rotate().await.unwrap();
    exchange.refresh(hand.forward(Duration::from_secs(1)));
    assert_eq!(roots(&exchange), 3, "roots of those that are trusted are followed");
    exchange.set(Vec::new(), hand.forward(Duration::from_secs(1)));
    assert_eq!(roots(&exchange), 3, "nobody at all changes nothing");
}
