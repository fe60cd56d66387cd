#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod simulation;

use super::*;
use crate::local::workload::inject::Mesh;
use crate::local::workload::pod::{Calendar, Phase};
use crate::local::workload::runtime::{ContainerId, Exit, Stop, User};
use serde_json::json;
use std::path::PathBuf;

pub(super) struct AllTools;

impl Tools for AllTools {
    fn fsm(&self) -> PathBuf {
        "/opt/fsm".into()
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        Some(PathBuf::from("/opt").join(program))
    }
}

pub(super) fn cluster(seed: u64) -> Cluster {
    let mesh =
        Mesh { name: "fsm".into(), fsm_namespace: "fsm-system".into(), mark: None, config: MeshConfigSpec::default() };
    let mut cluster =
        Cluster::new(ClusterOptions { mesh, epoch: Timestamp::UNIX_EPOCH, seed, tools: Arc::new(AllTools) });
    cluster.trust("certificates".to_owned());
    let namespace = json!({
        "metadata": {
            "name": "shop", "labels": {"flomesh.io/monitored-by": "fsm"},
            "annotations": {"flomesh.io/sidecar-injection": "enabled"},
        },
    });
    apply(&mut cluster, "Namespace", "shop", &namespace);
    apply(&mut cluster, "Namespace", "plain", &json!({"metadata": {"name": "plain"}}));
    cluster
}

pub(super) fn apply(cluster: &mut Cluster, kind: &str, name: &str, object: &Value) {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    cluster.apply(kind, (namespace.to_owned(), name.to_owned()), object).expect("the object is well formed");
}

fn deployment(namespace: &str, name: &str, replicas: u32, version: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{name}")},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "curlimages/curl", "args": [version]}]},
            },
        },
    })
}

/// A node on which everything works at once, driven by hand.
struct Node {
    cluster: Cluster,
    now: Duration,
    actions: Vec<Action>,
}

impl Node {
    fn new() -> Self {
        Self { cluster: cluster(1), now: Duration::ZERO, actions: Vec::new() }
    }

    fn step(&mut self) -> Vec<Action> {
        let actions = self.cluster.step(self.now);
        self.actions.extend(actions.iter().cloned());
        actions
    }

