//! Page "Dapr FSM Walkthrough" (integrations, 1), line by line: an application whose own infrastructure must be left alone
//! by the sidecar. What Dapr does is done by plain servers on its ports; its installation is not part of the test, and the
//! mesh's is `fsm up`.

use super::answered;
use fsm_tests::{LocalMesh, Outcome};

/// Dapr's control plane, the API server and a state store, outside of the mesh: namespace, Service, ports.
const OUTSIDE: [(&str, &str, &[u16]); 5] = [
    ("default", "kubernetes", &[443]),
    ("dapr-system", "dapr-api", &[80]),
    ("dapr-system", "dapr-dashboard", &[8080]),
    ("dapr-system", "dapr-placement-server", &[50005, 8201]),
    ("dapr-test", "my-release-redis", &[6379]),
];

fn outside() -> String {
    let container = |port: &u16| format!("{{name: server-{port}, image: httpbin, args: ['--port', '{port}']}}");
    let one = |(namespace, name, ports): (&str, &str, &[u16])| {
        let containers: Vec<String> = ports.iter().map(container).collect();
        let numbers: Vec<String> = ports.iter().map(|port| format!("{{name: p{port}, port: {port}}}")).collect();
        let headless = if name.ends_with("server") { "clusterIP: None, " } else { "" };
        format!(
            "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}-0, namespace: {namespace}, labels: {{app: {name}}}}}
spec: {{containers: [{}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{headless}selector: {{app: {name}}}, ports: [{}]}}
",
            containers.join(", "),
            numbers.join(", ")
        )
    };
    let pods: String = OUTSIDE.map(one).concat();
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: dapr-system}}\n{pods}")
}

/// A manifest of the example: an application beside which Dapr's injector has put its sidecar, `daprd`, that others call on
/// a port of its own by a headless Service.
fn deployment(name: &str, application: &str, spec: &str, annotations: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: dapr-test, labels: {{app: {name}}}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}, annotations: {annotations}}}
    spec: {{{spec}containers: [{application}, {{name: daprd, image: httpbin, args: ['--port', '50002']}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}-dapr, namespace: dapr-test}}
spec: {{clusterIP: None, selector: {{app: {name}}}, ports: [{{name: http-dapr, port: 50002}}]}}
"
    )
}

fn node(spec: &str, annotations: &str) -> String {
    let application = "{name: node, image: httpbin, args: ['--port', '3000'], ports: [{containerPort: 3000}]}";
    format!(
        "kind: Service
apiVersion: v1
metadata: {{name: nodeapp, namespace: dapr-test, labels: {{app: node}}}}
spec: {{selector: {{app: nodeapp}}, ports: [{{protocol: TCP, port: 80, targetPort: 3000}}], type: LoadBalancer}}
---
{}",
        deployment("nodeapp", application, spec, annotations)
    )
}

fn python(spec: &str, annotations: &str) -> String {
    deployment("pythonapp", "{name: python, image: curlimages/curl, command: [sleep, '1000']}", spec, annotations)
}

/// The page's command, as all of its heredocs are given.
fn apply(manifest: &str) -> String {
    format!("kubectl apply -f - <<EOF\n---\n{manifest}\nEOF")
}

const RIGHTS: &str = r#"apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: secret-reader
  namespace: dapr-test
rules:
- apiGroups: [""]
  resources: ["secrets"]
  verbs: ["get", "list"]
---
"#;

fn binding(more: &str) -> String {
    format!(
        "kind: RoleBinding
apiVersion: rbac.authorization.k8s.io/v1
metadata:
  name: dapr-secret-reader
  namespace: dapr-test
subjects:
- kind: ServiceAccount
  name: default
{more}roleRef:
  kind: Role
  name: secret-reader
  apiGroup: rbac.authorization.k8s.io"
    )
}

const TARGET: &str = "kind: TrafficTarget
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
    namespace: dapr-test";

const ROUTES: &str = "apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata:
  name: nodeapp-service-routes
  namespace: dapr-test
spec:
  matches:
  - name: new-order";

/// The page's patches of MeshConfig, each with what it prints.
async fn patch(mesh: &LocalMesh, spec: &str) {
    let said = mesh
        .shows(&format!(
            r#"kubectl patch meshconfig fsm-mesh-config -n fsm-system -p '{{"spec":{spec}}}' --type=merge"#
        ))
        .await;
    assert_eq!(said, "meshconfig.config.flomesh.io/fsm-mesh-config patched\n", "{spec}");
}

/// Refused where the sidecar has nothing to send out, else reset.
fn cut_off(outcome: &Outcome) -> bool {
    matches!(outcome.code, 7 | 52 | 56)
}

fn call(url: &str) -> String {
    format!(
        "kubectl exec \"$(kubectl get pod -n dapr-test -l app=pythonapp -o jsonpath='{{.items[0].metadata.name}}')\" \
         -n dapr-test -c python -- curl -sI -m 5 http://{url}"
    )
}

/// What pythonapp asks of nodeapp, from Dapr's sidecar to Dapr's sidecar.
fn order() -> String {
    call("nodeapp-dapr.dapr-test:50002/anything/neworder")
}

