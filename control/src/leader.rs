//! One of several fsm-control writes to the cluster: whoever holds a Lease of `coordination.k8s.io`.
//!
//! Every replica serves proxies and issues certificates; only what is written (status of policies, Secrets, the roots'
//! rotation) needs one writer at a time. A [`Candidate`] tries to get the Lease and to keep it; its [`Leadership`] says
//! whether it has it *now*. The answer turns to no by itself, without anything arriving, well before another candidate
//! may take the Lease: so a process that was stopped, or cut off from the API server, never writes as a leader of the
//! past for longer than a request of its own is under way. Clocks of different machines are never compared.
//!
//! Losing the Lease is no error. Nothing here ends the process.

mod election;

pub use election::Terms;

use crate::source::kubernetes::describe;
use election::{Election, Record, Step};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Name of the Lease in FSM, which the controllers of FSM and these must not hold at the same time.
pub const LEASE_NAME: &str = "fsm-controller.flomesh.io";

/// The longest sleep; timers do not last for ever.
const LOOK: Duration = Duration::from_secs(3600);

/// Who stands for which Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Namespace of the Lease: the control plane's own.
    pub namespace: String,
    /// Name of the Lease, usually [`LEASE_NAME`].
    pub name: String,
    /// Who stands, for people: the pod's name. Something random is added, so that a restarted process is another candidate.
    pub candidate: String,
    /// How long everything lasts.
    pub terms: Terms,
}

/// Somebody who stands for a Lease.
#[derive(Debug)]
pub struct Candidate {
    leases: Api<Lease>,
    settings: LeaseSettings,
    election: Election,
    until: watch::Sender<Option<Instant>>,
    failing: bool,
}

/// Whether a [`Candidate`] holds its Lease now.
#[derive(Clone, Debug)]
pub struct Leadership {
    until: watch::Receiver<Option<Instant>>,
    said: bool,
}

impl Leadership {
    /// Of somebody who has nobody beside him.
    pub fn always() -> Self {
        let far = Instant::now() + Duration::from_secs(100 * 365 * 24 * 3600);
        Self { until: watch::channel(Some(far)).1, said: false }
    }

    /// Of somebody who never writes.
    pub fn never() -> Self {
        Self { until: watch::channel(None).1, said: false }
    }

    /// Whether the Lease is held now. Ask again before every write.
    pub fn leads(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until [`leads`](Self::leads) differs from what this said before (at first: no), and says it.
    pub async fn changed(&mut self) -> bool {
        loop {
            let until = *self.until.borrow_and_update();
            let leads = until.is_some_and(|until| Instant::now() < until);
            if leads != self.said {
                self.said = leads;
                return leads;
            }
            let expires = expires(until.filter(|_| leads));
            tokio::pin!(expires);
            tokio::select! {
                () = &mut expires => {}
                changed = self.until.changed() => {
                    if changed.is_err() {
                        // Nobody stands any more: what is held runs out, and then nothing ever changes.
                        expires.await;
                    }
                }
            }
        }
    }
}

/// When what is held until then has, perhaps, run out.
async fn expires(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.min(Instant::now() + LOOK).into()).await,
        None => std::future::pending().await,
    }
}

impl Candidate {
    /// Somebody who stands for a Lease as soon as it [runs](Self::run).
    pub fn new(client: Client, settings: LeaseSettings) -> (Self, Leadership) {
        let (until, leadership) = watch::channel(None);
        let me = format!("{}_{:016x}", settings.candidate, RandomState::new().hash_one(0));
        let candidate = Self {
            leases: Api::namespaced(client, &settings.namespace),
            election: Election::new(me, settings.terms),
            settings,
            until,
            failing: false,
        };
        (candidate, Leadership { until: leadership, said: false })
    }

    /// Stands until it is told to stop, and then gives the Lease back, so that the next one need not wait.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => break,
                pause = self.turn() => pause,
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        if self.until.send_replace(None).is_some() {
            self.resign().await;
        }
    }

    /// Looks at the Lease and does what is to be done; how long to wait for the next time.
    async fn turn(&mut self) -> Duration {
        match timeout(self.settings.terms.call, self.attempt()).await {
            Ok(Ok(())) => {
                if std::mem::take(&mut self.failing) {
                    info!("Lease {}/{} can be reached again", self.settings.namespace, self.settings.name);
                }
            }
            Ok(Err(error)) => self.failed(&describe(&error)),
            Err(_) => self.failed("the API server does not answer"),
        }
        self.publish();
        self.settings.terms.retry
    }

    async fn attempt(&mut self) -> Result<(), kube::Error> {
        let lease = self.leases.get_opt(&self.settings.name).await?;
        let now = Instant::now();
        let record = lease.as_ref().map(record);
        let Step::Write(next) = self.election.step(record.as_ref(), now) else { return Ok(()) };
        let mut written = lease.unwrap_or_default();
        write(&mut written, &next);
        match self.put(&written).await {
            Ok(()) => self.election.written(now),
            // Somebody else was quicker; the next look shows who.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                debug!("another candidate wrote Lease {} first", self.settings.name);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn put(&self, lease: &Lease) -> Result<(), kube::Error> {
        let parameters = PostParams::default();
        if lease.metadata.resource_version.is_some() {
            self.leases.replace(&self.settings.name, &parameters, lease).await?;
        } else {
            let metadata = ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() };
            self.leases.create(&parameters, &Lease { metadata, ..lease.clone() }).await?;
        }
        Ok(())
    }

    fn publish(&self) {
        let until = self.election.leads_until();
        let before = self.until.send_replace(until);
        let now = Instant::now();
        match (before.is_some_and(|before| now < before), until.is_some_and(|until| now < until)) {
            (false, true) => info!("this fsm-control leads: it writes to the cluster"),
            (true, false) => warn!("this fsm-control does not lead any more: another one writes to the cluster"),
            _ => {}
        }
    }

    fn failed(&mut self, reason: &str) {
        let (namespace, name) = (&self.settings.namespace, &self.settings.name);
        if !std::mem::replace(&mut self.failing, true) {
            warn!(
                "Lease {namespace}/{name} cannot be read or written: {reason}; without it nothing is written to the cluster"
            );
        } else {
            debug!("Lease {namespace}/{name}: {reason}");
        }
    }

    /// Only what is still ours is given back: the version that was read is the one that is replaced.
    async fn resign(&self) {
        let given_back = timeout(self.settings.terms.call, async {
            let Some(mut lease) = self.leases.get_opt(&self.settings.name).await? else { return Ok(()) };
            let Some(next) = self.election.resignation(&record(&lease)) else { return Ok(()) };
            write(&mut lease, &next);
            self.put(&lease).await
        });
        if let Ok(Err(error)) = given_back.await {
            debug!("Lease {} is not given back, it will run out: {}", self.settings.name, describe(&error));
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        lasts: Duration::from_secs(seconds.unwrap_or_default()),
        transitions: spec.lease_transitions.unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

/// The times are for people and for client-go; nothing here reads them.
fn write(lease: &mut Lease, next: &Record) {
    let now = MicroTime(jiff::Timestamp::now());
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity.as_deref() != Some(next.holder.as_str()) {
        spec.acquire_time = Some(now.clone());
    }
    spec.holder_identity = Some(next.holder.clone());
    spec.lease_duration_seconds = Some(i32::try_from(next.lasts.as_secs()).unwrap_or(i32::MAX));
    spec.lease_transitions = Some(next.transitions);
    spec.renew_time = Some(now);
}

#[cfg(test)]
mod tests;
