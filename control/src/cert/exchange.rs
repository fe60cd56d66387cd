//! An issuer that is several: one signs, and the roots of all of them are trusted. Which one signs may change while the
//! program runs; whoever asks for a certificate, or follows the roots, sees one issuer.

use super::{IssueFuture, Issuer, LeafRequest, TrustBundle};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// Several issuers that look like one.
#[derive(Debug)]
pub struct Exchange {
    /// The one that signs first.
    issuers: Mutex<Vec<Arc<dyn Issuer>>>,
    longest: Mutex<Duration>,
    bundle: watch::Sender<Arc<TrustBundle>>,
}

impl Exchange {
    /// One issuer, to begin with.
    pub fn new(issuer: Arc<dyn Issuer>) -> Self {
        let known = issuer.trust_bundle();
        let pem = super::answer::each(&known.pem).concat();
        let bundle = watch::Sender::new(Arc::new(TrustBundle { pem, since: known.since }));
        Self { issuers: Mutex::new(vec![issuer]), longest: Mutex::default(), bundle }
    }

    /// Other issuers, the one that signs first; whose roots are trusted is told before anything is signed by it.
    pub fn set(&self, issuers: Vec<Arc<dyn Issuer>>, now: SystemTime) {
        if issuers.is_empty() {
            return;
        }
        self.tell(&issuers, now);
        *self.issuers.lock() = issuers;
    }

    /// Looks at the roots of all issuers again.
    pub fn refresh(&self, now: SystemTime) {
        let issuers = self.issuers.lock().clone();
        self.tell(&issuers, now);
    }

    /// The longest validity that was asked for here.
    pub fn longest_validity(&self) -> Duration {
        *self.longest.lock()
    }

    fn tell(&self, issuers: &[Arc<dyn Issuer>], now: SystemTime) {
        let mut pem = String::new();
        for issuer in issuers {
            for root in super::answer::each(&issuer.trust_bundle().pem) {
                if !pem.contains(&root) {
                    pem.push_str(&root);
                }
            }
        }
        self.bundle.send_if_modified(|known| {
            let news = known.pem != pem;
            if news {
                *known = Arc::new(TrustBundle { pem, since: now });
            }
            news
        });
    }

    fn signer(&self) -> Option<Arc<dyn Issuer>> {
        self.issuers.lock().first().cloned()
    }
}

impl Issuer for Exchange {
    fn issue(&self, leaf: LeafRequest) -> IssueFuture<'_> {
        Box::pin(async move {
            {
                let mut longest = self.longest.lock();
                *longest = (*longest).max(leaf.validity);
            }
            match self.signer() {
                Some(signer) => signer.issue(leaf).await,
                None => Err(super::IssueError::Unavailable {
                    name: leaf.names.common_name,
                    reason: "nobody signs at the moment".to_owned(),
                }),
            }
        })
    }

    fn trust_bundle(&self) -> Arc<TrustBundle> {
        self.bundle.borrow().clone()
    }

    fn changes(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.subscribe()
    }

    fn wants_names_in_requests(&self) -> bool {
        self.signer().is_some_and(|signer| signer.wants_names_in_requests())
    }
}
