//! No private key and no credential leaves through what people may see.

use super::*;
use serde_json::json;

const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI\n-----END EC PRIVATE KEY-----\n";
const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// A document with a key in every place that can hold one.
fn full_of_keys() -> Value {
    let certificate = json!({"CertChain": CHAIN, "PrivateKey": KEY, "IssuingCA": CHAIN});
    let bundle = json!({"CertChain": format!("{CHAIN}{KEY}"), "PrivateKey": KEY, "IssuingCA": format!("{KEY}{CHAIN}")});
    let plugins = json!({"signer": {"keys": [{"pem": KEY}], "issuer": "me"}});
    let mut document = json(EGRESS);
    document["Certificate"] = certificate.clone();
    document["Spec"]["Observability"] =
        json!({"remoteLogging": {"level": 1, "address": "a:1", "endpoint": "/", "authorization": "Basic c2VjcmV0"}});
    document["Inbound"]["TrafficMatches"] = json!({"80": {"Port": 80, "Protocol": "http",
        "HttpServiceRouteRules": {"r": {"RouteRules": [], "Plugins": plugins}},
        "TcpServiceRouteRules": {"TargetClusters": {}, "Plugins": plugins}}});
    let outbound = &mut document["Outbound"];
    outbound["ClustersConfigs"]["ledger.partner.test:8443"]["SourceCert"] = certificate.clone();
    outbound["ClustersConfigs"]["443"]["SourceCert"] = bundle;
    let element = &mut outbound["TrafficMatches"]["80"][0];
    element["DestinationIPRanges"] = json!({"10.0.0.0/8": {"SourceCert": certificate}, "10.1.0.0/16": null});
    element["HttpServiceRouteRules"]["feeds.example.org"]["Plugins"] = plugins.clone();
    element["TcpServiceRouteRules"] =
        json!({"TargetClusters": null, "AllowedEgressTraffic": false, "Plugins": plugins});
    document
}

#[test]
fn no_private_key_and_no_credential_survives_redaction() {
    let (config, problems) = read(&full_of_keys());
    assert_eq!(problems, []);
    let before = written(&config).to_string();
    assert_eq!(before.matches("BEGIN EC PRIVATE KEY").count(), 10, "the fixture is full of keys");

    let after = written(&config.redacted());
    let text = after.to_string();
    assert!(!text.contains("PRIVATE KEY"), "{text}");
    assert!(!text.contains("MHcCAQEEI"), "{text}");
    assert!(!text.contains("c2VjcmV0"), "{text}");
    let logging = &after["Spec"]["Observability"]["remoteLogging"];
    assert_eq!(logging["authorization"], "<redacted>");
    assert_eq!(logging["address"], "a:1");
}

/// Apart from the secrets a redacted document is the document; certificates stay, for people who look into them.
#[test]
fn redaction_changes_nothing_else() {
    for (name, text) in FIXTURES {
        let mut expected = json(text);
        if name == "legacy-1.3.0" {
            expected = written(&read_clean(text));
        }
        fn blank(value: &mut Value) {
            match value {
                Value::Array(list) => list.iter_mut().for_each(blank),
                Value::Object(map) => {
                    for (key, value) in map {
                        match key.as_str() {
                            "PrivateKey" => *value = json!(""),
                            "authorization" => *value = json!("<redacted>"),
                            _ => blank(value),
                        }
                    }
                }
                _ => {}
            }
        }
        blank(&mut expected);
        assert_eq!(written(&read_clean(text).redacted()), expected, "{name}");
    }
}

#[test]
fn an_authorization_that_is_not_set_is_not_made_up() {
    let config = read_clean(r#"{"Spec":{"Observability":{"remoteLogging":{"address":"a:1"}}}}"#);
    assert_eq!(config.redacted(), config);
}

/// Logs and panic messages are made with `Debug`.
#[test]
fn the_debug_form_shows_no_secret() {
    let (config, _) = read(&full_of_keys());
    let certificate = format!("{:?}", config.certificate);
    assert!(certificate.contains("MIIB") && certificate.contains("<redacted>"), "{certificate}");
    let shown = format!("{:#?} {:?}", config.spec, config.outbound.unwrap().clusters_configs);
    assert!(!shown.contains("MHcCAQEEI"), "{shown}");
    assert!(!shown.contains("c2VjcmV0"), "{shown}");
}

/// A problem repeats what it found only where that cannot be a secret.
#[test]
fn problems_do_not_repeat_misplaced_secrets() {
    let document = json!({
        "Certificate": KEY,
        "Inbound": KEY,
        "Outbound": {"ClustersConfigs": {"c": {"SourceCert": [KEY]}, "d": KEY}},
        "Spec": {"Observability": {"remoteLogging": {"address": "a:1", "authorization": {"Basic": "c2VjcmV0"}}}},
    });
    let (_, problems) = read(&document);
    assert_eq!(problems.len(), 5, "{problems:#?}");
    let shown = format!("{problems:?}");
    assert!(!shown.contains("MHcCAQEEI") && !shown.contains("c2VjcmV0"), "{shown}");
}
