#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::local::workload::runtime::{Check, Exit};
use jiff::Timestamp;
use serde_json::json;
use std::cell::Cell;

/// Resolves every container, or refuses all of them.
#[derive(Default)]
struct Images {
    is_missing: Cell<bool>,
}

impl Resolve for Images {
    fn process(&self, _pod: &Pod, container: &Container, _addresses: &[IpAddr]) -> Result<Process, Refusal> {
        if self.is_missing.get() {
            return Err(Refusal { reason: "ErrImagePull".into(), message: "nothing stands in for it".into() });
        }
        Ok(Process { command: vec![container.name.clone()], ..Process::default() })
    }
}

struct Case {
    life: Life,
    images: Images,
    now: Duration,
}

impl Case {
    fn new(spec: serde_json::Value) -> Self {
        let labels = json!({"fsm-proxy-uuid": "x"});
        let metadata = json!({"namespace": "a", "name": "p", "uid": "u", "labels": labels});
        let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        Self { life: Life::new(Arc::new(pod), Duration::ZERO), images: Images::default(), now: Duration::ZERO }
    }

    fn advance(&mut self) -> Vec<String> {
        let told = self.life.advance(self.now, &self.images);
        told.iter().map(words).collect()
    }

    fn after(&mut self, seconds: u64) -> Vec<String> {
        self.now += Duration::from_secs(seconds);
        self.advance()
    }

    fn learn(&mut self, report: Report) -> Vec<String> {
        self.life.learn(&report, self.now);
        self.advance()
    }

    fn up(&mut self) -> Vec<String> {
        assert_eq!(self.advance(), ["set up"]);
        let pod = self.life.id().clone();
        self.learn(Report::PodUp { pod, addresses: vec!["10.0.0.9".parse().unwrap()] })
    }

    fn id(&self, container: &str, start: u32) -> ContainerId {
        ContainerId { pod: self.life.id().clone(), container: container.into(), start }
    }

    fn started(&mut self, container: &str, start: u32) -> Vec<String> {
        let id = self.id(container, start);
        self.learn(Report::Started { id })
    }

    fn exited(&mut self, container: &str, start: u32, code: i32) -> Vec<String> {
        let id = self.id(container, start);
        self.learn(Report::Exited { id, exit: Exit::Code(code) })
    }

    fn status(&self) -> serde_json::Value {
        let pod = self.life.object(Calendar { epoch: Timestamp::UNIX_EPOCH });
        serde_json::to_value(pod.status.unwrap()).unwrap()
    }
}

