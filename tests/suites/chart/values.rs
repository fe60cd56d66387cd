//! Which values the chart takes: those of FSM's pages under all their names, and no others.

use super::{chart, find, helm, objects, run, template};
use fsm_api::resources::manifest;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What FSM's pages set, as they spell it.
const PAGES: [&str; 20] = [
    "fsm.enablePermissiveTrafficPolicy=true",
    "fsm.featureFlags.enableRetryPolicy=true",
    "fsm.enablePrivilegedInitContainer=true",
    "fsm.enableReconciler=true",
    "fsm.pspEnabled=true",
    "fsm.deployPrometheus=true,fsm.enablePermissiveTrafficPolicy=true",
    "fsm.egressGateway.enabled=true",
    "fsm.fsmIngress.enabled=true",
    "fsm.fsmIngress.tls.enabled=true",
    "fsm.fsmIngress.tls.mTLS=true",
    "fsm.ingress.tls.enabled=true",
    "fsm.serviceLB.enabled=true",
    "fsm.localDNSProxy.enable=true,fsm.localDNSProxy.primaryUpstreamDNSServerIPAddr=10.43.0.10",
    "fsm.controllerLogLevel=warn",
    "fsm.sidecarLogLevel=error",
    "fsm.image.pullPolicy=Always",
    "fsm.certificateProvider.kind=tresor",
    "fsm.certificateProvider.kind=cert-manager",
    "fsm.serviceAccessMode=mixed",
    "fsm.deployConsulConnector=true,fsm.cloudConnector.consul.deriveNamespace=consul-derive,\
     fsm.cloudConnector.consul.httpAddr=10.0.0.1:8500,fsm.cloudConnector.consul.passingOnly=false,\
     fsm.cloudConnector.consul.suffixTag=version",
];

#[test]
fn helms_own_check_has_nothing_to_say() {
    let Some(helm) = helm() else { return };
    let outcome = run(&helm, &["lint", "--strict", chart().to_str().unwrap()]);
    assert_eq!(outcome.code, 0, "{outcome:#?}");
}

#[test]
fn everything_that_the_pages_set_is_taken() {
    let Some(helm) = helm() else { return };
    for values in PAGES {
        if let Err(why) = template(&helm, values, &[]) {
            panic!("{values}: {why}");
        }
    }
}

#[test]
fn values_that_nobody_knows_and_values_of_the_wrong_type_are_refused() {
    let Some(helm) = helm() else { return };
    for (values, why) in [
        ("fsm.nonsense=1", "'nonsense' not allowed"),
        ("fsm.sidecar.imaje=x", "'imaje' not allowed"),
        ("smi.x=true", "'x' not allowed"),
        ("fsm.enableEgress=perhaps", "/fsm/enableEgress"),
        ("fsm.certificateProvider.kind=letsencrypt", "/fsm/certificateProvider/kind"),
        ("fsm.sidecar.sidecarLogLevel=loud", "/fsm/sidecar/sidecarLogLevel"),
        ("fsm.outboundIPRangeExclusionList={10.0.0.0}", "/fsm/outboundIPRangeExclusionList/0"),
        ("fsm.inboundPortExclusionList={70000}", "/fsm/inboundPortExclusionList/0"),
        ("fsm.image.pullPolicy=Sometimes", "/fsm/image/pullPolicy"),
        ("fsm.meshName=Shop", "/fsm/meshName"),
        ("fsm.certificateProvider.kind=vault", "fsm.vault.host"),
        ("fsm.certificateProvider.kind=vault,fsm.vault.host=v", "fsm.vault.secret.name"),
        ("fsm.certificateProvider.kind=vault,fsm.vault.host=v,fsm.vault.token=t,fsm.vault.ca.name=c", "protocol=https"),
        ("fsm.vault.mount=", "/fsm/vault/mount"),
        ("fsm.vault.ca.kind=File", "/fsm/vault/ca/kind"),
    ] {
        let refusal = template(&helm, values, &[]).expect_err(values);
        assert!(refusal.contains(why), "{values}: {refusal}");
    }
}

/// The MeshConfig that a mesh begins with.
fn preset(helm: &std::path::Path, values: &str) -> Value {
    let objects = objects(&template(helm, values, &[]).unwrap_or_else(|why| panic!("{values}: {why}")));
    let text = find(&objects, "ConfigMap", "preset-mesh-config")["data"]["preset-mesh-config.json"].as_str().unwrap();
    serde_json::from_str(text).unwrap()
}

