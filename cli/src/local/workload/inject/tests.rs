#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::json;

fn mesh() -> Mesh {
    Mesh {
        name: "fsm".into(),
        fsm_namespace: "fsm-system".into(),
        control: "https://10.244.0.1:15128".into(),
        control_name: "fsm-controller.fsm-system.svc".into(),
        mark: None,
        traffic: Traffic::default(),
    }
}

fn namespace(labels: Value, annotations: Value) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": "shop", "labels": labels, "annotations": annotations}})).unwrap()
}

fn pod(annotations: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "web", "annotations": annotations},
        "spec": {"initContainers": [{"name": "own"}], "containers": [{"name": "main"}]},
    }))
    .unwrap()
}

fn member() -> Namespace {
    namespace(json!({MONITORED_BY: "fsm"}), json!({INJECTION: "enabled"}))
}

#[test]
fn only_pods_of_the_mesh_that_want_to_get_a_sidecar() {
    let monitored = json!({MONITORED_BY: "fsm"});
    let none = json!({});
    let table = [
        (namespace(monitored.clone(), json!({INJECTION: "enabled"})), none.clone(), true),
        (namespace(monitored.clone(), json!({INJECTION: "Yes"})), none.clone(), true),
        (namespace(monitored.clone(), none.clone()), none.clone(), false),
        (namespace(monitored.clone(), none.clone()), json!({INJECTION: "true"}), true),
        (namespace(monitored.clone(), json!({INJECTION: "enabled"})), json!({INJECTION: "disabled"}), false),
        (namespace(json!({MONITORED_BY: "other"}), json!({INJECTION: "enabled"})), none.clone(), false),
        (
            namespace(json!({MONITORED_BY: "fsm", "flomesh.io/ignore": ""}), json!({INJECTION: "yes"})),
            none.clone(),
            false,
        ),
    ];
    for (namespace, annotations, expected) in table {
        let mut pod = pod(annotations);
        let before = pod.clone();
        assert_eq!(inject(&mut pod, Some(&namespace), &mesh(), "uuid"), Ok(expected), "{namespace:?}");
        assert_eq!(pod != before, expected);
    }
    assert_eq!(inject(&mut pod(none), None, &mesh(), "uuid"), Ok(false));
}

#[test]
fn what_is_added_stands_in_its_place() {
    let mut injected = pod(json!({}));
    inject(&mut injected, Some(&member()), &mesh(), "uuid").unwrap();
    let spec = injected.spec.clone().unwrap();
    let names = |containers: &[Container]| containers.iter().map(|c| c.name.clone()).collect::<Vec<String>>();
    assert_eq!(names(spec.init_containers.as_ref().unwrap()), ["own", "fsm-init"]);
    assert_eq!(names(&spec.containers), ["main", "sidecar"]);
    assert_eq!(injected.metadata.labels.as_ref().unwrap()[PROXY_LABEL], "uuid");
    assert!(is_sidecar(&injected, &spec.containers[1]) && !is_sidecar(&injected, &spec.containers[0]));
    strip(&mut injected);
    let mut plain = pod(json!({}));
    plain.metadata.labels = Some(Default::default());
    assert_eq!(injected, plain, "and can be taken away again");
}

#[test]
fn lists_of_the_mesh_and_of_the_pod_are_joined() {
    let config = json!({"spec": {
        "traffic": {"outboundPortExclusionList": [6379], "outboundIPRangeExclusionList": ["54.91.118.50/32"]},
        "sidecar": {"localProxyMode": "PodIP"},
    }});
    let mesh = Mesh { traffic: Traffic::of_mesh_config(&config), mark: Some(0x539), ..mesh() };
    let mut pod = pod(json!({
        "flomesh.io/outbound-port-exclusion-list": "3306, 5432",
        "flomesh.io/inbound-port-exclusion-list": "9000",
        "flomesh.io/outbound-ip-range-inclusion-list": "10.0.0.0/8",
    }));
    inject(&mut pod, Some(&member()), &mesh, "uuid").unwrap();
    let arguments = pod.spec.unwrap().init_containers.unwrap()[1].args.clone().unwrap();
    let expected = [
        "--inbound-exclude-port 9000",
        "--outbound-exclude-port 6379",
        "--outbound-exclude-port 3306",
        "--outbound-exclude-port 5432",
        "--outbound-exclude-cidr 54.91.118.50/32",
        "--outbound-include-cidr 10.0.0.0/8",
        "--pod-ip $(POD_IP)",
        "--proxy-mark 0x539",
    ];
    assert_eq!(arguments.join(" "), expected.join(" "));
    // And fsm-init understands them.
    let line: Vec<String> = arguments.iter().map(|word| word.replace("$(POD_IP)", "10.0.0.9")).collect();
    let flags = <fsm_init::Flags as clap::Parser>::try_parse_from(std::iter::once("fsm-init".to_owned()).chain(line));
    fsm_init::Options::try_from(flags.unwrap()).unwrap();
}

#[test]
fn annotations_that_cannot_be_understood_are_refused() {
    for (annotations, word) in [
        (json!({INJECTION: "maybe"}), "maybe"),
        (json!({"flomesh.io/outbound-port-exclusion-list": "70000"}), "70000"),
        (json!({"flomesh.io/inbound-port-exclusion-list": "80,x"}), "x"),
        (json!({"flomesh.io/outbound-ip-range-exclusion-list": "10.0.0.0"}), "10.0.0.0"),
    ] {
        let error = inject(&mut pod(annotations), Some(&member()), &mesh(), "uuid").unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("shop/web"), "{error}");
    }
}
