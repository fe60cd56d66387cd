//! fsm-control and a real API server: the source, the tokens, the Lease, with the rights that the documentation names.

mod absence;
mod bootstrap;
pub(crate) mod control;
mod injection;
mod install;
mod leadership;
mod memory;
mod meshes;
mod needed;
mod objects;
pub(crate) mod program;
mod refusals;
mod replicas;
mod rights;
mod root_certificates;
mod roots;
mod tokens;
mod validation;
mod writing;

use fsm_api::resources::{Kind, Object, ObjectKey};
use fsm_control::source::Event;
use fsm_control::source::kubernetes::{self, Following, Interest, Settings};
use fsm_control::world::Problem;
use fsm_tests::{ApiServer, within};
use kube::Config;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Somebody who follows the API server and keeps what the events say.
struct Follower {
    events: mpsc::Receiver<Event>,
    objects: BTreeMap<ObjectKey, Object>,
    problems: BTreeMap<String, Vec<Problem>>,
    complete: BTreeMap<Kind, Option<Arc<BTreeSet<String>>>>,
    synced: bool,
    _following: Following,
}

impl Follower {
    /// Follows for the mesh of this name.
    async fn new(config: Config, mesh: &str) -> Self {
        let settings =
            Settings { mesh_name: mesh.into(), fsm_namespace: format!("{mesh}-system"), interest: Interest::Mesh };
        let client = kubernetes::client(config).unwrap();
        let (sender, events) = mpsc::channel(64);
        let following = kubernetes::follow(client, settings, sender);
        Self {
            events,
            objects: BTreeMap::new(),
            problems: BTreeMap::new(),
            complete: BTreeMap::new(),
            synced: false,
            _following: following,
        }
    }

    /// Takes in events until this holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                let event = self.events.recv().await.expect("the source goes on");
                self.take_in(event);
            }
        };
        // Reconnecting may wait for eight seconds, and test machines stall.
        if tokio::time::timeout(Duration::from_secs(40), waiting).await.is_err() {
            panic!("{what}: did not happen; {:?}\n{:?}", self.objects.keys().collect::<Vec<_>>(), self.problems);
        }
    }

    async fn synced(mut self) -> Self {
        self.until("everything is listed", |follower| follower.synced).await;
        self
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Applied(located) => {
                self.objects.insert(located.value.key(), located.value);
            }
            Event::Removed(key) => {
                assert!(self.objects.remove(&key).is_some(), "{key} was not there");
            }
            Event::Complete { kind, namespaces } => drop(self.complete.insert(kind, namespaces)),
            Event::Synced => assert!(!std::mem::replace(&mut self.synced, true), "synced comes once"),
            Event::Problems { origin, problems } if problems.is_empty() => {
                self.problems.remove(&*origin);
            }
            Event::Problems { origin, problems } => {
                self.problems.insert(origin.to_string(), problems);
            }
        }
    }

    fn has(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        self.objects.contains_key(&ObjectKey::new(kind, namespace, name))
    }

    fn json(&self, kind: Kind, namespace: &str, name: &str) -> serde_json::Value {
        self.objects.get(&ObjectKey::new(kind, namespace, name)).unwrap().to_json().unwrap()
    }
}

pub(crate) fn namespace(name: &str, mesh: &str) -> String {
    let labels = json!({"flomesh.io/monitored-by": mesh});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}).to_string()
        + "\n---\n"
}

pub(crate) fn account(namespace: &str, name: &str) -> String {
    let metadata = json!({"namespace": namespace, "name": name});
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}).to_string() + "\n---\n"
}

pub(crate) fn pod(namespace: &str, name: &str, account: &str) -> String {
    let metadata = json!({"namespace": namespace, "name": name, "labels": {"app": name}});
    let spec = json!({
        "serviceAccountName": account, "automountServiceAccountToken": false,
        "containers": [{"name": "app", "image": "app", "env": [{"name": "PASSWORD", "value": "secret"}]}],
    });
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).to_string() + "\n---\n"
}

fn split(namespace: &str, name: &str, weight: u32) -> String {
    let metadata = json!({"namespace": namespace, "name": name});
    let spec = json!({"service": name, "backends": [{"service": format!("{name}-v1"), "weight": weight}]});
    json!({"apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit", "metadata": metadata, "spec": spec})
        .to_string()
        + "\n---\n"
}

/// A token of a service account, for an audience and, if one is named, for a pod (name, uid).
pub(crate) async fn token(
    server: &ApiServer,
    namespace: &str,
    account: &str,
    audience: &str,
    pod: Option<(&str, &str)>,
) -> String {
    let mut spec = json!({"audiences": [audience], "expirationSeconds": 600});
    if let Some((name, uid)) = pod {
        spec["boundObjectRef"] = json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
    }
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}).to_string();
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    let request = http::Request::post(path).header("content-type", "application/json").body(body.into_bytes());
    let answer = server.client().await.request::<serde_json::Value>(request.unwrap()).await.unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

pub(crate) async fn uid(server: &ApiServer, namespace: &str, pod: &str) -> String {
    let asked = ["-n", namespace, "get", "pod", pod, "-o", "jsonpath={.metadata.uid}"];
    within("kubectl answers", server.kubectl(&asked, "")).await.stdout
}
