//! What commands say of a mesh is what its traffic shows. (The page `docs/observe.md` is run in `examples.rs`.)

use fsm_tests::{LocalMesh, Outcome};

/// Asks whether a call is allowed, and makes it.
struct Call {
    from: &'static str,
    to: &'static str,
    request: &'static str,
    curl: &'static str,
    allowed: bool,
}

const CALLS: &[Call] = &[
    Call { from: "bookbuyer", to: "bookstore", request: "GET /buy-a-book/new", curl: "", allowed: true },
    Call { from: "bookbuyer", to: "bookstore-v2", request: "GET /buy-a-book/new", curl: "", allowed: true },
    Call { from: "bookbuyer", to: "bookstore", request: "POST /buy-a-book/new", curl: "-X POST", allowed: false },
    Call { from: "bookbuyer", to: "bookstore", request: "GET /nowhere", curl: "", allowed: false },
    Call {
        from: "bookbuyer",
        to: "bookstore-v1",
        request: "GET /books-bought -H 'client-app: bookbuyer' -H 'user-agent: x-http-client/1'",
        curl: "-H 'client-app: bookbuyer' -A x-http-client/1",
        allowed: true,
    },
    Call {
        from: "bookbuyer",
        to: "bookstore-v1",
        request: "GET /books-bought -H 'client-app: bookthief'",
        curl: "-H 'client-app: bookthief'",
        allowed: false,
    },
    Call { from: "bookthief", to: "bookstore", request: "GET /buy-a-book/new", curl: "", allowed: false },
    Call { from: "bookthief", to: "bookstore-v1", request: "GET /books-bought", curl: "", allowed: false },
];

#[tokio::test]
async fn what_policies_are_said_to_allow_is_what_passes() {
    let Some(mesh) = LocalMesh::up_example("examples/bookstore").await else { return };
    // The first endpoints have to arrive.
    mesh.eventually("fsm logs deploy/bookbuyer -n bookbuyer --tail 1", |outcome| outcome.stdout.contains("bought"))
        .await;
    for Call { from, to, request, curl, allowed } in CALLS {
        let path = request.split(' ').nth(1).expect("a path");
        let said = mesh
            .page(&format!("fsm policy explain --from deploy/{from} -n {from} --to bookstore/{to} {request} -o json"))
            .await;
        let live = mesh
            .page(&format!(
                "fsm exec deploy/{from} -n {from} -- curl -s -o /dev/null -m 5 -w '%{{http_code}}' {curl} http://{to}.bookstore:14001{path}"
            ))
            .await;
        let passes = live.code == 0 && live.stdout.starts_with('2');
        assert_eq!(passes, *allowed, "{from} calls {to} with {request}: {live:?}");
        assert_eq!(said.code, i32::from(!allowed), "{from} calls {to} with {request}: {said:?}");
        if !allowed {
            let reason = serde_json::from_str::<serde_json::Value>(&said.stdout).expect("JSON")["reason"].clone();
            assert!(reason.is_string(), "{said:?}");
        }
    }
}

#[tokio::test]
async fn a_pod_that_may_call_another_is_found_to_reach_it() {
    let Some(mesh) = LocalMesh::up_example("examples/httpbin").await else { return };
    let verify = "fsm verify connectivity --from-pod curl/deploy/curl --to-pod httpbin/deploy/httpbin";
    let good = mesh.eventually(verify, |outcome| outcome.code == 0).await;
    assert!(
        good.stdout.contains("Status: Success") && good.stdout.contains("was answered by the application"),
        "{good:?}"
    );
    mesh.shows(
        r#"fsm patch meshconfig fsm-mesh-config -n fsm-system --type=merge \
             -p '{"spec":{"traffic":{"enablePermissiveTrafficPolicyMode":false}}}'"#,
    )
    .await;
    // In between it may find that policies allow what a sidecar, a moment later, refuses.
    let refused = |outcome: &Outcome| outcome.code == 1 && outcome.stdout.contains("policies do not allow it");
    let bad = mesh.eventually(verify, refused).await;
    assert!(bad.stdout.contains("live request") && bad.stdout.contains("Suggestion: "), "{bad:?}");
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let Some(mesh) = LocalMesh::up_example("examples/httpbin").await else { return };
    let all = mesh.shows("fsm proxy status").await;
    assert_eq!(all.matches("Synced").count(), 2, "{all}");
    let gone = mesh.page("fsm proxy routes deploy/curl -n httpbin").await;
    assert!(gone.code == 1 && gone.stderr.contains("not found in namespace httpbin"), "{gone:?}");
    let wrong = mesh.page("fsm explain no-such-reason").await;
    assert!(wrong.code == 1 && wrong.stderr.contains("there is no reason"), "{wrong:?}");
    let nobody = mesh.page("fsm policy explain --from a/b --to httpbin/httpbin").await;
    assert!(nobody.code == 1 && nobody.stderr.contains("there is no pod a/b"), "{nobody:?}");
}

/// The pod's sidecar: a process in the pod's network.
const SIDECAR: &str = r#"sidecar() {
    for process in $(pgrep -x fsm-proxy); do
        grep -qz "^POD_NAME=$1\$" "/proc/$process/environ" && echo "$process"
    done
}"#;

#[tokio::test]
async fn a_sidecar_that_gets_nothing_from_the_control_plane_is_behind_and_its_difference_is_shown() {
    let Some(mesh) = LocalMesh::up_example("examples/httpbin").await else { return };
    mesh.eventually("fsm proxy diff deploy/curl -n curl", |outcome| outcome.code == 0).await;
    // Nothing from outside the pod arrives any more; its stream stands until somebody misses its answers.
    let network = |change: &str| {
        format!(
            r#"{SIDECAR}
               pod="$(kubectl get pod -n curl -l app=curl -o jsonpath='{{.items[0].metadata.name}}')"
               nsenter -t "$(sidecar "$pod")" -n iptables {change} INPUT ! -i lo -j DROP"#
        )
    };
    mesh.shows(&network("-I")).await;
    mesh.shows(
        r#"fsm patch meshconfig fsm-mesh-config -n fsm-system --type=merge \
             -p '{"spec":{"traffic":{"enablePermissiveTrafficPolicyMode":false}}}'"#,
    )
    .await;
    let status = mesh.eventually("fsm proxy status -n curl", |outcome| outcome.stdout.contains("Behind")).await;
    assert_eq!(status.code, 1, "{status:?}");
    let diff = mesh.page("fsm proxy diff deploy/curl -n curl").await;
    assert!(diff.code == 1 && diff.stdout.contains("Outbound"), "{diff:?}");
    mesh.shows(&network("-D")).await;
    mesh.eventually("fsm proxy diff deploy/curl -n curl", |outcome| outcome.code == 0).await;
    mesh.eventually("fsm proxy status -n curl", |outcome| outcome.code == 0 && outcome.stdout.contains("Synced")).await;
}
