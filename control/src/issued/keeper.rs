//! Does what is planned: has certificates issued, writes and removes Secrets, writes statuses.
//!
//! It looks again whenever the situation or the roots changed, when a certificate is due, and now and then, because
//! clocks are set. What policies have in themselves is compared with what they should have: a status that somebody replaces
//! or takes away comes again. One action after the other; one that fails, or whose result has not come back through the source yet,
//! waits longer each time and keeps no other one waiting. Failures are told to the owner of the world like the source's
//! problems.

use super::Situation;
use super::plan::{Action, plan};
use super::secret::Owner;
use super::wish::Wish;
use super::writer::Writer;
use crate::cert::server::KeyAndChain;
use crate::cert::tresor::Clock;
use crate::cert::{Issuer, TrustBundle};
use crate::leader::Leadership;
use crate::limits;
use crate::source::Event;
use crate::telemetry::Telemetry;
use crate::world::{NamespacedName, Problem, Severity};
use fsm_api::resources::policy::PolicyStatus;
use fsm_api::resources::{Kind, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How the origins of problems begin that are fsm-control's own: they say nothing about what the source can read.
pub const OWN_ORIGINS: &str = "fsm-control:";

/// Origin of the problems of the keeper, as the source's are told by file.
pub const ORIGIN: &str = "fsm-control: objects that it keeps";

/// Keeps Secrets and statuses as the situation wants them.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// Whose Secrets it makes.
    pub owner: Owner,
    /// How things stand.
    pub situation: watch::Receiver<Arc<Situation>>,
    /// Who signs.
    pub issuer: Arc<dyn Issuer>,
    /// Where objects are written.
    pub writer: Arc<dyn Writer>,
    /// To the owner of the world, for problems.
    pub events: mpsc::Sender<Event>,
    /// What is counted.
    pub telemetry: Arc<Telemetry>,
}

/// An object as the keeper's attempts are about it.
type Subject = ObjectKey;

/// What was tried for an object that is not yet as it should be.
#[derive(Debug)]
struct Attempt {
    tries: u32,
    not_before: Instant,
    problem: Option<Problem>,
}

