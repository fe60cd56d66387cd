//! How the pods of a release come up: one line for each that is done, as FSM prints it.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use crate::cluster::{Cluster, Happenings, Selector, types};
use crate::commands::pods::is_ready;
use crate::output::columns;

/// What has been seen of the pods of a release so far.
#[derive(Debug)]
pub(super) struct Watch {
    labels: String,
    namespace: String,
    /// Pods of hooks that have been seen and have not been told of; helm removes those that succeed.
    working: BTreeSet<(String, String)>,
    told: BTreeSet<String>,
}

/// One look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Lines to print.
    pub(super) news: Vec<String>,
    /// What is not ready yet.
    pub(super) missing: Vec<String>,
}

impl Watch {
    pub(super) fn new(mesh: &str, namespace: &str) -> Self {
        Self { labels: labels(mesh), namespace: namespace.to_owned(), working: BTreeSet::new(), told: BTreeSet::new() }
    }

    /// Passes over the pods that are there already: they are not the work of this command.
    pub(super) fn pass_over(&mut self, cluster: &Cluster) -> Result<()> {
        let pods = cluster.list(types::POD, Some(&self.namespace), Selector::labels(&self.labels))?;
        self.told.extend(pods.iter().map(|pod| name(pod).to_owned()));
        Ok(())
    }

    /// Looks; Deployments count as soon as helm has made all of them.
    pub(super) fn look(&mut self, cluster: &Cluster, with_deployments: bool) -> Result<Look> {
        let which = Selector::labels(&self.labels);
        let pods = cluster.list(types::POD, Some(&self.namespace), which)?;
        let deployments =
            if with_deployments { cluster.list(types::DEPLOYMENT, Some(&self.namespace), which)? } else { Vec::new() };
        Ok(self.take_in(&pods, &deployments))
    }

    /// Follows what happens between two looks: a hook's pod may come and go between them. Who may not watch pods goes without.
    pub(super) fn follow(&self, cluster: &Cluster) -> Happenings {
        cluster.watch(types::POD, &self.namespace, &self.labels).unwrap_or_default()
    }

    /// Takes in what has happened since the last look.
    pub(super) fn happened(&mut self, pods: &[Value]) -> Vec<String> {
        let mut look = Look::default();
        for pod in pods {
            self.see(&mut look, pod);
        }
        look.news
    }

    fn see(&mut self, look: &mut Look, pod: &Value) {
        let (app, name) = (app(pod), name(pod));
        let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Pending");
        let hook = pod.pointer("/metadata/labels/job-name").is_some();
        if phase == "Succeeded" || (!hook && is_ready(pod)) {
            self.working.retain(|(_, working)| working != name);
            self.tell(look, app, name);
        } else if hook && phase != "Failed" {
            self.working.insert((app.to_owned(), name.to_owned()));
        } else if hook {
            self.working.retain(|(_, working)| working != name);
        }
    }

    fn take_in(&mut self, pods: &[Value], deployments: &[Value]) -> Look {
        let mut look = Look::default();
        let mut there = BTreeSet::new();
        for pod in pods {
            there.insert(name(pod).to_owned());
            self.see(&mut look, pod);
        }
        let gone: Vec<_> = self.working.iter().filter(|(_, name)| !there.contains(name)).cloned().collect();
        for (app, name) in gone {
            self.working.retain(|(_, working)| *working != name);
            self.tell(&mut look, &app, &name);
        }
        look.missing = deployments.iter().filter_map(unready).collect();
        look
    }

    fn tell(&mut self, look: &mut Look, app: &str, name: &str) {
        if self.told.insert(name.to_owned()) {
            look.news.push(format!("{app}[{name}] Done"));
        }
    }
}

/// `fsm-injector (0 of 1 ready)`, if that is not all.
fn unready(deployment: &Value) -> Option<String> {
    let number = |path: &str| deployment.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let wanted = deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let current = number("/status/observedGeneration") >= number("/metadata/generation");
    let (updated, available) = (number("/status/updatedReplicas"), number("/status/availableReplicas"));
    let ready = updated.min(available);
    (!current || ready < wanted || number("/status/replicas") > updated)
        .then(|| format!("{} ({} of {wanted} ready)", name(deployment), if current { ready } else { 0 }))
}

/// What is wrong with pods that are not ready, in FSM's words; empty if nothing is.
pub(super) fn ill(cluster: &Cluster, mesh: &str, namespace: &str) -> Result<String> {
    let labels = labels(mesh);
    let pods = cluster.list(types::POD, Some(namespace), Selector::labels(&labels))?;
    Ok(pods.iter().filter_map(|pod| state_of_ill(pod, namespace)).collect())
}

