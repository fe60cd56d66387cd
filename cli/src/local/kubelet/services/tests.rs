#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::json;

#[test]
fn containers_are_told_of_the_services_of_their_namespace_and_of_the_api_server() {
    let service = |namespace: &str, name: &str, address: &str, ports: serde_json::Value| {
        let object = json!({
            "metadata": {"namespace": namespace, "name": name}, "spec": {"clusterIP": address, "ports": ports},
        });
        ((namespace.to_owned(), name.to_owned()), serde_json::from_value(object).unwrap())
    };
    let services = BTreeMap::from([
        service("default", "kubernetes", "10.96.0.1", json!([{"port": 443, "name": "https"}])),
        service("shop", "web-front", "10.96.0.7", json!([{"port": 80}])),
        service("shop", "headless", "None", json!([{"port": 80}])),
    ]);
    let variables = variables(&services);
    let of = |namespace: &str| -> Vec<String> {
        variables[namespace].iter().map(|(name, value)| format!("{name}={value}")).collect()
    };
    let api_server =
        ["KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443", "KUBERNETES_SERVICE_PORT_HTTPS=443"];
    assert_eq!(of(""), api_server);
    assert_eq!(of("shop"), ["WEB_FRONT_SERVICE_HOST=10.96.0.7", "WEB_FRONT_SERVICE_PORT=80"]);
}
