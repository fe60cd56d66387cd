//! Pages of FSM's documentation about limits and access from outside of the mesh, command by command.

use super::{MANIFESTS, answered, deploy_curl, deploy_httpbin, failed, in_curl, patch};
use fsm_tests::{Fortio, LocalMesh};

async fn deploy_fortio(mesh: &LocalMesh) {
    mesh.shows(&format!(
        "kubectl create namespace demo && fsm namespace add demo &&
         kubectl apply -f {MANIFESTS}/samples/fortio/fortio.yaml -n demo &&
         kubectl apply -f {MANIFESTS}/samples/fortio/fortio-client.yaml -n demo &&
         kubectl wait --for=condition=ready pod --all -A"
    ))
    .await;
}

fn load(arguments: &str) -> String {
    format!(
        r#"fortio_client="$(kubectl get pod -n demo -l app=fortio-client -o jsonpath='{{.items[0].metadata.name}}')"
           kubectl exec "$fortio_client" -n demo -c fortio-client -- fortio load {arguments} 2>&1"#
    )
}

/// What the server's sidecar follows.
const DOCUMENT: &str = r#"fortio_server="$(kubectl get pod -n demo -l app=fortio -o jsonpath='{.items[0].metadata.name}')"
    fsm proxy get config_dump "$fortio_server" -n demo"#;

fn setting(text: &str) -> String {
    format!(
        "kubectl apply -f - <<EOF
apiVersion: policy.flomesh.io/v1alpha1
kind: UpstreamTrafficSetting
metadata:
  name: fortio
  namespace: demo
spec:
  host: fortio.demo.svc.cluster.local
{text}
EOF"
    )
}

#[tokio::test]
async fn page_1_5_the_circuit_breaker_opens() {
    let Some(_) = Fortio::find() else { return };
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true}}"#).await;
    deploy_fortio(&mesh).await;
    let url = "http://fortio.demo.svc.cluster.local:8080/echo?status=511:20";
    let before = load(&format!("-quiet -c 4 -n 200 -qps 200 {url}"));
    mesh.eventually(&before, |outcome| outcome.code == 0 && outcome.stdout.contains("Code 511")).await;
    mesh.shows(&setting(
        "  connectionSettings:
    http:
      circuitBreaking:
        statTimeWindow: 1m
        minRequestAmount: 200
        errorAmountThreshold: 10
        degradedTimeWindow: 1m
        degradedStatusCode: 409
        degradedResponseContent: 'Service in degraded mode'",
    ))
    .await;
    mesh.eventually(&before, |outcome| outcome.stdout.contains("Code 409")).await;
}

#[tokio::test]
async fn page_1_6_connections_are_limited() {
    let Some(_) = Fortio::find() else { return };
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true}}"#).await;
    deploy_fortio(&mesh).await;
    let ten = load("-qps -1 -c 3 -n 10 tcp://fortio.demo.svc.cluster.local:8078");
    mesh.eventually(&ten, |outcome| outcome.stdout.contains("tcp OK : 10 (100.0 %)")).await;
    let grep = r#"fortio_server="$(kubectl get pod -n demo -l app=fortio -o jsonpath='{.items[0].metadata.name}')"
               fsm proxy get stats "$fortio_server" -n demo | grep 'fortio.*8078.*rate_limit'"#;
    let none = mesh.page(grep).await;
    assert_eq!((none.code, none.stdout.as_str()), (1, ""), "the page sees no such line yet");
    mesh.shows(&setting(
        "  rateLimit:
    local:
      tcp:
        connections: 1
        unit: minute",
    ))
    .await;
    mesh.eventually(&ten, |outcome| !outcome.stdout.contains("tcp OK : 10 (100.0 %)")).await;
    let stats = mesh.shows(grep).await;
    assert!(stats.starts_with("local_rate_limit.inbound_demo/fortio_8078_tcp.rate_limited: "), "{stats}");
    assert!(!stats.contains("rate_limited: 0"), "{stats}");

    mesh.shows(&setting(
        "  rateLimit:
    local:
      tcp:
        connections: 1
        unit: minute
        burst: 10",
    ))
    .await;
    mesh.eventually(DOCUMENT, |outcome| outcome.stdout.contains("Burst")).await;
    let burst = mesh.page(&ten).await;
    assert!(burst.stdout.contains("tcp OK : 10 (100.0 %)"), "{burst:#?}");
}

