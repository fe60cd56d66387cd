//! Two replicas of the program on one cluster. Here, because a cluster of their own makes them quick: beside six other meshes
//! on the same API server the certificate was not written within half a minute more than once, and nobody knows why yet.

use crate::kubernetes::control::start;
use crate::kubernetes::namespace;
use fsm_tests::{api_server, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn one_of_two_replicas_writes_what_policies_ask_for() {
    let Some(server) = api_server().await else { return };
    let mesh = json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshConfig",
        "metadata": {"namespace": "replicas-system", "name": "fsm-mesh-config"},
        "spec": {"featureFlags": {"enableAccessCertPolicy": true}}});
    let certificate = |name: &str| {
        json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "AccessCert",
            "metadata": {"namespace": "replicas", "name": name},
            "spec": {"subjectAltNames": [format!("{name}.example.com")], "secret": {"namespace": "replicas", "name": name}}})
        .to_string()
            + "\n---\n"
    };
    let namespaces = namespace("replicas", "replicas") + &namespace("replicas-system", "replicas");
    server.apply(&(namespaces + &mesh.to_string() + "\n---\n" + &certificate("first"))).await;
    let holder = async || {
        let lease = [
            "-n",
            "replicas-system",
            "get",
            "lease",
            "fsm-controller.flomesh.io",
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ];
        server.kubectl(&lease, "").await.stdout
    };
    let status = async |name: &str| {
        let status = ["-n", "replicas", "get", "accesscert", name, "-o", "jsonpath={.status.currentStatus}"];
        server.kubectl(&status, "").await.stdout
    };
    let (one, _) = start(&server, "replicas", "one").await;
    eventually("it leads", async || holder().await.starts_with("one_")).await;
    eventually("the certificate is committed", async || status("first").await == "committed").await;
    let secret = server.kubectl(&["-n", "replicas", "get", "secret", "first", "-o", "json"], "").await;
    let secret: Value = serde_json::from_str(&secret.stdout).unwrap();
    assert_eq!(secret["metadata"]["annotations"]["flomesh.io/issued-for"], "AccessCert replicas/first");
    assert!(holder().await.starts_with("one_"));

    let (_two, _) = start(&server, "replicas", "two").await;
    assert!(holder().await.starts_with("one_"));
    one.terminate();
    eventually("the other one writes", async || holder().await.starts_with("two_")).await;
    server.apply(&certificate("second")).await;
    eventually("the second certificate is committed", async || status("second").await == "committed").await;
}
