//! A pod's life as `status` of its object.

use super::container::{ContainerLife, Role, State, Termination};
use super::{Life, Network, Phase};
use crate::local::workload::sets::Ended;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod,
    PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// Turns the cluster's clock into dates.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    /// The date of time zero.
    pub epoch: Timestamp,
}

impl Calendar {
    /// The date of a moment, to the second.
    pub fn date(self, at: Duration) -> Time {
        let seconds = self.epoch.as_second().saturating_add(at.as_secs().try_into().unwrap_or(i64::MAX));
        Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
    }
}

impl Life {
    /// The phase.
    pub fn phase(&self) -> Phase {
        match self.ended {
            Some(Ended::Succeeded(_)) => Phase::Succeeded,
            Some(Ended::Failed(_)) => Phase::Failed,
            None if self.containers.iter().any(has_run) && self.initialized_since.is_some() => Phase::Running,
            None => Phase::Pending,
        }
    }

    /// The object with its present status.
    pub fn object(&self, calendar: Calendar) -> Pod {
        let mut pod = Pod::clone(&self.pod);
        if let Some(termination) = self.terminating {
            pod.metadata.deletion_timestamp = Some(calendar.date(termination.deadline));
            let grace = termination.deadline.saturating_sub(termination.since);
            pod.metadata.deletion_grace_period_seconds = i64::try_from(grace.as_secs()).ok();
        }
        pod.status = Some(self.status(calendar));
        pod
    }

    fn status(&self, calendar: Calendar) -> PodStatus {
        let phase = match self.phase() {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        };
        let init_names: Vec<&str> =
            self.pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten()).map(|c| c.name.as_str()).collect();
        let (init, main): (Vec<&ContainerLife>, Vec<&ContainerLife>) =
            self.containers.iter().partition(|container| init_names.contains(&container.spec.name.as_str()));
        let statuses = |containers: Vec<&ContainerLife>| -> Vec<ContainerStatus> {
            containers.into_iter().map(|container| container.status(&self.id.uid, calendar)).collect()
        };
        // `kubectl get` and FSM's sidecar show the containers as the spec lists them.
        let mut main = statuses(main);
        let order = |name: &str| {
            self.pod.spec.as_ref().and_then(|spec| spec.containers.iter().position(|container| container.name == name))
        };
        main.sort_by_key(|status| order(&status.name));
        let is_up = !self.addresses.is_empty();
        PodStatus {
            phase: Some(phase.to_owned()),
            conditions: Some(self.conditions(calendar)),
            message: self.network_failure.clone(),
            reason: self.network_failure.as_ref().map(|_| "FailedCreatePodSandBox".to_owned()),
            pod_ip: self.addresses.first().map(ToString::to_string),
            pod_ips: is_up.then(|| self.addresses.iter().map(|ip| PodIP { ip: ip.to_string() }).collect()),
            start_time: Some(calendar.date(self.created)),
            init_container_statuses: Some(statuses(init)).filter(|statuses| !statuses.is_empty()),
            container_statuses: Some(main),
            qos_class: Some("BestEffort".to_owned()),
            ..PodStatus::default()
        }
    }

    fn conditions(&self, calendar: Calendar) -> Vec<PodCondition> {
        let condition = |name: &str, since: Option<Duration>, otherwise: Duration, why: Option<(String, String)>| {
            let (reason, message) = why.filter(|_| since.is_none()).unzip();
            PodCondition {
                type_: name.to_owned(),
                status: if since.is_some() { "True" } else { "False" }.to_owned(),
                last_transition_time: Some(calendar.date(since.unwrap_or(otherwise))),
                reason,
                message,
                ..PodCondition::default()
            }
        };
        let unready: Vec<String> = self
            .containers
            .iter()
            .filter(|container| container.role != Role::Init && !container.is_ready())
            .map(ContainerLife::complaint)
            .collect();
        let why = match (self.ended, self.phase()) {
            (Some(_), Phase::Succeeded) => ("PodCompleted".to_owned(), String::new()),
            (Some(_), _) => ("PodFailed".to_owned(), String::new()),
            (None, _) => ("ContainersNotReady".to_owned(), unready.join("; ")),
        };
        let init =
            ("ContainersNotInitialized".to_owned(), "the init containers have not all ended well yet".to_owned());
        vec![
            condition("PodScheduled", Some(self.scheduled_since), self.created, None),
            condition("Initialized", self.initialized_since, self.created, Some(init)),
            condition("ContainersReady", self.ready_since, self.unready_since, Some(why.clone())),
            condition("Ready", self.ready_since, self.unready_since, Some(why)),
        ]
    }

    /// Whether the pod has an address that means something to others.
    pub fn is_reachable(&self) -> bool {
        self.network == Network::Up && self.ended.is_none()
    }
}

fn has_run(container: &ContainerLife) -> bool {
    container.role == Role::Application
        && (container.restarts > 0 || matches!(container.state, State::Running(_) | State::Terminated(_)))
}

impl ContainerLife {
    fn complaint(&self) -> String {
        let name = &self.spec.name;
        match &self.state {
            State::Waiting(waiting) if waiting.message.is_empty() => format!("{name}: {}", waiting.reason),
            State::Waiting(waiting) => format!("{name}: {}: {}", waiting.reason, waiting.message),
            State::Starting => format!("{name}: is being started"),
            State::Running(_) => format!("{name}: {}", self.probes.why_not_ready().unwrap_or_default()),
            State::Terminated(end) => format!("{name}: ended with exit code {}", end.exit_code),
        }
    }

    fn status(&self, uid: &str, calendar: Calendar) -> ContainerStatus {
        let id = format!("fsm://{uid}/{}/{}", self.spec.name, self.start);
        let image = self.spec.image.clone().unwrap_or_default();
        let terminated = |end: &Termination| ContainerState {
            terminated: Some(ContainerStateTerminated {
                container_id: None,
                exit_code: end.exit_code,
                finished_at: Some(calendar.date(end.finished)),
                message: Some(end.message.clone()).filter(|message| !message.is_empty()),
                reason: Some(end.reason.clone()),
                signal: end.signal,
                started_at: Some(calendar.date(end.started)),
            }),
            ..ContainerState::default()
        };
        let waiting = |reason: &str, message: &str| ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()).filter(|message| !message.is_empty()),
            }),
            ..ContainerState::default()
        };
        let state = match &self.state {
            State::Waiting(why) => waiting(&why.reason, &why.message),
            State::Starting => waiting("ContainerCreating", ""),
            State::Running(since) => ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(calendar.date(*since)) }),
                ..ContainerState::default()
            },
            State::Terminated(end) => terminated(end),
        };
        ContainerStatus {
            name: self.spec.name.clone(),
            image_id: image.clone(),
            image,
            container_id: (!self.state.is_waiting()).then_some(id),
            ready: match self.role {
                Role::Init => matches!(&self.state, State::Terminated(end) if end.exit_code == 0),
                _ => self.is_ready(),
            },
            started: Some(self.is_started()),
            restart_count: i32::try_from(self.restarts).unwrap_or(i32::MAX),
            last_state: self.last.as_ref().map(terminated),
            state: Some(state),
            ..ContainerStatus::default()
        }
    }
}
