//! An authority outside that makes every mistake there is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Mismatch, anchors, look_at, pem};
use crate::cert::tests::{DAY, bookbuyer};
use crate::cert::{LeafRequest, SigningRequest};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};

struct Authority {
    root: Certificate,
    middle: Certificate,
    signer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let ca = |name: &str| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let root_key = KeyPair::generate().unwrap();
        let root = ca("root").self_signed(&root_key).unwrap();
        let top = Issuer::new(ca("root"), root_key);
        let key = KeyPair::generate().unwrap();
        let middle = ca("middle").signed_by(&key, &top).unwrap();
        Self { root, middle, signer: Issuer::new(ca("middle"), key) }
    }

    fn sign(&self, asked: &LeafRequest, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::default();
        crate::cert::root::write_names(&mut params, &asked.names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        params.signed_by(asked.request.key(), &self.signer).unwrap().pem()
    }
}

fn asked() -> LeafRequest {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    LeafRequest { request: SigningRequest::check(&request).unwrap(), names: bookbuyer(), validity: DAY }
}

fn one(certificate: &Certificate) -> String {
    pem("CERTIFICATE", certificate.der())
}

#[test]
fn a_chain_is_split_into_what_is_shown_and_what_is_trusted() {
    let (authority, asked) = (Authority::new(), asked());
    let leaf = authority.sign(&asked, |_| {});
    // As Vault has it: issuing_ca is in ca_chain too, and line breaks differ.
    let chain = [authority.middle.pem(), authority.root.pem(), authority.middle.pem().replace('\n', "\r\n")];
    let answer = look_at(&leaf, &chain, &asked).unwrap();
    assert_eq!(answer.roots, [one(&authority.root)]);
    assert_eq!(answer.issued.chain.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(answer.issued.chain.ends_with(&one(&authority.middle)));
    // Without its root the authority that signs is who is trusted.
    let answer = look_at(&leaf, &[authority.middle.pem()], &asked).unwrap();
    assert_eq!(answer.roots, [one(&authority.middle)]);
    assert_eq!(answer.issued.chain.matches("BEGIN CERTIFICATE").count(), 1);
    assert_eq!(anchors(&chain.concat()).unwrap(), [one(&authority.root)]);
    assert_eq!(look_at(&leaf, &[], &asked).unwrap().roots, [] as [String; 0]);
}

#[test]
fn an_answer_that_is_not_what_was_asked_for_is_not_used() {
    let (authority, asked) = (Authority::new(), asked());
    let look = |change: &dyn Fn(&mut CertificateParams)| look_at(&authority.sign(&asked, change), &[], &asked);
    assert!(matches!(look(&|params| params.subject_alt_names.truncate(1)), Err(Mismatch::Missing(names))
        if names == ["URI spiffe://cluster.local/ns/bookstore/sa/bookbuyer"]));
    let more = |params: &mut CertificateParams| {
        params.subject_alt_names.push(SanType::DnsName("bookstore.bookstore.cluster.local".try_into().unwrap()));
    };
    assert!(matches!(look(&more), Err(Mismatch::Surplus(_))));
    assert!(matches!(
        look(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        Err(Mismatch::Usage(_))
    ));
    let server_only = |params: &mut CertificateParams| drop(params.extended_key_usages.pop());
    assert!(matches!(look(&server_only), Err(Mismatch::Usage(_))));
    let other = self::asked();
    assert!(matches!(look_at(&authority.sign(&other, |_| {}), &[], &asked), Err(Mismatch::Key)));
    for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(matches!(look_at(broken, &[], &asked), Err(Mismatch::Unreadable(_))), "{broken:?}");
    }
}
