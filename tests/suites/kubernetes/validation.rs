//! The controller's validator, asked by a real API server about what people apply.

use super::namespace;
use super::program::Running;
use fsm_tests::{ApiServer, Outcome, api_server, eventually};
use serde_json::{Value, json};

const FLAGS: [&str; 15] = [
    "--source",
    "kubernetes",
    "--tokens",
    "kubernetes:fsm",
    "--listen-stream",
    "127.0.0.1:0",
    "--listen-validator",
    "127.0.0.1:0",
    "--validator-url",
    "https://127.0.0.1:0",
    "--server-name",
    "127.0.0.1",
    "--enable-reconciler",
    "--pod-name",
    "validator",
];

fn policy(kind: &str, name: &str, spec: Value) -> String {
    let metadata = json!({"namespace": "valid", "name": name});
    json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}).to_string()
}

/// What leads into the cluster from outside.
fn way_in(group: &str, kind: &str, name: &str, spec: Value) -> String {
    let metadata = json!({"namespace": "valid", "name": name});
    json!({"apiVersion": format!("{group}.flomesh.io/v1alpha1"), "kind": kind, "metadata": metadata, "spec": spec})
        .to_string()
}

fn target(destination: &str, rule: &str) -> String {
    let account = |namespace: &str| json!({"kind": "ServiceAccount", "name": "a", "namespace": namespace});
    let spec = json!({"destination": account(destination), "sources": [account("valid")],
        "rules": [{"kind": "HTTPRouteGroup", "name": rule, "matches": []}]});
    json!({"apiVersion": "access.smi-spec.io/v1alpha3", "kind": "TrafficTarget",
        "metadata": {"namespace": "valid", "name": "t"}, "spec": spec})
    .to_string()
}

fn mesh_config(spec: &Value) -> String {
    json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshConfig",
        "metadata": {"namespace": "validate-system", "name": "fsm-mesh-config"}, "spec": spec})
    .to_string()
}

async fn apply(server: &ApiServer, manifest: &str) -> Outcome {
    server.kubectl(&["apply", "--validate=false", "-f", "-"], manifest).await
}

async fn refused(server: &ApiServer, manifest: &str, says: &str) {
    let outcome = apply(server, manifest).await;
    assert_eq!(outcome.code, 1, "{manifest}\n{outcome:#?}");
    assert!(
        outcome.stderr.contains("denied the request") && outcome.stderr.contains(says),
        "{says}: {}",
        outcome.stderr
    );
}

/// One NamespacedIngress for each namespace, and paths that are some.
async fn ways_in(server: &ApiServer) {
    let ingress = |name: &str| way_in("networking", "NamespacedIngress", name, json!({"replicas": 1}));
    let taken = apply(server, &ingress("one")).await;
    assert!(taken.code == 0 && taken.stderr.contains("Warning: no ingress is run in namespace valid"), "{taken:#?}");
    // The validator hears of the first one a moment after it was taken.
    eventually("a second one is refused", async || {
        let second = apply(server, &ingress("two")).await;
        if second.code == 0 {
            server.delete("-n valid namespacedingress two").await;
        }
        second.stderr.contains("ONLY ONE NamespacedIngress, and valid has NamespacedIngress valid/one")
    })
    .await;
    let rules = json!({"rules": [{"portNumber": 80, "path": "web", "pathType": "Prefix"}]});
    refused(server, &way_in("multicluster", "ServiceExport", "web", rules), "is no path; write one that begins with /")
        .await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_what_will_not_work_is_warned_of() {
    let Some(server) = api_server().await else { return };
    server.apply(&(namespace("valid", "validate") + &namespace("validate-system", "validate"))).await;
    server.apply(&mesh_config(&json!({"featureFlags": {"enableAccessCertPolicy": false}}))).await;
    let controller = Running::start(&server, "validate", &FLAGS).await;
    let certificate =
        policy("AccessCert", "a", json!({"subjectAltNames": ["a"], "secret": {"namespace": "valid", "name": "a"}}));
    // A webhook counts a moment after it was registered.
    eventually("the validator is asked", async || {
        let outcome = apply(&server, &certificate).await;
        if outcome.code == 0 {
            server.delete("-n valid accesscert a").await;
        }
        outcome.stderr.contains("FSM is prohibited to issue certificates for external services")
    })
    .await;
    refused(&server, &target("elsewhere", "r"), "create the TrafficTarget in namespace \"elsewhere\"").await;
    let backend = |protocol: &str| {
        let backends = json!([{"name": "web", "port": {"number": 80, "protocol": protocol}}]);
        json!({"backends": backends, "sources": [{"kind": "IPRange", "name": "10.0.0.0/8"}]})
    };
    refused(&server, &policy("IngressBackend", "b", backend("ftp")), "to be 'http', 'https' or 'grpc'").await;
    let status = json!({"host": "a", "rateLimit": {"local": {"http": {"requests": 1, "unit": "second", "responseStatusCode": 999}}}});
    refused(&server, &policy("UpstreamTrafficSetting", "u", status), "999 is no status").await;
    refused(
        &server,
        &mesh_config(&json!({"certificate": {"serviceCertValidityDuration": "1 day"}})),
        "24h, 90m or 30s",
    )
    .await;

    // Taken, and said.
    for (manifest, says) in [
        (target("valid", "gone"), "there is no such HTTPRouteGroup in namespace valid"),
        (policy("IngressBackend", "b", backend("http")), "there is no service valid/web in the mesh"),
    ] {
        let outcome = apply(&server, &manifest).await;
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        assert!(outcome.stderr.contains("Warning: ") && outcome.stderr.contains(says), "{says}: {}", outcome.stderr);
    }
    refused(&server, &policy("IngressBackend", "c", backend("http")), "IngressBackend valid/b already says").await;
    ways_in(&server).await;
    // Wrong types are the definition's.
    let patch = r#"{"spec":{"traffic":{"enableEgress":"no"}}}"#;
    let words = ["-n", "validate-system", "patch", "meshconfig", "fsm-mesh-config", "--type=merge", "-p", patch];
    let outcome = server.kubectl(&words, "").await;
    assert!(outcome.stderr.contains("must be of type boolean"), "{outcome:#?}");

    let name = "validatingwebhookconfiguration fsm-validator-mesh-validate";
    server.delete(name).await;
    eventually("the configuration is there again", async || {
        server.kubectl(&["get", "validatingwebhookconfiguration", "fsm-validator-mesh-validate"], "").await.code == 0
    })
    .await;
    controller.end().await;
    // Nobody answers any more: policies of this mesh would be refused for ever.
    server.delete(name).await;
    // Deletions ask nobody.
    server.delete("-n valid traffictarget t").await;
}
