//! The life of one pod: its network, its containers in order, their restarts and probes, and its end.
//!
//! Pure: [`Life::advance`] says what to do now, [`Life::learn`] takes what has happened, [`Life::wake`] says when to
//! ask again. Order of a start: init containers one after the other, sidecars (init containers with restartPolicy
//! Always, and the mesh's own) as soon as it is their turn and held until they have started, then all others at once.
//! Order of an end: applications first, then sidecars, so that an application's last requests still find the mesh;
//! whatever is left at the end of the grace period is ended by tearing the pod down.

mod container;
mod hook;
mod look;
mod status;

pub use container::{Role, State};
pub use status::Calendar;

use super::probe::Consequence;
use super::restart::BackOff;
use super::runtime::{Action, ContainerId, PodId, Process, Report, Stop};
use super::sets::Ended;
use container::{ContainerLife, Restarts, Scene};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a pod that is about to end goes on serving, so that the sidecars of its clients hear of it first. Part of
/// the grace period.
const NOTICE: Duration = Duration::from_secs(1);

/// Kubernetes' default for `terminationGracePeriodSeconds`.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// How long sidecars may take to end after the last application of a pod that has run to its end.
const SIDECAR_GRACE: Duration = Duration::from_secs(10);

/// Turns a container of a pod into a process, or says why that is not possible.
pub trait Resolve {
    /// Called right before each start, so that ConfigMaps that came late are seen.
    ///
    /// # Errors
    /// A reason that the pod's status shows; the start is tried again later.
    fn process(&self, pod: &Pod, container: &Container, addresses: &[IpAddr]) -> Result<Process, Refusal>;
}

/// Why a container cannot be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A word such as `ErrImagePull` or `CreateContainerConfigError`.
    pub reason: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// The phase of a pod, as `status.phase` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have been started once.
    Pending,
    /// At least one container runs or will be restarted.
    Running,
    /// All applications have ended well and will not be restarted.
    Succeeded,
    /// All applications have ended, at least one of them badly, and will not be restarted.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Network {
    /// To be set up, not before this time.
    Wanted(Duration),
    SettingUp,
    Up,
    TearingDown,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// One pod from its creation to the moment when nothing of it is left.