fn words(action: &Action) -> String {
    match action {
        Action::SetUp { .. } => "set up".into(),
        Action::Start { id, .. } => format!("start {} {}", id.container, id.start),
        Action::Stop { id, how } => format!("{how:?} {}", id.container),
        Action::Check { id, check, .. } => match check {
            Check::Http { address, path, .. } => format!("get {} {address}{path}", id.container),
            Check::Tcp { address } => format!("connect {} {address}", id.container),
            Check::Exec(process) => format!("exec {} {}", id.container, process.command.join(" ")),
        },
        Action::TearDown { .. } => "tear down".into(),
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn init_containers_run_one_after_the_other_and_again_when_they_fail() {
    let mut case = Case::new(json!({
        "initContainers": [{"name": "one"}, {"name": "two"}], "containers": [{"name": "main"}, {"name": "more"}],
    }));
    assert_eq!(case.up(), ["start one 0"]);
    assert_eq!(case.started("one", 0), NOTHING);
    assert_eq!(case.exited("one", 0, 1), NOTHING);
    assert_eq!(case.after(1), ["start one 1"]);
    case.started("one", 1);
    assert_eq!(case.exited("one", 1, 0), ["start two 0"]);
    case.started("two", 0);
    assert_eq!(case.status()["phase"], "Pending");
    assert_eq!(case.exited("two", 0, 0), ["start main 0", "start more 0"]);
    case.started("main", 0);
    assert!(case.life.ready_since().is_none());
    case.started("more", 0);
    assert!(case.life.ready_since().is_some());
    let status = case.status();
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["podIP"], "10.0.0.9");
    assert_eq!(status["initContainerStatuses"][0]["restartCount"], 1);
    let ready = status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready").unwrap();
    assert_eq!(ready["status"], "True");
}

#[test]
fn the_application_is_held_until_the_sidecar_has_started_and_ends_before_it() {
    let probe = json!({"httpGet": {"path": "/ready", "port": 15000}, "periodSeconds": 1});
    let mut case = Case::new(json!({"containers": [{"name": "main"}, {"name": "sidecar", "startupProbe": probe}]}));
    assert_eq!(case.up(), ["start sidecar 0"]);
    assert_eq!(case.started("sidecar", 0), ["get sidecar 10.0.0.9:15000/ready"]);
    let (id, ticket) = (case.id("sidecar", 0), 1);
    assert_eq!(case.learn(Report::Checked { id, ticket, outcome: Ok(()) }), ["start main 0"]);
    case.started("main", 0);
    // A sidecar that is started again does not touch the application.
    assert_eq!(case.exited("sidecar", 0, 1), NOTHING);
    assert!(case.life.ready_since().is_none());
    assert_eq!(case.after(1), ["start sidecar 1"]);
    case.started("sidecar", 1);

    case.life.terminate(None, case.now);
    assert_eq!(case.advance(), ["Ask main"]);
    assert_eq!(case.exited("main", 0, 0), ["Ask sidecar"]);
    assert_eq!(case.exited("sidecar", 1, 0), ["tear down"]);
    let pod = case.life.id().clone();
    case.learn(Report::Gone { pod });
    assert!(case.life.is_over());
}

#[test]
fn a_ready_pod_serves_a_moment_longer_and_is_cut_off_in_the_end() {
    let mut case = Case::new(json!({"terminationGracePeriodSeconds": 5, "containers": [{"name": "main"}]}));
    case.up();
    case.started("main", 0);
    case.life.terminate(None, case.now);
    assert_eq!(case.advance(), NOTHING, "its clients have not heard of it");
    assert!(case.life.is_terminating() && case.life.ready_since().is_some());
    assert_eq!(case.after(1), ["Ask main"]);
    assert_eq!(case.after(3), NOTHING, "it was asked once");
    assert_eq!(case.after(1), ["tear down"]);
}

#[test]
fn a_probe_that_fails_ends_the_container() {
    let probe = json!({"exec": {"command": ["look"]}, "periodSeconds": 1, "failureThreshold": 1});
    let mut case = Case::new(json!({"containers": [{"name": "main", "livenessProbe": probe}]}));
    case.up();
    assert_eq!(case.started("main", 0), ["exec main look"]);
    let (id, ticket) = (case.id("main", 0), 1);
    assert_eq!(case.learn(Report::Checked { id, ticket, outcome: Err("no".into()) }), ["Ask main"]);
    assert_eq!(case.after(30), ["Kill main"], "it does not listen");
    case.exited("main", 0, 137);
    assert_eq!(case.after(1), ["start main 1"]);
    let last = &case.status()["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["message"], "liveness probe failed: no");
}

#[test]
fn what_cannot_run_says_why_and_is_tried_again() {
    let mut case = Case::new(json!({"containers": [{"name": "main", "image": "x"}]}));
    case.images.is_missing.set(true);
    assert_eq!(case.up(), NOTHING);
    let status = case.status();
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "ErrImagePull");
    case.images.is_missing.set(false);
    assert_eq!(case.after(1), ["start main 1"]);
    let id = case.id("main", 1);
    case.learn(Report::StartFailed { id, reason: "CreateContainerError".into(), why: "no such file".into() });
    assert_eq!(case.status()["containerStatuses"][0]["state"]["waiting"]["message"], "no such file");
    assert_eq!(case.after(2), ["start main 2"]);
}

#[test]
fn restart_policies_decide_what_an_end_means() {
    for (policy, code, ended) in [
        ("Never", 0, Some(Ended::Succeeded(Duration::ZERO))),
        ("Never", 3, Some(Ended::Failed(Duration::ZERO))),
        ("OnFailure", 0, Some(Ended::Succeeded(Duration::ZERO))),
        ("OnFailure", 3, None),
        ("Always", 0, None),
    ] {
        let mut case = Case::new(json!({"restartPolicy": policy, "containers": [{"name": "main"}]}));
        case.up();
        case.started("main", 0);
        let told = case.exited("main", 0, code);
        assert_eq!(case.life.ended(), ended, "{policy} {code}");
        assert_eq!(told == ["tear down"], ended.is_some(), "{policy} {code}");
        assert_eq!(case.after(1) == ["start main 1"], ended.is_none(), "{policy} {code}");
    }
}

#[test]
fn a_pod_that_cannot_be_set_up_is_tried_again() {
    let mut case = Case::new(json!({"containers": [{"name": "main"}]}));
    assert_eq!(case.advance(), ["set up"]);
    let pod = case.life.id().clone();
    assert_eq!(case.learn(Report::PodFailed { pod, why: "no address is left".into() }), NOTHING);
    assert_eq!(case.status()["message"], "no address is left");
    assert_eq!(case.after(1), ["set up"]);
    case.life.terminate(None, case.now);
    let pod = case.life.id().clone();
    assert_eq!(case.learn(Report::PodFailed { pod, why: "still none".into() }), NOTHING);
    assert!(case.life.is_over(), "nothing of it is left to tear down");
}

#[test]
fn a_report_about_an_earlier_start_means_nothing() {
    let mut case = Case::new(json!({"containers": [{"name": "main"}]}));
    case.up();
    case.started("main", 0);
    case.exited("main", 0, 1);
    case.after(1);
    case.started("main", 1);
    assert_eq!(case.exited("main", 0, 1), NOTHING);
    assert!(case.life.ready_since().is_some());
}

fn checked(case: &mut Case, container: &str, start: u32, ticket: u64, outcome: Result<(), String>) -> Vec<String> {
    let id = case.id(container, start);
    case.learn(Report::Checked { id, ticket, outcome })
}

#[test]
fn what_runs_after_a_start_holds_the_next_container_back() {
    let hook = json!({"postStart": {"exec": {"command": ["wait"]}}});
    let mut case = Case::new(json!({"containers": [{"name": "first", "lifecycle": hook}, {"name": "second"}]}));
    assert_eq!(case.up(), ["start first 0"]);
    assert_eq!(case.started("first", 0), ["exec first wait"]);
    assert!(case.life.ready_since().is_none());
    assert_eq!(checked(&mut case, "first", 0, 1, Ok(())), ["start second 0"]);
    case.started("second", 0);
    assert!(case.life.ready_since().is_some());
}

#[test]
fn a_container_whose_first_hook_fails_is_started_again() {
    let hook = json!({"postStart": {"exec": {"command": ["wait"]}}});
    let mut case = Case::new(json!({"containers": [{"name": "main", "lifecycle": hook}]}));
    case.up();
    case.started("main", 0);
    assert_eq!(checked(&mut case, "main", 0, 1, Err("exit code 1".into())), ["Ask main"]);
    case.exited("main", 0, 143);
    assert_eq!(case.after(1), ["start main 1"]);
    let last = &case.status()["containerStatuses"][0]["lastState"]["terminated"]["message"];
    assert!(last.as_str().unwrap().contains("exit code 1"), "{last}");
}

#[test]
fn what_runs_before_an_end_is_over_before_a_container_is_asked_to_end() {
    let hook = json!({"preStop": {"exec": {"command": ["/opt/main", "drain"]}}});
    let mut case = Case::new(json!({"containers": [{"name": "main", "lifecycle": hook}]}));
    case.up();
    case.started("main", 0);
    case.life.terminate(None, case.now);
    assert_eq!(case.after(1), ["exec main /opt/main drain"]);
    assert_eq!(checked(&mut case, "main", 0, 1, Err("it does not matter".into())), ["Ask main"]);
    assert_eq!(case.exited("main", 0, 0), ["tear down"]);
}

#[test]
fn a_hook_that_does_not_end_is_over_with_the_grace() {
    let hook = json!({"preStop": {"exec": {"command": ["sleep"]}}});
    let mut case = Case::new(json!({"containers": [{"name": "main", "lifecycle": hook}]}));
    case.up();
    case.started("main", 0);
    case.life.terminate(Some(Duration::from_secs(5)), case.now);
    assert_eq!(case.after(1), ["exec main sleep"]);
    assert_eq!(case.after(4), ["tear down"]);
}
