//! Can a mesh be installed?

use anyhow::Result;
use serde_json::{Value, json};

use super::report::{Outcome, Report};
use super::{judge, unknown};
use crate::cluster::{Cluster, ClusterError, Helm, Selector, types};
use crate::commands::MeshChoice;

/// What an installation makes: group, kind in the plural, whether in the namespace of the control plane.
const MADE: [(&str, &str, bool); 14] = [
    ("", "namespaces", false),
    ("apiextensions.k8s.io", "customresourcedefinitions", false),
    ("rbac.authorization.k8s.io", "clusterroles", false),
    ("rbac.authorization.k8s.io", "clusterrolebindings", false),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", false),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", false),
    ("", "serviceaccounts", true),
    ("", "services", true),
    ("", "configmaps", true),
    ("", "secrets", true),
    ("apps", "deployments", true),
    ("batch", "jobs", true),
    ("rbac.authorization.k8s.io", "roles", true),
    ("rbac.authorization.k8s.io", "rolebindings", true),
];

pub(super) fn look(report: &mut Report, cluster: &Cluster, choice: &MeshChoice) -> Result<()> {
    let namespace = choice.fsm_namespace.as_str();
    for (group, plural, namespaced) in MADE {
        let what = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let place = if namespaced { format!(" in namespace {namespace}") } else { String::new() };
        let outcome = match may_create(cluster, group, plural, namespaced.then_some(namespace)) {
            Ok(true) => Outcome::Pass,
            Ok(false) => Outcome::fail(
                format!("you may not create {what}{place}"),
                "install with the rights of a cluster administrator, or have one install it",
            ),
            Err(error) => unknown(&error),
        };
        report.add("permissions", format!("can create {what}{place}"), outcome);
    }
    const MESH: &str = "installation";
    let outcome = match Helm::find(&choice.access) {
        Ok(_) => Outcome::Pass,
        Err(error) => Outcome::fail(error.to_string(), "install it, then check again"),
    };
    report.add(MESH, "helm is there", outcome);
    let outcome = match cluster.meshes() {
        Ok(meshes) => judge::room_for(&meshes, choice.mesh_name(), namespace),
        Err(error) => unknown(&error),
    };
    report.add(MESH, "no other mesh is in the way", outcome);
    let outcome = match cluster.list(types::DEFINITION, None, Selector::default()) {
        Ok(found) => judge::definitions_before(&found),
        Err(error) => unknown(&error),
    };
    report.add(MESH, "no definition of somebody else is in the way", outcome);
    let outcome = match cluster.get(types::NAMESPACE, None, namespace) {
        Ok(found) => judge::home(found.as_ref(), namespace),
        Err(error) => unknown(&error),
    };
    report.add(MESH, format!("namespace {namespace} can take the control plane"), outcome);
    Ok(())
}

fn may_create(cluster: &Cluster, group: &str, plural: &str, namespace: Option<&str>) -> Result<bool, ClusterError> {
    let asked = json!({"group": group, "resource": plural, "verb": "create", "namespace": namespace});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "metadata": {}, "spec": {"resourceAttributes": asked}});
    let answer = cluster.create(types::SELF_ACCESS, None, &review)?;
    Ok(answer.pointer("/status/allowed").and_then(Value::as_bool).unwrap_or(false))
}
