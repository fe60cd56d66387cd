//! The roles that prepare a cluster, check it, and clean it up.

use super::namespace;
use super::program::{Running, once, page};
use fsm_tests::{ApiServer, api_server, api_server_alone, eventually};
use serde_json::{Value, json};

async fn object(server: &ApiServer, words: &str) -> Value {
    let mut arguments = vec!["get", "-o", "json"];
    arguments.extend(words.split_whitespace());
    serde_json::from_str(&server.kubectl(&arguments, "").await.stdout).unwrap_or(Value::Null)
}

fn preset(mesh: &str, spec: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": format!("{mesh}-system"), "name": "preset-mesh-config"},
        "data": {"preset-mesh-config.json": spec.to_string()}})
    .to_string()
}

#[tokio::test]
async fn definitions_are_installed_upgraded_and_restored_and_mesh_config_is_made_once() {
    let Some(server) = api_server_alone().await else { return };
    server.apply(&namespace("boot-system", "boot")).await;
    server.apply(&preset("boot", &json!({"traffic": {"enableEgress": true}, "sidecar": {"logLevel": "error"}}))).await;
    // One definition is missing, another one is of an older version, with an object in it.
    server.delete("crd retries.policy.flomesh.io").await;
    server.delete("crd trafficsplits.split.smi-spec.io").await;
    eventually("both are gone", async || {
        let names = server.kubectl(&["get", "crd", "-o", "name"], "").await.stdout;
        !names.contains("retries.policy") && !names.contains("trafficsplits.split")
    })
    .await;
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let old = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "trafficsplits.split.smi-spec.io", "labels": {"app.kubernetes.io/name": "flomesh.io"}},
        "spec": {"group": "split.smi-spec.io", "scope": "Namespaced",
            "names": {"kind": "TrafficSplit", "listKind": "TrafficSplitList", "plural": "trafficsplits", "singular": "trafficsplit"},
            "versions": [{"name": "v1alpha2", "served": true, "storage": true, "schema": schema}]}});
    server.apply(&old.to_string()).await;
    let split = json!({"apiVersion": "split.smi-spec.io/v1alpha2", "kind": "TrafficSplit",
        "metadata": {"namespace": "boot-system", "name": "s"}, "spec": {"service": "s", "backends": [{"service": "a", "weight": 1}]}});
    eventually("the old kind is served", async || {
        server.kubectl(&["apply", "--validate=false", "-f", "-"], &split.to_string()).await.code == 0
    })
    .await;

    let bootstrap = Running::start(&server, "boot", &["bootstrap", "--enable-reconciler", "--pod-name", "b"]).await;
    assert_eq!(page(bootstrap.address("admin"), "/healthz").await, "Health OK");
    assert_eq!(page(bootstrap.address("admin"), "/health/ready").await, "Service is ready");
    let splits = object(&server, "crd trafficsplits.split.smi-spec.io").await;
    assert_eq!(splits["status"]["storedVersions"], json!(["v1alpha4"]), "{}", bootstrap.log());
    assert_eq!(splits["metadata"]["labels"]["flomesh.io/reconcile"], "true");
    let split = object(&server, "-n boot-system trafficsplits.v1alpha4.split.smi-spec.io s").await;
    assert_eq!(split["spec"]["service"], "s");
    let config = object(&server, "-n boot-system meshconfig fsm-mesh-config").await;
    assert_eq!(config["spec"]["sidecar"]["logLevel"], "error");
    let applied = &config["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert!(applied.as_str().unwrap().contains("enableEgress"));

    // What somebody takes away or changes comes back.
    server.delete("crd retries.policy.flomesh.io").await;
    let patch = r#"[{"op": "replace", "path": "/spec/names/shortNames", "value": ["other"]}]"#;
    server.kubectl(&["patch", "crd", "trafficsplits.split.smi-spec.io", "--type=json", "-p", patch], "").await;
    eventually("the definition is there again", async || {
        object(&server, "crd retries.policy.flomesh.io").await["status"]["conditions"].is_array()
    })
    .await;
    eventually("the change is taken back", async || {
        object(&server, "crd trafficsplits.split.smi-spec.io").await["spec"]["names"]["shortNames"] == json!(["ts"])
    })
    .await;
    // The API server takes a short name for taken that is the definition's own singular.
    let patch = r#"[{"op": "replace", "path": "/spec/names/shortNames", "value": ["other"]}]"#;
    server.kubectl(&["patch", "crd", "egresses.policy.flomesh.io", "--type=json", "-p", patch], "").await;
    eventually("the definition has its names, all of them accepted", async || {
        let definition = object(&server, "crd egresses.policy.flomesh.io").await;
        let conditions = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let accepted = |one: &Value| one["type"] == "NamesAccepted" && one["status"] == "True";
        !definition["spec"]["names"].to_string().contains("other") && conditions.iter().any(accepted)
    })
    .await;
    assert_eq!(server.kubectl(&["get", "egress", "-A"], "").await.code, 0, "the singular is understood");
    let metrics = page(bootstrap.address("admin"), "/metrics").await;
    assert!(metrics.contains(r#"fsm_reconciliation_total{kind="CustomResourceDefinition"}"#), "{metrics}");
    server.wait_for_definitions().await;
    bootstrap.end().await;

    // An upgrade adds what is new, and nothing that a user changed.
    let patch = r#"{"spec": {"sidecar": {"logLevel": "debug"}}}"#;
    server
        .kubectl(&["-n", "boot-system", "patch", "meshconfig", "fsm-mesh-config", "--type=merge", "-p", patch], "")
        .await;
    let new = json!({"traffic": {"enableEgress": false}, "sidecar": {"logLevel": "warn"}, "certificate": {"serviceCertValidityDuration": "1h"}});
    server.apply(&preset("boot", &new)).await;
    let again = Running::start(&server, "boot", &["bootstrap", "--pod-name", "b"]).await;
    let spec = object(&server, "-n boot-system meshconfig fsm-mesh-config").await["spec"].take();
    assert_eq!(spec["sidecar"]["logLevel"], "debug", "{}", again.log());
    assert_eq!(spec["traffic"]["enableEgress"], true);
    assert_eq!(spec["certificate"]["serviceCertValidityDuration"], "1h");
    again.end().await;
}

#[tokio::test]
async fn an_installation_is_refused_where_a_mesh_is_already() {
    let Some(server) = api_server().await else { return };
    let good = once(&server, &["preinstall", "--namespace", "pre-system"]).await;
    assert_eq!(good.code, 0, "{good:#?}");
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"namespace": "pre-system", "name": "fsm-controller", "labels": {"app": "fsm-controller", "meshName": "pre"}},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "replicas": 0, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}}}});
    server.apply(&(namespace("pre-system", "pre") + &deployment.to_string())).await;
    let refused = once(&server, &["preinstall", "--namespace", "pre-system", "--enforce-single-mesh"]).await;
    assert_eq!(refused.code, 1, "{refused:#?}");
    for says in ["Namespace pre-system already contains meshes [pre]", "Mesh(es) pre already exist", "checks failed"] {
        assert!(refused.stderr.contains(says), "{says}: {}", refused.stderr);
    }
    server.delete("-n pre-system deployment fsm-controller").await;
}

