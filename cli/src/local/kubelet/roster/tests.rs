#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::{Value, json};
use std::path::PathBuf;

struct AllTools;

impl Tools for AllTools {
    fn fsm(&self) -> PathBuf {
        "/opt/fsm".into()
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        Some(PathBuf::from("/opt").join(program))
    }
}

struct Case {
    roster: Roster,
    now: Duration,
}

impl Case {
    fn new() -> Self {
        let host = Host { name: "here".into(), address: "10.244.0.1".parse().unwrap() };
        Self { roster: Roster::new(host, Arc::new(AllTools), Timestamp::UNIX_EPOCH), now: Duration::ZERO }
    }

    fn apply(&mut self, pod: &Value) {
        self.roster
            .take_in(Change::Applied(Object::Pod(Box::new(serde_json::from_value(pod.clone()).unwrap()))), self.now);
    }

    fn remove(&mut self, pod: &Value) {
        self.roster
            .take_in(Change::Removed(Object::Pod(Box::new(serde_json::from_value(pod.clone()).unwrap()))), self.now);
    }

    /// Does everything that is asked for, with success; gives the words of what it was.
    fn settle(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            let actions = self.roster.step(self.now);
            if actions.is_empty() {
                return done;
            }
            for action in actions {
                let (word, report) = match action {
                    Action::SetUp { pod, .. } => (
                        format!("set up {}", pod.uid),
                        Report::PodUp { pod, addresses: vec!["10.244.0.2".parse().unwrap()] },
                    ),
                    Action::Start { id, .. } => (format!("start {}", id.container), Report::Started { id }),
                    Action::Stop { id, .. } => {
                        let exit = crate::local::workload::Exit::Code(0);
                        (format!("stop {}", id.container), Report::Exited { id, exit })
                    }
                    Action::Check { id, ticket, .. } => {
                        ("check".into(), Report::Checked { id, ticket, outcome: Ok(()) })
                    }
                    Action::TearDown { pod } => (format!("tear down {}", pod.uid), Report::Gone { pod }),
                };
                done.push(word);
                self.roster.learn(&report, self.now);
            }
        }
    }

    fn orders(&mut self) -> Vec<String> {
        let word = |order: &Order| match order {
            Order::Bind(id) => format!("bind {}", id.uid),
            Order::Status(id, status) => format!("{} {}", id.uid, status.phase.clone().unwrap_or_default()),
            Order::Delete(id) => format!("delete {}", id.uid),
        };
        self.roster.orders().iter().map(word).collect()
    }
}

fn pod(uid: &str, node: Option<&str>) -> Value {
    json!({
        "metadata": {"namespace": "a", "name": "p", "uid": uid},
        "spec": {"nodeName": node, "containers": [{"name": "main", "command": ["run"]}]},
    })
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_pod_that_nobody_has_scheduled_is_taken_and_one_of_another_node_is_not() {
    let mut case = Case::new();
    case.apply(&pod("u", None));
    assert_eq!(case.settle(), NOTHING);
    assert_eq!(case.orders(), ["bind u"]);
    case.apply(&pod("other", Some("there")));
    assert_eq!(case.settle(), NOTHING);
    case.apply(&pod("u", Some("here")));
    assert_eq!(case.settle(), ["set up u", "start main"]);
    assert_eq!(case.orders(), ["u Running"]);
    assert_eq!(case.orders(), NOTHING, "nothing new to tell");
}

#[test]
fn a_deletion_ends_the_pod_and_is_finished_then() {
    let mut case = Case::new();
    case.apply(&pod("u", Some("here")));
    case.settle();
    case.orders();
    let mut ending = pod("u", Some("here"));
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    ending["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    case.apply(&ending);
    assert_eq!(case.settle(), NOTHING, "its clients hear of it first");
    case.now += Duration::from_secs(1);
    assert_eq!(case.settle(), ["stop main", "tear down u"]);
    assert_eq!(case.orders(), ["delete u"]);
    case.remove(&ending);
    assert_eq!(case.orders(), NOTHING);
    assert_eq!(case.roster.take_gone().len(), 1);
}

#[test]
fn a_pod_of_the_same_name_begins_when_nothing_is_left_of_the_first() {
    let mut case = Case::new();
    case.apply(&pod("first", Some("here")));
    case.settle();
    case.orders();
    case.apply(&pod("second", Some("here")));
    assert_eq!(case.settle(), ["tear down first", "set up second", "start main"]);
    assert_eq!(case.orders(), ["second Running"], "the first is no object any more");
}

#[test]
fn pods_of_an_earlier_run_are_finished_or_begun_anew() {
    let mut case = Case::new();
    let mut ending = pod("ending", Some("here"));
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    case.apply(&ending);
    assert_eq!(case.orders(), ["delete ending"]);
    let mut ended = pod("ended", Some("here"));
    ended["status"] = json!({"phase": "Succeeded"});
    case.apply(&ended);
    assert_eq!(case.settle(), NOTHING);
    let mut running = pod("running", Some("here"));
    running["status"] = json!({"phase": "Running"});
    case.apply(&running);
    assert_eq!(case.settle(), ["set up running", "start main"]);
}

#[test]
fn containers_run_as_whom_they_say_and_know_where_the_api_server_is() {
    let mut case = Case::new();
    let variable = ("KUBERNETES_SERVICE_HOST".to_owned(), "10.96.0.1".to_owned());
    case.roster.set_service_variables(&Variables::from([(String::new(), vec![variable.clone()])]));
    let mut object = pod("u", Some("here"));
    object["spec"]["securityContext"] = json!({"runAsUser": 1500, "runAsGroup": 1500});
    case.apply(&object);
    let mut process = None;
    let set_up = case.roster.step(case.now);
    assert_eq!(set_up.len(), 1);
    let id = PodId { namespace: "a".into(), name: "p".into(), uid: "u".into() };
    case.roster.learn(&Report::PodUp { pod: id, addresses: vec!["10.244.0.2".parse().unwrap()] }, case.now);
    for action in case.roster.step(case.now) {
        if let Action::Start { process: started, .. } = action {
            process = Some(started);
        }
    }
    let process = process.unwrap();
    assert_eq!(process.user, crate::local::workload::User::Ids { user: 1500, group: 1500 });
    assert!(process.environment.contains(&variable));
}
