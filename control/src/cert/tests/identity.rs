//! Who a certificate says somebody is.

use crate::cert::{Identity, IdentityError};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls::pki_types::CertificateDer;

fn leaf(common_names: &[&str], dns: &[&str], uris: &[&str]) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for name in common_names {
        params.distinguished_name.push(DnType::CommonName, *name);
    }
    params.subject_alt_names.extend(dns.iter().map(|&name| SanType::DnsName(name.try_into().unwrap())));
    params.subject_alt_names.extend(uris.iter().map(|&uri| SanType::URI(uri.try_into().unwrap())));
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

fn read(leaf: &CertificateDer<'_>) -> Option<String> {
    Identity::of_leaf(leaf, "cluster.local").ok().map(|identity| identity.to_string())
}

const SPIFFE: &str = "spiffe://cluster.local/ns/bookstore/sa/bookbuyer";

#[test]
fn a_spiffe_id_names_a_workload() {
    assert_eq!(read(&leaf(&[], &[], &[SPIFFE])).as_deref(), Some("bookbuyer.bookstore"));
    assert_eq!(read(&leaf(&["anything"], &["a.b"], &[SPIFFE])).as_deref(), Some("bookbuyer.bookstore"));
}

#[test]
fn without_one_the_common_name_does_if_it_is_a_dns_name_too() {
    let principal = "book.buyer.bookstore.cluster.local";
    assert_eq!(read(&leaf(&[principal], &[principal], &[])).as_deref(), Some("book.buyer.bookstore"));
    assert_eq!(read(&leaf(&[principal], &[], &[])), None, "a common name alone is free text");
    assert_eq!(read(&leaf(&[], &[principal], &[])), None, "DNS names are hosts");
}

#[test]
fn ambiguity_and_other_trust_domains_name_nobody() {
    let other = "spiffe://cluster.local/ns/bookstore/sa/thief";
    assert_eq!(read(&leaf(&[], &[], &[SPIFFE, other])), None);
    let principal = "bookbuyer.bookstore.cluster.local";
    assert_eq!(read(&leaf(&[principal], &[principal], &[SPIFFE, other])), None);
    for id in [
        "spiffe://other.domain/ns/bookstore/sa/bookbuyer",
        "spiffe://cluster.local.evil/ns/bookstore/sa/bookbuyer",
        "spiffe://cluster.local/ns/bookstore/sa/bookbuyer/x",
        "spiffe://cluster.local/ns/a/b/sa/bookbuyer",
        "spiffe://cluster.local/ns//sa/bookbuyer",
        "spiffe://cluster.local/sa/bookbuyer/ns/bookstore",
        "spiffe://cluster.local/ns/bookstore/sa/book%62uyer",
        "spiffe://cluster.local/ns/bookstore/sa/",
    ] {
        // A malformed id is not made up for by the common name.
        assert_eq!(read(&leaf(&[principal], &[principal], &[id])), None, "{id}");
    }
    assert_eq!(read(&leaf(&["bookbuyer.bookstore.other"], &["bookbuyer.bookstore.other"], &[])), None);
    assert_eq!(read(&CertificateDer::from(vec![1, 2, 3])), None);
}

#[test]
fn the_error_says_whom_the_certificate_names() {
    let error = Identity::of_leaf(&leaf(&[], &["httpbin.example"], &[]), "cluster.local").unwrap_err();
    assert!(matches!(error, IdentityError::Certificate { .. }));
    assert!(error.to_string().contains("\"httpbin.example\""), "{error}");
}