#[tokio::test]
async fn page_1_7_requests_are_limited() {
    let Some(_) = Fortio::find() else { return };
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true}}"#).await;
    deploy_fortio(&mesh).await;
    let ten = load("-c 3 -n 10 http://fortio.demo.svc.cluster.local:8080");
    mesh.eventually(&ten, |outcome| outcome.stdout.contains("Code 200 : 10 (100.0 %)")).await;
    mesh.shows(&setting(
        "  rateLimit:
    local:
      http:
        requests: 3
        unit: minute",
    ))
    .await;
    // Asked before the limit is in force, it would cost tokens that the page counts.
    mesh.eventually(DOCUMENT, |outcome| outcome.stdout.contains("RateLimit")).await;
    assert_eq!(limited_so_far(&mesh).await, 0);
    let limited = mesh.page(&ten).await;
    assert!(limited.stdout.contains("Code 200 : 3 (30.0 %)"), "{limited:#?}");
    assert_eq!(limited_so_far(&mesh).await, 7);

    mesh.shows(&setting(
        "  rateLimit:
    local:
      http:
        requests: 3
        unit: minute
        burst: 10",
    ))
    .await;
    mesh.eventually(DOCUMENT, |outcome| outcome.stdout.contains("Burst")).await;
    let burst = mesh.page(&ten).await;
    assert!(burst.stdout.contains("Code 200 : 10 (100.0 %)"), "{burst:#?}");
    assert_eq!(limited_so_far(&mesh).await, 7);

    mesh.shows(&setting(
        "  httpRoutes:
    - path: .*
      rateLimit:
        local:
          requests: 3
          unit: minute",
    ))
    .await;
    mesh.eventually(DOCUMENT, |outcome| outcome.stdout.contains("RateLimit") && !outcome.stdout.contains("Burst"))
        .await;
    let limited = mesh.page(&ten).await;
    assert!(limited.stdout.contains("Code 429 : 7 (70.0 %)"), "{limited:#?}");
    assert_eq!(limited_so_far(&mesh).await, 14);
}

/// The number that the page's `grep` shows first; below it is the same for each kind of limit.
async fn limited_so_far(mesh: &LocalMesh) -> u32 {
    let stats = mesh
        .shows(
            r#"fortio_server="$(kubectl get pod -n demo -l app=fortio -o jsonpath='{.items[0].metadata.name}')"
               fsm proxy get stats "$fortio_server" -n demo | grep 'http_local_rate_limiter.http_local_rate_limit.rate_limited'"#,
        )
        .await;
    let first = stats
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("http_local_rate_limiter.http_local_rate_limit.rate_limited: "));
    first.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{stats}"))
}

fn access_control(sources: &str, protocol: &str, tls: &str) -> String {
    format!(
        "kubectl apply -f - <<EOF
kind: AccessControl
apiVersion: policy.flomesh.io/v1alpha1
metadata:
  name: httpbin
  namespace: httpbin
spec:
  backends:
  - name: httpbin
    port:
      number: 14001
      protocol: {protocol}
{tls}  sources:
{sources}
EOF"
    )
}

#[tokio::test]
async fn page_6_3_a_service_outside_is_admitted() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    deploy_httpbin(&mesh).await;
    deploy_curl(&mesh, false).await;
    let get = in_curl("curl -sI http://httpbin.httpbin:14001/get");
    mesh.eventually(&get, failed(56)).await;
    patch(&mesh, r#"{"featureFlags":{"enableAccessControlPolicy":true}}"#).await;
    mesh.shows(
        "kubectl apply -n curl -f - <<EOF
apiVersion: v1
kind: Service
metadata:
  name: curl
  labels:
    app: curl
    service: curl
spec:
  ports:
    - name: http
      port: 80
  selector:
    app: curl
EOF",
    )
    .await;
    mesh.shows(&access_control("  - kind: Service\n    namespace: curl\n    name: curl", "http", "")).await;
    let reply = mesh.eventually(&get, answered(200)).await;
    assert!(
        reply.header("fsm-stats").is_some_and(|stats| stats.starts_with("httpbin,Deployment,httpbin,httpbin-")),
        "{reply:?}"
    );
    mesh.shows("kubectl delete accesscontrol httpbin -n httpbin").await;
    mesh.eventually(&get, failed(56)).await;

    encrypted(&mesh, "  - kind: Service\n    namespace: curl\n    name: curl").await;
}