#[tokio::test]
async fn cleanup_removes_what_the_mesh_made_and_nothing_of_others() {
    let Some(server) = api_server().await else { return };
    let labels = |mesh: &str| json!({"app.kubernetes.io/name": "flomesh.io", "app.kubernetes.io/instance": mesh});
    let map = |namespace: &str, name: &str, labels: Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name, "labels": labels}})
            .to_string()
            + "\n---\n"
    };
    let config = json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshConfig",
        "metadata": {"namespace": "clean-system", "name": "fsm-mesh-config"}, "spec": {}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "clean-system", "name": "fsm-ca-bundle"}});
    let webhooks = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "fsm-webhook-clean", "labels": labels("clean")}});
    let objects = [
        namespace("clean-system", "clean"),
        map("clean-system", "ours", labels("clean")),
        map("clean-system", "theirs", labels("other")),
        map("clean-system", "users", json!({})),
        format!("{config}\n---\n{secret}\n---\n{webhooks}\n"),
    ];
    server.apply(&objects.concat()).await;
    let flags = ["cleanup", "--mesh-name", "clean", "--fsm-namespace", "clean-system"];
    let cleaned = once(&server, &flags).await;
    assert_eq!(cleaned.code, 0, "{cleaned:#?}");
    for (words, there) in [
        ("mutatingwebhookconfiguration fsm-webhook-clean", false),
        ("-n clean-system meshconfig fsm-mesh-config", false),
        ("-n clean-system secret fsm-ca-bundle", false),
        ("-n clean-system configmap ours", false),
        ("-n clean-system configmap theirs", true),
        ("-n clean-system configmap users", true),
    ] {
        assert_eq!(object(&server, words).await.is_object(), there, "{words}: {cleaned:#?}");
    }
    assert_eq!(once(&server, &flags).await.code, 0, "the second time there is nothing to do");
}
