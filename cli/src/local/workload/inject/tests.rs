#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::{Value, json};

const INJECTION: &str = "flomesh.io/sidecar-injection";

fn mesh() -> Mesh {
    Mesh { name: "fsm".into(), fsm_namespace: "fsm-system".into(), mark: None, config: MeshConfigSpec::default() }
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
    let wants = json!({INJECTION: "enabled"});
    let table = [
        (namespace(monitored.clone(), wants.clone()), none.clone(), true),
        (namespace(monitored.clone(), none.clone()), none.clone(), false),
        (namespace(monitored.clone(), none.clone()), json!({INJECTION: "true"}), true),
        (namespace(monitored.clone(), wants.clone()), json!({INJECTION: "disabled"}), false),
        (namespace(json!({MONITORED_BY: "other"}), wants.clone()), none.clone(), false),
        (namespace(json!({MONITORED_BY: "fsm", IGNORE: ""}), wants), none.clone(), false),
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
fn what_is_added_is_recognised_and_can_be_taken_away() {
    let mut injected = pod(json!({}));
    inject(&mut injected, Some(&member()), &mesh(), "uuid").unwrap();
    let spec = injected.spec.clone().unwrap();
    assert_eq!(spec.containers[0].name, "main", "users look for their own first");
    let all = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let named = |is: &dyn Fn(&Container) -> bool| -> Vec<String> {
        all().filter(|container| is(container)).map(|container| container.name.clone()).collect()
    };
    assert_eq!(named(&|container| is_sidecar(&injected, container)), ["sidecar"]);
    assert_eq!(named(&|container| is_redirection(&injected, container)), ["fsm-init"]);
    strip(&mut injected);
    let mut plain = pod(json!({}));
    plain.metadata.annotations = None;
    assert_eq!(injected, plain);
}

#[test]
fn a_mark_stands_in_for_a_user_that_cannot_be() {
    let arguments = |mark| {
        let mut injected = pod(json!({}));
        inject(&mut injected, Some(&member()), &Mesh { mark, ..mesh() }, "uuid").unwrap();
        let spec = injected.spec.unwrap();
        let all = spec.containers.into_iter().chain(spec.init_containers.unwrap());
        all.flat_map(|container| container.args.unwrap_or_default()).collect::<Vec<String>>()
    };
    let marked = |arguments: Vec<String>| arguments.iter().filter(|word| word.ends_with("-mark=0x539")).count();
    assert_eq!(marked(arguments(None)), 0);
    assert_eq!(marked(arguments(Some(0x539))), 2);
    // And fsm-init understands it.
    let line = ["fsm-init", "--proxy-mark=0x539"];
    fsm_init::Options::try_from(<fsm_init::Flags as clap::Parser>::try_parse_from(line).unwrap()).unwrap();
}

#[test]
fn the_end_of_a_pod_needs_no_hook_of_the_sidecar() {
    let mut injected = pod(json!({}));
    inject(&mut injected, Some(&member()), &mesh(), "uuid").unwrap();
    let sidecar = injected.spec.unwrap().containers.into_iter().find(|container| container.name == SIDECAR).unwrap();
    let lifecycle = sidecar.lifecycle.unwrap();
    assert!(lifecycle.post_start.is_some(), "applications are held until the sidecar is ready");
    assert!(lifecycle.pre_stop.is_none());
}

#[test]
fn what_the_webhook_refuses_is_refused() {
    let error = inject(&mut pod(json!({INJECTION: "maybe"})), Some(&member()), &mesh(), "uuid").unwrap_err();
    assert!(error.to_string().contains("maybe") && error.to_string().contains("shop/web"), "{error}");
}