    /// Carries out everything until nothing is left to do. Init containers and redirections end well, checks succeed,
    /// whoever is asked to end does.
    fn settle(&mut self) {
        loop {
            let actions = self.step();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                for report in outcome(&action) {
                    self.cluster.learn(&report, self.now);
                }
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    fn pods(&self) -> Vec<String> {
        self.cluster.lives().map(|life| life.id().name.clone()).collect()
    }

    fn ready(&self) -> usize {
        self.cluster.lives().filter(|life| life.ready_since().is_some() && !life.is_terminating()).count()
    }

    fn pod(&self, name: &str) -> &Life {
        self.cluster.lives().find(|life| life.id().name.starts_with(name)).expect("there is such a pod")
    }

    fn exit(&mut self, pod: &str, container: &str, code: i32) {
        let pod = self.pod(pod).id().clone();
        let start = self.starts(&pod, container) - 1;
        let id = ContainerId { pod, container: container.into(), start };
        self.cluster.learn(&Report::Exited { id, exit: Exit::Code(code) }, self.now);
    }

    fn starts(&self, pod: &PodId, container: &str) -> u32 {
        let is_start = |action: &&Action| matches!(action, Action::Start { id, .. } if id.pod == *pod && id.container == container);
        self.actions.iter().filter(is_start).count() as u32
    }
}

fn outcome(action: &Action) -> Vec<Report> {
    match action {
        Action::SetUp { pod, .. } => {
            vec![Report::PodUp { pod: pod.clone(), addresses: vec!["10.0.0.1".parse().unwrap()] }]
        }
        Action::Start { id, process } => {
            let ends = process.user == User::Redirection || id.container.starts_with("init");
            let end = ends.then(|| Report::Exited { id: id.clone(), exit: Exit::Code(0) });
            std::iter::once(Report::Started { id: id.clone() }).chain(end).collect()
        }
        Action::Stop { id, how } => {
            let exit = if *how == Stop::Ask { Exit::Code(0) } else { Exit::Signal(9) };
            vec![Report::Exited { id: id.clone(), exit }]
        }
        Action::Check { id, ticket, .. } => vec![Report::Checked { id: id.clone(), ticket: *ticket, outcome: Ok(()) }],
        Action::TearDown { pod } => vec![Report::Gone { pod: pod.clone() }],
    }
}

#[test]
fn a_pod_of_the_mesh_starts_in_order() {
    let mut node = Node::new();
    let mut object = deployment("shop", "web", 1, "1");
    object["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "init-own", "command": ["true"]}]);
    apply(&mut node.cluster, "Deployment.apps", "web", &object);
    node.settle();
    let order: Vec<&str> = node
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::SetUp { .. } => Some("set up"),
            Action::Start { id, .. } => Some(id.container.as_str()),
            Action::Check { .. } => Some("check"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["set up", "init-own", "fsm-init", "sidecar", "check", "main"]);
    assert_eq!(node.ready(), 1);
}

#[test]
fn a_pod_outside_of_the_mesh_has_no_sidecar() {
    let mut node = Node::new();
    apply(&mut node.cluster, "Deployment.apps", "web", &deployment("plain", "web", 1, "1"));
    node.settle();
    let spec = node.pod("web").pod().spec.clone().unwrap();
    assert_eq!(spec.containers.len(), 1);
    assert_eq!(node.ready(), 1);
}

#[test]
fn an_update_keeps_the_old_pod_until_the_new_one_is_ready() {
    let mut node = Node::new();
    apply(&mut node.cluster, "Deployment.apps", "web", &deployment("plain", "web", 1, "1"));
    node.settle();
    let old = node.pods().remove(0);
    apply(&mut node.cluster, "Deployment.apps", "web", &deployment("plain", "web", 1, "2"));
    let first = node.step();
    assert!(matches!(first.as_slice(), [Action::SetUp { .. }]), "{first:?}");
    assert_eq!(node.ready(), 1, "the old one serves");
    for action in first {
        for report in outcome(&action) {
            node.cluster.learn(&report, node.now);
        }
    }
    node.settle();
    node.wait(Duration::from_secs(2));
    assert_eq!(node.ready(), 1);
    assert!(!node.pods().contains(&old), "the old one is gone");
}

#[test]
fn a_crashing_container_waits_longer_each_time() {
    let mut node = Node::new();
    apply(&mut node.cluster, "Deployment.apps", "web", &deployment("plain", "web", 1, "1"));
    node.settle();
    let id = node.pod("web").id().clone();
    for (round, wait) in [1, 2, 4, 8, 16, 30, 30].into_iter().enumerate() {
        node.exit("web", "main", 1);
        node.settle();
        let state = node.pod("web").object(Calendar { epoch: Timestamp::UNIX_EPOCH }).status.unwrap();
        let waiting = state.container_statuses.unwrap()[0].state.clone().unwrap().waiting.expect("it waits");
        assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
        node.wait(Duration::from_secs(wait) - Duration::from_millis(1));
        assert_eq!(node.starts(&id, "main"), round as u32 + 1, "too early");
        node.wait(Duration::from_millis(1));
        assert_eq!(node.starts(&id, "main"), round as u32 + 2);
    }
}

#[test]
fn the_sidecar_ends_with_the_job() {
    let mut node = Node::new();
    let job = json!({
        "metadata": {"namespace": "shop", "name": "once", "uid": "u"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "command": ["true"]}]}}},
    });
    apply(&mut node.cluster, "Job.batch", "once", &job);
    node.settle();
    node.exit("once", "main", 0);
    node.settle();
    let stopped = |action: &Action| matches!(action, Action::Stop { id, .. } if id.container == "sidecar");
    assert!(node.actions.iter().any(stopped));
    assert_eq!(node.pod("once").phase(), Phase::Succeeded);
    assert!(node.pod("once").is_gone(), "its namespaces are free");
    let published = node.cluster.publish();
    let status = published.iter().find_map(|publication| match publication {
        Publication::Status { kind: "Job.batch", status, .. } => Some(status.clone()),
        _ => None,
    });
    let status = status.expect("the job has a status");
    assert_eq!(status["succeeded"], 1);
    assert_eq!(status["conditions"][0]["type"], "Complete");
    node.wait(Duration::from_secs(600));
    assert_eq!(node.pods().len(), 1, "no second pod");
}

#[test]
fn a_failing_job_gives_up_at_its_limit() {
    let mut node = Node::new();
    let job = json!({
        "metadata": {"namespace": "plain", "name": "bad", "uid": "u"},
        "spec": {
            "backoffLimit": 2,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "command": ["false"]}]}},
        },
    });
    apply(&mut node.cluster, "Job.batch", "bad", &job);
    for _ in 0..6 {
        node.wait(Duration::from_secs(60));
        let running: Vec<String> =
            node.cluster.lives().filter(|l| l.ended().is_none()).map(|l| l.id().name.clone()).collect();
        for pod in running {
            node.exit(&pod, "main", 1);
        }
    }
    node.settle();
    assert_eq!(node.pods().len(), 3, "one try and two more");
    let record = node.cluster.jobs.values().next().unwrap();
    assert_eq!(record.state, super::super::sets::JobState::Failed);
}

