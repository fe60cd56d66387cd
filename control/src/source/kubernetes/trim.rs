//! What is left of an object before it leaves the source: what somebody reads.
//!
//! Pods are most of what a cluster has, and most of a pod is of no concern to a mesh. Whatever is dropped here cannot
//! cause an event either: a pod whose containers' state changes, or a slice that is written again, says nothing new.

use fsm_api::resources::Kind;
use serde_json::{Map, Value};

/// The parts of a certificate's Secret; nothing else of a Secret is ever kept.
const CERTIFICATE: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];

/// How the annotations begin that the mesh reads and writes.
const OWN_ANNOTATIONS: &str = "flomesh.io/";

/// Drops what the control plane does not read.
pub(super) fn trim(kind: &Kind, mut value: Value) -> Value {
    match kind {
        Kind::Pod => pod(&mut value),
        Kind::Secret => secret(&mut value),
        Kind::EndpointSlice | Kind::Endpoints => {
            drop_from_metadata(&mut value, &["annotations", "ownerReferences", "resourceVersion", "generation"]);
            for endpoint in objects(value.get_mut("endpoints")) {
                for unread in ["nodeName", "zone", "hints", "deprecatedTopology"] {
                    endpoint.remove(unread);
                }
                if let Some(pod) = endpoint.get_mut("targetRef").and_then(Value::as_object_mut) {
                    keep(pod, &["kind", "namespace", "name"]);
                }
            }
        }
        Kind::Service => {
            drop_from_metadata(&mut value, &["ownerReferences", "finalizers"]);
            own_annotations(&mut value);
        }
        // Its own finalizers and phase are no matter of a mesh.
        Kind::Namespace => drop_from(&mut value, &["spec", "status"]),
        _ => {}
    }
    if !kind.has_definition() {
        // Whoever answers an object of the mesh's own kinds needs it; for others it only makes equals look different.
        drop_from_metadata(&mut value, &["resourceVersion"]);
    }
    value
}

fn pod(value: &mut Value) {
    drop_from_metadata(value, &["ownerReferences", "finalizers", "generateName", "resourceVersion", "generation"]);
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        keep(
            spec,
            &[
                "serviceAccountName",
                "serviceAccount",
                "hostname",
                "subdomain",
                "hostNetwork",
                "containers",
                "initContainers",
            ],
        );
        for containers in ["containers", "initContainers"] {
            for container in objects(spec.get_mut(containers)) {
                let read =
                    ["name", "ports", "readinessProbe", "livenessProbe", "startupProbe", "restartPolicy"].as_slice();
                keep(container, read);
            }
        }
    }
    if let Some(status) = value.get_mut("status").and_then(Value::as_object_mut) {
        keep(status, &["phase", "podIP", "podIPs", "startTime", "conditions"]);
        if let Some(Value::Array(conditions)) = status.get_mut("conditions") {
            conditions.retain(|condition| condition.get("type").is_some_and(|name| name == "Ready"));
        }
        for condition in objects(status.get_mut("conditions")) {
            keep(condition, &["type", "status"]);
        }
    }
}

/// A Secret without a certificate leaves its name: it must not be taken for one that is not there.
fn secret(value: &mut Value) {
    drop_from_metadata(value, &["ownerReferences", "resourceVersion"]);
    own_annotations(value);
    if let Some(data) = value.get_mut("data").and_then(Value::as_object_mut) {
        keep(data, &CERTIFICATE);
    }
}

fn own_annotations(value: &mut Value) {
    if let Some(annotations) = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| name.starts_with(OWN_ANNOTATIONS));
    }
}

fn objects(value: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    value.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn keep(map: &mut Map<String, Value>, fields: &[&str]) {
    map.retain(|field, _| fields.contains(&field.as_str()));
}

fn drop_from_metadata(value: &mut Value, fields: &[&str]) {
    if let Some(metadata) = value.get_mut("metadata") {
        drop_from(metadata, fields);
    }
}

fn drop_from(value: &mut Value, fields: &[&str]) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|field, _| !fields.contains(&field.as_str()));
    }
}
