//! The stream: opened again and again, each time from the version in force on.
//!
//! Every whole document and every delta is put in force through the [`Store`](crate::config::store::Store)
//! and answered by one `Ack` or `Nack`, one after another: fsm-control may send faster than we compile, HTTP/2's windows
//! hold it back then. A peer that vanishes is noticed by HTTP/2 pings, a half message by a deadline.

use super::frames::{Answers, Received, answers};
use super::link::{self, ControlError, Link};
use super::schedule::{Backoff, Suspicion};
use super::{Control, keeper};
use crate::config::store::{Applied, DeltaRejected, Rejected};
use crate::limits;
use crate::runtime::random;
use crate::telemetry::build::VERSION;
use crate::tls::Identity;
use fsm_api::config::Problem;
use fsm_api::stream::{Ack, ControlMessage, Current, Delta, Hello, Nack, ProxyMessage, STREAM_PATH, Trust, Update};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

/// Bytes of a reason or problem that is told to fsm-control.
const REASON_BYTES: usize = 1 << 10;

/// Follows the stream for ever.
pub(super) async fn follow(control: Arc<Control>) {
    let mut backoff = Backoff::between(limits::CONTROL_BACKOFF.0, limits::CONTROL_BACKOFF.1);
    let mut identities = control.identities.subscribe();
    let mut suspicion = Suspicion::new(limits::CONTROL_SUSPICIONS);
    loop {
        let Some(identity) = next_identity(&mut identities).await else { return };
        let begun = Instant::now();
        let heard = AtomicBool::new(false);
        let error = tokio::select! {
            error = session(&control, &identity, &heard) => error,
            // Somebody else's certificate: nothing of this stream is ours any more.
            _ = identities.changed() => continue,
        };
        control.keep_document().await;
        match heard.load(Relaxed) {
            true => suspicion.lift(),
            false if error.may_be_about_our_certificate() => {
                if suspicion.raise(Instant::now().into_std(), random()) {
                    control.suspect_certificate();
                }
            }
            // Whoever does not even connect has not looked at our certificate.
            false => {}
        }
        if error.is_about_our_certificate() {
            control.want_certificate();
        }
        if begun.elapsed() >= limits::CONTROL_STEADY {
            backoff.reset();
        }
        let pause = backoff.next(random());
        report(&control, &error);
        sleep(pause).await;
    }
}

async fn next_identity(identities: &mut watch::Receiver<Option<Arc<Identity>>>) -> Option<Arc<Identity>> {
    // The sender lives as long as the source.
    identities.wait_for(Option::is_some).await.ok().and_then(|identity| identity.clone())
}

fn report(control: &Control, error: &ControlError) {
    let consequence = match control.store.load().is_some() {
        true => "the last good configuration stays in force",
        false => "the proxy is not ready until there is one",
    };
    let message = format!("the stream from fsm-control: {error}; {consequence}");
    control.link.failed(message.clone());
    match error {
        // A control plane that is restarted says goodbye; that is nothing to be alarmed about.
        ControlError::Ended { .. } => info!("{message}"),
        _ => control.store.source_failed(&message),
    }
}

/// One stream, to its end.
async fn session(control: &Arc<Control>, identity: &Identity, heard: &AtomicBool) -> ControlError {
    let ended: Result<std::convert::Infallible, ControlError> = async {
        let authority = control.options.address.authority();
        let link = Link::open(&control.options, Some(identity), Some(identity)).await?;
        let (answers, body) = answers(authority.clone());
        answers.send(&ProxyMessage::Hello(hello(control))).await?;
        let request = Request::post(format!("https://{authority}{STREAM_PATH}"))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::USER_AGENT, super::USER_AGENT)
            .body(body.boxed_unsync())
            .map_err(|error| ControlError::Answer { authority, detail: error.to_string() })?;
        link.exchange(request, |response| receive(control, answers, response, heard)).await
    }
    .await;
    match ended {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn hello(control: &Control) -> Hello {
    let pod = &control.options.pod;
    Hello {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        proxy_version: VERSION.to_owned(),
        version: control.version_for_hello(),
        deltas: true,
    }
}

async fn receive(
    control: &Arc<Control>,
    answers: Answers,
    response: Response<Incoming>,
    heard: &AtomicBool,
) -> Result<std::convert::Infallible, ControlError> {
    let (authority, status) = (control.options.address.authority(), response.status());
    if status != StatusCode::OK {
        let detail = link::explanation(&authority, response).await;
        return Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ControlError::Refused { authority, detail: format!("{status}: {detail}") }
            }
            _ => ControlError::Status { authority, what: "the request for the stream", status, detail },
        });
    }
    control.link.connected();
    info!("the stream from {authority} is open");
    let mut messages = Received::new(authority, response.into_body());
    let mut saving: Option<Instant> = None;
    loop {
        if saving.is_none() && control.has_unsaved() {
            saving = Some(Instant::now() + limits::CONTROL_CACHE_INTERVAL);
        }
        let message = tokio::select! {
            message = messages.next() => message?,
            () = sleep_until(saving.unwrap_or_else(Instant::now)), if saving.is_some() => {
                control.keep_document().await;
                saving = None;
                continue;
            }
        };
        heard.store(true, Relaxed);
        control.store.source_recovered();
        take(control, &answers, message).await?;
    }
}

