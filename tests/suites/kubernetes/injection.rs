//! The injector as a role of its own, asked by a real API server about real pods.

use super::program::{Running, page};
use super::{account, namespace};
use fsm_tests::{ApiServer, api_server, eventually};
use serde_json::{Value, json};

/// Flags of an injector that an API server on this machine can reach.
const FLAGS: [&str; 8] = [
    "injector",
    "--listen-webhook",
    "127.0.0.1:0",
    "--webhook-url",
    "https://127.0.0.1:0",
    "--server-name",
    "127.0.0.1",
    "--enable-reconciler",
];

fn enabled(name: &str, mesh: &str) -> String {
    let metadata = json!({"name": name, "labels": {"flomesh.io/monitored-by": mesh},
        "annotations": {"flomesh.io/sidecar-injection": "enabled", "flomesh.io/metrics": "enabled"}});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).to_string() + "\n---\n"
}

fn pod(namespace: &str, name: &str, annotations: Value) -> String {
    let spec = json!({"automountServiceAccountToken": false, "containers": [{
        "name": "app", "image": "app:1", "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": "http", "path": "/ready"}, "periodSeconds": 3},
        "livenessProbe": {"tcpSocket": {"port": 8080}},
    }]});
    let metadata = json!({"namespace": namespace, "name": name, "annotations": annotations});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).to_string()
}

async fn get(server: &ApiServer, words: &str) -> Value {
    let mut arguments = vec!["get", "-o", "json"];
    arguments.extend(words.split_whitespace());
    serde_json::from_str(&server.kubectl(&arguments, "").await.stdout).unwrap_or(Value::Null)
}

async fn registered(server: &ApiServer, name: &str) -> Value {
    let words = format!("mutatingwebhookconfiguration {name}");
    eventually("the webhook is registered", async || get(server, &words).await["webhooks"].is_array()).await;
    get(server, &words).await
}

#[tokio::test]
async fn pods_of_the_mesh_are_admitted_with_a_sidecar_and_wrong_ones_are_refused() {
    let Some(server) = api_server().await else { return };
    let namespaces = enabled("inj", "inject") + &namespace("inj-plain", "inject") + &enabled("inj-other", "elsewhere");
    let accounts: String = ["inj", "inj-plain", "inj-other"].map(|name| account(name, "default")).concat();
    server.apply(&(namespaces + &namespace("inject-system", "inject") + &accounts)).await;
    let injector = Running::start(&server, "inject", &FLAGS).await;
    assert_eq!(page(injector.address("admin"), "/health/ready").await, "Service is ready");
    let configuration = registered(&server, "fsm-webhook-inject").await;
    assert_eq!(configuration["metadata"]["labels"]["flomesh.io/reconcile"], "true");

    // A webhook counts a moment after it was registered.
    eventually("pods get a sidecar", async || {
        server
            .kubectl(&["delete", "--ignore-not-found", "--force", "--grace-period=0", "-n", "inj", "pod", "web"], "")
            .await;
        server.apply(&pod("inj", "web", json!({}))).await;
        get(&server, "-n inj pod web").await["spec"]["initContainers"].is_array()
    })
    .await;
    let web = get(&server, "-n inj pod web").await;
    // The server is older than 1.29: FSM's layout.
    assert_eq!(web["spec"]["containers"][0]["name"], "sidecar");
    assert_eq!(web["spec"]["initContainers"][0]["name"], "fsm-init");
    assert_eq!(web["metadata"]["annotations"]["prometheus.io/port"], "15010");
    assert!(web["metadata"]["labels"]["fsm-proxy-uuid"].is_string());
    let app = &web["spec"]["containers"][1];
    assert_eq!(app["readinessProbe"]["httpGet"]["port"], 15902);
    assert_eq!(app["readinessProbe"]["periodSeconds"], 3);
    assert_eq!(app["livenessProbe"]["httpGet"]["port"], 15904);
    let volumes = web["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume["projected"]["sources"][0]["serviceAccountToken"].is_object()));

    for other in ["inj-plain", "inj-other"] {
        server.apply(&pod(other, "web", json!({}))).await;
        let pod = get(&server, &format!("-n {other} pod web")).await;
        assert_eq!(pod["spec"]["containers"].as_array().unwrap().len(), 1, "{other}");
    }
    let refused = |annotations: Value| async move { pod("inj", "bad", annotations) };
    for (annotation, value, says) in [
        ("flomesh.io/sidecar-injection", "perhaps", "write enabled or disabled"),
        ("flomesh.io/inbound-port-exclusion-list", "http", "write ports from 1 to 65535"),
        ("flomesh.io/outbound-ip-range-exclusion-list", "10.0.0.0/64", "write ranges such as 10.0.0.0/8"),
        ("flomesh.io/sidecar-resource-limits-cpu", "much", "write one such as 100m"),
    ] {
        let manifest = refused(json!({annotation: value})).await;
        let outcome = server.kubectl(&["apply", "-f", "-"], &manifest).await;
        assert_eq!(outcome.code, 1, "{outcome:#?}");
        assert!(outcome.stderr.contains(annotation) && outcome.stderr.contains(says), "{}", outcome.stderr);
    }

    // Somebody breaks the configuration, and somebody deletes it.
    let patch = r#"[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]"#;
    let words = ["patch", "mutatingwebhookconfiguration", "fsm-webhook-inject", "--type=json", "-p", patch];
    assert_eq!(server.kubectl(&words, "").await.code, 0);
    eventually("the change is taken back", async || {
        registered(&server, "fsm-webhook-inject").await["webhooks"][0]["failurePolicy"] == "Fail"
    })
    .await;
    server.delete("mutatingwebhookconfiguration fsm-webhook-inject").await;
    registered(&server, "fsm-webhook-inject").await;
    // Nobody answers any more: pods of this mesh would be refused for ever.
    injector.end().await;
    server.delete("mutatingwebhookconfiguration fsm-webhook-inject").await;
}
