#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::trim::trim;
use crate::issued::{Found, Owner};
use crate::world::{self, World};
use fsm_api::resources::{Kind, Object};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

/// A pod that says everything that the world reads, and much that nobody does.
fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p", "namespace": "shop", "uid": "u", "resourceVersion": "9", "generateName": "p-",
            "creationTimestamp": "2024-01-01T00:00:00Z", "deletionTimestamp": "2024-01-02T00:00:00Z",
            "labels": {"app": "p", "fsm-proxy-uuid": "x"},
            "annotations": {"prometheus.io/scrape": "true"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "p", "uid": "r"}],
        },
        "spec": {
            "serviceAccountName": "sa", "hostname": "h", "subdomain": "s", "hostNetwork": true, "nodeName": "n",
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
            "tolerations": [{"key": "k"}],
            "containers": [{
                "name": "c", "image": "i", "env": [{"name": "PASSWORD", "value": "secret"}], "command": ["x"],
                "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/r", "port": "http", "httpHeaders": [{"name": "a", "value": "b"}]}, "periodSeconds": 3},
                "livenessProbe": {"httpGet": {"path": "/l", "port": 8080}, "initialDelaySeconds": 1},
                "startupProbe": {"httpGet": {"path": "/s", "port": 8080}, "failureThreshold": 30},
                "resources": {"limits": {"cpu": "1"}},
            }],
            "initContainers": [{
                "name": "sidecar", "image": "i", "restartPolicy": "Always", "ports": [{"name": "metrics", "containerPort": 15010}],
            }],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "startTime": "2024-01-01T00:00:01Z", "hostIP": "192.168.0.1",
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:02Z"},
                {"type": "PodScheduled", "status": "True"},
            ],
            "containerStatuses": [{"name": "c", "ready": true, "restartCount": 3, "image": "i", "imageID": "i"}],
        },
    })
}

fn world_of(value: Value) -> World {
    let mut world = World::new(world::Settings {
        mesh_name: "fsm".into(),
        fsm_namespace: "fsm-system".into(),
        trust_domain: "cluster.local".into(),
        mesh_config_name: "fsm-mesh-config".into(),
    });
    world.apply(Object::from_json(value).unwrap());
    world
}

#[test]
fn what_is_left_of_a_pod_is_what_the_world_reads() {
    let trimmed = trim(&Kind::Pod, pod());
    let (before, after) = (world_of(pod()), world_of(trimmed.clone()));
    let model = before.pods().next().unwrap();
    // The example must say everything, or the comparison would prove nothing.
    assert!(model.metrics && model.host_network && model.ready && model.terminating && model.started.is_some());
    assert!(model.hostname.is_some() && model.subdomain.is_some() && model.proxy_uuid.is_some());
    assert_eq!((model.ips.len(), model.named_ports.len(), model.account.name.as_str()), (2, 2, "sa"));
    assert_eq!(Some(model), after.pods().next());
    let text = trimmed.to_string();
    for dropped in
        ["secret", "tolerations", "image", "containerStatuses", "PodScheduled", "nodeName", "ownerReferences"]
    {
        assert!(!text.contains(dropped), "{dropped} is still there: {text}");
    }
    assert!(text.len() < pod().to_string().len() * 2 / 3);
}

#[test]
fn of_a_secret_the_certificate_is_left_and_whose_it_is() {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {
            "name": "s", "annotations": {"a": "b", "flomesh.io/issued-for": "AccessCert shop/s", "flomesh.io/issued-validity": "1h"},
            "labels": {"app.kubernetes.io/managed-by": "fsm-control", "app.kubernetes.io/instance": "fsm"},
        },
        "data": {"tls.crt": "YQ==", "tls.key": "Yg==", "ca.crt": "Yw==", "password": "ZA=="},
    });
    let trimmed = trim(&Kind::Secret, secret.clone());
    let read = |value: &Value| serde_json::from_value::<Secret>(value.clone()).unwrap();
    assert!(Owner::of_mesh("fsm").made(&read(&trimmed).metadata));
    assert_eq!(Found::read(&read(&trimmed)), Found::read(&read(&secret)));
    assert_eq!(Found::read(&read(&trimmed)).issued_for, "AccessCert shop/s");
    let text = trimmed.to_string();
    assert!(!text.contains("password") && !text.contains("ZA==") && !text.contains("\"a\""));
    assert!(["YQ==", "Yg==", "Yw=="].iter().all(|part| text.contains(part)));
}

#[test]
fn only_the_meshs_own_objects_keep_their_resource_version() {
    for kind in Kind::ALL {
        let object = json!({"metadata": {"name": "x", "resourceVersion": "9"}, "data": {"ca.crt": "Yw=="}});
        let trimmed = trim(kind, object);
        assert_eq!(trimmed["metadata"].get("resourceVersion").is_some(), kind.has_definition(), "{kind}");
    }
}

#[test]
fn odd_shapes_are_left_alone() {
    for odd in [json!(null), json!(3), json!([]), json!({}), json!({"spec": 3, "status": [], "metadata": "x"})] {
        assert_eq!(trim(&Kind::Pod, odd.clone()), odd);
    }
    let odd = json!({"spec": {"containers": [3, null, {"image": "i"}]}, "status": {"conditions": [3, {}]}});
    let expected = json!({"spec": {"containers": [3, null, {}]}, "status": {"conditions": []}});
    assert_eq!(trim(&Kind::Pod, odd), expected);
}

#[test]
fn of_services_and_slices_stays_what_the_mesh_reads() {
    let service = trim(
        &Kind::Service,
        json!({"metadata": {"name": "s", "annotations": {"flomesh.io/service-exclusion": "true", "other": "x"}, "finalizers": ["f"]},
            "spec": {"ports": [{"port": 80}]}}),
    );
    assert_eq!(service["metadata"], json!({"name": "s", "annotations": {"flomesh.io/service-exclusion": "true"}}));
    assert_eq!(service["spec"], json!({"ports": [{"port": 80}]}));
    let slice = trim(
        &Kind::EndpointSlice,
        json!({"metadata": {"name": "e"}, "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n", "zone": "z", "hints": {},
            "conditions": {"ready": true}, "hostname": "h",
            "targetRef": {"kind": "Pod", "namespace": "a", "name": "p", "uid": "u", "resourceVersion": "1"}}]}),
    );
    let endpoint = json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "hostname": "h",
        "targetRef": {"kind": "Pod", "namespace": "a", "name": "p"}});
    assert_eq!(slice["endpoints"], json!([endpoint]));
}
