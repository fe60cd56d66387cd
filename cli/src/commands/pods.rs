//! Which pod, and which of its containers: `POD`, `pod/POD`, `deploy/NAME`, `svc/NAME`.

use anyhow::{Result, anyhow, bail};
use fsm_api::resources::Kind;
use serde_json::Value;

use super::MeshChoice;
use super::kinds::{self, Resource};
use super::select::{self, Scope, Selector};
use crate::local::state::ObjectName;
use crate::reach::Mesh;

/// The container that the mesh adds.
pub(super) const SIDECAR: &str = "sidecar";

/// The pod that is meant; of a workload or a Service the first that is ready, else the first.
pub(super) fn find(mesh: &Mesh, choice: &MeshChoice, scope: &Scope, target: &str) -> Result<Value> {
    let mut found = all(mesh, choice, scope, target)?;
    found.sort_by_key(|pod| !is_ready(pod));
    let first = found.into_iter().next();
    first.ok_or_else(|| anyhow!("{target} has no pods: `fsm get {target}` shows what it wants"))
}

/// All pods that are meant: one by its name, or those of a workload or of a Service, of which there may be none.
pub(super) fn all(mesh: &Mesh, choice: &MeshChoice, scope: &Scope, target: &str) -> Result<Vec<Value>> {
    let (kind, name) = match target.split_once('/') {
        Some((word, name)) => (kinds::kind(word)?, name),
        None => (Kind::Pod, target),
    };
    let resource = Resource::of(&kind);
    let namespace = scope.namespace_of(&resource, choice);
    let object = mesh.get(&kind, &namespace, name)?;
    let object = object.ok_or_else(|| {
        select::not_found(&resource, &ObjectName::new(&kind.qualified(), &namespace, name))
            .context(format!("in {mesh}"))
    })?;
    if kind == Kind::Pod {
        return Ok(vec![object]);
    }
    let selector =
        selector_of(&object).ok_or_else(|| anyhow!("{} selects no pods: name a pod", resource.answer(name)))?;
    let pods = mesh.list(&Kind::Pod, Some(&namespace))?;
    Ok(pods.into_iter().filter(|pod| selector.matches(pod)).collect())
}

/// The labels of the pods of a workload or a Service; `None`: it has none.
pub(super) fn selector_of(object: &Value) -> Option<Selector> {
    let selector = match object["kind"].as_str() {
        Some("Service") => Selector::of_labels(object.pointer("/spec/selector")),
        Some("Job") => Selector::of_labels(Some(&serde_json::json!({"job-name": object.pointer("/metadata/name")}))),
        _ => Selector::of_labels(object.pointer("/spec/selector/matchLabels")),
    };
    (selector != Selector::default()).then_some(selector)
}

/// Whether the mesh has put a sidecar into a pod.
pub(super) fn has_sidecar(pod: &Value) -> bool {
    containers(pod).iter().any(|container| container == SIDECAR)
}

/// Whether a pod has done its work.
pub(super) fn is_over(pod: &Value) -> bool {
    matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"))
}

/// Whether all containers of a pod answer.
pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Namespace and name.
pub(super) fn name(pod: &Value) -> (String, String) {
    let text = |path| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/namespace"), text("/metadata/name"))
}

/// The container that is meant: the one asked for, the one that the pod says is its main one, or the first that is not
/// the sidecar.
pub(super) fn container(pod: &Value, asked: Option<&str>) -> Result<String> {
    let all = containers(pod);
    if let Some(asked) = asked {
        if all.iter().any(|name| name == asked) {
            return Ok(asked.to_owned());
        }
        let (namespace, name) = self::name(pod);
        bail!("container {asked} is not in pod {namespace}/{name}, which has: {}", all.join(", "));
    }
    let main = pod
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get("kubectl.kubernetes.io/default-container"))
        .and_then(Value::as_str);
    let usual =
        all.iter().find(|name| Some(name.as_str()) == main).or_else(|| all.iter().find(|name| *name != SIDECAR));
    usual.or(all.first()).cloned().ok_or_else(|| anyhow!("the pod has no containers"))
}

/// Names of all containers: those that run, those that run first, and those that the mesh has added (which only the
/// status names, where the pod is written as its owner made it).
pub(super) fn containers(pod: &Value) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for path in
        ["/spec/containers", "/status/containerStatuses", "/spec/initContainers", "/status/initContainerStatuses"]
    {
        for container in pod.pointer(path).and_then(Value::as_array).into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}
