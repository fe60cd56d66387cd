//! One container of a pod: what it waits for, its starts and ends, its probes.

use super::super::inject;
use super::super::probe::{ProbeKind, Probes, Schedule};
use super::super::restart::BackOff;
use super::super::runtime::{Action, ContainerId, Exit, PodId, Process, Stop};
use super::super::volumes::MISSING_OBJECT;
use super::hook::{self, Hook};
use super::look;
use super::{Refusal, stop};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use std::net::IpAddr;
use std::time::Duration;

/// How long a container that a probe has condemned may take to end.
const RESTART_GRACE: Duration = Duration::from_secs(30);

/// How long a hook may take: without an end of its own it lasts as long as its container or the pod's grace.
const HOOK_PATIENCE: Duration = Duration::from_secs(3600);

/// When a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To its end, before the next one.
    Init,
    /// From its turn among the init containers to the end of the pod.
    Sidecar,
    /// After all of these.
    Application,
}

/// Which ends of a container are followed by another start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restarts {
    Always,
    AfterFailure,
    Never,
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It does not run.
    Waiting(Waiting),
    /// The node has been asked to start it.
    Starting,
    /// It runs since then.
    Running(Duration),
    /// It has ended and stays so.
    Terminated(Termination),
}

/// Why a container does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// A word such as `PodInitializing` or `CrashLoopBackOff`.
    pub reason: String,
    /// More about it; may be empty.
    pub message: String,
    /// When it may start.
    pub until: Duration,
}

/// How a container has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// 0 is success.
    pub exit_code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// A word such as `Completed` or `Error`.
    pub reason: String,
    /// More about it; may be empty.
    pub message: String,
    /// When it had started.
    pub started: Duration,
    /// When it ended.
    pub finished: Duration,
}

impl State {
    /// Whether it does not run and may start later.
    pub fn is_waiting(&self) -> bool {
        matches!(self, State::Waiting(_))
    }
}

#[derive(Clone, Debug)]
pub(super) struct ContainerLife {
    pub(super) role: Role,
    pub(super) spec: Container,
    pub(super) state: State,
    /// How the last start has ended.
    pub(super) last: Option<Termination>,
    /// Number of the current or next start.
    pub(super) start: u32,
    pub(super) restarts: u32,
    pub(super) probes: Probes,
    /// Set by a probe: the container must be ended.
    pub(super) unhealthy: Option<String>,
    /// Whether its status may be another than when that was asked last.
    pub(super) is_changed: bool,
    schedules: Vec<(ProbeKind, Schedule)>,
    back_off: BackOff,
    /// When a container that was asked to end is killed.
    kill_at: Option<Duration>,
    is_asked: bool,
    is_killed: bool,
    post_start: Hook,
    pre_stop: Hook,
    /// Whether an earlier start came as far as its startup probe's success.
    has_been_up: bool,
    /// The environment of the running process, for exec probes.
    process: Option<Process>,
}

/// Where containers do what they do.
pub(super) struct Scene<'a> {
    pub(super) id: &'a PodId,
    pub(super) addresses: &'a [IpAddr],
    /// The last ticket that was given to a look.
    pub(super) tickets: &'a mut u64,
}

/// The containers of a pod in the order of their start.
pub(super) fn of_pod(pod: &Pod) -> Vec<ContainerLife> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let always = |container: &Container| container.restart_policy.as_deref() == Some("Always");
    let init = spec.init_containers.iter().flatten().map(|container| {
        let role = if always(container) { Role::Sidecar } else { Role::Init };
        ContainerLife::new(role, container)
    });
    let is_of_mesh = |container: &&Container| inject::is_sidecar(pod, container);
    let of_mesh = spec.containers.iter().filter(is_of_mesh).map(|c| ContainerLife::new(Role::Sidecar, c));
    let others = spec.containers.iter().filter(|container| !is_of_mesh(container));
    init.chain(of_mesh).chain(others.map(|c| ContainerLife::new(Role::Application, c))).collect()
}

impl ContainerLife {
    fn new(role: Role, spec: &Container) -> Self {
        let probes = [
            (ProbeKind::Startup, &spec.startup_probe),
            (ProbeKind::Liveness, &spec.liveness_probe),
            (ProbeKind::Readiness, &spec.readiness_probe),
        ];
        let schedules = match role {
            Role::Init => Vec::new(),
            _ => probes
                .iter()
                .filter_map(|(kind, probe)| Some((*kind, look::schedule(*kind, probe.as_ref()?))))
                .collect(),
        };
        let reason = if role == Role::Application { "PodInitializing" } else { "ContainerCreating" };
        Self {
            role,
            spec: spec.clone(),
            state: State::Waiting(Waiting { reason: reason.into(), message: String::new(), until: Duration::ZERO }),
            last: None,
            start: 0,
            restarts: 0,
            probes: Probes::default(),
            unhealthy: None,
            is_changed: true,
            schedules,
            back_off: BackOff::default(),
            kill_at: None,
            is_asked: false,
            is_killed: false,
            post_start: Hook::None,
            pre_stop: Hook::None,
            has_been_up: false,
            process: None,
        }
    }

