//! Which pod, and which of its containers: `POD`, `pod/POD`, `deploy/NAME`, `svc/NAME`.

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use super::MeshChoice;
use super::kinds::Resource;
use super::select::{self, Named, Scope, Selector};
use crate::local::state::{ObjectName, Objects};

/// The container that the mesh adds.
pub(super) const SIDECAR: &str = "sidecar";

/// The pod that is meant; of a workload or a Service the first that is ready, else the first.
pub(super) fn find(objects: &Objects, mesh: &MeshChoice, scope: &Scope, target: &str) -> Result<Value> {
    let pods = Resource::find("pods")?;
    let (resource, name) = match target.split_once('/') {
        Some((kind, name)) => (Resource::find(kind)?, name),
        None => (pods.clone(), target),
    };
    let namespace = scope.namespace_of(&resource, mesh);
    let id = ObjectName::new(&resource.directory(), &namespace, name);
    let object = objects.get(&id)?.ok_or_else(|| select::not_found(&resource, &id))?;
    if resource == pods {
        return Ok(object);
    }
    let selector = match resource.kind.as_str() {
        "Service" => Selector::of_labels(object.pointer("/spec/selector")),
        "Job" => Selector::of_labels(Some(&serde_json::json!({"job-name": name}))),
        _ => Selector::of_labels(object.pointer("/spec/selector/matchLabels")),
    };
    if selector == Selector::default() {
        bail!("{} selects no pods: name a pod", resource.answer(name));
    }
    let mut found = select::read(objects, &Named { resource: pods, name: None }, Some(&namespace), &selector)?;
    found.sort_by_key(|pod| !is_ready(pod));
    let first = found.into_iter().next();
    first.ok_or_else(|| {
        anyhow!("{} has no pods: `fsm get {target} -n {namespace}` shows what it wants", resource.answer(name))
    })
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
