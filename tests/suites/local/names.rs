//! MeshConfig `sidecar.localDNSProxy`: sidecars answer questions about names.

use super::{failed, patch};
use fsm_tests::LocalMesh;

const PODS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {flomesh.io/monitored-by: fsm}, annotations: {flomesh.io/sidecar-injection: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: before, namespace: shop}
spec: {containers: [{name: app, image: curlimages/curl, command: [sleep, '1000']}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
";

fn resolved(pod: &str, name: &str) -> String {
    format!("fsm exec {pod} -n shop -- getent ahostsv4 {name} | awk '{{print $1}}' | sort -u")
}

/// A bare word is a name that nobody in the cluster knows, and that nobody outside is asked about.
#[tokio::test]
async fn a_name_that_nobody_knows_leads_to_the_wildcard_in_pods_made_since() {
    let Some(mesh) = LocalMesh::up(&[("shop.yaml", PODS)]).await else { return };
    let unknown = "fsm exec before -n shop -- getent hosts nowhere";
    mesh.eventually(unknown, failed(2)).await;
    patch(
        &mesh,
        r#"{"sidecar":{"localDNSProxy":{"enable":true,"wildcard":{"enable":true,"ips":[{"ipv4":"240.0.0.1"}]}}}}"#,
    )
    .await;
    let after = PODS.split("---").nth(1).expect("a pod").replace("before", "after");
    mesh.shows(&format!(
        "kubectl apply -f - <<'EOF' && kubectl wait --for=condition=ready pod after -n shop --timeout=60s\n{after}\nEOF"
    ))
    .await;
    mesh.eventually(&resolved("after", "nowhere"), |outcome| outcome.stdout == "240.0.0.1\n").await;
    let listeners = mesh.shows("fsm proxy get listeners after -n shop").await;
    assert!(listeners.contains("127.0.0.1:5300"), "{listeners}");
    // Names of the cluster are the cluster's, and pods that were there before ask as they did.
    for name in ["web", "web.shop", "web.shop.svc.cluster.local"] {
        let known = mesh.shows(&resolved("after", name)).await;
        assert!(!known.is_empty() && !known.contains("240.0.0.1"), "{name}: {known}");
    }
    mesh.eventually(unknown, failed(2)).await;

    // Switched off, a pod that was made with it still has names.
    patch(&mesh, r#"{"sidecar":{"localDNSProxy":{"enable":false}}}"#).await;
    mesh.eventually("fsm exec after -n shop -- getent hosts nowhere", failed(2)).await;
}
