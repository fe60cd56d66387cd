//! Pages of FSM's documentation, command by command. Section numbers are those of the pages.

use super::{MANIFESTS, answered, deploy_curl, deploy_httpbin, failed, in_curl, patch};
use fsm_tests::LocalMesh;

/// Servers of the outside world, which pages reach by name and address.
const OUTSIDE: &str = include_str!("outside.yaml");

#[tokio::test]
async fn page_1_1_outbound_ip_ranges_are_excluded() {
    let Some(mesh) = LocalMesh::up(&[("outside.yaml", OUTSIDE)]).await else { return };
    patch(&mesh, r#"{"traffic":{"enableEgress":false}}"#).await;
    deploy_curl(&mesh, true).await;
    mesh.eventually(&in_curl("curl -sI http://10.96.200.50:80"), failed(7)).await;
    patch(&mesh, r#"{"traffic":{"outboundIPRangeExclusionList":["10.96.200.50/32"]}}"#).await;
    let shown = mesh
        .shows(
            r#"kubectl get meshconfig fsm-mesh-config -n "$fsm_namespace" -o jsonpath='{.spec.traffic.outboundIPRangeExclusionList}{"\n"}'"#,
        )
        .await;
    assert_eq!(shown, "[\"10.96.200.50/32\"]\n");
    mesh.shows("kubectl rollout restart deployment curl -n curl").await;
    mesh.eventually(&in_curl("curl -sI http://10.96.200.50:80"), answered(200)).await;
    mesh.eventually(&in_curl("curl -sI http://10.96.200.51:80"), failed(7)).await;
}

#[tokio::test]
async fn page_1_2_requests_are_retried() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true},"featureFlags":{"enableRetryPolicy":true}}"#)
        .await;
    deploy_httpbin(&mesh).await;
    deploy_curl(&mesh, true).await;
    mesh.eventually(&in_curl("curl -sI httpbin.httpbin.svc.cluster.local:14001/status/404"), answered(404)).await;
    mesh.shows(
        r#"kubectl apply -f - <<EOF
kind: Retry
apiVersion: policy.flomesh.io/v1alpha1
metadata:
  name: retry
  namespace: curl
spec:
  source:
    kind: ServiceAccount
    name: curl
    namespace: curl
  destinations:
  - kind: Service
    name: httpbin
    namespace: httpbin
  retryPolicy:
    retryOn: "5xx"
    perTryTimeout: 1s
    numRetries: 5
    retryBackoffBaseInterval: 10ms
EOF"#,
    )
    .await;
    let stats = r#"curl_client="$(kubectl get pod -n curl -l app=curl -o jsonpath='{.items[0].metadata.name}')"
        kubectl exec "$curl_client" -n curl -c curl -- curl -sI httpbin.httpbin.svc.cluster.local:14001/status/503 >&2
        fsm proxy get stats -n curl "$curl_client" | grep upstream_rq_retry"#;
    let seen = mesh.eventually(stats, |outcome| outcome.stdout.contains("upstream_rq_retry_limit_exceeded: 1")).await;
    for line in [
        "cluster.httpbin/httpbin|14001.upstream_rq_retry: 5",
        "cluster.httpbin/httpbin|14001.upstream_rq_retry_backoff_exponential: 5",
        "cluster.httpbin/httpbin|14001.upstream_rq_retry_backoff_ratelimited: 0",
        "cluster.httpbin/httpbin|14001.upstream_rq_retry_overflow: 0",
        "cluster.httpbin/httpbin|14001.upstream_rq_retry_success: 0",
    ] {
        assert!(seen.stdout.lines().any(|shown| shown == line), "{line}\n{seen:#?}");
    }
}

#[tokio::test]
async fn page_1_3_tcp_is_routed() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    mesh.shows(&format!(
        "kubectl create namespace tcp-demo && fsm namespace add tcp-demo &&
         kubectl apply -f {MANIFESTS}/apps/tcp-echo.yaml -n tcp-demo &&
         kubectl wait --for=condition=ready pod -n tcp-demo -l app=tcp-echo --timeout=60s"
    ))
    .await;
    deploy_curl(&mesh, true).await;
    let echo = in_curl("sh -c 'echo hello | nc -w 2 tcp-echo.tcp-demo 9000'");
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true}}"#).await;
    mesh.eventually(&echo, |outcome| outcome.stdout == "echo response: hello\n").await;
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":false}}"#).await;
    mesh.eventually(&echo, |outcome| outcome.stdout.is_empty()).await;
    mesh.shows(
        "kubectl apply -f - <<EOF
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata:
  name: tcp-echo-route
  namespace: tcp-demo
spec:
  matches:
    ports:
    - 9000
---
kind: TrafficTarget
apiVersion: access.smi-spec.io/v1alpha3
metadata:
  name: tcp-access
  namespace: tcp-demo
spec:
  destination:
    kind: ServiceAccount
    name: tcp-echo
    namespace: tcp-demo
  sources:
  - kind: ServiceAccount
    name: curl
    namespace: curl
  rules:
  - kind: TCPRoute
    name: tcp-echo-route
EOF",
    )
    .await;
    mesh.eventually(&echo, |outcome| outcome.stdout == "echo response: hello\n").await;
}

