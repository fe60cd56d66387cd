//! Conflicting and broken policies: both objects are named, nothing else changes, and mending is all it takes.

use super::{answered, deploy_curl, deploy_httpbin, in_curl, patch};
use fsm_tests::{LocalMesh, Outcome};

/// What fsm-control itself says: its admin page, seen from the node's network.
const PROBLEMS: &str = r#"
control=$(grep -A2 '"control"' "$FSM_STATE_DIR/fsm/run.json" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
user=; grep -q '"rootless": true' "$FSM_STATE_DIR/fsm/run.json" && user='--user --preserve-credentials'
nsenter $user --net --target "$control" curl -sf http://127.0.0.1:9091/problems
"#;

/// Whether one problem of this reason names exactly these objects.
fn tells<'a>(reason: &'a str, objects: &'a [&'a str]) -> impl Fn(&Outcome) -> bool + 'a {
    move |outcome| {
        let problems: Vec<serde_json::Value> = serde_json::from_str(&outcome.stdout).unwrap_or_default();
        problems.iter().any(|problem| {
            let named: Vec<_> =
                problem["objects"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
            problem["reason"] == reason && named == objects
        })
    }
}

fn is_content(outcome: &Outcome) -> bool {
    outcome.stdout.trim() == "[]"
}

fn apply(yaml: &str) -> String {
    format!("kubectl apply -n httpbin -f - <<'EOF'\n{yaml}\nEOF")
}

fn setting(name: &str, requests: u32) -> String {
    apply(&format!(
        "apiVersion: policy.flomesh.io/v1alpha1
kind: UpstreamTrafficSetting
metadata:
  name: {name}
spec:
  host: httpbin.httpbin.svc.cluster.local
  rateLimit:
    local:
      http:
        requests: {requests}
        unit: minute"
    ))
}

#[tokio::test]
async fn two_settings_of_one_host() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true}}"#).await;
    deploy_httpbin(&mesh).await;
    deploy_curl(&mesh, true).await;
    let get = in_curl("curl -sI http://httpbin.httpbin:14001/get");
    mesh.shows(&setting("first", 100_000)).await;
    mesh.eventually(&get, answered(200)).await;
    mesh.eventually(PROBLEMS, is_content).await;

    mesh.shows("sleep 1.1").await; // creation times have seconds
    mesh.shows(&setting("second", 200_000)).await;
    let both = ["UpstreamTrafficSetting httpbin/first", "UpstreamTrafficSetting httpbin/second"];
    mesh.eventually(PROBLEMS, tells("HostConflict", &both)).await;
    let table = mesh.shows("kubectl get upstreamtrafficsettings -n httpbin -o wide").await;
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{table}"));
    assert!(row("first").contains("HostConflict") && row("first").contains("httpbin/second"), "{table}");
    assert!(row("second").contains("Accepted"), "{table}");
    for _ in 0..5 {
        assert!(answered(200)(&mesh.page(&get).await));
    }
    // As FSM writes it, although nobody wrote it into the user's object.
    let status = |name: &str, field: &str| {
        format!("kubectl get upstreamtrafficsetting {name} -n httpbin -o jsonpath='{{.status.{field}}}'")
    };
    mesh.eventually(&status("first", "currentStatus"), |outcome| outcome.stdout == "error").await;
    let reason = mesh.shows(&status("first", "reason")).await;
    assert!(reason.contains("UpstreamTrafficSetting httpbin/second is newer"), "{reason}");
    mesh.eventually(&status("second", "currentStatus"), |outcome| outcome.stdout == "committed").await;
    let yaml = mesh.shows("kubectl get upstreamtrafficsetting second -n httpbin -o yaml").await;
    assert!(yaml.contains("\nstatus:\n  currentStatus: committed\n"), "{yaml}");

    mesh.shows("kubectl delete upstreamtrafficsetting first -n httpbin").await;
    mesh.eventually(PROBLEMS, is_content).await;
    assert!(answered(200)(&mesh.page(&get).await));
}

fn split(name: &str, version: &str) -> String {
    apply(&format!(
        "apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata:
  name: {name}
spec:
  service: httpbin
  backends:
  - service: httpbin-{version}
    weight: 100"
    ))
}

