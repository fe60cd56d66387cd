#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Registration, Webhooks};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use serde_json::json;
use std::time::Duration;

fn registration(url: Option<&str>) -> Registration {
    Registration {
        name: "fsm-webhook-fsm".into(),
        mesh: "fsm".into(),
        fsm_namespace: "fsm-system".into(),
        timeout: Duration::from_secs(20),
        url: url.map(str::to_owned),
        reconciled: true,
    }
}

#[test]
fn the_injector_is_asked_about_new_pods_of_the_mesh_and_of_nobody_else() {
    let configuration = Webhooks::Injector.configuration(&registration(None), "roots");
    let typed: MutatingWebhookConfiguration = serde_json::from_value(configuration.clone()).unwrap();
    let labels = typed.metadata.labels.unwrap();
    assert_eq!((labels["app"].as_str(), labels["flomesh.io/reconcile"].as_str()), ("fsm-injector", "true"));
    let webhook = &typed.webhooks.as_ref().unwrap()[0];
    assert_eq!((webhook.name.as_str(), webhook.failure_policy.as_deref()), ("fsm-inject.k8s.io", Some("Fail")));
    assert_eq!(webhook.client_config.ca_bundle.as_ref().unwrap().0, b"roots");
    let service = webhook.client_config.service.as_ref().unwrap();
    assert_eq!((service.name.as_str(), service.port), ("fsm-injector", Some(9090)));
    assert_eq!(service.path.as_deref(), Some("/mutate-pod-creation"));
    let selector = &configuration["webhooks"][0]["namespaceSelector"];
    assert_eq!(selector["matchLabels"], json!({"flomesh.io/monitored-by": "fsm"}));
    let excluded: Vec<_> = selector["matchExpressions"].as_array().unwrap().iter().map(|e| e["key"].clone()).collect();
    assert_eq!(excluded, ["flomesh.io/ignore", "name", "kubernetes.io/metadata.name", "control-plane"]);
    assert_eq!(configuration["webhooks"][0]["rules"][0]["operations"], json!(["CREATE"]));
}

#[test]
fn the_validator_is_asked_about_policies_and_never_stops_a_mesh_config_or_a_deletion() {
    let all = Webhooks::Validator { traffic_targets: true }.configuration(&registration(Some("https://h:1/")), "roots");
    let typed: ValidatingWebhookConfiguration = serde_json::from_value(all.clone()).unwrap();
    let [policies, shared, settings] = typed.webhooks.unwrap().try_into().unwrap();
    assert_eq!(policies.client_config.url.as_deref(), Some("https://h:1/validate"));
    assert_eq!((policies.name.as_str(), policies.failure_policy.as_deref()), ("fsm-validator.k8s.io", Some("Fail")));
    let resources = |webhook: &serde_json::Value| webhook["rules"].to_string();
    for plural in ["ingressbackends", "accesscontrols", "accesscerts", "upstreamtrafficsettings", "traffictargets"] {
        assert!(resources(&all["webhooks"][0]).contains(plural), "{plural}");
    }
    // API servers ask about objects of the whole cluster whatever the selector says.
    assert!(policies.rules.unwrap().iter().all(|rule| rule.scope.as_deref() == Some("Namespaced")));
    assert!(shared.rules.unwrap().iter().all(|rule| rule.scope.as_deref() == Some("Cluster")));
    for plural in ["clusters", "isolations", "plugins"] {
        assert!(resources(&all["webhooks"][1]).contains(&format!("\"{plural}\"")), "{plural}");
        assert!(!resources(&all["webhooks"][0]).contains(&format!("\"{plural}\"")), "{plural}");
    }
    for webhook in [shared.failure_policy, settings.failure_policy] {
        assert_eq!(webhook.as_deref(), Some("Ignore"));
    }
    assert!(!all.to_string().contains("DELETE"));
    let less = Webhooks::Validator { traffic_targets: false }.configuration(&registration(None), "roots");
    assert!(!resources(&less["webhooks"][0]).contains("traffictargets"));
}