const V1: &str = include_str!("canary-v1.yaml");
const V2: &str = include_str!("canary-v2.yaml");

fn split(name: &str, group: Option<&str>, weights: &[(&str, u32)]) -> String {
    let backends: String =
        weights.iter().map(|(service, weight)| format!("  - service: {service}\n    weight: {weight}\n")).collect();
    let matches =
        group.map_or_else(String::new, |group| format!("  matches:\n  - name: {group}\n    kind: HTTPRouteGroup\n"));
    format!(
        "apiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\nmetadata:\n  name: {name}\nspec:\n  \
         service: httpbin\n{matches}  backends:\n{backends}---\n"
    )
}

#[tokio::test]
async fn page_1_4_a_canary_gets_its_share() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    let apply = async |yaml: &str| mesh.shows(&format!("kubectl apply -n httpbin -f - <<'EOF'\n{yaml}\nEOF")).await;
    mesh.shows("kubectl create ns httpbin && kubectl create ns curl && fsm namespace add httpbin curl").await;
    apply(V1).await;
    mesh.shows(&format!("kubectl apply -n curl -f {MANIFESTS}/samples/curl/curl.yaml")).await;
    mesh.shows("kubectl wait --for=condition=ready pod --all -A").await;
    let four = |path: &str| {
        let url = format!("httpbin.httpbin:8080{path}");
        in_curl(&format!("curl -s {url} {url} {url} {url}"))
    };
    let answers = |v1: usize, v2: usize| {
        move |outcome: &fsm_tests::Outcome| {
            let count = |text: &str| outcome.stdout.lines().filter(|line| *line == text).count();
            (count("Hi, I am v1!"), count("Hi, I am v2!")) == (v1, v2)
        }
    };
    mesh.eventually(&four("/"), answers(4, 0)).await;

    apply(&split("httpbin-split", None, &[("httpbin-v1", 100)])).await;
    apply(V2).await;
    mesh.shows("kubectl wait --for=condition=ready pod -n httpbin -l version=v2").await;
    mesh.eventually(&four("/"), answers(4, 0)).await;

    apply(&split("httpbin-split", None, &[("httpbin-v1", 75), ("httpbin-v2", 25)])).await;
    mesh.eventually(&four("/"), answers(3, 1)).await;
    for _ in 0..3 {
        let outcome = mesh.page(&four("/")).await;
        assert!(answers(3, 1)(&outcome), "{outcome:?}");
    }

    apply(
        "apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata:
  name: httpbin-test
spec:
  matches:
  - name: test
    pathRegex: \"/test\"
    methods:
    - GET
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata:
  name: httpbin-all
spec:
  matches:
  - name: test
    pathRegex: \".*\"
    methods:
    - GET",
    )
    .await;
    let test = split("httpbin-split", Some("httpbin-test"), &[("httpbin-v1", 75), ("httpbin-v2", 25)]);
    apply(&format!("{test}{}", split("httpbin-all", Some("httpbin-all"), &[("httpbin-v1", 100)]))).await;
    mesh.eventually(&four("/demo"), answers(4, 0)).await;
    mesh.eventually(&four("/test"), answers(3, 1)).await;
    assert!(answers(4, 0)(&mesh.page(&four("/demo")).await));
}

