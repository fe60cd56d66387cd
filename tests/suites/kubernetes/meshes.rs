//! What programs write when there are several: replicas of one mesh, and meshes on one cluster.

use super::control::start;
use super::namespace;
use super::program::get;
use fsm_tests::{ApiServer, api_server, eventually};
use serde_json::{Value, json};

fn mesh_config(mesh: &str) -> String {
    json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshConfig",
        "metadata": {"namespace": format!("{mesh}-system"), "name": "fsm-mesh-config"},
        "spec": {"featureFlags": {"enableAccessCertPolicy": true}}})
    .to_string()
        + "\n---\n"
}

/// A policy whose Secret is in this namespace.
fn certificate(namespace: &str, name: &str, secrets: &str) -> String {
    json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "AccessCert",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"subjectAltNames": [format!("{name}.example.com")], "secret": {"namespace": secrets, "name": name}}})
    .to_string()
        + "\n---\n"
}

/// What is said of such a policy, and the version of the object.
async fn status(server: &ApiServer, namespace: &str, name: &str) -> (String, String) {
    let path = "jsonpath={.status.currentStatus} {.metadata.resourceVersion}";
    let said = server.kubectl(&["-n", namespace, "get", "accesscert", name, "-o", path], "").await.stdout;
    said.split_once(' ').map(|(status, version)| (status.to_owned(), version.to_owned())).unwrap_or_default()
}

async fn is_committed(server: &ApiServer, namespace: &str, name: &str) -> bool {
    status(server, namespace, name).await.0 == "committed"
}

#[tokio::test]
async fn one_of_two_replicas_writes_what_policies_ask_for() {
    let Some(server) = api_server().await else { return };
    let namespaces = namespace("replicas", "replicas") + &namespace("replicas-system", "replicas");
    let first = certificate("replicas", "first", "replicas");
    server.apply(&(namespaces + &mesh_config("replicas") + &first)).await;
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
    let (one, _) = start(&server, "replicas", "one").await;
    eventually("it leads", async || holder().await.starts_with("one_")).await;
    eventually("the certificate is committed", async || is_committed(&server, "replicas", "first").await).await;
    let secret = server.kubectl(&["-n", "replicas", "get", "secret", "first", "-o", "json"], "").await;
    let secret: Value = serde_json::from_str(&secret.stdout).unwrap();
    assert_eq!(secret["metadata"]["annotations"]["flomesh.io/issued-for"], "AccessCert replicas/first");
    assert!(holder().await.starts_with("one_"));

    let (_two, _) = start(&server, "replicas", "two").await;
    assert!(holder().await.starts_with("one_"));
    one.terminate();
    eventually("the other one writes", async || holder().await.starts_with("two_")).await;
    server.apply(&certificate("replicas", "second", "replicas")).await;
    eventually("the second certificate is committed", async || is_committed(&server, "replicas", "second").await).await;
}

/// Each of two meshes once wrote over the statuses of the other's policies that these were in no mesh, and they stayed so.
#[tokio::test]
async fn meshes_on_one_cluster_leave_each_others_policies_alone() {
    let Some(server) = api_server().await else { return };
    for mesh in ["aside", "beside"] {
        // Not only what is in its namespaces is a mesh's own, but also what is beside its control plane.
        let system = format!("{mesh}-system");
        let namespaces = namespace(mesh, mesh) + &namespace(&system, "none");
        let policies = certificate(mesh, mesh, mesh) + &certificate(&system, &system, mesh);
        server.apply(&(namespaces + &mesh_config(mesh) + &policies)).await;
    }
    let (_aside, _) = start(&server, "aside", "one").await;
    let mut before = Vec::new();
    for namespace in ["aside", "aside-system"] {
        eventually("it is committed", async || is_committed(&server, namespace, namespace).await).await;
        before.push(status(&server, namespace, namespace).await);
    }
    let (_beside, admin) = start(&server, "beside", "one").await;
    // Statuses are written in the order of names, so that nothing of the other mesh is still to come after these.
    for namespace in ["beside", "beside-system"] {
        eventually("it is committed", async || is_committed(&server, namespace, namespace).await).await;
    }
    let mut after = Vec::new();
    for namespace in ["aside", "aside-system"] {
        after.push(status(&server, namespace, namespace).await);
    }
    assert_eq!(after, before);
    let problems = get(&admin, "/problems").await.to_string();
    assert!(!problems.contains("aside"), "{problems}");

    // Whoever writes over a status, it comes back. A Secret may be in a namespace of no mesh.
    let theirs = r#"{"status":{"currentStatus":"error","reason":"of others"}}"#;
    let patch = ["-n", "aside", "patch", "accesscert", "aside", "--type", "merge", "-p", theirs];
    assert_eq!(server.kubectl(&patch, "").await.code, 0);
    eventually("it is committed again", async || is_committed(&server, "aside", "aside").await).await;
    let outside =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "nobodys"}}).to_string() + "\n---\n";
    server.apply(&(outside + &certificate("beside", "outside", "nobodys"))).await;
    eventually("it is committed", async || is_committed(&server, "beside", "outside").await).await;
}
