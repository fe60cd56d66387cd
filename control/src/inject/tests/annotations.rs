//! What each annotation changes in a pod of the mesh: `annotations/<case>.txt` is what differs from the pod without it.
//!
//! `FSM_BLESS=1 cargo test -p fsm-control annotations` writes what is changed now; read the difference before you commit it.

use super::*;
use std::fs;
use std::path::{Path, PathBuf};

/// An annotation, where it is, and its value. Those of the pod have no prefix.
const CASES: [(&str, &str, &str); 23] = [
    ("sidecar-injection", "flomesh.io/sidecar-injection", "disabled"),
    ("namespace-sidecar-injection", "flomesh.io/sidecar-injection", "no"),
    ("namespace-metrics", "flomesh.io/metrics", "enabled"),
    ("inbound-port-exclusion-list", "flomesh.io/inbound-port-exclusion-list", "9000, 9001"),
    ("outbound-port-exclusion-list", "flomesh.io/outbound-port-exclusion-list", "5432,6379"),
    ("outbound-ip-range-exclusion-list", "flomesh.io/outbound-ip-range-exclusion-list", "10.0.0.1/32,10.1.0.0/16"),
    ("outbound-ip-range-inclusion-list", "flomesh.io/outbound-ip-range-inclusion-list", "10.0.0.0/8"),
    ("sidecar-image", "flomesh.io/sidecar-image", "example/proxy:2"),
    ("namespace-sidecar-image", "flomesh.io/sidecar-image", "example/proxy:3"),
    ("sidecar-resource-limits-cpu", "flomesh.io/sidecar-resource-limits-cpu", "2"),
    ("sidecar-resource-limits-memory", "flomesh.io/sidecar-resource-limits-memory", "256Mi"),
    ("sidecar-resource-limits-storage", "flomesh.io/sidecar-resource-limits-storage", "1Gi"),
    ("sidecar-resource-limits-ephemeral-storage", "flomesh.io/sidecar-resource-limits-ephemeral-storage", "2Gi"),
    ("sidecar-resource-requests-cpu", "flomesh.io/sidecar-resource-requests-cpu", "100m"),
    ("sidecar-resource-requests-memory", "flomesh.io/sidecar-resource-requests-memory", "64Mi"),
    ("sidecar-resource-requests-storage", "flomesh.io/sidecar-resource-requests-storage", "1Gi"),
    ("sidecar-resource-requests-ephemeral-storage", "flomesh.io/sidecar-resource-requests-ephemeral-storage", "1Gi"),
    ("namespace-sidecar-resource-limits-cpu", "flomesh.io/sidecar-resource-limits-cpu", "3"),
    ("namespace-sidecar-resource-requests-memory", "flomesh.io/sidecar-resource-requests-memory", "32Mi"),
    ("hold-application-until-proxy-starts", "flomesh.io/hold-application-until-proxy-starts", "disabled"),
    ("namespace-hold-application-until-proxy-starts", "flomesh.io/hold-application-until-proxy-starts", "no"),
    ("graceful-exit-until-downstream-ends", "flomesh.io/graceful-exit-until-downstream-ends", "false"),
    ("namespace-graceful-exit-until-downstream-ends", "flomesh.io/graceful-exit-until-downstream-ends", "disabled"),
];

/// What MeshConfig changes where it says the same of all pods; `mesh-<case>.txt`.
fn mesh_cases() -> [(&'static str, Value); 5] {
    [
        (
            "outbound-exclusions",
            json!({"traffic": {"outboundIPRangeExclusionList": ["10.0.0.1/32"],
            "outboundPortExclusionList": [50005, 8201, 6379]}}),
        ),
        ("network-interface-exclusion-list", json!({"traffic": {"networkInterfaceExclusionList": ["eth9"]}})),
        ("pod-ip", json!({"sidecar": {"localProxyMode": "PodIP"}})),
        ("privileged-init-container", json!({"sidecar": {"enablePrivilegedInitContainer": true}})),
        ("local-dns-proxy", json!({"sidecar": {"localDNSProxy": {"enable": true}}})),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/inject/tests/annotations")
}

/// The pod as it is made: injected, or left alone.
fn made(pod: &Pod, of_namespace: &[(&str, &str)], spec: Value) -> Value {
    let mut annotations = vec![("flomesh.io/sidecar-injection", "enabled")];
    annotations.retain(|(name, _)| !of_namespace.iter().any(|(other, _)| name == other));
    annotations.extend(of_namespace);
    match inject(pod, &namespace(&annotations), &mesh(spec), &settings(), "u-1").unwrap() {
        Decision::Inject(pod) => serde_json::to_value(pod).unwrap(),
        Decision::Skip(reason) => json!({"left alone": reason.text()}),
    }
}

/// One operation a line.
fn difference(plain: &Value, other: &Value) -> String {
    if let Some(reason) = other.get("left alone") {
        return format!("left alone: {}\n", reason.as_str().unwrap());
    }
    let patch = serde_json::to_value(json_patch::diff(plain, other)).unwrap();
    let annotation = |operation: &&Value| {
        !operation["path"].as_str().unwrap().starts_with("/metadata/annotations/flomesh.io")
            && operation["path"] != "/metadata/annotations"
    };
    let told = |operation: &Value| {
        format!(
            "{} {} {}\n",
            operation["op"].as_str().unwrap(),
            operation["path"].as_str().unwrap(),
            operation["value"]
        )
    };
    let announced = &other["metadata"]["annotations"]["prometheus.io/scrape"];
    let metrics =
        if announced.is_null() { String::new() } else { format!("annotations {}\n", other["metadata"]["annotations"]) };
    patch.as_array().unwrap().iter().filter(annotation).map(told).collect::<String>() + &metrics
}

#[test]
fn each_annotation_changes_what_its_file_says() {
    let bless = std::env::var_os("FSM_BLESS").is_some_and(|value| value == "1");
    let plain = made(&pod(json!({})), &[], json!({}));
    let of_annotations = CASES.map(|(case, annotation, value)| {
        let other = match case.starts_with("namespace-") {
            true => made(&pod(json!({})), &[(annotation, value)], json!({})),
            false => made(&pod(json!({"metadata": {"annotations": {annotation: value}}})), &[], json!({})),
        };
        (case.to_owned(), difference(&plain, &other))
    });
    let of_mesh = mesh_cases()
        .map(|(case, spec)| (format!("mesh-{case}"), difference(&plain, &made(&pod(json!({})), &[], spec))));
    let mut wrong = Vec::new();
    for (case, built) in of_annotations.into_iter().chain(of_mesh) {
        let file = folder().join(format!("{case}.txt"));
        assert!(!built.is_empty(), "{case}: the annotation changes nothing");
        if bless {
            fs::write(&file, &built).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != built {
            wrong.push(format!("{case}:\n{built}"));
        }
    }
    assert!(wrong.is_empty(), "run with FSM_BLESS=1 and look at the difference:\n{}", wrong.join("\n"));
}

/// Every annotation that the code reads has a case here.
#[test]
fn no_annotation_is_without_a_case() {
    let source = include_str!("../annotations.rs");
    let named = source.split('"').filter(|text| text.starts_with("flomesh.io/") && !text.contains('{'));
    for annotation in named {
        assert!(CASES.iter().any(|(_, known, _)| *known == annotation), "{annotation}");
    }
}
