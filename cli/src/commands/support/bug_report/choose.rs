//! What belongs into a bug report, in groups. Names that lead nowhere are told, and left out.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, bail};
use fsm_api::resources::Kind;
use serde_json::Value;

use super::BugReport;
use super::part::{Part, What};
use crate::cluster::types;
use crate::commands::namespace::MONITORED_BY;
use crate::commands::pods;
use crate::reach::{InCluster, Mesh, Place, PodName};

/// Pages of a sidecar, and the files they become.
const SIDECAR: [(&str, &str); 10] = [
    ("/config_dump", "config_dump.json"),
    ("/config_status", "config_status.json"),
    ("/certs", "certs.json"),
    ("/clusters", "clusters.txt"),
    ("/listeners", "listeners.txt"),
    ("/stats", "stats.txt"),
    ("/stats/prometheus", "metrics.txt"),
    ("/ready", "ready.txt"),
    ("/version", "version.txt"),
    ("/logging", "logging.txt"),
];
/// Pages of fsm-control.
const CONTROL: [(&str, &str); 6] = [
    ("/version", "version.txt"),
    ("/proxies", "proxies.json"),
    ("/problems", "problems.json"),
    ("/world", "world.json"),
    ("/ca", "ca.json"),
    ("/metrics", "metrics.txt"),
];
/// Containers that the mesh adds to pods; what applications say is their owners'.
const ADDED: [&str; 2] = [pods::SIDECAR, "fsm-init"];

/// Parts that are collected one after another, and told of in one line.
#[derive(Debug)]
pub(super) struct Group {
    /// As `pod bookstore/bookstore-v1-7c9`.
    pub(super) title: String,
    pub(super) parts: Vec<Part>,
}

impl BugReport {
    /// What is to be collected, the whole mesh first, and what was asked for in vain.
    pub(super) fn groups(&self, mesh: &Mesh) -> (Vec<Group>, Vec<String>) {
        let mut unusable = Vec::new();
        let mut groups = vec![self.whole(mesh)];
        match mesh {
            Mesh::Local(state) => {
                let files =
                    [("control/fsm-control.log", state.control_log()), ("control/daemon.log", state.daemon_log())];
                let mut parts = pages("control", &Place::Control, &CONTROL);
                parts.extend(files.map(|(path, file)| Part::new(path, What::File(file))));
                groups.push(Group { title: "the control plane".to_owned(), parts });
            }
            Mesh::Cluster(cluster) => groups.extend(self.control_plane(mesh, cluster, &mut unusable)),
        }
        let chosen = self.pods(mesh, &mut unusable);
        let mut namespaces: BTreeSet<String> = self.app_namespaces.iter().cloned().collect();
        namespaces.extend(chosen.iter().map(|pod| pods::name(pod).0));
        groups.extend(namespaces.iter().map(|namespace| self.namespace(mesh, namespace)));
        groups.extend(chosen.iter().map(sidecar));
        (groups, unusable)
    }

    /// What is about all of the mesh.
    fn whole(&self, mesh: &Mesh) -> Group {
        let command = |path: &str, words: &[&str]| {
            Part::new(format!("mesh/{path}"), What::Command(words.iter().map(|word| (*word).to_owned()).collect()))
        };
        let mut parts = vec![
            command("version.txt", &["version"]),
            command("meshes.txt", &["mesh", "list"]),
            command("namespaces.txt", &["namespace", "list"]),
            command("proxies.txt", &["proxy", "status"]),
            command("roots.txt", &["certificate", "status"]),
        ];
        let own = Kind::ALL.iter().filter(|kind| kind.has_definition());
        let ingress = [Kind::Ingress, Kind::IngressClass];
        for kind in own.chain(ingress.iter().filter(|_| self.ingress)) {
            let plural = kind.names().map_or("others", |names| names.plural);
            parts.push(Part::new(format!("mesh/objects/{plural}.yaml"), What::Objects(kind.clone(), None)));
        }
        if let Mesh::Cluster(_) = mesh {
            parts.push(command("check.txt", &["check"]));
            // Other people's webhooks can be what is wrong.
            for (path, of) in [
                ("mutating-webhooks.yaml", types::MUTATING_WEBHOOK),
                ("validating-webhooks.yaml", types::VALIDATING_WEBHOOK),
            ] {
                parts.push(Part::new(format!("mesh/{path}"), What::Others(of, None, None)));
            }
        }
        Group { title: mesh.to_string(), parts }
    }

