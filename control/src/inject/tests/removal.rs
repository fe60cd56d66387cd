//! Injection and its way back, over many pods.

use super::{mesh, namespace, settings};
use crate::inject::{Decision, Settings, graft, inject, remove};
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

fn injected(pod: &Pod, metrics: bool, native: bool, spec: Value) -> Pod {
    let annotations = [("flomesh.io/sidecar-injection", "enabled"), ("flomesh.io/metrics", "enabled")];
    let namespace = namespace(&annotations[..if metrics { 2 } else { 1 }]);
    let settings = Settings { native_sidecars: native, ..settings() };
    match inject(pod, &namespace, &mesh(spec), &settings, "u-1").unwrap() {
        Decision::Inject(pod) => *pod,
        Decision::Skip(reason) => panic!("skipped: {}", reason.text()),
    }
}

/// A probe whose every word survives: with its path, a number as its port, and without a scheme.
fn probe() -> impl Strategy<Value = Value> {
    let headers = prop::collection::vec(("[a-z]{1,4}", "[a-z]{0,4}"), 0..3);
    let http = (1..=65535u16, "/[a-z]{0,5}", headers).prop_map(|(port, path, headers)| {
        let mut get = json!({"port": port, "path": path});
        if !headers.is_empty() {
            get["httpHeaders"] = headers.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        }
        json!({"httpGet": get, "periodSeconds": 7})
    });
    prop_oneof![
        http,
        (1..=65535u16).prop_map(|port| json!({"tcpSocket": {"port": port}, "timeoutSeconds": 2})),
        Just(json!({"exec": {"command": ["true"]}})),
        (1..=65535u16, "[a-z]{1,4}").prop_map(|(port, service)| json!({"grpc": {"port": port, "service": service}})),
        (1..=65535u16).prop_map(|port| json!({"grpc": {"port": port}})),
    ]
}

fn container() -> impl Strategy<Value = Value> {
    let probes = [prop::option::of(probe()), prop::option::of(probe()), prop::option::of(probe())];
    (probes, any::<bool>()).prop_map(|(probes, mounted)| {
        let mut container = json!({"image": "web:1"});
        for (name, probe) in ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().zip(probes) {
            if let Some(probe) = probe {
                container[name] = probe;
            }
        }
        if mounted {
            container["volumeMounts"] = json!([{"name": "data-0", "mountPath": "/data"}]);
        }
        container
    })
}

fn named(prefix: &str, items: Vec<Value>) -> Value {
    let name = |(index, mut item): (usize, Value)| {
        item["name"] = format!("{prefix}-{index}").into();
        item
    };
    items.into_iter().enumerate().map(name).collect()
}

fn pods() -> impl Strategy<Value = Value> {
    let few = |most| prop::collection::vec(container(), 0..most);
    let words = || prop::collection::btree_map("[a-z]{1,3}", "[a-z]{0,3}", 0..3);
    (few(4), few(3), 0..3usize, words(), words()).prop_map(|(containers, init, volumes, labels, annotations)| {
        let mut pod = json!({"metadata": {"name": "web"}, "spec": {"containers": named("app", containers)}});
        if !init.is_empty() {
            pod["spec"]["initContainers"] = named("init", init);
        }
        if volumes > 0 {
            pod["spec"]["volumes"] = named("data", vec![json!({"emptyDir": {}}); volumes]);
        }
        for (name, words) in [("labels", labels), ("annotations", annotations)] {
            if !words.is_empty() {
                pod["metadata"][name] = json!(words);
            }
        }
        pod
    })
}

proptest! {
    #[test]
    fn what_injection_adds_is_what_removal_removes(
        plain in pods(), metrics: bool, native: bool, hold: bool, node: bool,
    ) {
        let before: Pod = serde_json::from_value(plain.clone()).unwrap();
        let mode = if node { "NodeLevel" } else { "PodLevel" };
        let spec = json!({"traffic": {"interceptionMode": mode}, "sidecar": {"holdApplicationUntilProxyStarts": hold}});
        let after = injected(&before, metrics, native, spec);
        prop_assert_ne!(&after, &before);
        let mut back = after.clone();
        let removed = remove(&mut back);
        prop_assert!(removed.changed && removed.guessed.is_empty());
        prop_assert_eq!(&back, &before);
        prop_assert!(!remove(&mut back).changed);

        // The same over JSON with words that nobody knows, there and back.
        let mut raw = serde_json::to_value(&before).unwrap();
        for (index, container) in raw["spec"]["containers"].as_array_mut().unwrap().iter_mut().enumerate() {
            container["unknown"] = index.into();
        }
        let (one, other) = (serde_json::to_value(&before).unwrap(), serde_json::to_value(&after).unwrap());
        let there = graft(&raw, &one, &other);
        prop_assert_eq!(&serde_json::from_value::<Pod>(there.clone()).unwrap(), &after);
        prop_assert_eq!(graft(&there, &other, &one), raw.clone());
        let mut patched = raw.clone();
        json_patch::patch(&mut patched, &json_patch::diff(&raw, &there)).unwrap();
        prop_assert_eq!(patched, there);
    }
}

#[test]
fn an_https_probe_comes_back_as_a_guess_that_is_named() {
    let probe = json!({"httpGet": {"port": 8443, "scheme": "HTTPS", "path": "/ready"}});
    let pod = json!({"spec": {"containers": [{"name": "web", "readinessProbe": probe}]}});
    let mut pod = injected(&serde_json::from_value(pod).unwrap(), false, false, json!({}));
    assert_eq!(remove(&mut pod).guessed, ["readinessProbe of container web"]);
    let back = serde_json::to_value(pod).unwrap();
    let get = &back["spec"]["containers"][0]["readinessProbe"]["httpGet"];
    assert_eq!(*get, json!({"port": 8443, "scheme": "HTTPS", "path": "/"}));
}

#[test]
fn a_sidecar_of_somebody_else_stays() {
    let pod = json!({"spec": {"containers": [{"name": "sidecar"}], "volumes": [{"name": "fsm-state"}]}});
    let mut pod: Pod = serde_json::from_value(pod).unwrap();
    let before = pod.clone();
    assert!(!remove(&mut pod).changed);
    assert_eq!(pod, before);
}

#[test]
fn uuids_are_of_version_four_and_never_the_same() {
    let (one, other) = (crate::inject::new_uuid().unwrap(), crate::inject::new_uuid().unwrap());
    assert_ne!(one, other);
    let parts: Vec<usize> = one.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert!(one[14..].starts_with('4') && "89ab".contains(&one[19..20]), "{one}");
}
