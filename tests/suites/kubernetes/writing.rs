//! What fsm-control writes to the cluster, with no more rights than docs/kubernetes.md names.

use super::rights::{binding, config_of, roles};
use super::{Follower, account, namespace};
use fsm_api::resources::policy::PolicyStatus;
use fsm_api::resources::{Kind, ObjectKey};
use fsm_control::issued::{ClusterWriter, Owner, WriteError, Writer};
use fsm_control::world::NamespacedName;
use fsm_tests::{ApiServer, api_server, eventually, within};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use serde_json::{Value, json};

async fn client(server: &ApiServer, name: &str) -> Client {
    let namespaced = format!("{name}-system");
    server.apply(&(namespace(&namespaced, name) + &account(&namespaced, "fsm") + &roles(name, &namespaced))).await;
    server.apply(&binding("ClusterRole", &format!("fsm-control-source-{name}"), &namespaced)).await;
    server.apply(&binding("ClusterRole", &format!("fsm-control-writer-{name}"), &namespaced)).await;
    Client::try_from(config_of(server, &namespaced).await).unwrap()
}

fn secret(namespace: &str, mesh: &str, key: &str) -> Secret {
    let labels = json!({"app.kubernetes.io/managed-by": "fsm-control", "app.kubernetes.io/instance": mesh});
    let value = json!({
        "metadata": {"namespace": namespace, "name": "s", "labels": labels, "annotations": {"flomesh.io/issued-for": "x"}},
        "type": "kubernetes.io/tls", "data": {"tls.crt": "YQ==", "tls.key": key},
    });
    serde_json::from_value(value).unwrap()
}

async fn get(server: &ApiServer, words: &str) -> Value {
    let mut arguments: Vec<&str> = words.split_whitespace().collect();
    arguments.splice(0..0, ["get", "-o", "json"]);
    serde_json::from_str(&server.kubectl(&arguments, "").await.stdout).unwrap_or(Value::Null)
}

#[tokio::test]
async fn a_secret_is_made_replaced_and_removed_and_others_stay_as_they_are() {
    let Some(server) = api_server().await else { return };
    server.apply(&namespace("keeps", "keeps")).await;
    let writer = ClusterWriter::new(client(&server, "keeps").await, Owner::of_mesh("keeps"));
    let put = async |key| within("a Secret is written", writer.put_secret(secret("keeps", "keeps", key))).await;
    put("Yg==").await.unwrap();
    let labelled = server.kubectl(&["-n", "keeps", "label", "secret", "s", "theirs=stays"], "").await;
    assert_eq!(labelled.code, 0, "{labelled:?}");
    put("Yw==").await.unwrap();
    let seen = get(&server, "-n keeps secret s").await;
    assert_eq!((&seen["data"]["tls.key"], &seen["metadata"]["labels"]["theirs"]), (&json!("Yw=="), &json!("stays")));
    let name = || NamespacedName::new("keeps", "s");
    within("it is removed", writer.remove_secret(name())).await.unwrap();
    assert_eq!(get(&server, "-n keeps secret s").await, Value::Null);
    within("there is nothing to remove", writer.remove_secret(name())).await.unwrap();

    // Another mesh's is as good as anybody's.
    server.apply(&serde_json::to_string(&secret("keeps", "other", "ZA==")).unwrap()).await;
    assert!(matches!(put("Yg==").await, Err(WriteError::NotOurs { .. })));
    assert!(matches!(writer.remove_secret(name()).await, Err(WriteError::NotOurs { .. })));
    assert_eq!(get(&server, "-n keeps secret s").await["data"]["tls.key"], "ZA==");
}

#[tokio::test]
async fn statuses_are_in_the_policies_themselves() {
    let Some(server) = api_server().await else { return };
    let egress = json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "Egress",
        "metadata": {"namespace": "statuses", "name": "e"},
        "spec": {"sources": [], "hosts": ["example.com"], "ports": [{"number": 80, "protocol": "http"}]}});
    server.apply(&(namespace("statuses", "statuses") + &egress.to_string())).await;
    let client = client(&server, "statuses").await;
    let writer = ClusterWriter::new(client, Owner::of_mesh("statuses"));
    let key = ObjectKey::new(Kind::Egress, "statuses", "e");
    let status =
        |text: &str| PolicyStatus { current_status: Some(text.into()), reason: Some(format!("because {text}")) };
    for text in ["error", "committed"] {
        within("a status is written", writer.set_status(key.clone(), Some(status(text)))).await.unwrap();
        let seen = get(&server, "-n statuses egress e").await;
        assert_eq!(seen["status"], json!({"currentStatus": text, "reason": format!("because {text}")}));
        assert_eq!(seen["spec"]["hosts"], json!(["example.com"]));
    }
    assert_eq!(within("statuses are asked for", writer.statuses()).await.unwrap(), None, "the source tells them");
    let gone = ObjectKey::new(Kind::Egress, "statuses", "gone");
    within("a policy that is gone", writer.set_status(gone.clone(), Some(status("error")))).await.unwrap();
    within("a policy that is gone", writer.set_status(gone, None)).await.unwrap();
    // Without rights it fails, and says of what.
    let powerless = config_of(&server, "statuses-system").await;
    let unbound =
        server.kubectl(&["delete", "clusterrolebinding", "fsm-control-writer-statuses-statuses-system"], "").await;
    assert_eq!(unbound.code, 0, "{unbound:?}");
    let writer = ClusterWriter::new(Client::try_from(powerless).unwrap(), Owner::of_mesh("statuses"));
    let error = std::sync::Mutex::new(String::new());
    eventually("the right is gone", async || {
        let outcome = writer.set_status(key.clone(), Some(status("committed"))).await;
        *error.lock().unwrap() = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        outcome.is_err()
    })
    .await;
    let error = error.into_inner().unwrap();
    assert!(error.starts_with("the API server does not take Egress statuses/e:"), "{error}");
}

#[tokio::test]
async fn what_is_written_comes_back_through_the_source() {
    let Some(server) = api_server().await else { return };
    server.apply(&namespace("back", "back")).await;
    let writer = ClusterWriter::new(client(&server, "back").await, Owner::of_mesh("back"));
    let config = config_of(&server, "back-system").await;
    let mut follower = Follower::new(config, "back").await.synced().await;
    within("a Secret is written", writer.put_secret(secret("back", "back", "Yg=="))).await.unwrap();
    follower.until("the Secret is seen", |follower| follower.has(Kind::Secret, "back", "s")).await;
    let seen = follower.json(Kind::Secret, "back", "s");
    assert_eq!(seen["metadata"]["labels"]["app.kubernetes.io/instance"], "back");
    assert_eq!(seen["metadata"]["annotations"]["flomesh.io/issued-for"], "x");
    assert_eq!(seen["type"], "kubernetes.io/tls");
}
