#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{BEFORE, CERTIFICATE, KEY, ROTATION, decode, encode};
use crate::cert::root::{Root, RootKey};
use crate::cert::rotation::Phase;
use crate::cert::storage::{Kept, KeptRoot};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

fn root() -> KeptRoot {
    let root = Root::make(RootKey::EcdsaP256, SystemTime::now()).unwrap();
    KeptRoot { certificate: root.certificate_pem().to_owned(), key: Some(root.key_pem()) }
}

fn trusted(root: &KeptRoot) -> KeptRoot {
    KeptRoot { key: None, ..root.clone() }
}

fn secret(data: BTreeMap<String, ByteString>) -> Secret {
    Secret { data: Some(data), ..Secret::default() }
}

fn overlapping(roots: Vec<KeptRoot>) -> Kept {
    let until = SystemTime::UNIX_EPOCH + Duration::from_millis(1_900_000_000_123);
    Kept { roots, phase: Phase::Overlapping { until }, longest_validity: 86_401, since: 1_800_000_000 }
}

#[test]
fn what_is_written_is_read_again_in_every_phase() {
    let announced = Phase::Announced { until: SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000) };
    let (old, new) = (root(), root());
    let announced = Kept { phase: announced, ..overlapping(vec![old.clone(), new.clone()]) };
    let steady = Kept { phase: Phase::Steady, ..overlapping(vec![new.clone()]) };
    for kept in [announced, overlapping(vec![new.clone(), trusted(&old)]), steady] {
        let written = encode(&kept).unwrap();
        assert_eq!(written[CERTIFICATE].0, kept.roots[0].certificate.as_bytes());
        assert!(decode(&secret(written)).unwrap() == kept);
    }
}

#[test]
fn a_secret_of_fsm_is_taken_over_with_the_validity_that_fsm_gives() {
    let theirs = root();
    let mut written = encode(&overlapping(vec![theirs.clone()])).unwrap();
    written.remove(ROTATION);
    let kept = decode(&secret(written)).unwrap();
    assert!(kept.roots == [theirs] && kept.phase == Phase::Steady);
    assert_eq!(kept.longest_validity, BEFORE.as_secs());
}

#[test]
fn a_root_that_somebody_put_in_place_signs_and_those_of_before_stay_trusted() {
    let (old, older, other) = (root(), root(), root());
    let mut written = encode(&overlapping(vec![old.clone(), trusted(&older)])).unwrap();
    written.insert(CERTIFICATE.to_owned(), ByteString(other.certificate.clone().into_bytes()));
    written.insert(KEY.to_owned(), ByteString(other.key.clone().unwrap().into_bytes()));
    let kept = decode(&secret(written)).unwrap();
    assert!(kept.roots == [other, trusted(&old), trusted(&older)]);
    assert_eq!(kept.phase, Phase::Steady);
    assert_eq!(kept.longest_validity, 86_401);
}

#[test]
fn a_secret_of_something_else_says_what_is_wrong() {
    let good = encode(&overlapping(vec![root()])).unwrap();
    let without = |key: &str| {
        let mut data = good.clone();
        data.remove(key);
        decode(&secret(data)).err().unwrap()
    };
    assert_eq!(without(CERTIFICATE), "it has no key ca.crt");
    assert_eq!(without(KEY), "it has no key private.key");
    let mut broken = good.clone();
    broken.insert(ROTATION.to_owned(), ByteString(b"{".to_vec()));
    assert!(decode(&secret(broken)).err().unwrap().starts_with("its key rotation.json cannot be read"));
    let mut binary = good;
    binary.insert(KEY.to_owned(), ByteString(vec![0xff]));
    assert_eq!(decode(&secret(binary)).err().unwrap(), "its key private.key is no text");
}
