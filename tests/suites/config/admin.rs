//! Port 15000: what operators and FSM's CLI read, and what nobody reads.

use fsm_tests::{Pair, Scene, Wire, fixture};
use serde_json::Value;
use std::net::SocketAddr;

#[tokio::test]
async fn the_configuration_is_shown_in_fsms_shape() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let dump = pair.server_sidecar.admin("/config_dump").await;
    assert!(dump.header("content-type").unwrap().starts_with("application/json"));
    let dump: Value = serde_json::from_slice(&dump.body).unwrap();
    let given = pair.scene.server_document.json();
    let names: Vec<_> = dump.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["Ts", "Version", "Metrics", "Spec", "Certificate", "Inbound", "Outbound", "AllowedEndpoints", "Chains"];
    assert_eq!(names, expected, "the order in which FSM's controller writes them");
    assert_eq!(dump["Ts"], given["Ts"]);
    for part in ["Spec", "Inbound", "AllowedEndpoints", "Chains"] {
        assert_alike(&dump[part], &given[part], part);
    }
    let certificate = dump["Certificate"].as_object().unwrap();
    assert_eq!(certificate["CommonName"], "api.shop.cluster.local");
    assert_eq!(certificate["CertChain"], given["Certificate"]["CertChain"]);
    assert_eq!(certificate["IssuingCA"], given["Certificate"]["IssuingCA"]);
    assert_eq!(certificate["PrivateKey"], "", "the member is there, its content is not");
}

/// Everything given is shown; what is shown beyond it says nothing.
fn assert_alike(shown: &Value, given: &Value, path: &str) {
    match (shown, given) {
        (Value::Object(shown), Value::Object(given)) => {
            for (name, value) in given {
                let path = format!("{path}/{name}");
                match shown.get(name) {
                    Some(shown) => assert_alike(shown, value, &path),
                    None => assert!(says_nothing(value), "{path} is not shown"),
                }
            }
            let beyond = shown.iter().filter(|(name, _)| !given.contains_key(*name));
            beyond.for_each(|(name, value)| assert!(says_nothing(value), "{path}/{name} was not given: {value}"));
        }
        (Value::Array(shown), Value::Array(given)) => {
            assert_eq!(shown.len(), given.len(), "{path}");
            shown.iter().zip(given).for_each(|(shown, given)| assert_alike(shown, given, path));
        }
        _ => assert!(shown == given || (says_nothing(shown) && says_nothing(given)), "{path}: {shown}, given {given}"),
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.values().all(says_nothing),
        Value::Bool(true) => false,
    }
}

#[tokio::test]
async fn no_page_shows_a_private_key_or_a_password() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    // A certificate for egress and a logging password are secrets as well.
    let egress = fixture("egress").document;
    let permissive = fixture("permissive").document;
    scene.client_document = scene
        .client_document
        .clone()
        .set("/Outbound/TrafficMatches/8443", egress["Outbound"]["TrafficMatches"]["8443"].clone())
        .set("/Spec/Observability", permissive["Spec"]["Observability"].clone());
    for (name, cluster) in egress["Outbound"]["ClustersConfigs"].as_object().unwrap() {
        scene.client_document.clone_from(
            &scene
                .client_document
                .clone()
                .set(&format!("/Outbound/ClustersConfigs/{}", name.replace('/', "~1")), cluster.clone()),
        );
    }
    let secrets = secrets_of(scene.client_document.json());
    assert!(secrets.len() >= 3, "{}", secrets.len());
    let pair = scene.start().await;
    let sidecar = &pair.client_sidecar;
    let help = sidecar.admin("/help").await.text();
    // What `/tap` shows, and hides, is tested beside its code; it has no end.
    let left_out = |path: &str| matches!(path.split('?').next(), Some("/drain" | "/quitquitquit" | "/tap"));
    let pages: Vec<_> = help
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|path| path.starts_with('/') && !left_out(path))
        .collect();
    assert!(pages.len() >= 10, "{help}");
    let mut seen = 0;
    for query in ["", "?format=json", "?filter="] {
        for page in &pages {
            for address in ["127.0.0.1:15000", "[::1]:15000"] {
                let at: SocketAddr = address.parse().unwrap();
                let mut wire = Wire::connect(&pair.scene.client, at).await;
                let reply = wire.get(address, &format!("{page}{query}")).await;
                seen += reply.body.len();
                for secret in &secrets {
                    assert!(!reply.text().contains(secret.as_str()), "{page}{query} shows a secret");
                }
                assert!(!reply.text().contains("PRIVATE KEY"), "{page}{query} shows a private key");
            }
        }
    }
    assert!(seen > 10_000, "the pages are not empty");
    let log = sidecar.log().join("\n");
    assert!(secrets.iter().all(|secret| !log.contains(secret.as_str())), "the log shows a secret");
}

/// Every line of every key, and the credentials of the access log.
fn secrets_of(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value.as_str()) {
                ("PrivateKey", Some(pem)) => {
                    pem.lines().filter(|line| !line.starts_with('-') && line.len() > 20).map(str::to_owned).collect()
                }
                ("authorization", Some(credentials)) if !credentials.is_empty() => vec![credentials.to_owned()],
                _ => secrets_of(value),
            })
            .collect(),
        Value::Array(elements) => elements.iter().flat_map(secrets_of).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn web_pages_and_other_addresses_of_the_pod_do_not_reach_it() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let pod = &pair.scene.server;
    for ip in pod.addresses() {
        let at = SocketAddr::new(*ip, 15000);
        assert!(pod.connect(at).await.is_err(), "the application reaches {at}");
    }
    let mut wire = Wire::connect(pod, "127.0.0.1:15000".parse().unwrap()).await;
    let reply = wire.get("rebound.example.org", "/config_dump").await;
    assert_eq!(reply.status(), 403);
    let mut wire = Wire::connect(pod, "127.0.0.1:15000".parse().unwrap()).await;
    wire.send(
        "POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\norigin: http://example.org\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(wire.response("POST").await.status(), 403);
    pair.assert_healthy().await;
}
