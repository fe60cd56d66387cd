#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::cert::{Identity, LeafNames, RequestError, SigningRequest};
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};

fn wanted() -> LeafNames {
    LeafNames::of_workload(&Identity::new("bookstore", "bookbuyer").unwrap(), "cluster.local")
}

fn check(change: impl FnOnce(&mut CertificateParams)) -> SigningRequest {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    SigningRequest::check(&params.serialize_request(&key).unwrap().pem().unwrap()).unwrap()
}

fn uri(uri: &str) -> SanType {
    SanType::URI(Ia5String::try_from(uri).unwrap())
}

#[test]
fn a_request_may_be_without_names_or_with_its_own() {
    let none = check(|_| {});
    assert!(none.claims().is_empty() && none.claims_only(&wanted()).is_ok() && !none.carries(&wanted()));
    let own = check(|params| crate::cert::root::write_names(params, &wanted()).unwrap());
    assert!(own.claims_only(&wanted()).is_ok() && own.carries(&wanted()));
}

#[test]
fn a_request_with_any_other_name_is_refused_with_the_names() {
    let mail = SanType::Rfc822Name(Ia5String::try_from("root@cluster.local").unwrap());
    let others = [
        check(|params| params.distinguished_name.push(DnType::CommonName, "admin.kube-system.cluster.local")),
        check(|params| params.subject_alt_names.push(SanType::DnsName("localhost".try_into().unwrap()))),
        check(|params| params.subject_alt_names.push(uri("spiffe://cluster.local/ns/bookstore/sa/bookstore"))),
        check(|params| params.subject_alt_names.push(SanType::IpAddress("10.0.0.1".parse().unwrap()))),
        check(|params| params.subject_alt_names.push(mail)),
        check(|params| {
            crate::cert::root::write_names(params, &wanted()).unwrap();
            params.subject_alt_names.push(uri("spiffe://cluster.local/ns/kube-system/sa/admin"));
        }),
    ];
    for other in others {
        let refused = other.claims_only(&wanted()).unwrap_err();
        assert!(matches!(refused, RequestError::Names { .. }));
        let text = refused.to_string();
        assert!(text.contains("but whoever asks is bookbuyer.bookstore.cluster.local"), "{text}");
    }
}