async fn take(control: &Arc<Control>, answers: &Answers, message: ControlMessage) -> Result<(), ControlError> {
    let answer = match message {
        ControlMessage::Update(update) => whole(control, update).await?,
        ControlMessage::Delta(delta) => difference(control, delta).await?,
        ControlMessage::Current(Current { version }) => return current(control, &version),
        ControlMessage::Trust(Trust { trust_bundle }) => {
            if let Err(error) = keeper::trust(control, &trust_bundle).await {
                warn!("fsm-control has announced roots that cannot be used: {error}; the ones before stay trusted");
            }
            return Ok(());
        }
        ControlMessage::Unknown => {
            debug!("fsm-control has sent a message of a kind that this version does not know");
            return Ok(());
        }
    };
    if let ProxyMessage::Ack(Ack { version, .. }) = &answer {
        control.link.in_force(version);
    }
    answers.send(&answer).await
}

async fn whole(control: &Arc<Control>, update: Update) -> Result<ProxyMessage, ControlError> {
    let control = Arc::clone(control);
    let answer = tokio::task::spawn_blocking(move || {
        let applied = control.store.apply_version(&update.version, update.document.get().as_bytes(), &control.origin());
        match applied {
            Ok(Applied::Changed { .. } | Applied::Unchanged) => {
                if let Some(keepsake) = &control.keepsake {
                    keepsake.keep_document(&update);
                }
                ack(&control, update.version)
            }
            Err(rejected) => nack(update.version, &rejected),
        }
    });
    Ok(answer.await?)
}

async fn difference(control: &Arc<Control>, delta: Delta) -> Result<ProxyMessage, ControlError> {
    let control = Arc::clone(control);
    let answer = tokio::task::spawn_blocking(move || match control.store.apply_delta(&delta, &control.origin()) {
        Ok(_) => {
            if let Some(keepsake) = &control.keepsake {
                keepsake.note_change();
            }
            ack(&control, delta.version)
        }
        Err(DeltaRejected::Rejected(rejected)) => nack(delta.version, &rejected),
        Err(error) => {
            debug!("{error}");
            ProxyMessage::Nack(Nack { version: delta.version, reason: short(&error.to_string()), wants_whole: true })
        }
    });
    Ok(answer.await?)
}

/// fsm-control confirms what is in force.
fn current(control: &Control, version: &str) -> Result<(), ControlError> {
    let in_force = control.version_in_force().unwrap_or_default();
    if in_force != version {
        control.forget_version();
        let (authority, named) = (control.options.address.authority(), version.to_owned());
        return Err(ControlError::Confused { authority, named, in_force });
    }
    control.store.confirm(&control.origin());
    control.link.in_force(version);
    Ok(())
}

fn ack(control: &Control, version: String) -> ProxyMessage {
    control.remember_version();
    let snapshot = control.store.snapshot();
    let problems = snapshot.iter().flat_map(|snapshot| &snapshot.problems).take(limits::CONTROL_TOLD_PROBLEMS);
    ProxyMessage::Ack(Ack {
        version,
        problems: problems.map(|problem: &Problem| short(&problem.to_string())).collect(),
    })
}

fn nack(version: String, rejected: &Rejected) -> ProxyMessage {
    ProxyMessage::Nack(Nack { version, reason: short(&rejected.to_string()), wants_whole: false })
}

/// The text as one line, cut where it is longer than anybody reads.
fn short(text: &str) -> String {
    let end = (0..=REASON_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
