//! The program itself, with a cluster as its source.

use super::program::{Running, get};
use super::{namespace, split};
use fsm_tests::{ApiServer, api_server, eventually};
use serde_json::{Value, json};

/// Starts a controller and waits until it is ready; gives the address of its admin port.
pub(super) async fn start(server: &ApiServer, mesh: &str, name: &str) -> (Running, String) {
    let flags = ["--source", "kubernetes", "--tokens", "kubernetes:fsm", "--write-objects", "kubernetes"];
    let more = ["--listen-stream", "127.0.0.1:0", "--pod-name", name];
    let running = Running::start(server, mesh, &[&flags[..], &more].concat()).await;
    let admin = running.addresses["admin"].as_str().unwrap().to_owned();
    (running, admin)
}

#[tokio::test]
async fn fsm_control_becomes_ready_with_the_cluster_as_its_source() {
    let Some(server) = api_server().await else { return };
    let system = namespace("program-system", "none");
    server.apply(&(system + &namespace("program", "program") + &split("program", "s", 1))).await;
    let (_running, admin) = start(&server, "program", "one").await;
    assert_eq!(get(&admin, "/world").await["monitoredNamespaces"], json!(["program"]));
    server.apply(&namespace("program-too", "program")).await;
    eventually("the second namespace is seen", async || {
        get(&admin, "/world").await["monitoredNamespaces"].as_array().is_some_and(|names| names.len() == 2)
    })
    .await;
}

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
