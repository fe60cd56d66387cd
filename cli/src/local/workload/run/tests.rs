//! The loop on a real node: from objects in the state directory to processes and back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::local::node::{NodeOptions, rootless};
use crate::local::state::Home;
use std::io::Write as _;

/// More than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Ground {
    state: State,
    node: Node,
    end: watch::Sender<bool>,
    running: tokio::task::JoinHandle<Result<(), RunError>>,
    _directory: tempfile::TempDir,
}

/// A node with the loop on it; `None`, said aloud, without the rights.
fn ground() -> Option<Ground> {
    if !rootless::has_rights() {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test}: namespaces need root");
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: namespaces need root");
        return None;
    }
    let directory = tempfile::Builder::new().prefix("fsm-run-test-").tempdir().unwrap();
    let state = Home::new(Some(directory.path())).mesh("test").unwrap();
    state.create().unwrap();
    let node = Node::create(NodeOptions::new("test", state.root())).unwrap();
    let (end, ending) = watch::channel(false);
    let options = RunOptions {
        state: state.clone(),
        node: node.clone(),
        containers: Containers::default(),
        fsm_namespace: "fsm-system".to_owned(),
        control: node.address(),
        control_name: "fsm-controller.fsm-system.svc".to_owned(),
        control_ca: state.control().join("ca.pem"),
    };
    let running = tokio::spawn(run(options, ending));
    Some(Ground { state, node, end, running, _directory: directory })
}

impl Ground {
    fn put(&self, object: Value) {
        self.state.objects().put(&object).unwrap();
    }

    fn list(&self, kind: &str) -> Vec<Value> {
        self.state.objects().list(kind, Some("a")).unwrap()
    }

    async fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} has not come; pods: {:#?}", self.list("Pod"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn is_ready(pod: &Value) -> bool {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    }

    async fn close(self) {
        self.end.send_replace(true);
        self.running.await.unwrap().unwrap();
        tokio::task::spawn_blocking(move || self.node.close()).await.unwrap();
    }
}

fn deployment(script: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "a", "name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 2,
                    "containers": [{
                        "name": "main", "image": "busybox", "command": ["sh", "-c", script],
                        "env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                        "readinessProbe": {"exec": {"command": ["test", "-e", "/scratch/ready"]}},
                        "volumeMounts": [
                            {"name": "conf", "mountPath": "/fsm-run-test/conf"}, {"name": "scratch", "mountPath": "/scratch"},
                        ],
                    }],
                    "volumes": [{"name": "conf", "configMap": {"name": "conf"}}, {"name": "scratch", "emptyDir": {}}],
                },
            },
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_become_processes_and_the_processes_objects() {
    let Some(ground) = ground() else { return };
    ground.put(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "a", "name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }));
    let script = "cat /fsm-run-test/conf/greeting; echo I am $WHO; touch /scratch/ready; exec sleep 1000";
    ground.put(deployment(script));
    // The ConfigMap comes later: the container waits for it.
    let why = ground
        .until("the reason to wait", || {
            let pod = ground.list("Pod").pop()?;
            pod.pointer("/status/containerStatuses/0/state/waiting/message")?.as_str().map(str::to_owned)
        })
        .await;
    assert!(why.contains("ConfigMap conf"), "{why}");
    ground.put(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a", "name": "conf"},
        "data": {"greeting": "Hello\n"},
    }));
    let pod = ground.until("a ready pod", || ground.list("Pod").into_iter().find(Ground::is_ready)).await;
    let (name, address) = (pod["metadata"]["name"].as_str().unwrap(), pod["status"]["podIP"].as_str().unwrap());
    let log = std::fs::read_to_string(ground.state.log("a", name, "main")).unwrap();
    assert_eq!(log, format!("Hello\nI am {address}\n"));
    let service = ground.list("Service").remove(0);
    assert!(service["spec"]["clusterIP"].as_str().unwrap().starts_with("10.96."), "{service}");
    ground
        .until("the pod among the endpoints", || {
            let slice = ground.list("EndpointSlice.discovery.k8s.io").pop()?;
            let endpoint = slice.pointer("/endpoints/0")?.clone();
            (endpoint["addresses"][0] == address && endpoint["conditions"]["ready"] == true).then_some(())
        })
        .await;
    let name = ObjectName::new("Deployment.apps", "a", "web");
    ground
        .until("the status of the deployment", || {
            let deployment = ground.state.objects().get(&name).unwrap()?;
            (deployment["status"]["readyReplicas"] == 1).then_some(())
        })
        .await;
    ground.state.objects().remove(&name).unwrap();
    ground.until("the end of the pod", || ground.list("Pod").is_empty().then_some(())).await;
    assert!(ground.node.pods().is_empty());
    assert!(!ground.state.pod("a", pod["metadata"]["name"].as_str().unwrap()).exists(), "its files are gone");
    ground.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_to_its_end_and_keeps_its_log() {
    let Some(ground) = ground() else { return };
    ground.put(json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "a", "name": "once"},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox", "command": ["echo", "done"]}],
        }}},
    }));
    let name = ObjectName::new("Job.batch", "a", "once");
    ground
        .until("the end of the job", || {
            let job = ground.state.objects().get(&name).unwrap()?;
            (job.pointer("/status/conditions/0/type")? == "Complete").then_some(())
        })
        .await;
    let pod = ground
        .until("the pod's phase", || ground.list("Pod").into_iter().find(|pod| pod["status"]["phase"] == "Succeeded"));
    let pod = pod.await;
    let log = ground.state.log("a", pod["metadata"]["name"].as_str().unwrap(), "main");
    assert_eq!(std::fs::read_to_string(log).unwrap(), "done\n");
    ground.until("the pod's namespaces to be free", || ground.node.pods().is_empty().then_some(())).await;
    ground.close().await;
}
