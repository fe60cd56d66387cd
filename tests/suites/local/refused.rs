//! A sidecar that refuses what it is sent, as its operator sees it: the part of docs/observe.md about that, and what else
//! tells of it.
//!
//! fsm-control sends nothing that a sidecar of its own version refuses, whatever users write. So the place of a sidecar at
//! fsm-control's stream is taken by a [`Follower`], which refuses, while the real one, kept from fsm-control, goes on with
//! what it has: what a sidecar does that has refused.

use fsm_api::config::ReadError;
use fsm_tests::pages::{Compare, steps};
use fsm_tests::{Follower, LocalMesh};
use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/observe.md");

/// As fsm-proxy says it of a document that is none.
fn reason() -> String {
    let why = ReadError::NotAnObject { found: "an array" };
    format!("https://fsm-controller.fsm-system.svc:15128: {why}; the previous configuration stays in force")
}

/// What fsm-control says to whoever asks on its node.
async fn control(mesh: &LocalMesh, port: u16, path: &str) -> String {
    let run: Value = serde_json::from_slice(&std::fs::read(mesh.path("state/fsm/run.json")).unwrap()).unwrap();
    let process = run["control"]["pid"].as_u64().unwrap();
    mesh.page(&format!("nsenter -t {process} -n curl -s http://127.0.0.1:{port}{path}")).await.stdout
}

/// Whether what fsm-control says reaches the sidecar of curl; everything else does.
async fn hears(mesh: &LocalMesh, hears: bool) {
    let change = if hears { "-D" } else { "-I" };
    mesh.shows(&format!(
        r#"for process in $(pgrep -x fsm-proxy); do
               grep -qz "^POD_NAME=$(pod_of curl)\$" "/proc/$process/environ" &&
               nsenter -t "$process" -n iptables {change} INPUT -p tcp --sport 15128 -j DROP
           done; true"#
    ))
    .await;
}

#[tokio::test]
async fn a_configuration_that_a_sidecar_refuses_is_shown_with_the_reason_and_the_last_good_one_stays() {
    let Some(mesh) = LocalMesh::up_example("examples/httpbin").await else { return };
    let get = super::in_curl("curl -s -o /dev/null -w '%{http_code}' http://httpbin.httpbin:14001/get");
    let good = mesh.eventually(&get, |outcome| outcome.stdout == "200").await;
    assert_eq!(good.code, 0);
    let version = "fsm proxy status deploy/curl -n curl -o json";
    let of = |status: &str, key: &str| {
        let read: Value = serde_json::from_str(status).unwrap_or_else(|why| panic!("{why}: {status}"));
        read[0][key].as_str().unwrap_or_default().to_owned()
    };
    let before = of(&mesh.eventually(version, |outcome| outcome.code == 0).await.stdout, "config");
    let pod = mesh.shows("pod_of curl").await;

    super::patch(&mesh, r#"{"observability":{"enableDebugServer":true}}"#).await;
    hears(&mesh, false).await;
    let mut refusing = Follower::take_place(&mesh, "curl", pod.trim(), &before).await;
    // What only says where curl may go: the server's sidecar, which takes it, treats curl as before.
    super::patch(&mesh, r#"{"traffic":{"enableEgress":false}}"#).await;
    let refused = refusing.next_version().await;
    assert_ne!(refused, before);
    let reason = reason();
    refusing.refuse(&refused, &reason);

    let steps = steps(PAGE, "```console refused");
    assert_eq!(steps.len(), 2, "{steps:?}");
    for step in steps {
        step.run("docs/observe.md", Compare::Shape, async || mesh.page(&step.command).await).await;
    }
    let now = mesh.page(version).await;
    assert_eq!(now.code, 1, "{now:?}");
    let (state, why) = (of(&now.stdout, "state"), of(&now.stdout, "why"));
    assert_eq!((state.as_str(), why.as_str()), ("refused", reason.as_str()), "{now:?}");
    assert_eq!((of(&now.stdout, "config"), of(&now.stdout, "wanted")), (before.clone(), refused.clone()), "{now:?}");
    let diff = mesh.page("fsm proxy diff deploy/curl -n curl").await;
    assert!(diff.code == 1 && diff.stderr.contains(&format!("Why: {reason}\n")), "{diff:?}");
    let still = mesh.page(&get).await;
    assert_eq!(still.stdout, "200", "{still:?}");

    // What programs see.
    let metrics = control(&mesh, 9091, "/metrics").await;
    assert!(metrics.contains("\nfsm_proxy_nack_count 1\n"), "{metrics}");
    let logged = mesh.shows("fsm logs control").await;
    assert!(logged.contains(&format!("refuses version {refused}: {reason}")), "{logged}");
    for (port, path) in [(9091, "/proxies"), (9092, "/debug/proxy")] {
        let page = control(&mesh, port, path).await;
        let proxies: Vec<Value> = serde_json::from_str(&page).unwrap_or_else(|why| panic!("{path}: {why}: {page}"));
        let shown = proxies.iter().find(|proxy| proxy["pod"] == format!("curl/{}", pod.trim())).unwrap();
        assert_eq!(shown["versionAcknowledged"], Value::from(before.as_str()), "{path}: {shown}");
        let nack = (&shown["lastNack"]["version"], &shown["lastNack"]["reason"]);
        assert_eq!(nack, (&Value::from(refused.as_str()), &Value::from(reason.as_str())), "{path}: {shown}");
    }

    // The next one may be better.
    super::patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":false}}"#).await;
    let next = refusing.next_version().await;
    refusing.acknowledge(&next);
    mesh.eventually(version, |outcome| of(&outcome.stdout, "state") == "synced").await;
    // And the real one has it as soon as it hears of it.
    drop(refusing);
    hears(&mesh, true).await;
    mesh.eventually("fsm proxy diff deploy/curl -n curl", |outcome| outcome.code == 0).await;
}
