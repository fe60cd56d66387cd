//! Page "Dapr FSM Walkthrough" (integrations, 1): an application whose own infrastructure must be left alone by the
//! sidecar. What Dapr does is done by plain servers on its ports.

use super::{answered, patch};
use fsm_tests::{LocalMesh, Outcome};

/// Dapr's control plane and a state store, outside of the mesh: Service, port.
const OUTSIDE: [(&str, u16); 5] =
    [("apiserver", 443), ("dapr-api", 80), ("dapr-placement-server", 50005), ("redis", 6379), ("dapr-dashboard", 8080)];

fn outside() -> String {
    let one = |(name, port): (&str, u16)| {
        format!(
            "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: dapr-system, labels: {{app: {name}}}}}
spec: {{containers: [{{name: server, image: httpbin, args: ['--port', '{port}']}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: dapr-system}}
spec: {{selector: {{app: {name}}}, ports: [{{port: {port}}}]}}
"
        )
    };
    let pods: String = OUTSIDE.map(one).concat();
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: dapr-system}}\n{pods}")
}

/// The two applications, with these annotations. As those of Deployments, pods have new names each time.
fn applications(turn: u32, annotations: &str) -> String {
    let pod = |name: &str, container: &str| {
        format!(
            "---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}, namespace: dapr-test}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}-{turn}, namespace: dapr-test, labels: {{app: {name}}}, annotations: {annotations}}}
spec: {{serviceAccountName: {name}, containers: [{container}]}}
"
        )
    };
    let node = pod("nodeapp", "{name: node, image: httpbin, args: ['--port', '3000'], ports: [{containerPort: 3000}]}");
    let python = pod("pythonapp", "{name: python, image: curlimages/curl, command: [sleep, '1000']}");
    format!(
        "{node}{python}---
apiVersion: v1
kind: Service
metadata: {{name: nodeapp, namespace: dapr-test}}
spec: {{selector: {{app: nodeapp}}, ports: [{{name: http, port: 80, targetPort: 3000}}]}}
"
    )
}

/// The page's, with the heredoc's lines.
const SMI: &str = "kubectl apply -f - <<EOF
kind: TrafficTarget
apiVersion: access.smi-spec.io/v1alpha3
metadata:
  name: pythodapp-traffic-target
  namespace: dapr-test
spec:
  destination:
    kind: ServiceAccount
    name: nodeapp
    namespace: dapr-test
  rules:
  - kind: HTTPRouteGroup
    name: nodeapp-service-routes
    matches:
    - new-order
  sources:
  - kind: ServiceAccount
    name: pythonapp
    namespace: dapr-test
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata:
  name: nodeapp-service-routes
  namespace: dapr-test
spec:
  matches:
  - name: new-order
EOF";

async fn redeploy(mesh: &LocalMesh, turn: u32, annotations: &str) {
    let manifest = applications(turn, annotations);
    mesh.shows(&format!(
        "kubectl delete pod -n dapr-test -l 'app in (nodeapp,pythonapp)' > /dev/null
         kubectl apply -f - <<'EOF' && kubectl wait --for=condition=ready pod/nodeapp-{turn} pod/pythonapp-{turn} -n dapr-test --timeout=60s
{manifest}
EOF"
    ))
    .await;
}

/// Refused where the sidecar has nothing to send out, else reset.
fn cut_off(outcome: &Outcome) -> bool {
    matches!(outcome.code, 7 | 52 | 56)
}

fn call(turn: u32, service: &str, port: u16) -> String {
    format!("kubectl exec pythonapp-{turn} -n dapr-test -c python -- curl -sI -m 5 http://{service}:{port}/get")
}

#[tokio::test]
async fn integrations_1_daprs_own_traffic_bypasses_the_sidecar() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    // Applied and not given to `fsm up`, which would take the namespace into the mesh.
    let manifest = outside();
    mesh.shows(&format!(
        "kubectl apply -f - <<'EOF' && kubectl wait --for=condition=ready pod --all -n dapr-system --timeout=60s\n{manifest}\nEOF"
    ))
    .await;
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true,"enableEgress":false}}"#).await;
    let said = mesh.shows("kubectl create namespace dapr-test && fsm namespace add dapr-test").await;
    assert!(said.contains("Namespace [dapr-test] successfully added to mesh [fsm]"), "{said}");

    // Without exclusions the sidecar has everything, and lets nothing out of the mesh.
    redeploy(&mesh, 1, "{}").await;
    for (service, port) in OUTSIDE {
        mesh.eventually(&call(1, &format!("{service}.dapr-system"), port), cut_off).await;
    }

    let address = mesh.shows("kubectl get svc apiserver -n dapr-system -o jsonpath='{.spec.clusterIP}'").await;
    patch(&mesh, &format!(r#"{{"traffic":{{"outboundIPRangeExclusionList":["{address}/32"]}}}}"#)).await;
    patch(&mesh, r#"{"traffic":{"outboundPortExclusionList":[50005,8201,6379]}}"#).await;
    redeploy(&mesh, 2, "{flomesh.io/outbound-port-exclusion-list: '80'}").await;
    for (service, port) in OUTSIDE {
        let call = call(2, &format!("{service}.dapr-system"), port);
        match service {
            "dapr-dashboard" => mesh.eventually(&call, cut_off).await,
            _ => mesh.eventually(&call, answered(200)).await,
        };
    }

    // Dapr's sidecars call each other by ports of their own; here port 80 is the mesh's again.
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":false}}"#).await;
    redeploy(&mesh, 3, "{}").await;
    mesh.eventually(&call(3, "nodeapp.dapr-test", 80), |outcome| !answered(200)(outcome)).await;
    mesh.shows(SMI).await;
    mesh.eventually(&call(3, "nodeapp.dapr-test", 80), answered(200)).await;
}