#[test]
fn a_stateful_set_comes_one_by_one_with_names_of_its_own() {
    let mut node = Node::new();
    let set = json!({
        "metadata": {"namespace": "plain", "name": "db", "uid": "u"},
        "spec": {
            "replicas": 3, "serviceName": "db", "selector": {},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "main", "command": ["sleep"], "ports": [{"containerPort": 1, "name": "p"}]}]},
            },
        },
    });
    apply(&mut node.cluster, "StatefulSet.apps", "db", &set);
    let service = json!({
        "metadata": {"namespace": "plain", "name": "db"},
        "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 5, "name": "x", "targetPort": "p"}]},
    });
    apply(&mut node.cluster, "Service", "db", &service);
    node.step();
    assert_eq!(node.pods(), ["db-0"], "the second waits for the first");
    let up = node.actions.clone();
    for action in up {
        for report in outcome(&action) {
            node.cluster.learn(&report, node.now);
        }
    }
    node.settle();
    assert_eq!(node.pods(), ["db-0", "db-1", "db-2"]);
    let slice = node.cluster.publish().into_iter().find_map(|publication| match publication {
        Publication::Put { kind: "EndpointSlice.discovery.k8s.io", object, .. } => Some(object),
        _ => None,
    });
    let slice = slice.expect("the Service has a slice");
    let hostnames: Vec<&str> =
        slice["endpoints"].as_array().unwrap().iter().map(|one| one["hostname"].as_str().unwrap()).collect();
    assert_eq!(hostnames, ["db-0", "db-1", "db-2"]);
    assert_eq!(slice["ports"][0]["port"], 1);
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "db");
}

#[test]
fn a_deleted_pod_of_a_deployment_is_replaced_and_a_bare_one_is_not() {
    let mut node = Node::new();
    apply(&mut node.cluster, "Deployment.apps", "web", &deployment("plain", "web", 1, "1"));
    let bare = json!({
        "metadata": {"namespace": "plain", "name": "bare"},
        "spec": {"containers": [{"name": "main", "command": ["sleep"]}]},
    });
    apply(&mut node.cluster, "Pod", "bare", &bare);
    node.settle();
    assert_eq!(node.ready(), 2);
    for name in node.pods() {
        node.cluster.remove("Pod", &("plain".into(), name), node.now);
    }
    node.settle();
    node.wait(Duration::from_secs(2));
    assert_eq!(node.pods().len(), 1);
    assert!(node.pods()[0].starts_with("web-"));
}

#[test]
fn what_it_has_written_itself_changes_nothing_when_it_comes_back() {
    let mut node = Node::new();
    let bare = json!({
        "metadata": {"namespace": "shop", "name": "bare"},
        "spec": {"containers": [{"name": "main", "command": ["sleep"]}]},
    });
    apply(&mut node.cluster, "Pod", "bare", &bare);
    node.settle();
    let written = node.cluster.publish();
    for publication in &written {
        if let Publication::Put { kind: "Pod", key, object } = publication {
            node.cluster.apply("Pod", key.clone(), object).unwrap();
            // And by another cluster, after a crash of the first, it is started again, with one sidecar.
            let mut later = cluster(2);
            later.apply("Pod", key.clone(), object).unwrap();
            later.step(Duration::ZERO);
            let spec = later.lives().next().expect("it is started again").pod().spec.clone().unwrap();
            assert_eq!(spec.containers.len(), 2);
            assert_eq!(spec.init_containers.unwrap().len(), 1);
        }
    }
    assert!(node.step().is_empty());
    assert!(node.cluster.publish().is_empty(), "nothing new to write");
}

#[test]
fn a_deleted_pod_does_not_come_back_by_what_was_written_of_its_end() {
    let mut node = Node::new();
    let bare = json!({
        "metadata": {"namespace": "plain", "name": "bare"},
        "spec": {"containers": [{"name": "main", "command": ["sleep"]}]},
    });
    apply(&mut node.cluster, "Pod", "bare", &bare);
    node.settle();
    let key: Key = ("plain".into(), "bare".into());
    node.cluster.remove("Pod", &key, node.now);
    let written = node.cluster.publish();
    node.wait(Duration::from_secs(2));
    assert!(node.pods().is_empty());
    for publication in written {
        if let Publication::Put { kind: "Pod", object, .. } = publication {
            node.cluster.apply("Pod", key.clone(), &object).unwrap();
        }
    }
    node.settle();
    assert!(node.pods().is_empty());
}

#[test]
fn pods_of_workloads_of_an_earlier_run_are_removed() {
    let mut cluster = cluster(1);
    let left = json!({
        "metadata": {
            "namespace": "plain", "name": "web-x", "annotations": {MANAGED: "true"}, "ownerReferences": [{"kind": "ReplicaSet"}],
        },
        "spec": {"containers": []},
    });
    apply(&mut cluster, "Pod", "web-x", &left);
    cluster.step(Duration::ZERO);
    let removed = Publication::Remove { kind: "Pod", key: ("plain".into(), "web-x".into()) };
    assert!(cluster.publish().contains(&removed));
}

#[test]
fn an_annotation_that_cannot_be_understood_is_a_problem_of_its_workload() {
    let mut node = Node::new();
    let mut object = deployment("shop", "web", 1, "1");
    object["spec"]["template"]["metadata"]["annotations"] = json!({"flomesh.io/sidecar-injection": "maybe"});
    apply(&mut node.cluster, "Deployment.apps", "web", &object);
    node.settle();
    assert!(node.pods().is_empty());
    let why = &node.cluster.problems()["Deployment shop/web"];
    assert!(why.contains("maybe") && why.contains("shop/web-"), "{why}");
}