/// Writes the manifests anew, deletes the pods and deploys them again, as the page does; each prints what the page shows.
async fn redeploy(mesh: &LocalMesh, is_first: bool, files: [String; 2], containers: u32) {
    let directory = mesh.path("deploy");
    std::fs::create_dir_all(&directory).expect("a directory");
    for ((name, app), text) in [("node.yaml", "nodeapp"), ("python.yaml", "pythonapp")].into_iter().zip(&files) {
        std::fs::write(directory.join(name), text).expect("a file");
        let lines = |done: &str, quote: &str| {
            let of = |kind: &str, name: &str| {
                format!("{kind}{}{quote}{name}{quote} {done}\n", if quote.is_empty() { "/" } else { " " })
            };
            let service = if app == "nodeapp" { of("service", app) } else { String::new() };
            format!("{service}{}{}", of("deployment.apps", app), of("service", &format!("{app}-dapr")))
        };
        let at = directory.parent().expect("it has one").display();
        if !is_first {
            let said = mesh.shows(&format!("cd {at}; kubectl delete -f ./deploy/{name}")).await;
            assert_eq!(said, lines("deleted", "\""));
        }
        let said = mesh.shows(&format!("cd {at}; kubectl apply -f ./deploy/{name}")).await;
        assert_eq!(said, lines("created", ""));
    }
    let ready = |line: &str, app: &str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        cells[0].starts_with(&format!("{app}-"))
            && cells[1] == format!("{containers}/{containers}")
            && cells[2] == "Running"
    };
    mesh.eventually("kubectl get pods -n dapr-test", |outcome| {
        // Those of before may still be ending.
        let of = |app: &str| outcome.stdout.lines().filter(|line| line.starts_with(app)).collect::<Vec<_>>();
        ["nodeapp", "pythonapp"].iter().all(|app| matches!(of(app).as_slice(), [one] if ready(one, app)))
    })
    .await;
}

#[tokio::test]
async fn integrations_1_dapr_and_the_mesh_leave_each_other_alone() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    super::patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":false,"enableEgress":false}}"#).await;
    let said = mesh.shows("kubectl create namespace dapr-test").await;
    assert_eq!(said, "namespace/dapr-test created\n");
    // Applied and not given to `fsm up`, which would take the namespaces into the mesh.
    mesh.shows(&apply(&outside())).await;
    let said = mesh.shows(&apply(&format!("{RIGHTS}{}", binding("")))).await;
    assert_eq!(
        said,
        "role.rbac.authorization.k8s.io/secret-reader created\nrolebinding.rbac.authorization.k8s.io/dapr-secret-reader created\n"
    );
    // The sample applications run with Dapr, without a mesh.
    redeploy(&mesh, true, [node("", "{}"), python("", "{}")], 2).await;
    mesh.eventually(&order(), answered(200)).await;

    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true}}"#).await;
    let services = mesh.shows("kubectl get svc -n default").await;
    let row: Vec<&str> = services.lines().last().expect("a row").split_whitespace().collect();
    let ["kubernetes", "ClusterIP", address, "<none>", "443/TCP", _] = row[..] else { panic!("{services}") };
    patch(&mesh, &format!(r#"{{"traffic":{{"outboundIPRangeExclusionList":["{address}/32"]}}}}"#)).await;
    let services = mesh.shows("kubectl get svc -n dapr-system").await;
    let placement = services.lines().find(|line| line.starts_with("dapr-placement-server ")).expect("a row");
    assert!(placement.contains("None") && placement.contains("50005/TCP,8201/TCP"), "{services}");
    patch(&mesh, r#"{"traffic":{"outboundPortExclusionList":[50005,8201,6379]}}"#).await;

    let said = mesh.shows("fsm namespace add dapr-test").await;
    assert_eq!(said, "Namespace [dapr-test] successfully added to mesh [fsm]\n");
    let excluded = r#"{flomesh.io/outbound-port-exclusion-list: "80"}"#;
    redeploy(&mesh, false, [node("", excluded), python("", excluded)], 3).await;
    for (namespace, service, ports) in OUTSIDE {
        for port in ports {
            let call = call(&format!("{service}.{namespace}:{port}/get"));
            match service {
                // The only one that nobody excluded: the sidecar has it, and lets nothing out of the mesh.
                "dapr-dashboard" => mesh.eventually(&call, cut_off).await,
                _ => mesh.eventually(&call, answered(200)).await,
            };
        }
    }
    mesh.eventually(&order(), answered(200)).await;

    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":false}}"#).await;
    mesh.eventually(&order(), |outcome| !answered(200)(outcome)).await;
    for account in ["nodeapp", "pythonapp"] {
        let said = mesh.shows(&format!("kubectl create sa {account} -n dapr-test")).await;
        assert_eq!(said, format!("serviceaccount/{account} created\n"));
    }
    // With the page's own slip of the pen.
    let more = "- kind: ServiceAccount\n  name: nopdeapp\n- kind: ServiceAccount\n  name: pythonapp\n";
    let said = mesh.shows(&apply(&binding(more))).await;
    assert_eq!(said, "rolebinding.rbac.authorization.k8s.io/dapr-secret-reader configured\n");
    let said = mesh.shows(&apply(TARGET)).await;
    assert_eq!(said, "traffictarget.access.smi-spec.io/pythodapp-traffic-target created\n");
    let said = mesh.shows(&apply(ROUTES)).await;
    assert_eq!(said, "httproutegroup.specs.smi-spec.io/nodeapp-service-routes created\n");
    let files = [node("serviceAccountName: nodeapp, ", excluded), python("serviceAccountName: pythonapp, ", excluded)];
    redeploy(&mesh, false, files, 3).await;
    mesh.eventually(&order(), answered(200)).await;

    let said = mesh.shows("kubectl delete ns dapr-test").await;
    assert_eq!(said, "namespace \"dapr-test\" deleted\n");
}