/// The second half of pages 6.3 and 6.4: the client gets a certificate of the mesh's authority.
async fn encrypted(mesh: &LocalMesh, source: &str) {
    patch(mesh, r#"{"featureFlags":{"enableAccessCertPolicy":true}}"#).await;
    mesh.shows(
        "kubectl apply -f - <<EOF
kind: AccessCert
apiVersion: policy.flomesh.io/v1alpha1
metadata:
  name: curl-mtls-cert
  namespace: httpbin
spec:
  subjectAltNames:
  - curl.curl.cluster.local
  secret:
    name: curl-mtls-secret
    namespace: curl
EOF",
    )
    .await;
    mesh.eventually("kubectl get secret curl-mtls-secret -n curl", |outcome| outcome.code == 0).await;
    mesh.shows(
        r#"kubectl apply -n curl -f - <<EOF
apiVersion: apps/v1
kind: Deployment
metadata:
  name: curl
spec:
  replicas: 1
  selector:
    matchLabels:
      app: curl
  template:
    metadata:
      labels:
        app: curl
    spec:
      serviceAccountName: curl
      containers:
      - image: curlimages/curl
        imagePullPolicy: IfNotPresent
        name: curl
        command: ["sleep", "365d"]
        volumeMounts:
        - name: curl-mtls-secret
          mountPath: "/certs"
          readOnly: true
      volumes:
        - name: curl-mtls-secret
          secret:
            secretName: curl-mtls-secret
EOF
kubectl rollout status deployment curl -n curl"#,
    )
    .await;
    let get = in_curl(
        "curl -ksI https://httpbin.httpbin:14001/get --cacert /certs/ca.crt --key /certs/tls.key --cert /certs/tls.crt",
    );
    let both = |name: &str| format!("{source}\n  - kind: AuthenticatedPrincipal\n    name: {name}");
    let tls = "    tls:\n      skipClientCertValidation: false\n";
    mesh.shows(&access_control(&both("curl.curl.cluster.local"), "https", tls)).await;
    mesh.eventually(&get, answered(200)).await;
    mesh.shows(&access_control(&both("other.curl.cluster.local"), "https", tls)).await;
    mesh.eventually(&get, answered(403)).await;
    outsider(mesh, &get).await;
}

/// A certificate of the mesh's authority that names no service account opens nothing by itself, in permissive mode neither.
async fn outsider(mesh: &LocalMesh, get: &str) {
    let certificate = r"kubectl get secret curl-mtls-secret -n curl -o jsonpath='{.data.tls\.crt}'";
    let before = mesh.shows(certificate).await;
    mesh.shows("kubectl delete accesscontrol httpbin -n httpbin").await;
    mesh.shows(
        r#"kubectl patch accesscert curl-mtls-cert -n httpbin --type=merge -p '{"spec":{"subjectAltNames":["client.example.org"]}}'"#,
    )
    .await;
    mesh.eventually(certificate, |outcome| outcome.code == 0 && outcome.stdout != before).await;
    mesh.shows("kubectl rollout restart deployment curl -n curl && kubectl rollout status deployment curl -n curl")
        .await;
    patch(mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true}}"#).await;
    mesh.eventually(get, failed(56)).await;
    let stats = r#"fsm proxy get stats "$(kubectl get pod -n httpbin -l app=httpbin -o jsonpath='{.items[0].metadata.name}')" -n httpbin"#;
    mesh.eventually(stats, |outcome| outcome.stdout.contains("refusals.inbound.identity-not-allowed")).await;
}

#[tokio::test]
async fn page_6_4_an_address_outside_is_admitted() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    deploy_httpbin(&mesh).await;
    deploy_curl(&mesh, false).await;
    let get = in_curl("curl -sI http://httpbin.httpbin:14001/get");
    mesh.eventually(&get, failed(56)).await;
    patch(&mesh, r#"{"featureFlags":{"enableAccessControlPolicy":true}}"#).await;
    let range = "  - kind: IPRange\n    name: ${curl_pod_ip}/32\n  - kind: AuthenticatedPrincipal\n    name: curl.curl.cluster.local";
    let ip = r#"curl_pod_ip="$(kubectl get pod -n curl -l app=curl -o jsonpath='{.items[0].status.podIP}')""#;
    mesh.shows(&format!("{ip}\n{}", access_control(range, "http", ""))).await;
    mesh.eventually(&get, answered(200)).await;
    mesh.shows("kubectl delete accesscontrol httpbin -n httpbin").await;
    mesh.eventually(&get, failed(56)).await;
}
