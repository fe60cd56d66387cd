//! Keeps our certificate: has it issued, renews it in time, takes other roots.
//!
//! A renewed certificate goes into the identity that is in force already ([`Identity::renew`]): handshakes from then on show
//! it, live connections notice nothing, nothing is compiled. A failing renewal keeps the old certificate and is tried again
//! with back-off. Never ends by itself.

use super::Control;
use super::identity::{self, Issued};
use super::schedule::{Pace, Renewal};
use crate::limits;
use crate::runtime::random;
use crate::tls::{Identity, IdentityError};
use std::sync::Arc;
use std::time::SystemTime;
use tracing::{debug, info, warn};

const PACE: Pace = Pace {
    urgent: limits::CONTROL_BACKOFF,
    calm: limits::RENEWAL_BACKOFF,
    at_least: limits::RENEW_AT_LEAST,
    haste: limits::RENEWAL_HASTE,
    leisure: limits::RENEWAL_LEISURE,
};

/// Takes the certificate of an earlier run, if there is one that is still valid.
pub(super) async fn restore(control: &Control) -> Renewal {
    let mut renewal = Renewal::new(SystemTime::now(), PACE);
    if let Some(issued) = control.kept_identity().await {
        renewal.issued(SystemTime::now(), issued.renew_after, issued.identity.expires());
        info!("the certificate of {} is taken from the cache", issued.identity.principal());
        put_in_force(control, issued, &renewal).await;
    }
    renewal
}

/// Keeps the certificate for ever.
pub(super) async fn keep(control: Arc<Control>, mut renewal: Renewal) {
    loop {
        wait(&control, &mut renewal).await;
        let known = control.identity();
        match identity::ask(&control.options, known.as_deref()).await {
            Ok(issued) => {
                renewal.issued(SystemTime::now(), issued.renew_after, issued.identity.expires());
                if known.is_some() {
                    control.link.renewals.increment();
                }
                let expires = issued.identity.expires();
                control.keep_identity(&issued.certificate, renewal.due()).await;
                put_in_force(&control, issued, &renewal).await;
                debug!("a certificate is in force that expires at {expires:?}");
            }
            Err(error) => {
                let pause = renewal.failed(SystemTime::now(), random());
                let consequence = match &known {
                    Some(known) if known.expires() > SystemTime::now() => "the old certificate stays in use",
                    Some(_) => "the certificate has expired, so nothing enters or leaves over mTLS",
                    None => "without a certificate there is no configuration from fsm-control",
                };
                let message = format!("no certificate was issued: {error}; {consequence}");
                if control.link.not_certified(message.clone(), renewal.due()) {
                    warn!("{message}; it is asked for again, next in {pause:?}");
                } else {
                    debug!("{message}; next try in {pause:?}");
                }
                if known.is_none() {
                    control.store.source_failed(&message);
                }
            }
        }
    }
}

/// Trusts other roots from now on, and asks for a new certificate soon.
pub(super) async fn trust(control: &Control, bundle: &str) -> Result<(), IdentityError> {
    let Some(identity) = control.identity() else { return Ok(()) };
    identity.trust(bundle, "TrustBundle")?;
    info!("fsm-control has announced other roots; they are trusted from now on, and a new certificate is asked for");
    control.keep_roots(bundle).await;
    control.want_certificate();
    Ok(())
}

/// Waits until the next certificate is due.
async fn wait(control: &Control, renewal: &mut Renewal) {
    loop {
        let now = SystemTime::now();
        let Some(left) = renewal.due().duration_since(now).ok().filter(|left| !left.is_zero()) else { return };
        tokio::select! {
            () = tokio::time::sleep(left.min(limits::RENEWAL_CHECK)) => {}
            () = control.wanted.notified() => renewal.wanted(SystemTime::now(), random()),
            () = control.suspected.notified() => renewal.suspected(SystemTime::now(), random()),
        }
    }
}

async fn put_in_force(control: &Control, issued: Issued, renewal: &Renewal) {
    let Issued { certificate, identity, .. } = issued;
    control.link.certified(identity.principal(), identity.expires(), renewal.due());
    *control.certificate.lock() = Some((certificate, renewal.due()));
    let known = control.identity();
    if known.as_ref().is_some_and(|known| known.renew(&identity)) {
        return;
    }
    if let Some(known) = known {
        warn!(
            "fsm-control has issued a certificate for {} instead of {}; everything is set up anew for it",
            identity.principal(),
            known.principal()
        );
        control.forget_version();
    }
    let identity: Arc<Identity> = Arc::new(identity);
    let (store, origin, own) = (Arc::clone(&control.store), control.origin(), Arc::clone(&identity));
    // Compiling takes a moment.
    if let Err(error) = tokio::task::spawn_blocking(move || store.set_identity(&own, &origin)).await {
        warn!("the certificate could not be put in force: {error}");
    }
    control.identities.send_replace(Some(identity));
}