#[tokio::test]
async fn two_splits_of_the_same_requests() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true}}"#).await;
    mesh.shows("kubectl create ns httpbin && fsm namespace add httpbin").await;
    mesh.shows(&apply(include_str!("canary-v1.yaml"))).await;
    mesh.shows(&apply(include_str!("canary-v2.yaml"))).await;
    deploy_curl(&mesh, true).await;
    mesh.shows("kubectl wait --for=condition=ready pod --all -A").await;
    let get = in_curl("curl -s httpbin.httpbin:8080 httpbin.httpbin:8080 httpbin.httpbin:8080 httpbin.httpbin:8080");
    let all = |version: &str| {
        let wanted = format!("Hi, I am {version}!");
        move |outcome: &Outcome| outcome.code == 0 && outcome.stdout.lines().filter(|line| *line == wanted).count() == 4
    };
    mesh.shows(&split("one", "v1")).await;
    mesh.eventually(&get, all("v1")).await;
    mesh.eventually(PROBLEMS, is_content).await;

    mesh.shows("sleep 1.1").await; // creation times have seconds
    mesh.shows(&split("another", "v2")).await;
    let both = ["TrafficSplit httpbin/another", "TrafficSplit httpbin/one"];
    mesh.eventually(PROBLEMS, tells("SplitConflict", &both)).await;
    let table = mesh.shows("kubectl get trafficsplit -n httpbin -o wide").await;
    assert!(table.contains("SplitConflict"), "{table}");
    for _ in 0..3 {
        let outcome = mesh.page(&get).await;
        assert!(all("v1")(&outcome), "{outcome:?}");
    }

    // Mended: the one that counted goes, the other takes its place.
    mesh.shows("kubectl delete trafficsplit one -n httpbin").await;
    mesh.eventually(PROBLEMS, is_content).await;
    mesh.eventually(&get, all("v2")).await;
}

const BROKEN_AMONG_GOOD: &str = r#"apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata:
  name: routes
spec:
  matches:
  - name: get
    pathRegex: /get
    methods: [GET]
---
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata:
  name: broken
spec:
  service: httpbin
  backends:
  - service: httpbin
    weight: many
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata:
  name: after
spec:
  matches:
  - name: ip
    pathRegex: /ip"#;

#[tokio::test]
async fn a_broken_document_stops_no_other() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true}}"#).await;
    deploy_httpbin(&mesh).await;
    deploy_curl(&mesh, true).await;
    let get = in_curl("curl -sI http://httpbin.httpbin:14001/get");
    mesh.eventually(&get, answered(200)).await;

    let applied = mesh.page(&apply(BROKEN_AMONG_GOOD)).await;
    assert_eq!(applied.code, 1, "{applied:?}");
    assert!(applied.stdout.contains("/routes created") && applied.stdout.contains("/after created"), "{applied:?}");
    for said in ["TrafficSplit", "broken", "weight"] {
        assert!(applied.stderr.contains(said), "{said}: {applied:?}");
    }
    let absent = mesh.page("kubectl get trafficsplit broken -n httpbin").await;
    assert_eq!(absent.code, 1, "{absent:?}");
    assert!(answered(200)(&mesh.page(&get).await));

    // What is broken behind the back of `fsm apply` is a problem that fsm-control tells, and what counted goes on.
    let setting = mesh.shows(&setting("limit", 100_000)).await;
    assert!(setting.contains("created"), "{setting}");
    let config = "fsm proxy get config_dump deploy/httpbin -n httpbin";
    let limited = |outcome: &Outcome| outcome.stdout.contains("100000");
    mesh.eventually(config, limited).await;
    let file = "file=$FSM_STATE_DIR/fsm/objects/UpstreamTrafficSetting.policy.flomesh.io/httpbin/limit.yaml";
    mesh.shows(&format!(r#"{file}; sed -i.was 's/requests: .*/requests: many/' "$file""#)).await;
    mesh.eventually(PROBLEMS, tells("BrokenManifest", &["UpstreamTrafficSetting httpbin/limit"])).await;
    assert!(limited(&mesh.page(config).await));
    assert!(answered(200)(&mesh.page(&get).await));
    mesh.shows(&format!(r#"{file}; mv "$file.was" "$file""#)).await;
    mesh.eventually(PROBLEMS, is_content).await;
}