#[test]
fn values_become_the_settings_of_a_new_mesh_whatever_their_name() {
    let Some(helm) = helm() else { return };
    let usual = preset(&helm, "");
    assert_eq!(usual["traffic"]["enablePermissiveTrafficPolicyMode"], true);
    assert_eq!(usual["sidecar"]["logLevel"], "error");
    assert!(usual["sidecar"].get("sidecarImage").is_none(), "an upgrade of the chart has to reach sidecars");
    assert_eq!(usual["certificate"], json!({"serviceCertValidityDuration": "24h", "certKeyBitSize": 2048}));
    for (values, path, wanted) in [
        ("fsm.sidecarLogLevel=debug", "/sidecar/logLevel", json!("debug")),
        ("fsm.sidecar.sidecarLogLevel=debug", "/sidecar/logLevel", json!("debug")),
        ("fsm.sidecar.image=flomesh/pipy:1.5.14", "/sidecar/sidecarImage", json!("flomesh/pipy:1.5.14")),
        ("fsm.ingress.tls.enabled=true", "/ingress/tls/enabled", json!(true)),
        ("fsm.fsmIngress.tls.enabled=true", "/ingress/tls/enabled", json!(true)),
        ("fsm.fsmIngress.enabled=true,fsm.fsmGateway.enabled=true", "/ingress/enabled", json!(false)),
        ("fsm.openshift=true", "/sidecar/enablePrivilegedInitContainer", json!(true)),
        ("fsm.outboundPortExclusionList={6379,8080}", "/traffic/outboundPortExclusionList", json!([6379, 8080])),
        ("fsm.tracing.enable=true", "/observability/tracing/address", json!("jaeger.fsm-system.svc.cluster.local")),
        (
            "fsm.tracing.enable=true,fsm.tracing.sampledFraction=0.5",
            "/observability/tracing/sampledFraction",
            json!("0.5"),
        ),
        ("fsm.enableDebugServer=true", "/observability/enableDebugServer", json!(true)),
    ] {
        assert_eq!(preset(&helm, values).pointer(path), Some(&wanted), "{values}");
    }
}

#[test]
fn what_a_mesh_begins_with_has_no_field_that_nobody_knows() {
    let Some(helm) = helm() else { return };
    for values in ["", super::EVERYTHING] {
        let config = json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshConfig",
            "metadata": {"name": "fsm-mesh-config", "namespace": "fsm-system"}, "spec": preset(&helm, values)});
        let (read, problems) = manifest::read(&config.to_string(), "preset");
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(read.len(), 1);
    }
}

/// Keys of values, as people write them: `fsm.image.tag`.
fn keys(of: &Value, path: &str, found: &mut BTreeSet<String>) {
    match of.as_object().filter(|map| !map.is_empty()) {
        Some(map) => {
            for (key, value) in map {
                keys(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, found);
            }
        }
        None => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn the_page_about_installing_names_every_value_and_no_other() {
    let text = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&text).unwrap();
    let mut there = BTreeSet::new();
    keys(&values, "", &mut there);
    let page = std::fs::read_to_string(chart().join("../../docs/installation.md")).unwrap();
    let (_, table) = page.split_once("## Values").expect("the page has a section of values");
    let table = table.split("\n## ").next().unwrap();
    let words: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|row| row.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let named = |key: &str| {
        // `fsm.prometheus.*` stands for everything below.
        words.iter().any(|word| match word.strip_suffix('*') {
            Some(prefix) => key.starts_with(prefix),
            None => *word == key,
        })
    };
    let forgotten: Vec<_> = there.iter().filter(|key| !named(key)).collect();
    assert!(forgotten.is_empty(), "docs/installation.md does not name {forgotten:#?}");
    let invented: Vec<_> = words
        .iter()
        .filter(|word| word.starts_with("fsm.") || word.starts_with("smi.") || word.starts_with("clusterSet."))
        .filter(|word| !there.iter().any(|key| key.starts_with(word.trim_end_matches('*'))))
        .collect();
    assert!(invented.is_empty(), "docs/installation.md names what is not in values.yaml: {invented:#?}");
}