    /// The namespace of the control plane, and its pods.
    fn control_plane(&self, mesh: &Mesh, cluster: &InCluster, unusable: &mut Vec<String>) -> Vec<Group> {
        let home = cluster.namespace();
        let mut parts = pages("control", &Place::Control, &CONTROL);
        for (path, of) in [
            ("deployments.yaml", types::DEPLOYMENT),
            ("services.yaml", types::SERVICE),
            ("configmaps.yaml", types::CONFIG_MAP),
        ] {
            let labels = Some("app.kubernetes.io/part-of=flomesh.io".to_owned());
            parts.push(Part::new(format!("control/{path}"), What::Others(of, Some(home.to_owned()), labels)));
        }
        parts.push(Part::new("control/secrets.txt", What::Secrets(home.to_owned())));
        parts.push(Part::new("control/events.txt", What::Events(home.to_owned())));
        let mut groups = vec![Group { title: format!("the control plane in namespace {home}"), parts }];
        match mesh.list(&Kind::Pod, Some(home)) {
            Ok(found) => {
                let of_mesh = |pod: &&Value| !pod["metadata"]["labels"]["meshName"].is_null();
                groups.extend(found.iter().filter(of_mesh).map(|pod| {
                    let at = format!("control/pods/{}", pods::name(pod).1);
                    let mut parts = vec![Part::new(format!("{at}/pod.yaml"), What::Object(Box::new(pod.clone())))];
                    parts.extend(logs(pod, &at, |_| true));
                    Group { title: format!("pod {}", PodName::of(pod)), parts }
                }));
            }
            Err(error) => unusable.push(format!("pods of the control plane are not listed: {error:#}")),
        }
        groups
    }

    /// What is about a namespace of applications.
    fn namespace(&self, mesh: &Mesh, namespace: &str) -> Group {
        let at = format!("namespaces/{namespace}");
        let of = |kind: &Kind| {
            let plural = kind.names().map_or("others", |names| names.plural);
            Part::new(format!("{at}/{plural}.yaml"), What::Objects(kind.clone(), Some(namespace.to_owned())))
        };
        let kinds = [
            Kind::Service,
            Kind::EndpointSlice,
            Kind::ServiceAccount,
            Kind::Deployment,
            Kind::StatefulSet,
            Kind::DaemonSet,
            Kind::Job,
        ];
        let mut parts: Vec<Part> = kinds.iter().map(of).collect();
        if let Ok(Some(object)) = mesh.get(&Kind::Namespace, "", namespace) {
            parts.push(Part::new(format!("{at}/namespace.yaml"), What::Object(Box::new(object))));
        }
        if let Mesh::Cluster(_) = mesh {
            parts.push(Part::new(format!("{at}/events.txt"), What::Events(namespace.to_owned())));
        }
        Group { title: format!("namespace {namespace}"), parts }
    }

    /// The pods with a sidecar that are meant, each once.
    fn pods(&self, mesh: &Mesh, unusable: &mut Vec<String>) -> Vec<Value> {
        let mut found: Vec<Value> = Vec::new();
        let mut keep = |what: &str, pods: Result<Vec<Value>>| match pods {
            Ok(pods) => found.extend(pods),
            Err(error) => unusable.push(format!("{what} is left out: {error:#}")),
        };
        if self.all {
            keep("--all", all(mesh));
        }
        for namespace in &self.app_namespaces {
            keep(&format!("namespace {namespace}"), of_namespace(mesh, namespace));
        }
        for deployment in &self.app_deployments {
            keep(&format!("Deployment {deployment}"), of_deployment(mesh, deployment));
        }
        for pod in &self.app_pods {
            keep(&format!("pod {pod}"), one(mesh, pod));
        }
        found.sort_by_key(PodName::of);
        found.dedup_by_key(|pod| PodName::of(pod));
        found
    }
}

/// All members of the mesh; of a namespace outside of it those that are none are no matter.
fn all(mesh: &Mesh) -> Result<Vec<Value>> {
    let namespaces = mesh.list(&Kind::Namespace, None)?;
    let member = |namespace: &&Value| namespace["metadata"]["labels"].get(MONITORED_BY).is_some();
    let members: BTreeSet<&str> =
        namespaces.iter().filter(member).filter_map(|namespace| namespace["metadata"]["name"].as_str()).collect();
    let mut found = mesh.list(&Kind::Pod, None)?;
    found.retain(|pod| members.contains(pods::name(pod).0.as_str()) && pods::has_sidecar(pod));
    Ok(found)
}

