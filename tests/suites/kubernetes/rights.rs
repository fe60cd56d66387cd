//! The rights that docs/kubernetes.md names are enough, and none of them is too much.

use super::program::{Running, once_as};
use super::{Follower, account, namespace, pod, token, uid};
use fsm_control::auth::{ClusterTokens, Token, TokenReview};
use fsm_control::leader::{Candidate, LEASE_NAME, LeaseSettings, Terms};
use fsm_tests::{ApiServer, api_server, api_server_alone, eventually, within};
use kube::{Client, Config};
use serde_json::json;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

const PAGE: &str = include_str!("../../../docs/kubernetes.md");
const NAMES: [&str; 13] = [
    "source",
    "tokens",
    "writer",
    "lease",
    "roots",
    "validator",
    "injector",
    "injector-lease",
    "bootstrap",
    "bootstrap-presets",
    "preinstall",
    "cleanup",
    "cleanup-objects",
];
const OWN: &str = "https://kubernetes.default.svc";

/// The roles of the page, renamed so that tests do not meet.
pub(crate) fn roles(suffix: &str, namespace: &str) -> String {
    let blocks = PAGE.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let text: String = blocks.map(|block| format!("{block}---\n")).collect();
    assert_eq!(text.matches("kind: ClusterRole").count() + text.matches("kind: Role\n").count(), 13);
    let text = text.replace("namespace: fsm-system", &format!("namespace: {namespace}"));
    NAMES.iter().fold(text, |text, role| {
        text.replace(&format!("name: fsm-control-{role}\n"), &format!("name: fsm-control-{role}-{suffix}\n"))
    })
}

pub(crate) fn binding(kind: &str, role: &str, namespace: &str) -> String {
    let mut metadata = json!({"name": format!("{role}-{namespace}")});
    if kind == "Role" {
        metadata["namespace"] = namespace.into();
    }
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"), "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": "fsm"}],
    })
    .to_string()
        + "\n---\n"
}

pub(crate) async fn config_of(server: &ApiServer, namespace: &str) -> Config {
    let token = token(server, namespace, "fsm", OWN, None).await;
    server.config_with_token(&token).await
}

#[tokio::test]
async fn the_rights_of_the_page_are_enough() {
    let Some(server) = api_server().await else { return };
    let roles = roles("enough", "enough-system");
    server.apply(&(namespace("enough-system", "enough") + &account("enough-system", "fsm") + &roles)).await;
    for (kind, role) in [("ClusterRole", "source"), ("ClusterRole", "tokens"), ("Role", "lease")] {
        server.apply(&binding(kind, &format!("fsm-control-{role}-enough"), "enough-system")).await;
    }
    let follower = Follower::new(config_of(&server, "enough-system").await, "enough").await.synced().await;
    assert_eq!(follower.problems.get("Kubernetes"), None);

    let client = Client::try_from(config_of(&server, "enough-system").await).unwrap();
    server.apply(&pod("enough-system", "p", "fsm")).await;
    let pod_uid = uid(&server, "enough-system", "p").await;
    let shown = token(&server, "enough-system", "fsm", "fsm", Some(("p", &pod_uid))).await;
    let shown = Token::bearer(Some(format!("Bearer {shown}").as_bytes())).unwrap();
    let tokens = ClusterTokens::new(client.clone(), Some("fsm".into()));
    assert_eq!(within("a token is reviewed", tokens.review(&shown)).await.unwrap().pod, "p");

    let settings = LeaseSettings {
        namespace: "enough-system".into(),
        name: LEASE_NAME.into(),
        candidate: "fsm".into(),
        terms: Terms::default(),
    };
    let (candidate, mut leadership) = Candidate::new(client, settings);
    let stop = CancellationToken::new();
    let task = tokio::spawn(candidate.run(stop.clone()));
    assert!(within("the Lease is got", leadership.changed()).await);
    stop.cancel();
    within("the Lease is given back", task).await.unwrap();
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_and_half_of_the_policies_is_not_enough() {
    let Some(server) = api_server().await else { return };
    let roles = roles("lacking", "lacking-system")
        .replace("resources: [namespaces, secrets, services", "resources: [namespaces, services");
    server.apply(&(namespace("lacking-system", "lacking") + &account("lacking-system", "fsm") + &roles)).await;
    server.apply(&binding("ClusterRole", "fsm-control-source-lacking", "lacking-system")).await;
    let mut follower = Follower::new(config_of(&server, "lacking-system").await, "lacking").await;
    follower.until("the right is missed", |follower| follower.problems.contains_key("Kubernetes")).await;
    let problem = &follower.problems["Kubernetes"][0];
    assert_eq!(problem.reason, "Forbidden");
    assert!(problem.text.contains("may not read secrets"), "{problem}");
    assert!(!follower.synced);
    // As soon as it is granted, everything goes on.
    let rule = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "fsm-control-more-lacking"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]}],
    });
    server.apply(&rule.to_string()).await;
    server.apply(&binding("ClusterRole", "fsm-control-more-lacking", "lacking-system")).await;
    let follower = follower.synced().await;
    assert_eq!(follower.problems.get("Kubernetes"), None);
}

