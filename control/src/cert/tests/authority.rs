//! The built-in authority: what it issues, what it keeps, and how its roots change.

use super::{DAY, Hand, bookbuyer, issue, open, request};
use crate::cert::rotation::ANNOUNCE;
use crate::cert::tresor::{Tresor, TresorError, TresorSettings};
use crate::cert::{CLOCK_SKEW, Identity, Issued, Issuer, LeafNames, LeafRequest};
use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use x509_parser::extensions::GeneralName;

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Whether somebody who trusts `bundle` accepts the certificate at that time.
fn trusted(issued: &Issued, bundle: &str, at: SystemTime) -> bool {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let name = ServerName::try_from("bookbuyer.bookstore.cluster.local").unwrap();
    let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    verifier.verify_server_cert(&der(&issued.chain), &[], &name, &[], at).is_ok()
}

#[tokio::test]
async fn a_leaf_says_who_it_is_for_what_and_how_long() {
    let (directory, hand) = (TempDir::new().unwrap(), Hand::now());
    let tresor = open(directory.path(), &hand);
    let issued = issue(&tresor, &KeyPair::generate().unwrap(), bookbuyer()).await;
    let leaf = der(&issued.chain);
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let common_name = leaf.subject().iter_common_name().next().unwrap().as_str().unwrap();
    assert_eq!(common_name, "bookbuyer.bookstore.cluster.local");
    let names = leaf.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(
        names.general_names,
        [
            GeneralName::DNSName("bookbuyer.bookstore.cluster.local"),
            GeneralName::URI("spiffe://cluster.local/ns/bookstore/sa/bookbuyer"),
        ]
    );
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && purposes.client_auth && !purposes.any);
    assert!(!leaf.is_ca());
    let now = hand.forward(Duration::ZERO);
    assert_eq!(issued.not_before, now - CLOCK_SKEW);
    assert_eq!(issued.not_after, now + DAY);
    let seconds = |at: SystemTime| i64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    assert_eq!(leaf.validity().not_before.timestamp(), seconds(issued.not_before));
    assert_eq!(leaf.validity().not_after.timestamp(), seconds(issued.not_after));
    let another = issue(&tresor, &KeyPair::generate().unwrap(), bookbuyer()).await;
    let another = der(&another.chain);
    let (_, another) = x509_parser::parse_x509_certificate(&another).unwrap();
    assert_ne!(leaf.raw_serial(), another.raw_serial());
}

#[tokio::test]
async fn names_that_a_request_asks_for_are_never_certified() {
    let (directory, hand) = (TempDir::new().unwrap(), Hand::now());
    let tresor = open(directory.path(), &hand);
    let key = KeyPair::generate().unwrap();
    let greedy = rcgen::CertificateParams::new(vec!["admin.kube-system.cluster.local".to_owned()]).unwrap();
    let pem = greedy.serialize_request(&key).unwrap().pem().unwrap();
    let request = crate::cert::SigningRequest::check(&pem).unwrap();
    let issued = tresor.issue(LeafRequest { request, names: bookbuyer(), validity: DAY }).await.unwrap();
    assert_eq!(Identity::of_leaf(&der(&issued.chain), "cluster.local").unwrap().to_string(), "bookbuyer.bookstore");
    assert!(!String::from_utf8_lossy(&der(&issued.chain)).contains("kube-system"));
}

#[tokio::test]
async fn a_name_longer_than_a_common_name_still_identifies() {
    let (directory, hand) = (TempDir::new().unwrap(), Hand::now());
    let tresor = open(directory.path(), &hand);
    let identity = Identity::new("bookstore", &["a".repeat(60), "b".repeat(60)].join(".")).unwrap();
    let names = LeafNames::of_workload(&identity, "cluster.local");
    let issued = issue(&tresor, &KeyPair::generate().unwrap(), names).await;
    assert_eq!(Identity::of_leaf(&der(&issued.chain), "cluster.local").unwrap(), identity);
}

