#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::json;

fn pod(ports: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "ports": ports}]},
    }))
    .unwrap()
}

fn port(target: serde_json::Value) -> ServicePort {
    serde_json::from_value(json!({"port": 80, "targetPort": target})).unwrap()
}

#[test]
fn target_ports_are_numbers_or_names_of_the_pods_ports() {
    let pod = pod(json!([{"name": "http", "containerPort": 8080}, {"containerPort": 9090}]));
    assert_eq!(target_port(&port(json!(7000)), &pod), Some(7000));
    assert_eq!(target_port(&port(json!("http")), &pod), Some(8080));
    assert_eq!(target_port(&port(json!("none")), &pod), None);
    let same: ServicePort = serde_json::from_value(json!({"port": 80})).unwrap();
    assert_eq!(target_port(&same, &pod), Some(80));
}

#[test]
fn a_service_without_a_selector_has_no_slices_of_ours() {
    let service: Service =
        serde_json::from_value(json!({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 1}]}})).unwrap();
    assert!(slices(&service, std::iter::empty()).is_empty());
}

#[test]
fn a_service_without_pods_tells_its_ports_all_the_same() {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "x"}, "spec": {"selector": {"app": "none"}, "ports": [{"port": 80, "targetPort": 8080, "name": "h"}]},
    }))
    .unwrap();
    let slices = slices(&service, std::iter::empty());
    assert_eq!(slices.len(), 1);
    assert!(slices[0].endpoints.as_ref().unwrap().is_empty());
    assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(8080));
}