/// The account `fsm` with these roles of the page, as a kubeconfig file.
async fn with_roles(server: &ApiServer, mesh: &str, given: &[(&str, &str)]) -> PathBuf {
    let system = format!("{mesh}-system");
    server.apply(&(namespace(&system, mesh) + &account(&system, "fsm") + &roles(mesh, &system))).await;
    for (kind, role) in given {
        server.apply(&binding(kind, &format!("fsm-control-{role}-{mesh}"), &system)).await;
    }
    let token = token(server, &system, "fsm", OWN, None).await;
    server.kubeconfig_with_token(&system, &token)
}

#[tokio::test]
async fn every_role_does_its_work_with_its_own_rights() {
    let Some(server) = api_server_alone().await else { return };
    let cluster = "ClusterRole";
    let boot = with_roles(&server, "rightb", &[(cluster, "bootstrap"), ("Role", "bootstrap-presets")]).await;
    let preset = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "rightb-system", "name": "preset-mesh-config"}, "data": {"preset-mesh-config.json": "{}"}});
    server.apply(&preset.to_string()).await;
    let flags = ["bootstrap", "--enable-reconciler"];
    let bootstrap = Running::start_as(&boot, &server, "rightb", &flags).await;
    server.delete("crd retries.policy.flomesh.io").await;
    eventually("the definition is there again", async || {
        server.kubectl(&["get", "crd", "retries.policy.flomesh.io"], "").await.code == 0
    })
    .await;
    server.wait_for_definitions().await;
    assert!(!bootstrap.log().contains("forbidden"), "{}", bootstrap.log());
    drop(bootstrap);

    let injector =
        with_roles(&server, "righti", &[(cluster, "injector"), ("Role", "injector-lease"), ("Role", "roots")]).await;
    let flags = ["injector", "--listen-webhook", "127.0.0.1:0", "--enable-reconciler"];
    let running = Running::start_as(&injector, &server, "righti", &flags).await;
    let registered =
        async || server.kubectl(&["get", "mutatingwebhookconfiguration", "fsm-webhook-righti"], "").await.code == 0;
    eventually("the webhook is registered", registered).await;
    assert!(!running.log().contains("forbidden"), "{}", running.log());
    drop(running);

    let pre = with_roles(&server, "rightp", &[(cluster, "preinstall")]).await;
    let checked = once_as(&pre, &["preinstall", "--namespace", "rightp-system"]).await;
    assert_eq!(checked.code, 0, "{checked:#?}");

    // It removes what the injector registered.
    let clean = with_roles(&server, "righti", &[(cluster, "cleanup"), ("Role", "cleanup-objects")]).await;
    let flags = ["cleanup", "--mesh-name", "righti", "--fsm-namespace", "righti-system"];
    let cleaned = once_as(&clean, &flags).await;
    assert!(!registered().await, "{cleaned:#?}");
    // By name, a Secret may be deleted where Secrets may be deleted: nothing is left out.
    assert_eq!(cleaned.code, 0, "{cleaned:#?}");
}
