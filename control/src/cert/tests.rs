#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authority;
mod exchange;
mod handshake;
mod identity;
mod requests;

use super::tresor::{Clock, Tresor, TresorSettings};
use super::{Identity, Issued, Issuer, LeafNames, LeafRequest, SigningRequest};
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A clock that stands until it is moved.
#[derive(Clone)]
pub(super) struct Hand(Arc<Mutex<SystemTime>>);

impl Hand {
    pub(super) fn now() -> Self {
        Self(Arc::new(Mutex::new(SystemTime::now())))
    }

    pub(super) fn forward(&self, by: Duration) -> SystemTime {
        let mut now = self.0.lock();
        *now += by;
        *now
    }

    pub(super) fn clock(&self) -> Clock {
        let hand = self.0.clone();
        Arc::new(move || *hand.lock())
    }
}

pub(super) fn open(directory: &Path, hand: &Hand) -> Tresor {
    Tresor::open(directory, TresorSettings::default(), hand.clock()).unwrap()
}

pub(super) fn request(key: &KeyPair) -> SigningRequest {
    let pem = CertificateParams::default().serialize_request(key).unwrap().pem().unwrap();
    SigningRequest::check(&pem).unwrap()
}

pub(super) fn bookbuyer() -> LeafNames {
    LeafNames::of_workload(&Identity::new("bookstore", "bookbuyer").unwrap(), "cluster.local")
}

pub(super) async fn issue(tresor: &Tresor, key: &KeyPair, names: LeafNames) -> Issued {
    tresor.issue(LeafRequest { request: request(key), names, validity: DAY }).await.unwrap()
}

#[test]
fn renewal_is_at_two_thirds_at_the_latest() {
    let validity = Duration::from_secs(24 * 3600);
    assert_eq!(super::renew_after(validity, 0.0).as_secs(), 16 * 3600);
    for step in 0..=100 {
        let after = super::renew_after(validity, f64::from(step) / 100.0);
        assert!((validity.mul_f64(0.599)..=validity.mul_f64(0.667)).contains(&after), "{after:?}");
    }
    assert_eq!(super::renew_after(validity, f64::NAN), super::renew_after(validity, 0.0));
}