impl Keeper {
    /// Keeps them until `stop`. `clock` says how old certificates are.
    pub async fn run(mut self, clock: Clock, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep(clock) => {}
        }
    }

    /// Keeps them whenever, and for as long as, this fsm-control leads; until `stop`.
    pub async fn run_while_leading(self, mut leadership: Leadership, clock: Clock, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                leads = leadership.changed() => if !leads { continue },
            }
            // Nothing of an earlier term is remembered: others wrote since.
            tokio::select! {
                () = self.clone().run(clock.clone(), stop.clone()) => return,
                _ = leadership.changed() => {}
            }
        }
    }

    /// Ends when there is nobody who would tell of changes.
    async fn keep(&mut self, clock: Clock) {
        let mut roots = self.issuer.changes();
        let mut written = self.written_statuses().await;
        let mut attempts = BTreeMap::new();
        let mut told = Vec::new();
        loop {
            let situation = self.situation.borrow_and_update().clone();
            let bundle = roots.borrow_and_update().clone();
            let now = clock();
            let plan = plan(&situation, written.as_ref().unwrap_or(&situation.said), &bundle, now);
            let due = plan.next.map(|due| due.duration_since(now).unwrap_or_default());
            let again = self.execute(plan.actions, &mut attempts, &mut written, &bundle).await;
            let problems: Vec<Problem> = attempts.values().filter_map(|attempt| attempt.problem.clone()).collect();
            if problems != told {
                told.clone_from(&problems);
                if self.events.send(Event::Problems { origin: ORIGIN.into(), problems }).await.is_err() {
                    return;
                }
            }
            let again = again.map(|again| again.saturating_duration_since(Instant::now()));
            let wait = due.into_iter().chain(again).fold(limits::KEEPER_LOOK, Duration::min);
            tokio::select! {
                changed = self.situation.changed() => if changed.is_err() { return },
                changed = roots.changed() => if changed.is_err() { return },
                () = sleep(wait) => {}
            }
        }
    }

    /// `None`: the policies themselves say what was written.
    async fn written_statuses(&self) -> Option<BTreeMap<ObjectKey, PolicyStatus>> {
        match timeout(limits::WRITE_TIMEOUT, self.writer.statuses()).await {
            Ok(Ok(written)) => return written,
            Ok(Err(error)) => warn!("statuses of before cannot be read, so all are written anew: {error}"),
            Err(_) => warn!("statuses of before are not read in time, so all are written anew"),
        }
        Some(BTreeMap::new())
    }

    /// Does what may be done now; says when the rest may be.
    async fn execute(
        &self,
        actions: Vec<Action>,
        attempts: &mut BTreeMap<Subject, Attempt>,
        written: &mut Option<BTreeMap<ObjectKey, PolicyStatus>>,
        roots: &TrustBundle,
    ) -> Option<Instant> {
        let subjects: BTreeSet<Subject> = actions.iter().map(subject).collect();
        let now = Instant::now();
        // What is as it should be has a clean slate, but for a moment: somebody may fight against us.
        attempts.retain(|subject, attempt| {
            if !subjects.contains(subject) {
                (attempt.tries, attempt.problem) = (0, None);
            }
            subjects.contains(subject) || attempt.not_before > now
        });
        let mut again: Option<Instant> = None;
        for action in actions {
            let subject = subject(&action);
            let known_attempt = attempts.get(&subject);
            if let Some(attempt) = known_attempt.filter(|attempt| attempt.not_before > Instant::now()) {
                again = again.into_iter().chain([attempt.not_before]).min();
                continue;
            }
            let tries = known_attempt.map_or(0, |attempt| attempt.tries) + 1;
            let outcome = self.act(&action, written, roots).await;
            let not_before = Instant::now() + pause(tries);
            again = again.into_iter().chain([not_before]).min();
            let problem = outcome.err().map(|why| problem(&action, &why));
            attempts.insert(subject, Attempt { tries, not_before, problem });
        }
        again
    }

    async fn act(
        &self,
        action: &Action,
        written: &mut Option<BTreeMap<ObjectKey, PolicyStatus>>,
        roots: &TrustBundle,
    ) -> Result<(), String> {
        match action {
            Action::Issue { wish, why } => {
                self.issue(wish, roots).await?;
                info!("{}: issued a certificate into Secret {}: {why}", wish.owner, wish.secret);
            }
            Action::Remove(secret) => {
                within(limits::WRITE_TIMEOUT, self.writer.remove_secret(secret.clone())).await?;
                info!("removed Secret {secret}: nobody asks for its certificate any more");
            }
            Action::SetStatus(policy, status) => {
                within(limits::WRITE_TIMEOUT, self.writer.set_status(policy.clone(), status.clone())).await?;
                match (written, status) {
                    (Some(written), Some(status)) => drop(written.insert(policy.clone(), status.clone())),
                    (Some(written), None) => drop(written.remove(policy)),
                    (None, _) => {}
                }
            }
        }
        Ok(())
    }

    /// The key is made here, because a client outside the mesh has no proxy that would make one.
    async fn issue(&self, wish: &Wish, roots: &TrustBundle) -> Result<(), String> {
        let issuing = KeyAndChain::make(self.issuer.as_ref(), wish.names.leaf(), wish.validity.get());
        let certificate = within(limits::IDENTITY_TIMEOUT, issuing).await?;
        self.telemetry.certificates.add();
        let secret = self.owner.secret(wish, &certificate, &roots.pem);
        within(limits::WRITE_TIMEOUT, self.writer.put_secret(secret)).await
    }
}

fn subject(action: &Action) -> Subject {
    match action {
        Action::Issue { wish, .. } => secret_key(&wish.secret),
        Action::Remove(secret) => secret_key(secret),
        Action::SetStatus(policy, _) => policy.clone(),
    }
}

fn secret_key(secret: &NamespacedName) -> ObjectKey {
    ObjectKey::new(Kind::Secret, &secret.namespace, &secret.name)
}

/// One second, then twice as long each time.
pub(super) fn pause(tries: u32) -> Duration {
    let doubled = 1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    limits::KEEPER_PAUSE.saturating_mul(doubled).min(limits::KEEPER_LONGEST_PAUSE)
}

async fn within<T, E: Display>(limit: Duration, work: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(limit, work).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it was not done within {} s", limit.as_secs())),
    }
}

fn problem(action: &Action, why: &str) -> Problem {
    let (objects, reason, text) = match action {
        Action::Issue { wish, .. } => (
            vec![wish.owner.to_string(), secret_key(&wish.secret).to_string()],
            "CertificateNotIssued",
            format!("its certificate is not in Secret {}: {why}; it is tried again", wish.secret),
        ),
        Action::Remove(secret) => (
            vec![secret_key(secret).to_string()],
            "SecretNotRemoved",
            format!("nobody asks for this certificate any more, but its Secret stays: {why}; it is tried again"),
        ),
        Action::SetStatus(policy, _) => {
            // Not the policy's own fault, and it is in effect: it must not make a difference to the status.
            let text = format!("the status of {policy} cannot be written: {why}; it is tried again");
            let objects = vec![policy.to_string()];
            return Problem { severity: Severity::Warning, objects, reason: "StatusNotWritten", text };
        }
    };
    Problem { severity: Severity::Error, objects, reason, text }
}
