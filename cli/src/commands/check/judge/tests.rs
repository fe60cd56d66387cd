#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::json;

fn why(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Pass => String::new(),
        Outcome::Warn(finding) => format!("warning: {} → {}", finding.why, finding.remedy),
        Outcome::Fail(finding) => format!("error: {} → {}", finding.why, finding.remedy),
    }
}

#[test]
fn versions_of_kubernetes_are_compared_as_numbers() {
    let judged = |minor: &str| version(&json!({"major": "1", "minor": minor, "gitVersion": "v"}).to_string(), 19).1;
    assert_eq!(judged("20"), Outcome::Pass);
    assert_eq!(judged("30+"), Outcome::Pass);
    assert!(why(&judged("9")).starts_with("error"));
    assert!(why(&version("{}", 19).1).starts_with("warning"));
}

fn mesh(name: &str, namespace: &str, alone: bool) -> ControlPlane {
    ControlPlane {
        mesh: name.into(),
        namespace: namespace.into(),
        version: VERSION.into(),
        enforces_single_mesh: alone,
        ready: (1, 1),
    }
}

#[test]
fn a_mesh_that_wants_to_be_the_only_one_is_in_the_way() {
    assert_eq!(room_for(&[], "fsm", "fsm-system"), Outcome::Pass);
    assert!(why(&room_for(&[mesh("a", "a", true)], "fsm", "fsm-system")).starts_with("error: mesh [a] in"));
    assert!(why(&room_for(&[mesh("a", "a", false)], "fsm", "fsm-system")).starts_with("warning"));
    assert!(why(&room_for(&[mesh("fsm", "a", false)], "fsm", "fsm-system")).contains("fsm mesh upgrade"));
}

fn all_definitions() -> Vec<Value> {
    crds().into_iter().map(|definition| serde_json::to_value(definition).unwrap()).collect()
}

#[test]
fn definitions_have_to_be_there_in_the_version_that_is_needed() {
    let mut all = all_definitions();
    assert_eq!(definitions(&all, "shop-mesh"), Outcome::Pass);
    assert_eq!(definitions_before(&[]), Outcome::Pass, "before an installation there are none");
    let name = all[0]["metadata"]["name"].as_str().unwrap().to_owned();
    for version in all[0]["spec"]["versions"].as_array_mut().unwrap() {
        version["served"] = false.into();
    }
    assert!(why(&definitions(&all, "shop-mesh")).contains(&name));
    assert_eq!(definitions_before(&all), Outcome::Pass, "ours will be upgraded");
    all[0]["metadata"]["labels"] = json!({});
    assert!(why(&definitions_before(&all)).contains(&name), "somebody else's will not");
    all.remove(0);
    assert!(why(&definitions(&all, "shop-mesh")).contains(&name));
}

#[test]
fn a_deployment_without_ready_pods_fails_and_one_with_some_is_a_warning() {
    let found =
        |ready: u64| json!({"metadata": {"name": "d"}, "spec": {"replicas": 2}, "status": {"readyReplicas": ready}});
    assert!(why(&deployment(None, "n")).starts_with("error"));
    assert!(why(&deployment(Some(&found(0)), "n")).starts_with("error: none of 2"));
    assert!(why(&deployment(Some(&found(1)), "n")).starts_with("warning: 1 of 2"));
    assert_eq!(deployment(Some(&found(2)), "n"), Outcome::Pass);
}

#[test]
fn a_mesh_config_has_to_be_readable() {
    let found = |traffic: Value| json!({"metadata": {"name": "fsm-mesh-config"}, "spec": {"traffic": traffic}});
    assert_eq!(mesh_config(Some(&found(json!({"enableEgress": true}))), "n"), Outcome::Pass);
    assert!(why(&mesh_config(Some(&found(json!({"enableEgress": "no"}))), "n")).contains("cannot be read"));
    assert!(why(&mesh_config(None, "n")).starts_with("error"));
}

