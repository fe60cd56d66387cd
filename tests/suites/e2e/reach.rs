//! Commands that look at a mesh reach the admin pages of pods in a cluster: objects through the API server, pages through its
//! port-forward.

use fsm_tests::{cluster, eventually};
use serde_json::{Value, json};

const NAMESPACE: &str = "reach";

#[tokio::test]
async fn pages_of_pods_are_read_through_the_api_server() {
    let Some(cluster) = cluster().await else { return };
    // Whatever listens on the sidecar's admin port will do: here a server that tells what it was asked.
    let sidecar = json!({"name": "sidecar", "image": "httpbin", "args": ["--port", "15000"],
        "readinessProbe": {"exec": {"command": ["true"]}}});
    let client = json!({"name": "client", "image": "curlimages/curl", "command": ["sleep", "1000"]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": NAMESPACE, "name": "member", "labels": {"app": "member"}},
        "spec": {"containers": [client, sidecar]}});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    eventually("the pod is taken", async || {
        let applied = cluster.kubectl(&["apply", "-f", "-"], &format!("{namespace}\n---\n{pod}")).await;
        applied.code == 0
    })
    .await;
    cluster.pod_of(NAMESPACE, "member").await;

    eventually("the page comes", async || {
        let page = cluster.fsm(&["proxy", "get", "anything/here", "member", "-n", NAMESPACE]).await;
        let asked = serde_json::from_str::<Value>(&page.stdout).unwrap_or_default();
        page.code == 0 && asked["url"].as_str().is_some_and(|url| url.ends_with("/anything/here"))
    })
    .await;
    let refused = cluster.fsm(&["proxy", "get", "status/418", "member", "-n", NAMESPACE]).await;
    assert!(refused.code == 1 && refused.stderr.contains("answers 418"), "{refused:?}");
    let nobody = cluster.fsm(&["proxy", "get", "stats", "nobody", "-n", NAMESPACE]).await;
    assert!(nobody.code == 1 && nobody.stderr.contains("not found in namespace reach"), "{nobody:?}");
    // There is no control plane here, and what only it knows is said to be missing.
    let asked = cluster.fsm(&["policy", "explain", "-N", "nowhere", "--from", "reach/member", "--to", "reach/x"]).await;
    assert!(asked.code == 1 && asked.stderr.contains("there is no control plane in namespace nowhere"), "{asked:?}");
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"], "").await;
}