fn state_of_ill(pod: &Value, namespace: &str) -> Option<String> {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Pending");
    if phase == "Succeeded" || is_ready(pod) {
        return None;
    }
    let (ready, status) = columns::pod_state(pod);
    let mut text = format!("Status for pod {} in namespace {namespace}:\n {ready} {status}", name(pod));
    let texts = ["initContainerStatuses", "containerStatuses"].into_iter().flat_map(|which| {
        pod.pointer(&format!("/status/{which}")).and_then(Value::as_array).into_iter().flatten().flat_map(|status| {
            ["/state/waiting/message", "/state/terminated/message", "/lastState/terminated/message"]
                .into_iter()
                .filter_map(|path| status.pointer(path).and_then(Value::as_str))
        })
    });
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let unscheduled =
        conditions.filter(|condition| condition["status"] == "False").filter_map(|c| c["message"].as_str());
    for said in texts.chain(unscheduled) {
        text.push_str(&format!("\n {}", said.trim().replace('\n', "\n ")));
    }
    Some(text + "\n\n")
}

fn labels(mesh: &str) -> String {
    format!("app.kubernetes.io/name=flomesh.io,app.kubernetes.io/instance={mesh}")
}

fn app(pod: &Value) -> &str {
    pod.pointer("/metadata/labels/app").and_then(Value::as_str).unwrap_or_default()
}

fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn pod(app: &str, name: &str, hook: bool, phase: &str, ready: bool) -> Value {
        let mut labels = json!({"app": app});
        if hook {
            labels["job-name"] = app.into();
        }
        let ready = if ready { "True" } else { "False" };
        json!({"metadata": {"name": name, "labels": labels},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[test]
    fn each_pod_is_told_of_once_when_it_is_done() {
        let mut watch = Watch::new("fsm", "fsm-system");
        assert!(watch.take_in(&[pod("fsm-preinstall", "p", true, "Running", true)], &[]).news.is_empty());
        // Helm removes the pods of hooks that succeeded, faster than anybody looks.
        let controller = |ready| pod("fsm-controller", "c", false, "Running", ready);
        assert_eq!(watch.take_in(&[controller(false)], &[]).news, ["fsm-preinstall[p] Done"]);
        assert_eq!(watch.take_in(&[controller(true)], &[]).news, ["fsm-controller[c] Done"]);
        assert!(watch.take_in(&[controller(true)], &[]).news.is_empty());
    }

    #[test]
    fn a_hook_that_came_and_went_between_two_looks_is_told_of_as_well() {
        let mut watch = Watch::new("fsm", "fsm-system");
        let quick = |phase| pod("fsm-preinstall", "p", true, phase, false);
        assert!(watch.happened(&[quick("Pending"), quick("Running")]).is_empty());
        assert_eq!(watch.happened(&[quick("Succeeded"), quick("Succeeded")]), ["fsm-preinstall[p] Done"]);
        assert_eq!(watch.take_in(&[], &[]), Look::default());
        // One that is removed before anybody hears how it ended has ended well: helm keeps those that failed.
        assert!(watch.happened(&[pod("fsm-cleanup", "q", true, "Running", false)]).is_empty());
        assert_eq!(watch.take_in(&[], &[]).news, ["fsm-cleanup[q] Done"]);
    }

    #[test]
    fn a_hook_that_failed_is_not_done() {
        let mut watch = Watch::new("fsm", "fsm-system");
        watch.take_in(&[pod("fsm-preinstall", "p", true, "Running", false)], &[]);
        watch.take_in(&[pod("fsm-preinstall", "p", true, "Failed", false)], &[]);
        assert_eq!(watch.take_in(&[], &[]), Look::default());
    }

    #[test]
    fn a_deployment_is_missing_until_its_new_pods_are_there_and_its_old_ones_are_not() {
        let deployment = |generation: i64, replicas: i64, updated: i64, available: i64| {
            json!({"metadata": {"name": "d", "generation": 2}, "spec": {"replicas": 2}, "status": {
                "observedGeneration": generation, "replicas": replicas, "updatedReplicas": updated,
                "availableReplicas": available}})
        };
        assert_eq!(unready(&deployment(1, 2, 2, 2)).as_deref(), Some("d (0 of 2 ready)"));
        assert_eq!(unready(&deployment(2, 3, 2, 2)).as_deref(), Some("d (2 of 2 ready)"));
        assert_eq!(unready(&deployment(2, 2, 2, 1)).as_deref(), Some("d (1 of 2 ready)"));
        assert_eq!(unready(&deployment(2, 2, 2, 2)), None);
    }

    #[test]
    fn what_a_hook_found_is_told() {
        let mut failed = pod("fsm-preinstall", "p", true, "Failed", false);
        failed["status"]["containerStatuses"] = json!([{"name": "x", "state": {"terminated": {"exitCode": 1, "message": "checks failed: a mesh is there"}}}]);
        let text = state_of_ill(&failed, "fsm-system").unwrap();
        assert!(text.starts_with("Status for pod p in namespace fsm-system:\n"), "{text}");
        assert!(text.contains("a mesh is there"), "{text}");
    }
}