    /// Whether the containers behind this one may start.
    pub(super) fn lets_next_start(&self) -> bool {
        match self.role {
            Role::Init => matches!(&self.state, State::Terminated(end) if end.exit_code == 0),
            // Once up, a sidecar that is being restarted holds nobody back.
            Role::Sidecar => self.has_been_up || self.is_started(),
            // Its hook is part of its first start.
            Role::Application => {
                hook::post_start(&self.spec).is_none()
                    || self.start > 0
                    || self.has_ended_for_good()
                    || (matches!(self.state, State::Running(_)) && self.post_start.is_over())
            }
        }
    }

    pub(super) fn is_started(&self) -> bool {
        matches!(self.state, State::Running(_)) && self.post_start.is_over() && self.probes.is_started()
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Running(_)) && self.post_start.is_over() && self.probes.is_ready()
    }

    /// Whether a process of it exists or is about to.
    pub(super) fn is_alive(&self) -> bool {
        matches!(self.state, State::Running(_) | State::Starting)
    }

    pub(super) fn has_ended_for_good(&self) -> bool {
        matches!(self.state, State::Terminated(_))
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(&self.state, State::Terminated(end) if end.exit_code != 0)
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        matches!(&self.state, State::Waiting(waiting) if waiting.until <= now)
    }

    /// Times at which something is to be done for it.
    pub(super) fn wakes(&self) -> impl Iterator<Item = Duration> + use<> {
        let (waits, watches) = match &self.state {
            State::Waiting(waiting) => (Some(waiting.until), None),
            State::Running(_) if self.post_start.is_over() => (self.probes.next(), self.kill_at),
            State::Running(_) => (None, self.kill_at),
            State::Starting | State::Terminated(_) => (None, None),
        };
        waits.into_iter().chain(watches)
    }

    /// Starts it, or notes why it cannot be started.
    pub(super) fn begin(
        &mut self,
        process: Result<Process, Refusal>,
        pod: &PodId,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        match process {
            Ok(process) => {
                self.is_changed = true;
                self.state = State::Starting;
                self.process = Some(process.clone());
                (self.kill_at, self.is_asked, self.is_killed, self.unhealthy) = (None, false, false, None);
                (self.post_start, self.pre_stop) = (Hook::None, Hook::None);
                actions.push(Action::Start { id: self.id(pod), process: Box::new(process) });
            }
            Err(refusal) => self.refused(refusal, now),
        }
    }

    pub(super) fn started(&mut self, now: Duration) {
        if self.state == State::Starting {
            self.is_changed = true;
            self.state = State::Running(now);
            self.probes = Probes::new(&self.schedules, now);
            self.post_start = Hook::of(hook::post_start(&self.spec));
            self.pre_stop = Hook::of(hook::pre_stop(&self.spec));
        }
    }

    /// Takes the outcome of a hook; says whether it was one's.
    pub(super) fn learn_hook(&mut self, ticket: u64, outcome: &Result<(), String>) -> bool {
        if self.pre_stop.learn(ticket) {
            return true;
        }
        let is_own = self.post_start.learn(ticket);
        if is_own {
            self.is_changed = true;
            if let Err(why) = outcome {
                self.unhealthy = Some(format!("the hook after its start failed: {why}"));
            }
        }
        is_own
    }

    pub(super) fn refused(&mut self, refusal: Refusal, now: Duration) {
        let until = now + self.back_off.after_end(Duration::ZERO);
        self.start += 1;
        self.is_changed = true;
        self.state = State::Waiting(Waiting { reason: refusal.reason, message: refusal.message, until });
    }

    /// Something that was missing may be there now.
    pub(super) fn retry(&mut self, now: Duration) {
        if let State::Waiting(waiting) = &mut self.state
            && waiting.reason == MISSING_OBJECT
        {
            waiting.until = waiting.until.min(now);
        }
    }

    pub(super) fn exited(&mut self, exit: Exit, now: Duration) {
        let started = match self.state {
            State::Running(since) => since,
            State::Starting => now,
            State::Waiting(_) | State::Terminated(_) => return,
        };
        self.has_been_up |= self.is_started();
        self.is_changed = true;
        let code = exit.code();
        let message = self.unhealthy.take().unwrap_or_default();
        self.state = State::Terminated(Termination {
            exit_code: code,
            signal: if let Exit::Signal(signal) = exit { Some(signal) } else { None },
            reason: if code == 0 { "Completed" } else { "Error" }.into(),
            message,
            started,
            finished: now,
        });
        self.kill_at = None;
        self.probes = Probes::default();
    }

    /// The pod is gone, and with it whatever ran in it.
    pub(super) fn cut_off(&mut self, now: Duration) {
        if self.is_alive() {
            self.exited(Exit::Signal(nix::libc::SIGKILL), now);
        }
    }

    /// If it has ended and shall not stay so, puts it in line for another start.
    pub(super) fn plan_restart(&mut self, restarts: Restarts) {
        let State::Terminated(end) = &self.state else { return };
        let is_done = self.role == Role::Init && end.exit_code == 0;
        let is_wanted = match restarts {
            Restarts::Always => true,
            Restarts::AfterFailure => end.exit_code != 0,
            Restarts::Never => false,
        };
        if is_done || !is_wanted {
            return;
        }
        let end = end.clone();
        let wait = self.back_off.after_end(end.finished.saturating_sub(end.started));
        let message = format!("waits {} s before the container {} is started again", wait.as_secs(), self.spec.name);
        let until = end.finished + wait;
        self.last = Some(end);
        self.start += 1;
        self.restarts += 1;
        self.is_changed = true;
        self.state = State::Waiting(Waiting { reason: "CrashLoopBackOff".into(), message, until });
    }

    /// Asks a running process to end, once, after what is to run before.
    pub(super) fn ask_to_end(&mut self, scene: &mut Scene<'_>, actions: &mut Vec<Action>) {
        if !matches!(self.state, State::Running(_)) || self.is_asked {
            return;
        }
        if self.pre_stop == Hook::Due {
            self.pre_stop = self.begin_hook(hook::pre_stop, scene, actions).unwrap_or(Hook::Done);
        }
        if self.pre_stop.is_over() {
            self.is_asked = true;
            actions.push(stop(scene.id, &self.spec.name, self.start, Stop::Ask));
        }
    }

    /// Starts a hook; an error is a hook that cannot be run.
    fn begin_hook(
        &self,
        which: fn(&Container) -> Option<&LifecycleHandler>,
        scene: &mut Scene<'_>,
        actions: &mut Vec<Action>,
    ) -> Result<Hook, String> {
        let Some(handler) = which(&self.spec) else { return Ok(Hook::Done) };
        let check = hook::check(handler, &self.spec, scene.addresses, self.process.as_ref())?;
        let Some(check) = check else { return Ok(Hook::Done) };
        *scene.tickets += 1;
        let ticket = *scene.tickets;
        actions.push(Action::Check { id: self.id(scene.id), ticket, check, timeout: HOOK_PATIENCE });
        Ok(Hook::Runs(ticket))
    }

    /// Takes the looks that are due, and ends a container that a probe has condemned.
    pub(super) fn watch(&mut self, scene: &mut Scene<'_>, now: Duration, actions: &mut Vec<Action>) {
        if !matches!(self.state, State::Running(_)) {
            return;
        }
        if self.post_start == Hook::Due {
            match self.begin_hook(hook::post_start, scene, actions) {
                Ok(hook) => self.post_start = hook,
                Err(why) => self.unhealthy = Some(format!("the hook after its start cannot be run: {why}")),
            }
        }
        if self.unhealthy.is_some() {
            self.kill_at.get_or_insert(now + RESTART_GRACE);
            self.ask_to_end(scene, actions);
            if self.kill_at.is_some_and(|at| at <= now) && !self.is_killed {
                self.is_killed = true;
                actions.push(stop(scene.id, &self.spec.name, self.start, Stop::Kill));
            }
            return;
        }
        if !self.post_start.is_over() {
            return;
        }
        let looks = self.probes.due(now, || {
            *scene.tickets += 1;
            *scene.tickets
        });
        for (kind, ticket) in looks {
            let probe = match kind {
                ProbeKind::Startup => &self.spec.startup_probe,
                ProbeKind::Liveness => &self.spec.liveness_probe,
                ProbeKind::Readiness => &self.spec.readiness_probe,
            };
            let Some(probe) = probe else { continue };
            match look::check(probe, &self.spec, scene.addresses, self.process.as_ref()) {
                Ok(check) => {
                    let timeout = look::schedule(kind, probe).timeout;
                    actions.push(Action::Check { id: self.id(scene.id), ticket, check, timeout });
                }
                Err(why) => {
                    let _ = self.probes.learn(ticket, Err(why), now);
                }
            }
        }
    }

    fn id(&self, pod: &PodId) -> ContainerId {
        ContainerId { pod: pod.clone(), container: self.spec.name.clone(), start: self.start }
    }
}