fn of_namespace(mesh: &Mesh, namespace: &str) -> Result<Vec<Value>> {
    if mesh.get(&Kind::Namespace, "", namespace)?.is_none() {
        bail!("there is no such namespace");
    }
    let mut found = mesh.list(&Kind::Pod, Some(namespace))?;
    found.retain(pods::has_sidecar);
    Ok(found)
}

fn of_deployment(mesh: &Mesh, text: &str) -> Result<Vec<Value>> {
    let (namespace, name) = split(text)?;
    let deployment = mesh.get(&Kind::Deployment, namespace, name)?.context("there is no such Deployment")?;
    let selector = pods::selector_of(&deployment).context("it selects no pods")?;
    let mut found = mesh.list(&Kind::Pod, Some(namespace))?;
    found.retain(|pod| selector.matches(pod) && pods::has_sidecar(pod));
    if found.is_empty() {
        bail!("none of its pods has a sidecar");
    }
    Ok(found)
}

fn one(mesh: &Mesh, text: &str) -> Result<Vec<Value>> {
    let (namespace, name) = split(text)?;
    let pod = mesh.get(&Kind::Pod, namespace, name)?.context("there is no such pod")?;
    if !pods::has_sidecar(&pod) {
        bail!("it has no sidecar");
    }
    Ok(vec![pod])
}

fn split(text: &str) -> Result<(&str, &str)> {
    let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    parts.ok_or_else(|| anyhow!("write it as NAMESPACE/NAME"))
}

/// What a sidecar and its pod say.
fn sidecar(pod: &Value) -> Group {
    let name = PodName::of(pod);
    let at = format!("namespaces/{}/pods/{}", name.namespace, name.name);
    let mut parts = vec![Part::new(format!("{at}/pod.yaml"), What::Object(Box::new(pod.clone())))];
    parts.extend(pages(&at, &Place::Sidecar(name.clone()), &SIDECAR));
    let wanted = format!("/config?pod={name}");
    parts.push(Part::new(format!("{at}/config_wanted.json"), What::Page(Place::Control, wanted)));
    parts.extend(logs(pod, &at, |container| ADDED.contains(&container)));
    Group { title: format!("pod {name}"), parts }
}

fn pages(at: &str, place: &Place, pages: &[(&str, &str)]) -> Vec<Part> {
    let part =
        |(path, file): &(&str, &str)| Part::new(format!("{at}/{file}"), What::Page(place.clone(), (*path).to_owned()));
    pages.iter().map(part).collect()
}

/// Logs of containers that have been started, and of those before their last restart.
fn logs(pod: &Value, at: &str, wanted: impl Fn(&str) -> bool) -> Vec<Part> {
    let name = PodName::of(pod);
    let mut parts = Vec::new();
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = statuses.iter().filter_map(|path| pod.pointer(path)?.as_array()).flatten();
    for status in statuses {
        let container = status["name"].as_str().unwrap_or_default();
        if !wanted(container) {
            continue;
        }
        let log = |previous| What::Log { pod: name.clone(), container: container.to_owned(), previous };
        parts.push(Part::new(format!("{at}/{container}.log"), log(false)));
        let restarted = status["restartCount"].as_u64().unwrap_or(0) > 0;
        // On one machine the log goes on where it was.
        let kept = status.pointer("/lastState/terminated").is_some();
        if restarted && kept {
            parts.push(Part::new(format!("{at}/{container}.previous.log"), log(true)));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn of_a_pod_the_sidecar_speaks_and_not_the_application() {
        let status = |name: &str, restarts: u32| {
            let last = if restarts > 0 { json!({"terminated": {"exitCode": 1}}) } else { json!({}) };
            json!({"name": name, "restartCount": restarts, "lastState": last})
        };
        let pod = json!({"metadata": {"namespace": "shop", "name": "web"}, "status": {
            "initContainerStatuses": [status("fsm-init", 0), status("migrate", 0)],
            "containerStatuses": [status("web", 1), status("sidecar", 2)]}});
        let group = sidecar(&pod);
        let files: Vec<_> = group.parts.iter().map(|part| part.path.as_str()).collect();
        for wanted in
            ["pod.yaml", "config_dump.json", "stats.txt", "certs.json", "fsm-init.log", "sidecar.previous.log"]
        {
            assert!(files.contains(&format!("namespaces/shop/pods/web/{wanted}").as_str()), "{wanted}: {files:?}");
        }
        assert!(!files.iter().any(|file| file.contains("migrate") || file.ends_with("web.log")), "{files:?}");
    }

    #[test]
    fn names_are_of_a_namespace() {
        assert_eq!(split("a/b").unwrap(), ("a", "b"));
        for wrong in ["a", "/b", "a/"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
