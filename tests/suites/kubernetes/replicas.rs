//! Replicas of fsm-control share one authority, and every namespace of the mesh has its roots.

use super::control::start;
use super::namespace;
use super::program::get;
use fsm_tests::{ApiServer, api_server, eventually};
use serde_json::{Value, json};
use std::process::Command;

/// The roots that pods of a namespace find, and the labels of their ConfigMap.
async fn bundle(server: &ApiServer, namespace: &str) -> Option<(String, Value)> {
    let asked = ["-n", namespace, "get", "configmap", "fsm-trust-bundle", "-o", "json"];
    let map: Value = serde_json::from_str(&server.kubectl(&asked, "").await.stdout).ok()?;
    Some((map["data"]["ca.crt"].as_str()?.to_owned(), map["metadata"]["labels"].clone()))
}

fn roots(bundle: &Option<(String, Value)>) -> usize {
    bundle.as_ref().map_or(0, |(pem, _)| pem.matches("BEGIN CERTIFICATE").count())
}

pub(super) async fn rotate(admin: &str) -> Value {
    let url = format!("http://{admin}/ca/rotate");
    let mut command = Command::new("curl");
    command.args(["-q", "-sS", "--noproxy", "*", "--max-time", "20", "-X", "POST", &url]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| json!(String::from_utf8_lossy(&output.stdout)))
}

fn fingerprints(status: &Value) -> Vec<&str> {
    status["roots"].as_array().unwrap().iter().map(|root| root["fingerprint"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn replicas_share_their_roots_and_every_namespace_of_the_mesh_has_them() {
    let Some(server) = api_server().await else { return };
    let system = namespace("sharing-system", "none");
    server.apply(&(system + &namespace("sharing-a", "sharing") + &namespace("sharing-b", "sharing"))).await;
    let (_one, admin_one) = start(&server, "sharing", "one").await;
    let (_two, admin_two) = start(&server, "sharing", "two").await;
    let (one, two) = (get(&admin_one, "/ca").await, get(&admin_two, "/ca").await);
    assert_eq!(fingerprints(&one).len(), 1);
    assert_eq!(one, two);
    for name in ["sharing-a", "sharing-b", "sharing-system"] {
        eventually(&format!("{name} has the roots"), async || roots(&bundle(&server, name).await) == 1).await;
    }
    let (_, labels) = bundle(&server, "sharing-a").await.unwrap();
    let expected = json!({"app.kubernetes.io/managed-by": "fsm-control", "app.kubernetes.io/instance": "sharing"});
    assert_eq!(labels, expected);

    // Spoiled, it is mended; of somebody else, it is left alone and said, until it is gone.
    let spoilt = ["-n", "sharing-a", "patch", "configmap", "fsm-trust-bundle", "-p", r#"{"data":{"ca.crt":"x"}}"#];
    assert_eq!(server.kubectl(&spoilt, "").await.code, 0);
    eventually("the roots are back", async || roots(&bundle(&server, "sharing-a").await) == 1).await;
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.crt": "theirs"},
        "metadata": {"namespace": "sharing-c", "name": "fsm-trust-bundle"}});
    server.apply(&(namespace("sharing-c", "none") + &theirs.to_string() + "\n---\n")).await;
    server.apply(&namespace("sharing-c", "sharing")).await;
    eventually("it is said", async || {
        let (one, two) = (get(&admin_one, "/problems").await, get(&admin_two, "/problems").await);
        [one, two].iter().any(|problems| {
            problems.as_array().is_some_and(|all| {
                all.iter().any(|problem| {
                    problem["reason"] == "TrustBundleNotWritten"
                        && problem["objects"] == json!(["ConfigMap sharing-c/fsm-trust-bundle"])
                })
            })
        })
    })
    .await;
    assert_eq!(bundle(&server, "sharing-c").await.unwrap().0, "theirs");
    assert_eq!(server.kubectl(&["-n", "sharing-c", "delete", "configmap", "fsm-trust-bundle"], "").await.code, 0);
    eventually("its place is taken", async || roots(&bundle(&server, "sharing-c").await) == 1).await;

    // Whichever replica is asked, all announce the new root.
    let asked = rotate(&admin_two).await;
    assert_eq!(asked["phase"], "announced", "{asked}");
    eventually("the other replica knows", async || get(&admin_one, "/ca").await == asked).await;
    for name in ["sharing-a", "sharing-b", "sharing-c", "sharing-system"] {
        eventually(&format!("{name} has both roots"), async || roots(&bundle(&server, name).await) == 2).await;
    }
    assert!(rotate(&admin_one).await.as_str().unwrap().contains("being rotated already"));

    // A namespace that leaves the mesh loses them.
    server.apply(&namespace("sharing-b", "none")).await;
    eventually("it is removed", async || bundle(&server, "sharing-b").await.is_none()).await;
    assert_eq!(roots(&bundle(&server, "sharing-a").await), 2);
    assert_eq!(get(&admin_one, "/ca").await, asked);
}