#[test]
fn a_webhook_without_an_authority_is_believed_by_nobody() {
    assert!(why(&webhook(&[], "fsm-injector", "shop-mesh")).contains("not registered"));
    let empty = json!({"metadata": {"name": "fsm-webhook-fsm"}});
    assert!(why(&webhook(&[empty], "fsm-injector", "shop-mesh")).contains("not registered"));
    let hook = json!({"webhooks": [{"name": "w", "clientConfig": {"caBundle": "Cg=="}}]});
    assert!(why(&webhook(&[hook], "fsm-injector", "shop-mesh")).contains("no certificate authority"));
}

#[test]
fn pod_security_that_refuses_the_init_container_is_told() {
    let labelled =
        |level: &str| json!({"metadata": {"name": "n", "labels": {"pod-security.kubernetes.io/enforce": level}}});
    assert!(why(&admission(&labelled("restricted"))).contains("NET_ADMIN"));
    assert_eq!(admission(&labelled("privileged")), Outcome::Pass);
    assert_eq!(admission(&json!({"metadata": {"name": "n"}})), Outcome::Pass);
}

fn pod(name: &str, sidecar: Option<&str>) -> Value {
    let mut containers = vec![json!({"name": "app", "image": "app"})];
    containers.extend(sidecar.map(|image| json!({"name": "sidecar", "image": image})));
    json!({"metadata": {"name": name}, "spec": {"containers": containers}, "status": {"phase": "Running"}})
}

#[test]
fn pods_from_before_the_namespace_was_added_are_told() {
    let on = json!({"metadata": {"name": "n", "annotations": {"flomesh.io/sidecar-injection": "enabled"}}});
    let pods = [pod("old", None), pod("new", Some("flomesh/fsm-proxy:0"))];
    assert!(why(&injected(&on, &pods, "n")).contains(": old →"));
    let off = json!({"metadata": {"name": "n", "annotations": {"flomesh.io/sidecar-injection": "disabled"}}});
    assert_eq!(injected(&off, &pods, "n"), Outcome::Pass);
    let mut willing = pod("willing", None);
    willing["metadata"]["annotations"] = json!({"flomesh.io/sidecar-injection": "enabled"});
    assert!(why(&injected(&off, &[willing], "n")).contains("willing"));
}

#[test]
fn sidecars_of_another_version_are_told_and_images_of_the_users_own_are_not() {
    let current = format!("flomesh/fsm-proxy:{VERSION}");
    let pods = [pod("a", Some("flomesh/fsm-proxy:0.0.1")), pod("b", Some(&current)), pod("c", Some("mine/proxy:7"))];
    let said = why(&sidecar_versions(&pods, VERSION, "n"));
    assert!(said.contains("1 of flomesh/fsm-proxy:0.0.1") && !said.contains("mine"), "{said}");
    assert!(why(&sidecars(&pods, "n")).contains("a, b, c"));
}

#[test]
fn a_root_that_ends_soon_is_a_warning() {
    use x509_parser::pem::Pem;
    assert!(Pem::iter_from_buffer(b"nothing").next().is_none());
    assert!(why(&roots(None, "n")).starts_with("warning"));
    assert!(why(&roots(Some(&json!({"data": {"ca.crt": "Cg=="}})), "n")).starts_with("error"));
}

#[test]
fn hints_name_the_namespace_of_the_control_plane() {
    let hint = |outcome: Outcome| match outcome {
        Outcome::Warn(finding) | Outcome::Fail(finding) => finding.remedy,
        Outcome::Pass => panic!("nothing is wrong"),
    };
    for outcome in [
        definitions(&[], "shop-mesh"),
        webhook(&[], "fsm-injector", "shop-mesh"),
        trust_bundle(None, "shop", "shop-mesh"),
        mesh_config(None, "shop-mesh"),
    ] {
        let hint = hint(outcome);
        assert!(hint.contains("-n shop-mesh") && !hint.contains("fsm-system"), "{hint}");
    }
}
