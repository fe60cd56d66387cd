//! One provider takes over from another, as MeshRootCertificates say, and no certificate is without trust on the way.

use super::namespace;
use super::program::{Running, get};
use super::replicas::rotate;
use fsm_tests::{ApiServer, api_server, eventually};
use serde_json::{Value, json};

const FLAGS: [&str; 9] = [
    "--source",
    "kubernetes",
    "--tokens",
    "kubernetes:fsm",
    "--write-objects",
    "kubernetes",
    "--listen-stream",
    "127.0.0.1:0",
    "--enable-mesh-root-certificate",
];

fn root(name: &str, secret: &str, trust_domain: &str) -> String {
    root_in("handover-system", name, secret, trust_domain)
}

fn root_in(namespace: &str, name: &str, secret: &str, trust_domain: &str) -> String {
    json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshRootCertificate",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"trustDomain": trust_domain,
            "provider": {"tresor": {"ca": {"secretRef": {"namespace": namespace, "name": secret}}}}}})
    .to_string()
        + "\n---\n"
}

/// Of a Vault that is not there.
fn away(name: &str) -> String {
    let token = json!({"secretKeyRef": {"namespace": "handover-system", "name": "vault", "key": "token"}});
    let vault = json!({"host": "127.0.0.1", "port": 1, "protocol": "http", "role": "fsm", "token": token});
    json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshRootCertificate",
        "metadata": {"namespace": "handover-system", "name": name},
        "spec": {"trustDomain": "cluster.local", "provider": {"vault": vault}}})
    .to_string()
        + "\n---\n"
}

#[tokio::test]
async fn the_root_of_an_object_is_replaced_on_request_whichever_replica_is_asked() {
    let Some(server) = api_server().await else { return };
    let namespaces = namespace("replace-system", "none") + &namespace("replace", "replace");
    server.apply(&(namespaces + &root_in("replace-system", "only", "fsm-ca-bundle", "cluster.local"))).await;
    let flags = [&FLAGS[..], &["--ca-announce", "2s", "--pod-name"]].concat();
    let one = Running::start(&server, "replace", &[&flags[..], &["one"]].concat()).await;
    let two = Running::start(&server, "replace", &[&flags[..], &["two"]].concat()).await;
    let before = get(one.address("admin"), "/ca").await;
    assert_eq!((&before["provider"], &before["rootCertificate"]), (&json!("tresor"), &json!("only")), "{before}");
    let asked = rotate(two.address("admin")).await;
    assert_eq!((&asked["phase"], asked["roots"].as_array().unwrap().len()), (&json!("announced"), 2), "{asked}");
    let phase = async |control: &Running| get(control.address("admin"), "/ca").await["phase"].clone();
    for control in [&one, &two] {
        eventually("the new one signs", async || phase(control).await == "overlapping").await;
        eventually("both are trusted by every replica", async || roots(control).await == 2).await;
    }
    let fingerprint = &before["roots"][0]["fingerprint"];
    let first = async || get(two.address("admin"), "/ca").await["roots"][0]["fingerprint"].clone();
    eventually("the new one comes first", async || first().await != *fingerprint).await;
    let refused = rotate(one.address("admin")).await;
    assert!(refused.as_str().unwrap().contains("being rotated already"), "{refused}");
}

async fn state(server: &ApiServer, name: &str) -> String {
    let asked = ["-n", "handover-system", "get", "meshrootcertificate", name, "-o", "jsonpath={.status.state}"];
    server.kubectl(&asked, "").await.stdout
}

async fn roots(control: &Running) -> usize {
    get(control.address("admin"), "/ca").await["roots"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn another_provider_takes_over_with_overlap_and_a_wrong_one_changes_nothing() {
    let Some(server) = api_server().await else { return };
    let namespaces = namespace("handover-system", "none") + &namespace("handover", "handover");
    server.apply(&(namespaces + &root("fsm-mesh-root-certificate", "fsm-ca-bundle", "cluster.local"))).await;
    let flags = [&FLAGS[..], &["--ca-announce", "2s", "--pod-name"]].concat();
    let one = Running::start(&server, "handover", &[&flags[..], &["one"]].concat()).await;
    let two = Running::start(&server, "handover", &[&flags[..], &["two"]].concat()).await;
    eventually("the first one is active", async || state(&server, "fsm-mesh-root-certificate").await == "active").await;
    assert_eq!((roots(&one).await, roots(&two).await), (1, 1));

    // Of another trust domain: it changes nothing, and is said.
    server.apply(&root("wrong", "wrong", "other.local")).await;
    eventually("it is refused", async || state(&server, "wrong").await == "error").await;
    let said = async |control: &Running, name: &str| {
        let problems = get(control.address("admin"), "/problems").await;
        problems.as_array().is_some_and(|all| {
            all.iter().any(|problem: &Value| {
                problem["reason"] == "RootCertificateUnusable"
                    && problem["objects"] == json!([format!("MeshRootCertificate {name}")])
            })
        })
    };
    eventually("it is said", async || said(&one, "wrong").await || said(&two, "wrong").await).await;
    // Of a Vault that does not answer: it is not announced, and whoever comes after it does not wait for it.
    server.apply(&away("away")).await;
    eventually("it is said", async || said(&one, "away").await || said(&two, "away").await).await;
    assert_eq!((state(&server, "away").await.as_str(), roots(&one).await), ("", 1));

    server.apply(&root("next", "next-ca", "cluster.local")).await;
    for control in [&one, &two] {
        eventually("both are trusted by every replica", async || roots(control).await == 2).await;
    }
    let bundle = async || {
        let asked = ["-n", "handover", "get", "configmap", "fsm-trust-bundle", "-o", r"jsonpath={.data.ca\.crt}"];
        server.kubectl(&asked, "").await.stdout.matches("BEGIN CERTIFICATE").count()
    };
    eventually("pods find both roots", async || bundle().await == 2).await;
    eventually("the next one signs", async || state(&server, "next").await == "issuingRollout").await;
    assert_eq!(state(&server, "fsm-mesh-root-certificate").await, "validatingRollback");
    let first = async |control: &Running| get(control.address("admin"), "/ca").await["roots"][0]["fingerprint"].clone();
    eventually("every replica signs with it", async || first(&one).await == first(&two).await).await;
    assert_eq!(bundle().await, 2, "the one of before stays trusted for as long as its certificates are valid");
}
