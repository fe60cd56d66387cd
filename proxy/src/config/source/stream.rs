//! fsm-control's stream over mutual TLS.
//!
//! Two things go on side by side, each for ever:
//!
//! * `keeper` has our certificate issued: it makes a key, sends a request for it with the service-account token over TLS
//!   on which only the server has a certificate, and does so again before the certificate expires;
//! * `session` opens the stream with that certificate, says which version is in force, puts what arrives in force
//!   through the [`Store`] and says what became of it.
//!
//! The document leaves its certificate to us (`{"FsmIssued": true}`): the identity that `keeper` holds stands for it when
//! it is compiled, and the private key is in no document. A document without `Certificate` is one of a mesh
//! without mutual TLS.
//!
//! Whatever fails is recorded (`/config_status`, metrics) and tried again with jittered back-off; meanwhile the proxy works
//! on with what it has. With a cache directory that holds even over a restart. Nothing here waits for fsm-control without
//! a deadline, and nothing that it sends makes the proxy panic or grow without bound.

mod address;
mod frames;
mod identity;
mod keeper;
mod keepsake;
mod link;
mod schedule;
mod session;

pub use address::{ControlAddress, ControlAddressError};

use crate::config::cache::Cache;
use crate::config::store::{Origin, Store};
use crate::telemetry::Telemetry;
use crate::telemetry::control::ControlLink;
use crate::tls::Identity;
use fsm_api::config::Certificate;
use identity::Issued;
use keepsake::Keepsake;
use parking_lot::Mutex;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

const USER_AGENT: &str = concat!("fsm-proxy/", env!("CARGO_PKG_VERSION"));

/// Where fsm-control is, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlOptions {
    /// Its address.
    pub address: ControlAddress,
    /// PEM file with the roots that its certificate chains to; read each time.
    pub ca: PathBuf,
    /// File with our service-account token; read each time.
    pub token: PathBuf,
    /// The name in its certificate.
    pub name: String,
    /// Whose proxy we are.
    pub pod: Pod,
    /// Packet mark of our connections.
    pub mark: Option<u32>,
}

/// The pod whose proxy we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty when unknown.
    pub uid: String,
}

impl ControlOptions {
    /// Whose cache this is: that of one pod (a new one of the same name has another UID) at one fsm-control.
    pub fn cache_owner(&self) -> String {
        let Pod { namespace, name, uid } = &self.pod;
        format!("{} pod {namespace}/{name} {uid}", self.address)
    }
}

impl fmt::Display for ControlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fsm-control at {}", self.address)
    }
}

/// Follows the stream for ever.
pub async fn follow(options: ControlOptions, store: Arc<Store>, telemetry: Arc<Telemetry>, cache: Option<Arc<Cache>>) {
    let link = Arc::clone(telemetry.control.get_or_init(|| Arc::new(ControlLink::new(options.address.to_string()))));
    let control = Arc::new(Control {
        options,
        store,
        link,
        keepsake: cache.map(|cache| Arc::new(Keepsake::new(cache))),
        identities: watch::Sender::new(None),
        certificate: Mutex::default(),
        wanted: Notify::new(),
        suspected: Notify::new(),
        own_version: AtomicBool::new(false),
    });
    // Before fsm-control is asked: what it says is newer than what was kept.
    let renewal = keeper::restore(&control).await;
    control.apply_kept_document().await;
    tokio::join!(keeper::keep(Arc::clone(&control), renewal), session::follow(control));
}

/// What `keeper` and `session` share.
struct Control {
    options: ControlOptions,
    store: Arc<Store>,
    link: Arc<ControlLink>,
    keepsake: Option<Arc<Keepsake>>,
    /// Our identity; another value only when it stands for somebody else.
    identities: watch::Sender<Option<Arc<Identity>>>,
    /// What the identity was made from, and when it is to be renewed.
    certificate: Mutex<Option<(Certificate, SystemTime)>>,
    /// A new certificate is wanted.
    wanted: Notify,
    /// A new certificate may help.
    suspected: Notify,
    /// The document in force is fsm-control's, for the identity that we have.
    own_version: AtomicBool,
}

impl Control {
    fn identity(&self) -> Option<Arc<Identity>> {
        self.identities.borrow().clone()
    }

    fn origin(&self) -> Origin {
        Origin::Control(self.options.address.to_string())
    }

    fn want_certificate(&self) {
        self.wanted.notify_one();
    }

    fn suspect_certificate(&self) {
        self.suspected.notify_one();
    }

    /// The version to say hello with; `None` asks for the whole document.
    fn version_for_hello(&self) -> Option<String> {
        self.own_version.load(Relaxed).then(|| self.version_in_force()).flatten()
    }

    fn version_in_force(&self) -> Option<String> {
        self.store.load().as_ref().map(|snapshot| snapshot.version.clone())
    }

    fn remember_version(&self) {
        self.own_version.store(true, Relaxed);
    }

    fn forget_version(&self) {
        self.own_version.store(false, Relaxed);
    }

    async fn kept_identity(&self) -> Option<Issued> {
        let (keepsake, namespace) = (self.keepsake.clone()?, self.options.pod.namespace.clone());
        let reading = tokio::task::spawn_blocking(move || keepsake.identity(&namespace, SystemTime::now()));
        reading.await.ok().flatten()
    }

    async fn apply_kept_document(self: &Arc<Self>) {
        let Some(keepsake) = self.keepsake.clone() else { return };
        let control = Arc::clone(self);
        let applying = tokio::task::spawn_blocking(move || {
            let Some(kept) = keepsake.document() else { return };
            let origin = Origin::Cache(kept.path);
            // A rejected document is recorded by the store.
            if control
                .store
                .apply_version(&kept.update.version, kept.update.document.get().as_bytes(), &origin)
                .is_err()
            {
                return;
            }
            control.remember_version();
            let version = control.version_in_force().unwrap_or_default();
            control.link.in_force(&version);
            info!("version {version} is taken from the cache until fsm-control can be asked");
        });
        if let Err(error) = applying.await {
            warn!("the cache could not be put in force: {error}");
        }
    }

    async fn keep_identity(&self, certificate: &Certificate, renewal: SystemTime) {
        let Some(keepsake) = self.keepsake.clone() else { return };
        let certificate = certificate.clone();
        // What goes wrong with the disk is logged there.
        let _ = tokio::task::spawn_blocking(move || keepsake.keep_identity(&certificate, renewal)).await;
    }

    async fn keep_roots(&self, bundle: &str) {
        let changed = self.certificate.lock().as_mut().map(|(certificate, renewal)| {
            certificate.issuing_ca = bundle.to_owned();
            (certificate.clone(), *renewal)
        });
        if let Some((certificate, renewal)) = changed {
            self.keep_identity(&certificate, renewal).await;
        }
    }

    fn has_unsaved(&self) -> bool {
        self.keepsake.as_ref().is_some_and(|keepsake| keepsake.has_unsaved())
    }

    /// Keeps what deltas have made of the document that is kept.
    async fn keep_document(&self) {
        let Some(keepsake) = self.keepsake.clone().filter(|keepsake| keepsake.take_unsaved()) else { return };
        let Some(snapshot) = self.store.snapshot() else { return };
        let _ = tokio::task::spawn_blocking(move || keepsake.keep_change(&snapshot.document)).await;
    }
}

#[cfg(test)]
mod tests;
