#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::*;

fn service(namespace: Option<&str>) -> Object {
    let metadata = json!({ "name": "a", "namespace": namespace });
    Object::from_json(json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata })).unwrap()
}

#[test]
fn objects_without_a_namespace_are_put_into_the_given_one() {
    let mut object = service(None);
    assert_eq!(object.key().to_string(), "Service default/a");
    object.default_namespace("b");
    assert_eq!(object.key().to_string(), "Service b/a");
    object.default_namespace("c");
    assert_eq!(object.key().to_string(), "Service b/a");
}

#[test]
fn objects_of_the_whole_cluster_have_no_namespace() {
    let plugin = json!({ "apiVersion": "plugin.flomesh.io/v1alpha1", "kind": "Plugin",
        "metadata": { "name": "p", "namespace": "ignored" }, "spec": { "pipyscript": "" } });
    let mut object = Object::from_json(plugin).unwrap();
    object.default_namespace("b");
    assert_eq!(object.key(), ObjectKey::new(Kind::Plugin, "", "p"));
}

#[test]
fn clones_are_not_changed_with_the_original() {
    let mut object = service(None);
    let clone = object.clone();
    object.default_namespace("b");
    assert_eq!(clone, service(None));
}

#[test]
fn json_without_a_kind_is_refused() {
    for (value, field) in [(json!({ "kind": "Pod" }), "apiVersion"), (json!({ "apiVersion": "v1" }), "kind")] {
        let error = Object::from_json(value).unwrap_err().to_string();
        assert!(error.contains(&format!("has no {field}")), "{error}");
    }
    assert!(Object::from_json(json!(null)).is_err());
}

#[test]
fn json_of_older_versions_is_read() {
    let cluster = json!({ "apiVersion": "flomesh.io/v1alpha1", "kind": "Cluster", "metadata": { "name": "c" },
        "spec": { "fsmNamespace": "f" } });
    assert!(matches!(Object::from_json(cluster).unwrap(), Object::Cluster(_)));
    let gateway =
        json!({ "apiVersion": "policy.flomesh.io/v1alpha1", "kind": "EgressGateway", "metadata": { "name": "c" } });
    assert!(matches!(Object::from_json(gateway).unwrap(), Object::EgressGateway(_)));
}
