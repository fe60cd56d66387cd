#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::tls::fixtures::{Authority, Leaf, dns, uri};
use rcgen::SanType;

const DOMAIN: Option<&str> = Some("cluster.local");

fn peer(leaf: &Leaf) -> Peer {
    let identity = Authority::new().identity_of(leaf);
    Peer::from_leaf(&identity.certified_key().cert[0], DOMAIN)
}

fn spiffe(id: &str) -> Peer {
    peer(&Leaf::named(Some("other.name.cluster.local")).with_names(vec![dns("other.name.cluster.local"), uri(id)]))
}

fn identity(peer: &Peer) -> (Option<&str>, Option<&str>) {
    (peer.principal.as_deref(), peer.service.as_deref())
}

#[test]
fn a_certificate_of_fsm_is_identified_by_its_common_name() {
    let peer = peer(&Leaf::fsm("bookbuyer.shop", &["bookbuyer.shop.svc"]));
    assert_eq!(identity(&peer), (Some("bookbuyer.shop.cluster.local"), Some("bookbuyer.shop")));
    assert_eq!(peer.names, ["bookbuyer.shop.cluster.local", "bookbuyer.shop.svc"]);
}

#[test]
fn a_common_name_alone_identifies_nobody() {
    let alone = peer(&Leaf::named(Some("bookbuyer.shop.cluster.local")));
    assert_eq!(alone, Peer::default());
    let beside = peer(&Leaf::named(Some("bookbuyer.shop.cluster.local")).with_names(vec![dns("evil.example")]));
    assert_eq!(identity(&beside), (None, None));
    let as_uri =
        Leaf::named(Some("bookbuyer.shop.cluster.local")).with_names(vec![uri("bookbuyer.shop.cluster.local")]);
    assert_eq!(identity(&peer(&as_uri)), (None, None), "the common name has to be a DNS name");
}

#[test]
fn a_common_name_that_is_no_plain_name_identifies_nobody() {
    let wildcard = Leaf::named(Some("*.shop.cluster.local")).with_names(vec![dns("*.shop.cluster.local")]);
    assert_eq!(identity(&peer(&wildcard)), (None, None));
    assert_eq!(identity(&peer(&Leaf::named(None).with_names(vec![dns("a.b.cluster.local")]))), (None, None));
}

#[test]
fn every_form_of_spiffe_id_is_understood() {
    for id in [
        "spiffe://cluster.local/ns/shop/sa/bookbuyer",
        "spiffe://cluster.local/bookbuyer/shop",
        "spiffe://cluster.local/bookbuyer.shop",
    ] {
        assert_eq!(identity(&spiffe(id)), (Some("bookbuyer.shop.cluster.local"), Some("bookbuyer.shop")), "{id}");
    }
    let dotted = spiffe("spiffe://cluster.local/ns/shop/sa/book.buyer");
    assert_eq!(identity(&dotted), (Some("book.buyer.shop.cluster.local"), Some("book.buyer.shop")));
}

#[test]
fn a_foreign_trust_domain_is_no_service_of_ours() {
    let peer = spiffe("spiffe://other.domain/ns/shop/sa/bookbuyer");
    assert_eq!(identity(&peer), (Some("bookbuyer.shop.other.domain"), None));
    assert!(!peer.is_named("bookbuyer.shop", DOMAIN));
}

#[test]
fn a_malformed_spiffe_id_identifies_nobody_even_beside_a_good_common_name() {
    for id in [
        "spiffe://cluster.local",
        "spiffe://cluster.local/",
        "spiffe:///ns/shop/sa/bookbuyer",
        "spiffe://cluster.local/ns/shop/sa/",
        "spiffe://cluster.local/ns//sa/bookbuyer",
        "spiffe://cluster.local/ns/shop/sa/bookbuyer/",
        "spiffe://cluster.local/ns/shop/sa/bookbuyer/x",
        "spiffe://cluster.local/ns/shop/role/bookbuyer",
        "spiffe://cluster.local/ns/sh.op/sa/bookbuyer",
        "spiffe://cluster.local/ns/sh%6fp/sa/bookbuyer",
        "spiffe://cluster.local:443/ns/shop/sa/bookbuyer",
        "spiffe://user@cluster.local/ns/shop/sa/bookbuyer",
        "spiffe://cluster.local/ns/shop/sa/bookbuyer?x",
        "spiffe://cluster.local/bookbuyer",
        "SPIFFE://cluster.local/ns/shop/sa/bookbuyer",
    ] {
        assert_eq!(identity(&spiffe(id)), (None, None), "{id}");
    }
}

#[test]
fn two_spiffe_ids_identify_nobody() {
    let leaf = Leaf::fsm("bookbuyer.shop", &[]);
    let mut names = leaf.names.clone();
    names.extend([uri("spiffe://cluster.local/ns/shop/sa/bookbuyer"), uri("spiffe://cluster.local/ns/shop/sa/admin")]);
    let peer = peer(&leaf.with_names(names));
    assert_eq!(identity(&peer), (None, None));
    assert!(!peer.is_named("spiffe://cluster.local/ns/shop/sa/admin", DOMAIN));
    assert!(!peer.is_named("bookbuyer.shop", DOMAIN));
}

#[test]
fn addresses_are_names_as_text() {
    let names = vec![SanType::IpAddress("10.0.0.1".parse().unwrap()), SanType::IpAddress("fd00::1".parse().unwrap())];
    assert_eq!(peer(&Leaf::named(None).with_names(names)).names, ["10.0.0.1", "fd00::1"]);
}

#[test]
fn a_peer_is_named_by_identity_spiffe_id_or_exact_alternative_name() {
    let peer = peer(&Leaf::fsm("bookbuyer.shop", &["bookbuyer.shop.svc.cluster.local", "books.example.com"]));
    for name in [
        "bookbuyer.shop",
        "bookbuyer.shop.cluster.local",
        "spiffe://cluster.local/ns/shop/sa/bookbuyer",
        "bookbuyer.shop.svc.cluster.local",
        "books.example.com",
    ] {
        assert!(peer.is_named(name, DOMAIN), "{name}");
    }
    for name in
        ["", ".", "shop", "bookbuyer", "bookbuyer.shop.", "Bookbuyer.shop", "bookbuyer.shop.other", "*.example.com"]
    {
        assert!(!peer.is_named(name, DOMAIN), "{name}");
    }
}

#[test]
fn the_host_of_a_service_is_not_taken_for_an_account_of_the_same_name() {
    // The pod of account `evil` backs service `bank` of namespace `shop`: FSM writes the host into its certificate.
    let peer = peer(&Leaf::fsm("evil.shop", &["bank.shop", "bank.shop.cluster.local"]));
    assert!(peer.has_name("bank.shop"));
    assert!(!peer.is_named("bank.shop", DOMAIN));
    assert!(!peer.is_named("bank.shop.cluster.local", DOMAIN));
}

#[test]
fn bytes_that_are_no_certificate_identify_nobody() {
    assert_eq!(Peer::from_leaf(&CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff]), DOMAIN), Peer::default());
    assert_eq!(Peer::from_leaf(&CertificateDer::from(Vec::new()), DOMAIN), Peer::default());
}
