//! What is certified and what is not.

use super::request;
use crate::cert::request::{KeyKind, MAX_REQUEST_BYTES};
use crate::cert::{RequestError, SigningRequest};
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    PKCS_RSA_SHA512, RsaKeySize,
};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;

fn pem(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

#[test]
fn keys_of_the_mesh_are_accepted() {
    for (algorithm, kind) in [
        (&PKCS_ECDSA_P256_SHA256, KeyKind::Ecdsa),
        (&PKCS_ECDSA_P384_SHA384, KeyKind::Ecdsa),
        (&PKCS_RSA_SHA256, KeyKind::Rsa),
        (&PKCS_RSA_SHA512, KeyKind::Rsa),
    ] {
        assert_eq!(request(&KeyPair::generate_for(algorithm).unwrap()).kind(), kind);
    }
    let largest = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096).unwrap();
    assert_eq!(request(&largest).kind(), KeyKind::Rsa);
}

#[test]
fn other_keys_are_refused_by_name() {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let Err(RequestError::Key(what)) = SigningRequest::check(&pem(&key)) else { panic!("Ed25519 passed") };
    assert!(what.contains("1.3.101.112"), "{what}");
    // OpenSSL: req -new -newkey rsa:1024 -nodes -subj /CN=x
    let Err(RequestError::Key(what)) = SigningRequest::check(SHORT_RSA) else { panic!("RSA-1024 passed") };
    assert_eq!(what, "RSA with 1024 bits");
}

#[test]
fn a_request_that_is_not_signed_with_its_key_is_refused() {
    let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let (own, other) = (pem(&own), pem(&other));
    let own = CertificateSigningRequestDer::from_pem_slice(own.as_bytes()).unwrap();
    let other = CertificateSigningRequestDer::from_pem_slice(other.as_bytes()).unwrap();
    // The signature is the same number of bytes only most of the time, so the last ones are flipped instead of swapped.
    let mut forged = own.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(SigningRequest::check(&armour(&forged)), Err(RequestError::Signature));
    // The key of another request under the own signature.
    let at = |haystack: &[u8]| haystack.windows(3).position(|bytes| bytes == [0x42, 0x00, 0x04]).unwrap() + 2;
    let mut forged = own.to_vec();
    let (to, from) = (at(&forged), at(&other));
    forged[to..to + 65].copy_from_slice(&other[from..from + 65]);
    assert_eq!(SigningRequest::check(&armour(&forged)), Err(RequestError::Signature));
}

#[test]
fn no_bytes_make_it_panic() {
    let good =
        CertificateSigningRequestDer::from_pem_slice(pem(&KeyPair::generate().unwrap()).as_bytes()).unwrap().to_vec();
    for length in 0..good.len() {
        assert!(SigningRequest::check(&armour(&good[..length])).is_err());
    }
    // A flipped bit of the outermost tag is not seen, and changes nothing that is certified.
    let key = SigningRequest::check(&armour(&good)).unwrap().key().clone();
    for index in 0..good.len() {
        let mut bytes = good.clone();
        bytes[index] ^= 0x80;
        let checked = SigningRequest::check(&armour(&bytes));
        assert!(checked.is_err() || *checked.unwrap().key() == key, "byte {index}");
    }
    let mut trailing = good.clone();
    trailing.push(0);
    assert!(matches!(SigningRequest::check(&armour(&trailing)), Err(RequestError::Unreadable(_))));
    for text in
        ["", "-----BEGIN CERTIFICATE REQUEST-----", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
    {
        assert!(matches!(SigningRequest::check(text), Err(RequestError::Unreadable(_))), "{text}");
    }
    let long = "x".repeat(MAX_REQUEST_BYTES + 1);
    assert_eq!(SigningRequest::check(&long), Err(RequestError::TooLong(long.len())));
}

fn armour(der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE REQUEST-----\n");
    for group in der.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= group.len() { digit.into() } else { '=' });
        }
    }
    text.push_str("\n-----END CERTIFICATE REQUEST-----\n");
    text
}

const SHORT_RSA: &str = "-----BEGIN CERTIFICATE REQUEST-----\n\
MIIBSzCBtQIBADAMMQowCAYDVQQDDAF4MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCB\n\
iQKBgQCqzFuYm/e7/FlAWok63txKXHAb55ltL3DJhdfpiAO7V61hEWfFYG3jwbAv\n\
o/3chsG9zGbl8IV7zY373C3BM2MEI4TC3x4vNSajz5bHOKj3/hys8C31vWRAGB+/\n\
RCkig8e2tcJd+5T9PoAOzse5SYnlnKcx6+e0EWx3ovFU88BfuQIDAQABoAAwDQYJ\n\
KoZIhvcNAQELBQADgYEAbxsrRPohriVGcgh1Z3oiyMZz0I+BONX+FB0RDEyJkkJy\n\
gekQF/VQ6xMD/2TUJkJw8YA5zr8MTlMlS8tTn3zYIJCIU+X93r4NEe8EVG1IUZ7+\n\
5jfXA+MLZwSdMfiF3FEU4Yt0TgirwPEtkDFGKldA4UTuaxpdcpfcTMrStKSuK3Q=\n\
-----END CERTIFICATE REQUEST-----\n";
