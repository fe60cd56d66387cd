//! `sidecar.maxDataPlaneConnections`: the proxy that is one too many is told so, the others stay, and a free place is taken.

use fsm_tests::LocalMesh;

/// Two pods of the mesh, which may have two proxies.
const FULL: &str = "
apiVersion: config.flomesh.io/v1alpha3
kind: MeshConfig
metadata: {name: fsm-mesh-config, namespace: fsm-system}
spec: {sidecar: {maxDataPlaneConnections: 2}, traffic: {enablePermissiveTrafficPolicyMode: true}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {flomesh.io/monitored-by: fsm}, annotations: {flomesh.io/sidecar-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: shop}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080, name: http, appProtocol: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: shop, labels: {app: server}}
spec: {containers: [{name: app, image: httpbin, args: ['--port', '8080'], ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: second, namespace: shop}
spec: {containers: [{name: app, image: curlimages/curl, command: [sleep, '1000']}]}
";

const THIRD: &str = "kubectl apply -f - <<'EOF'
apiVersion: v1
kind: Pod
metadata: {name: third, namespace: shop}
spec: {containers: [{name: app, image: curlimages/curl, command: [sleep, '1000']}]}
EOF";

/// A page of fsm-control's admin port, seen from the node's network.
fn control(page: &str) -> String {
    format!(
        r#"control=$(grep -A2 '"control"' "$FSM_STATE_DIR/fsm/run.json" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
user=; grep -q '"rootless": true' "$FSM_STATE_DIR/fsm/run.json" && user='--user --preserve-credentials'
nsenter $user --net --target "$control" curl -sf http://127.0.0.1:9091{page}"#
    )
}

async fn is_ready(mesh: &LocalMesh, pod: &str) {
    mesh.shows(&format!("kubectl wait --for=condition=ready pod/{pod} -n shop --timeout=60s")).await;
}

/// The pods whose proxies follow.
async fn connected(mesh: &LocalMesh) -> Vec<String> {
    let proxies = mesh.shows(&control("/proxies")).await;
    let proxies: Vec<serde_json::Value> = serde_json::from_str(&proxies).unwrap();
    proxies.iter().map(|proxy| proxy["pod"].as_str().unwrap().to_owned()).collect()
}

fn call(pod: &str) -> String {
    format!("kubectl exec {pod} -n shop -c app -- curl -s -o /dev/null -w '%{{http_code}}' http://server.shop/get")
}

#[tokio::test]
async fn one_proxy_too_many_is_told_so_and_takes_the_place_that_becomes_free() {
    let Some(mesh) = LocalMesh::up(&[("full.yaml", FULL)]).await else { return };
    for pod in ["server", "second"] {
        is_ready(&mesh, pod).await;
    }
    mesh.eventually(&call("second"), |outcome| outcome.stdout == "200").await;
    mesh.shows(THIRD).await;
    let reason = "2 proxies are connected already, which is all that maxDataPlaneConnections admits";
    let told =
        mesh.eventually("kubectl logs third -n shop -c sidecar 2>&1", |outcome| outcome.stdout.contains(reason)).await;
    assert!(told.stdout.contains("503"), "{told:?}");
    let metrics = mesh.shows(&control("/metrics")).await;
    let count = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|count| count.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name}: {metrics}"))
    };
    assert!(count("fsm_proxy_max_connections_rejected") >= 1.0);
    assert!(count("fsm_proxy_refused_count{kind=\"too-many\"}") >= 1.0);
    assert!((count("fsm_proxy_connect_count") - 2.0).abs() < f64::EPSILON, "{metrics}");

    // Whoever was there stays, and hears of changes.
    assert_eq!(connected(&mesh).await, ["shop/second", "shop/server"]);
    assert_eq!(mesh.shows(&call("second")).await, "200");
    let phase = mesh.shows("kubectl get pod third -n shop").await;
    assert!(!phase.contains("2/2"), "a proxy without configuration is not ready: {phase}");

    mesh.shows("kubectl delete pod second -n shop").await;
    is_ready(&mesh, "third").await;
    assert_eq!(connected(&mesh).await, ["shop/server", "shop/third"]);
    mesh.eventually(&call("third"), |outcome| outcome.stdout == "200").await;
}