#[tokio::test]
async fn page_4_1_unknown_destinations_pass_through() {
    let Some(mesh) = LocalMesh::up(&[("outside.yaml", OUTSIDE)]).await else { return };
    patch(&mesh, r#"{"traffic":{"enableEgress":true}}"#).await;
    deploy_curl(&mesh, true).await;
    mesh.eventually(&in_curl("curl -sI http://httpbin.org:80"), answered(200)).await;
    patch(&mesh, r#"{"traffic":{"enableEgress":false}}"#).await;
    mesh.eventually(&in_curl("curl -sI http://httpbin.org:80"), failed(7)).await;
}

fn egress(name: &str, host: Option<&str>, port: u16, protocol: &str, group: Option<&str>) -> String {
    let hosts = host.map_or_else(String::new, |host| format!("  hosts:\n  - {host}\n"));
    let matches = group.map_or_else(String::new, |group| {
        format!("  matches:\n  - apiGroup: specs.smi-spec.io/v1alpha4\n    kind: HTTPRouteGroup\n    name: {group}\n")
    });
    format!(
        "kubectl apply -f - <<EOF
kind: Egress
apiVersion: policy.flomesh.io/v1alpha1
metadata:
  name: {name}
  namespace: curl
spec:
  sources:
  - kind: ServiceAccount
    name: curl
    namespace: curl
{hosts}  ports:
  - number: {port}
    protocol: {protocol}
{matches}EOF"
    )
}

fn routes(paths: &[(&str, &str)]) -> String {
    let matches: String =
        paths.iter().map(|(name, path)| format!("  - name: {name}\n    pathRegex: {path}\n")).collect();
    format!(
        "kubectl apply -f - <<EOF
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata:
  name: egress-http-route
  namespace: curl
spec:
  matches:
{matches}EOF"
    )
}

#[tokio::test]
async fn page_4_3_egress_policies() {
    let Some(mesh) = LocalMesh::up(&[("outside.yaml", OUTSIDE)]).await else { return };
    patch(&mesh, r#"{"featureFlags":{"enableEgressPolicy":true},"traffic":{"enableEgress":false}}"#).await;
    deploy_curl(&mesh, true).await;
    let get = in_curl("curl -sI http://httpbin.org:80/get");
    let status = in_curl("curl -sI http://httpbin.org:80/status/200");
    let https = in_curl("curl -skI https://httpbin.org:443/get");
    let other = in_curl("curl -skI https://flomesh.io:443");

    mesh.eventually(&get, failed(7)).await;
    mesh.shows(&egress("httpbin-80", Some("httpbin.org"), 80, "http", None)).await;
    mesh.eventually(&get, answered(200)).await;
    mesh.shows("kubectl delete egress httpbin-80 -n curl").await;
    mesh.eventually(&get, failed(7)).await;

    mesh.eventually(&https, failed(7)).await;
    mesh.shows(&egress("httpbin-443", Some("httpbin.org"), 443, "https", None)).await;
    mesh.eventually(&https, answered(200)).await;
    let stranger = mesh.page(&other).await;
    assert_ne!(stranger.code, 0, "another name on the same port is no part of the policy: {stranger:?}");
    mesh.shows("kubectl delete egress httpbin-443 -n curl").await;
    mesh.eventually(&https, failed(7)).await;

    mesh.shows(&egress("tcp-443", None, 443, "tcp", None)).await;
    mesh.eventually(&other, answered(200)).await;
    mesh.shows("kubectl delete egress tcp-443 -n curl").await;
    mesh.eventually(&other, failed(7)).await;

    mesh.shows(&routes(&[("get", "/get")])).await;
    mesh.shows(&egress("httpbin-80", Some("httpbin.org"), 80, "http", Some("egress-http-route"))).await;
    mesh.eventually(&get, answered(200)).await;
    mesh.eventually(&status, answered(403)).await;
    mesh.shows(&routes(&[("get", "/get"), ("status", "/status.*")])).await;
    mesh.eventually(&status, answered(200)).await;
}

#[tokio::test]
async fn page_6_1_permissive_mode() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true}}"#).await;
    deploy_httpbin(&mesh).await;
    deploy_curl(&mesh, true).await;
    let services = mesh.shows("kubectl get svc -n httpbin").await;
    assert!(services.lines().next().is_some_and(|line| line.starts_with("NAME") && line.contains("CLUSTER-IP")));
    assert!(services.contains("14001/TCP"), "{services}");
    let pods = mesh.shows("kubectl get pods -n httpbin").await;
    assert!(pods.contains("2/2") && pods.contains("Running"), "{pods}");
    let get = in_curl("curl -sI http://httpbin.httpbin:14001");
    mesh.eventually(&get, answered(200)).await;
    // Egress would pass the unknown destination through, to a server that wants mutual TLS.
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":false}}"#).await;
    mesh.eventually(&get, |outcome| [7, 52, 56].contains(&outcome.code)).await;
}