#[tokio::test]
async fn the_authority_survives_a_restart_and_is_private() {
    let (directory, hand) = (TempDir::new().unwrap(), Hand::now());
    let state = directory.path().join("state/ca");
    let first = open(&state, &hand);
    let issued = issue(&first, &KeyPair::generate().unwrap(), bookbuyer()).await;
    let file = state.join("ca.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let second = open(&state, &hand);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(first.trust_bundle().pem, second.trust_bundle().pem);
    assert!(trusted(&issued, &second.trust_bundle().pem, hand.forward(Duration::ZERO)));
    assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing is left beside the file");
}

#[test]
fn of_many_that_start_together_one_makes_the_root() {
    let (directory, hand) = (TempDir::new().unwrap(), Hand::now());
    let gate = std::sync::Barrier::new(8);
    let bundles: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
        let one = || {
            gate.wait();
            open(directory.path(), &hand).trust_bundle().pem.clone()
        };
        let racing: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
        racing.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(bundles.len(), 1);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_something_else_is_not_overwritten() {
    let (directory, hand) = (TempDir::new().unwrap(), Hand::now());
    let file = directory.path().join("ca.json");
    let good = {
        open(directory.path(), &hand);
        fs::read_to_string(&file).unwrap()
    };
    let other = TempDir::new().unwrap();
    open(other.path(), &hand);
    let theirs: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(other.path().join("ca.json")).unwrap()).unwrap();
    let mut mixed: serde_json::Value = serde_json::from_str(&good).unwrap();
    mixed["roots"][0]["key"] = theirs["roots"][0]["key"].clone();
    for content in ["".to_owned(), "{}".to_owned(), good[..good.len() / 2].to_owned(), mixed.to_string()] {
        fs::write(&file, &content).unwrap();
        let opened = Tresor::open(directory.path(), TresorSettings::default(), hand.clock());
        assert!(matches!(opened, Err(TresorError::Storage(_) | TresorError::Root(_))), "{content:.40}");
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
}

#[tokio::test]
async fn no_leaf_outlives_its_root() {
    let (directory, hand) = (TempDir::new().unwrap(), Hand::now());
    let tresor = open(directory.path(), &hand);
    let key = KeyPair::generate().unwrap();
    let leaf = LeafRequest { request: request(&key), names: bookbuyer(), validity: DAY * 20_000 };
    let issued = tresor.issue(leaf).await.unwrap();
    let root = der(&tresor.trust_bundle().pem);
    let (_, root) = x509_parser::parse_x509_certificate(&root).unwrap();
    let seconds = issued.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(i64::try_from(seconds).unwrap(), root.validity().not_after.timestamp());
}

/// At every moment of a rotation, with a restart after each step: whoever has the bundle of now trusts every certificate
/// in use, and whoever has not heard of the newest step yet trusts what is issued now.
#[tokio::test]
async fn a_rotation_never_leaves_anybody_without_trust() {
    let (directory, hand) = (TempDir::new().unwrap(), Hand::now());
    let key = KeyPair::generate().unwrap();
    let mut tresor = open(directory.path(), &hand);
    let changes = tresor.changes();
    let mut in_use: Vec<Issued> = vec![issue(&tresor, &key, bookbuyer()).await];
    let mut bundles = vec![tresor.trust_bundle().pem.clone()];
    let first_root = bundles[0].clone();
    tresor.rotate().await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert!(matches!(tresor.rotate().await, Err(TresorError::Busy(_))));
    let mut phases = vec![tresor.status().phase];
    // Twice a step, for as long as a whole rotation takes.
    let pace = ANNOUNCE / 2;
    let end = hand.forward(Duration::ZERO) + ANNOUNCE + DAY + Duration::from_secs(3600);
    while hand.forward(Duration::ZERO) < end {
        tresor = open(directory.path(), &hand);
        tresor.tick().await.unwrap();
        let now = hand.forward(Duration::ZERO);
        let bundle = tresor.trust_bundle().pem.clone();
        if bundles.last() != Some(&bundle) {
            bundles.push(bundle.clone());
        }
        if phases.last() != Some(&tresor.status().phase) {
            phases.push(tresor.status().phase);
        }
        in_use.retain(|issued| issued.not_after > now);
        let fresh = issue(&tresor, &key, bookbuyer()).await;
        let before = bundles.len().saturating_sub(2);
        for known in &bundles[before..] {
            assert!(trusted(&fresh, known, now), "{:?}", tresor.status());
        }
        in_use.push(fresh);
        assert!(in_use.iter().all(|issued| trusted(issued, &bundle, now)), "{:?}", tresor.status());
        hand.forward(pace);
    }
    assert_eq!(phases, ["announced", "overlapping", "steady"]);
    assert_ne!(tresor.trust_bundle().pem, first_root);
    assert_eq!(tresor.trust_bundle().pem.matches("BEGIN CERTIFICATE").count(), 1);
    tresor.rotate().await.unwrap();
}

#[tokio::test]
async fn the_key_of_a_root_that_does_not_sign_any_more_is_forgotten() {
    let (directory, hand) = (TempDir::new().unwrap(), Hand::now());
    let tresor = open(directory.path(), &hand);
    let file = || fs::read_to_string(directory.path().join("ca.json")).unwrap();
    tresor.rotate().await.unwrap();
    assert_eq!(file().matches("PRIVATE KEY-----\\n\"").count(), 2);
    hand.forward(ANNOUNCE);
    tresor.tick().await.unwrap();
    assert_eq!(tresor.status().phase, "overlapping");
    assert_eq!(file().matches("PRIVATE KEY-----\\n\"").count(), 1);
}
