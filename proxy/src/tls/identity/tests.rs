#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::tls::fixtures::{Authority, Leaf, dns};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};

const RSA: &str = include_str!("../testdata/rsa.pem");
const RSA_PKCS1_KEY: &str = include_str!("../testdata/rsa-pkcs1.key");
const RSA_PKCS8_KEY: &str = include_str!("../testdata/rsa-pkcs8.key");
const EC: &str = include_str!("../testdata/ec.pem");
const EC_SEC1_KEY: &str = include_str!("../testdata/ec-sec1.key");
const EC_ENCRYPTED_KEY: &str = include_str!("../testdata/ec-encrypted.key");
const CA: &str = include_str!("../testdata/ca.pem");

fn certificate(chain: &str, key: &str) -> Certificate {
    Certificate {
        common_name: "bookstore.shop.cluster.local".to_owned(),
        cert_chain: chain.to_owned(),
        private_key: key.to_owned(),
        issuing_ca: CA.to_owned(),
        ..Certificate::default()
    }
}

fn refused(certificate: &Certificate) -> IdentityError {
    Identity::from_config(certificate, "bookstore.shop").unwrap_err()
}

#[test]
fn keys_of_every_form_are_read() {
    for (form, chain, key) in [
        ("PKCS#1", RSA, RSA_PKCS1_KEY),
        ("RSA PKCS#8", RSA, RSA_PKCS8_KEY),
        ("SEC1 after its parameters", EC, EC_SEC1_KEY),
    ] {
        let identity = Identity::from_config(&certificate(chain, key), "bookstore.shop");
        assert_eq!(identity.unwrap().principal(), "bookstore.shop.cluster.local", "{form}");
    }
    let authority = Authority::new();
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = authority.issue_for(&Leaf::fsm("a.b", &[]), &key);
        assert!(Identity::from_config(&certificate, "a.b").is_ok(), "{algorithm:?}");
    }
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    assert!(Identity::from_config(&authority.issue_for(&Leaf::fsm("a.b", &[]), &key), "a.b").is_ok());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let path = "Certificate.PrivateKey".to_owned();
    assert_eq!(refused(&certificate(RSA, EC_SEC1_KEY)), IdentityError::KeyMismatch { path: path.clone() });
    assert_eq!(refused(&certificate(EC, RSA_PKCS8_KEY)), IdentityError::KeyMismatch { path });
}