#[derive(Clone, Debug)]
pub struct Life {
    id: PodId,
    pod: Arc<Pod>,
    policy: RestartPolicy,
    created: Duration,
    network: Network,
    network_failure: Option<String>,
    network_tries: BackOff,
    addresses: Vec<IpAddr>,
    containers: Vec<ContainerLife>,
    /// When the end was asked for, and when patience ends.
    terminating: Option<Termination>,
    ended: Option<Ended>,
    /// When sidecars of a pod that has ended are cut off.
    sidecars_until: Option<Duration>,
    ready_since: Option<Duration>,
    scheduled_since: Duration,
    initialized_since: Option<Duration>,
    unready_since: Duration,
    tickets: u64,
    /// Whether the object with its status may be another than when it was asked last.
    is_changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Termination {
    since: Duration,
    deadline: Duration,
    /// When the applications are asked.
    ask_at: Duration,
}

impl Life {
    /// A pod that is wanted from `now` on. Its metadata must have namespace, name and uid.
    pub fn new(pod: Arc<Pod>, now: Duration) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let id = PodId {
            namespace: text(&pod.metadata.namespace),
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
        };
        let policy = match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        };
        Self {
            containers: container::of_pod(&pod),
            id,
            pod,
            policy,
            created: now,
            network: Network::Wanted(now),
            network_failure: None,
            network_tries: BackOff::default(),
            addresses: Vec::new(),
            terminating: None,
            ended: None,
            sidecars_until: None,
            ready_since: None,
            scheduled_since: now,
            initialized_since: None,
            unready_since: now,
            tickets: 0,
            is_changed: true,
        }
    }

    /// Which pod this is.
    pub fn id(&self) -> &PodId {
        &self.id
    }

    /// The object it was made from.
    pub fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Its addresses, once it has them.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// When it was made, on the cluster's clock.
    pub fn created(&self) -> Duration {
        self.created
    }

    /// Since when it has been ready; `None`: it is not.
    pub fn ready_since(&self) -> Option<Duration> {
        self.ready_since
    }

    /// Whether its end was asked for.
    pub fn is_terminating(&self) -> bool {
        self.terminating.is_some()
    }

    /// Whether it has run to its end, and how.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Whether nothing of it is left on the node: no process, no namespace, no address.
    pub fn is_gone(&self) -> bool {
        self.network == Network::Gone
    }

    /// Whether it has ended for good and its object can go.
    pub fn is_over(&self) -> bool {
        self.is_terminating() && self.is_gone()
    }

    /// How often its containers have been restarted.
    pub fn restarts(&self) -> u32 {
        self.containers.iter().map(|container| container.restarts).sum()
    }

    /// Whether its object may have changed since this was asked last.
    pub fn take_change(&mut self) -> bool {
        let of_containers = self.containers.iter_mut().map(|container| std::mem::take(&mut container.is_changed));
        let of_containers = of_containers.fold(false, |any, one| any | one);
        std::mem::take(&mut self.is_changed) | of_containers
    }

    /// Asks for its end. `grace` overrides the pod's own; asking again may only shorten it.
    pub fn terminate(&mut self, grace: Option<Duration>, now: Duration) {
        let own = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let own = own.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DEFAULT_GRACE, Duration::from_secs);
        let grace = grace.unwrap_or(own);
        let deadline = now + grace;
        self.is_changed = true;
        match &mut self.terminating {
            Some(termination) => termination.deadline = termination.deadline.min(deadline),
            None => {
                let notice = if self.ready_since.is_some() { NOTICE.min(grace / 2) } else { Duration::ZERO };
                self.terminating = Some(Termination { since: now, deadline, ask_at: now + notice });
            }
        }
    }

    /// Objects have changed: containers that wait because one of them was missing need not wait longer.
    pub fn retry(&mut self, now: Duration) {
        self.containers.iter_mut().for_each(|container| container.retry(now));
    }

    /// Everything that is to be done now.
    pub fn advance(&mut self, now: Duration, resolve: &dyn Resolve) -> Vec<Action> {
        let mut actions = Vec::new();
        let before = (self.ended, self.initialized_since, self.network.clone());
        match self.network {
            Network::Wanted(_) if self.terminating.is_some() => self.network = Network::Gone,
            Network::Wanted(at) if at <= now => {
                self.network = Network::SettingUp;
                actions.push(self.set_up());
            }
            Network::Up => {
                if let Some(termination) = self.terminating {
                    self.wind_down(termination, now, &mut actions);
                } else if self.ended.is_some() {
                    self.end_sidecars(now, &mut actions);
                } else {
                    self.supervise(now, resolve, &mut actions);
                }
            }
            Network::Wanted(_) | Network::SettingUp | Network::TearingDown | Network::Gone => {}
        }
        self.note_readiness(now);
        self.is_changed |= before != (self.ended, self.initialized_since, self.network.clone());
        actions
    }

    /// Takes a report. Those about other pods or about earlier starts of a container mean nothing.
    pub fn learn(&mut self, report: &Report, now: Duration) {
        match report {
            Report::PodUp { pod, addresses } if *pod == self.id && self.network == Network::SettingUp => {
                self.is_changed = true;
                self.network = Network::Up;
                self.network_failure = None;
                self.addresses.clone_from(addresses);
            }
            Report::PodFailed { pod, why } if *pod == self.id && self.network == Network::SettingUp => {
                self.is_changed = true;
                self.network = Network::Wanted(now + self.network_tries.after_end(Duration::ZERO));
                self.network_failure = Some(why.clone());
            }
            Report::Gone { pod } if *pod == self.id => {
                self.is_changed = true;
                self.network = Network::Gone;
                for container in &mut self.containers {
                    container.cut_off(now);
                }
            }
            Report::Started { id } => {
                if let Some(container) = self.container(id) {
                    container.started(now);
                }
            }
            Report::StartFailed { id, reason, why } => {
                if let Some(container) = self.container(id) {
                    container.refused(Refusal { reason: reason.clone(), message: why.clone() }, now);
                }
            }
            Report::Exited { id, exit } => {
                if let Some(container) = self.container(id) {
                    container.exited(*exit, now);
                }
            }
            Report::Checked { id, ticket, outcome } => {
                if let Some(container) = self.container(id)
                    && !container.learn_hook(*ticket, outcome)
                {
                    let before = container.is_ready();
                    let consequence = container.probes.learn(*ticket, outcome.clone(), now);
                    container.is_changed |= before != container.is_ready() || outcome.is_err();
                    if let Consequence::Restart(why) = consequence {
                        container.unhealthy = Some(why);
                    }
                }
            }
            _ => {}
        }
        self.note_readiness(now);
    }

    /// When to call [`Life::advance`] again if nothing else happens; later than `now`, when it was called last.
    pub fn wake(&self, now: Duration) -> Option<Duration> {
        let later = |at: &Duration| *at > now;
        match (&self.network, self.terminating) {
            (Network::Wanted(at), _) => Some(*at),
            (Network::Up, Some(end)) => [end.ask_at, end.deadline].into_iter().filter(later).min(),
            (Network::Up, None) => {
                let own = self.containers.iter().flat_map(ContainerLife::wakes);
                own.chain(self.sidecars_until).filter(later).min()
            }
            (Network::SettingUp | Network::TearingDown | Network::Gone, _) => None,
        }
    }

    fn container(&mut self, id: &ContainerId) -> Option<&mut ContainerLife> {
        if id.pod != self.id {
            return None;
        }
        self.containers.iter_mut().find(|container| container.spec.name == id.container && container.start == id.start)
    }

    fn set_up(&self) -> Action {
        let spec = self.pod.spec.as_ref();
        let own = spec.and_then(|spec| spec.hostname.clone());
        let hostname = own.unwrap_or_else(|| self.id.name.chars().take(63).collect());
        let hostname = hostname.trim_end_matches(['-', '.']).to_owned();
        let full = |subdomain: &String| {
            let short = format!("{hostname}.{subdomain}.{}.svc", self.id.namespace);
            vec![format!("{short}.cluster.local"), short]
        };
        let names = spec.and_then(|spec| spec.subdomain.as_ref()).map(full).unwrap_or_default();
        Action::SetUp { pod: self.id.clone(), hostname, names }
    }

    fn supervise(&mut self, now: Duration, resolve: &dyn Resolve, actions: &mut Vec<Action>) {
        for index in 0..self.containers.len() {
            if self.containers[..index].iter().any(|earlier| !earlier.lets_next_start()) {
                break;
            }
            let container = &mut self.containers[index];
            let mut scene = Scene { id: &self.id, addresses: &self.addresses, tickets: &mut self.tickets };
            container.watch(&mut scene, now, actions);
            let restarts = match (container.role, self.policy) {
                (Role::Sidecar, _) | (_, RestartPolicy::Always) => Restarts::Always,
                (_, RestartPolicy::OnFailure) => Restarts::AfterFailure,
                (_, RestartPolicy::Never) => Restarts::Never,
            };
            container.plan_restart(restarts);
            if container.is_due(now) {
                let start = resolve.process(&self.pod, &container.spec, &self.addresses);
                container.begin(start, &self.id, now, actions);
            }
        }
        if self.initialized_since.is_none() && self.is_initialized() {
            self.initialized_since = Some(now);
        }
        self.ended = self.outcome(now);
        if self.ended.is_some() {
            self.sidecars_until = Some(now + SIDECAR_GRACE);
            self.end_sidecars(now, actions);
        }
    }

    fn is_initialized(&self) -> bool {
        let mut before = self.containers.iter().filter(|container| container.role != Role::Application);
        before.all(ContainerLife::lets_next_start)
    }

    /// How the pod has ended, if it has.
    fn outcome(&self, now: Duration) -> Option<Ended> {
        let has_failed_init = self.policy == RestartPolicy::Never
            && self.containers.iter().any(|container| container.role == Role::Init && container.has_failed());
        if has_failed_init {
            return Some(Ended::Failed(now));
        }
        let mut applications = self.containers.iter().filter(|container| container.role == Role::Application);
        if !applications.clone().all(ContainerLife::has_ended_for_good) {
            return None;
        }
        Some(match applications.any(ContainerLife::has_failed) {
            true => Ended::Failed(now),
            false => Ended::Succeeded(now),
        })
    }

    /// The applications of a pod that has run to its end are gone: so go its sidecars.
    fn end_sidecars(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let is_late = self.sidecars_until.is_some_and(|until| now >= until);
        if is_late || !self.containers.iter().any(ContainerLife::is_alive) {
            self.tear_down(actions);
            return;
        }
        self.ask_to_end(|_| true, actions);
    }

    fn ask_to_end(&mut self, whom: impl Fn(&ContainerLife) -> bool, actions: &mut Vec<Action>) {
        let mut scene = Scene { id: &self.id, addresses: &self.addresses, tickets: &mut self.tickets };
        for container in self.containers.iter_mut().filter(|container| whom(container)) {
            container.ask_to_end(&mut scene, actions);
        }
    }

    fn wind_down(&mut self, termination: Termination, now: Duration, actions: &mut Vec<Action>) {
        if now >= termination.deadline || !self.containers.iter().any(ContainerLife::is_alive) {
            self.tear_down(actions);
            return;
        }
        if now < termination.ask_at {
            return;
        }
        self.ask_to_end(|container| container.role != Role::Sidecar, actions);
        let is_application_left =
            self.containers.iter().any(|container| container.role != Role::Sidecar && container.is_alive());
        if !is_application_left {
            self.ask_to_end(|_| true, actions);
        }
    }

    fn tear_down(&mut self, actions: &mut Vec<Action>) {
        self.network = Network::TearingDown;
        actions.push(Action::TearDown { pod: self.id.clone() });
    }

    fn is_ready_now(&self) -> bool {
        self.network == Network::Up
            && self.ended.is_none()
            && self.containers.iter().filter(|container| container.role != Role::Init).all(ContainerLife::is_ready)
    }

    fn note_readiness(&mut self, now: Duration) {
        match (self.is_ready_now(), self.ready_since) {
            (true, None) => self.ready_since = Some(now),
            (false, Some(_)) => (self.ready_since, self.unready_since) = (None, now),
            _ => return,
        }
        self.is_changed = true;
    }
}

/// Stops one start of a container.
fn stop(pod: &PodId, container: &str, start: u32, how: Stop) -> Action {
    let id = ContainerId { pod: pod.clone(), container: container.to_owned(), start };
    Action::Stop { id, how }
}

#[cfg(test)]
mod tests;
