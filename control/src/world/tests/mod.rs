//! Tests of the world: what it answers, what it asks for, and that order does not matter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod order;
mod problems;
mod universe;

use super::{Dirty, GroupId, NamespacedName, Settings, World};
use fsm_api::resources::Object;
use serde_json::{Value, json};

/// An empty world.
fn empty() -> World {
    World::new(Settings::default())
}

/// A world with these objects.
fn world(objects: impl IntoIterator<Item = Value>) -> World {
    let mut world = empty();
    for value in objects {
        put(&mut world, value);
    }
    world.check_invariants().unwrap();
    world
}

fn put(world: &mut World, value: Value) -> Dirty {
    world.apply(object(value))
}

fn object(value: Value) -> Object {
    Object::from_json(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

fn key(namespace: &str, name: &str) -> NamespacedName {
    NamespacedName::new(namespace, name)
}

fn group_of(world: &World, namespace: &str, pod: &str) -> GroupId {
    world.group_of(&key(namespace, pod)).unwrap()
}

/// A namespace of the mesh.
fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"flomesh.io/monitored-by": "fsm"}}})
}

/// A running pod with a proxy and the label `app=<app>`.
fn pod(namespace: &str, name: &str, app: &str, account: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": app, "fsm-proxy-uuid": format!("uuid-{name}")}},
        "spec": {"serviceAccountName": account, "containers": [{"name": "app", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": ip}})
}

/// A service of the pods with the label `app=<name>`, port 80 to 8080.
fn service(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": "10.96.0.1", "selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}})
}

/// A slice of a service with one ready endpoint for each `(pod, ip)`.
fn slice(namespace: &str, name: &str, service: &str, endpoints: &[(&str, &str)]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(pod, ip)| json!({"addresses": [ip], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": pod}}))
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "endpoints": endpoints, "ports": [{"port": 8080}]})
}

/// A TrafficTarget from accounts of the same namespace.
fn target(namespace: &str, name: &str, to: &str, from: &[&str]) -> Value {
    let sources: Vec<Value> =
        from.iter().map(|from| json!({"kind": "ServiceAccount", "name": from, "namespace": namespace})).collect();
    json!({"apiVersion": "access.smi-spec.io/v1alpha3", "kind": "TrafficTarget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"destination": {"kind": "ServiceAccount", "name": to, "namespace": namespace}, "sources": sources,
            "rules": [{"kind": "HTTPRouteGroup", "name": "routes"}]}})
}

/// The MeshConfig with these sections.
fn mesh_config(spec: Value) -> Value {
    json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshConfig",
        "metadata": {"name": "fsm-mesh-config", "namespace": "fsm-system"}, "spec": spec})
}

/// Permissive mode off.
fn strict() -> Value {
    mesh_config(json!({"traffic": {"enablePermissiveTrafficPolicyMode": false}}))
}