#[test]
fn errors_name_the_value_at_fault_and_what_to_do() {
    let cases: [(Certificate, &str, &str); 9] = [
        (certificate("", EC_SEC1_KEY), "Certificate.CertChain", "holds no PEM block of type CERTIFICATE"),
        (certificate("garbage", EC_SEC1_KEY), "Certificate.CertChain", "holds no PEM block"),
        (certificate(EC, ""), "Certificate.PrivateKey", "RSA PRIVATE KEY or EC PRIVATE KEY"),
        (certificate(EC, EC), "Certificate.PrivateKey", "holds no PEM block of type PRIVATE KEY"),
        (certificate(EC, EC_ENCRYPTED_KEY), "Certificate.PrivateKey", "encrypted with a passphrase"),
        (certificate(&EC.replace("-----END", "----END"), EC_SEC1_KEY), "Certificate.CertChain", "readable PEM"),
        (
            certificate("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", EC_SEC1_KEY),
            "Certificate.CertChain",
            "certificate 1",
        ),
        (
            certificate(EC, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            "Certificate.PrivateKey",
            "no key that can be used",
        ),
        (
            Certificate { issuing_ca: String::new(), ..certificate(EC, EC_SEC1_KEY) },
            "Certificate.IssuingCA",
            "holds no PEM block",
        ),
    ];
    for (certificate, path, words) in cases {
        let error = refused(&certificate);
        assert_eq!(error.path(), path);
        assert!(error.to_string().contains(path) && error.to_string().contains(words), "{error}");
    }
    let elsewhere = Identity::from_config_at(&Certificate::default(), "a.b", "Outbound.SourceCert").unwrap_err();
    assert_eq!(elsewhere.path(), "Outbound.SourceCert.CertChain");
}

#[test]
fn a_bad_second_root_is_named_by_its_position() {
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = roots_from_pem(&format!("{CA}{garbage}"), "roots").unwrap_err();
    assert!(error.to_string().starts_with("certificate 2 in roots cannot be used"), "{error}");
    assert_eq!(roots_from_pem(&format!("{CA}{CA}"), "roots").unwrap().len(), 2);
}

#[test]
fn the_trust_domain_is_what_follows_the_service_identity() {
    for (common_name, service_identity, expected) in [
        ("bookstore.shop.cluster.local", "bookstore.shop", "cluster.local"),
        ("book.store.shop.my.domain", "book.store.shop", "my.domain"),
        ("bookstore.shop.my.domain", "", "my.domain"),
        ("bookstore.shop.my.domain", "other.shop", "my.domain"),
        ("bookstore.shopping.my.domain", "bookstore.shop", "my.domain"),
        ("bookstore.shop", "bookstore.shop", "cluster.local"),
        ("bookstore.shop.", "bookstore.shop", "cluster.local"),
        ("", "bookstore.shop", "cluster.local"),
    ] {
        assert_eq!(trust_domain(common_name, service_identity), expected, "{common_name} {service_identity}");
    }
}

#[test]
fn without_a_common_name_in_the_document_the_certificate_says_who_we_are() {
    let certificate = Certificate { common_name: String::new(), ..certificate(EC, EC_SEC1_KEY) };
    let identity = Identity::from_config(&certificate, "").unwrap();
    assert_eq!(identity.principal(), "bookstore.shop.cluster.local");
    assert_eq!(identity.trust_domain(), "cluster.local");
    let nobody = Authority::new().identity_of(&Leaf::named(None).with_names(vec![dns("egress.example.com")]));
    assert_eq!(nobody.principal(), "");
}

#[test]
fn only_changed_material_makes_another_identity() {
    let authority = Authority::new();
    let certificate = authority.issue(&Leaf::fsm("a.b", &[]));
    let identity = Identity::from_config(&certificate, "a.b").unwrap();
    assert!(identity.same_material(&Identity::from_config(&certificate.clone(), "a.b").unwrap()));
    assert!(!identity.same_material(&authority.identity("a.b")), "another certificate");
    let more_roots = format!("{}{CA}", certificate.issuing_ca);
    let other_roots = Certificate { issuing_ca: more_roots, ..certificate };
    assert!(!identity.same_material(&Identity::from_config(&other_roots, "a.b").unwrap()), "other roots");
}

#[test]
fn the_key_never_shows() {
    let error_key = EC_SEC1_KEY.replace("-----END EC PRIVATE KEY-----", "!!");
    let error = refused(&certificate(EC, &error_key));
    let identity = Identity::from_config(&certificate(EC, EC_SEC1_KEY), "bookstore.shop").unwrap();
    let shown = [
        format!("{identity:?}"),
        format!("{:?}", identity.summary()),
        serde_json::to_string(&identity.summary()).unwrap(),
        format!("{error} {error:?}"),
    ];
    let secrets: Vec<&str> = EC_SEC1_KEY.lines().filter(|line| !line.starts_with("---") && line.len() > 20).collect();
    assert!(!secrets.is_empty());
    let PrivateKeyDer::Sec1(der) = PrivateKeyDer::from_pem_slice(EC_SEC1_KEY.as_bytes()).unwrap() else { panic!() };
    let scalar = &der.secret_sec1_der()[7..39];
    let hexadecimal: String = scalar.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{}, {}, {}, {}", scalar[0], scalar[1], scalar[2], scalar[3]);
    for text in shown {
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
        assert!(!text.contains(&hexadecimal) && !text.contains(&decimal), "{text}");
    }
}

#[test]
fn the_summary_shows_chain_and_roots() {
    let identity = Identity::from_config(&certificate(RSA, RSA_PKCS1_KEY), "bookstore.shop").unwrap();
    let summary = identity.summary();
    assert_eq!(summary.len(), 2);
    let json = serde_json::to_value(&summary[0]).unwrap();
    assert_eq!(json["usedAs"], "leaf");
    assert_eq!(json["subject"], "O=test, CN=bookstore.shop.cluster.local");
    assert_eq!(json["issuer"], "O=Open Service Mesh, CN=ca.mesh.test");
    assert_eq!(json["subjectAlternativeNames"], serde_json::json!(["bookstore.shop.cluster.local", "bookstore.shop"]));
    assert_eq!(json["keyAlgorithm"], "RSA 2048");
    let not_after: jiff::Timestamp = json["notAfter"].as_str().unwrap().parse().unwrap();
    let expires = identity.expires().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(u64::try_from(not_after.as_second()).unwrap(), expires);
    assert!(json["secondsLeft"].as_i64().unwrap() > 0);
    assert!(summary[0].serial.bytes().all(|byte| byte.is_ascii_hexdigit()) && !summary[0].serial.is_empty());
    assert_eq!((summary[1].used_as, summary[1].key_algorithm.as_str()), (CertificateUse::Root, "EC 256"));
}

#[test]
fn an_expired_certificate_is_shown_as_expired_and_no_error() {
    let mut leaf = Leaf::fsm("a.b", &[]);
    leaf.not_before -= time::Duration::days(3);
    leaf.not_after = leaf.not_before + time::Duration::days(1);
    let identity = Authority::new().identity_of(&leaf);
    assert!(identity.summary()[0].seconds_left < -3600);
    assert!(identity.expires() < SystemTime::now());
}

#[test]
fn an_issued_certificate_says_where_its_trust_domain_begins() {
    let authority = Authority::new();
    let issue = |principal: &str| {
        let mut leaf = Leaf::named(Some(principal));
        leaf.names = vec![dns(principal)];
        authority.issue(&leaf)
    };
    for (principal, namespace, trust_domain) in [
        ("web.shop.cluster.local", "shop", "cluster.local"),
        ("web.v2.shop.cluster.local", "shop", "cluster.local"),
        ("a.cluster.cluster.local", "cluster", "cluster.local"),
        ("web.shop.cluster.local", "elsewhere", "cluster.local"),
    ] {
        let identity = Identity::issued(&issue(principal), namespace).unwrap();
        assert_eq!((identity.principal().as_str(), identity.trust_domain().as_str()), (principal, trust_domain));
    }
    let nobody = Certificate { common_name: String::new(), ..authority.issue(&Leaf::named(Some("free text"))) };
    let error = Identity::issued(&nobody, "shop").unwrap_err();
    assert!(error.to_string().contains("names no service account"), "{error}");
}

#[test]
fn an_identity_is_renewed_for_the_same_one_only() {
    let (authority, other) = (Authority::new(), Authority::new());
    let identity = authority.identity("web.shop");
    let (shared, before) = (identity.clone(), identity.certificates());
    assert!(!identity.renew(&authority.identity("admin.shop")), "somebody else");
    assert_eq!(identity.certificates(), before);

    let newer = other.identity("web.shop");
    assert!(identity.renew(&newer));

    assert!(shared.same_material(&newer), "clones are renewed too");
    assert_eq!(shared.expires(), newer.expires());
    let error = identity.trust("no roots", "TrustBundle").unwrap_err();
    assert_eq!(error.path(), "TrustBundle");
    identity.trust(&format!("{}{}", authority.pem(), other.pem()), "TrustBundle").unwrap();
    assert_eq!(shared.certificates().1.len(), 2);
    assert_eq!(shared.certificates().0, newer.certificates().0, "the certificate stays");
}
