#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Controller, Found, Wanted, controller, judge};
use serde_json::json;

fn found(controllers: &[Controller]) -> Found {
    Found { version: ("1".into(), "31+".into()), controllers: controllers.to_vec(), ..Found::default() }
}

fn mesh(namespace: &str, mesh: &str, only_one: bool) -> Controller {
    Controller { namespace: namespace.into(), name: "fsm-controller".into(), mesh: mesh.into(), only_one }
}

fn wanted(only_one: bool) -> Wanted {
    Wanted { namespace: "fsm-system".into(), only_one }
}

#[test]
fn an_empty_cluster_is_good() {
    let findings = judge(&found(&[]), &wanted(true));
    assert!(findings.failures.is_empty() && findings.warnings.is_empty(), "{findings:?}");
}

#[test]
fn meshes_that_are_there_are_named_in_fsms_words() {
    let only = |found, single| judge(&found, &wanted(single)).failures;
    assert_eq!(only(found(&[mesh("a", "one", false)]), false), Vec::<String>::new());
    assert_eq!(
        only(found(&[mesh("a", "one", false), mesh("b", "two", false)]), true),
        ["Mesh(es) one, two already exist so a new mesh enforcing it is the only one cannot be installed"]
    );
    assert_eq!(
        only(found(&[mesh("a", "one", true)]), false),
        ["Mesh(es) one already enforce it is the only mesh in the cluster, cannot install new meshes"]
    );
    assert_eq!(
        only(found(&[mesh("fsm-system", "one", false)]), false),
        ["Namespace fsm-system already contains meshes [one]"]
    );
}

#[test]
fn old_servers_and_definitions_of_others_are_found() {
    let mut found = found(&[]);
    found.version = ("1".into(), "18".into());
    let definition = |version: &str| json!({"metadata": {"name": "x"}, "spec": {"versions": [{"name": version, "served": true, "storage": true}]}});
    found.definitions.insert("traffictargets.access.smi-spec.io".into(), definition("v1alpha2"));
    found.definitions.insert("httproutegroups.specs.smi-spec.io".into(), definition("v1alpha4"));
    let findings = judge(&found, &wanted(false));
    let [server, definition] = findings.failures.try_into().unwrap();
    assert!(server.contains("1.18") && server.contains("upgrade"), "{server}");
    assert!(
        definition.contains("traffictargets.access.smi-spec.io") && definition.contains("v1alpha3"),
        "{definition}"
    );
    let [warning] = findings.warnings.try_into().unwrap();
    assert!(warning.contains("httproutegroups"), "{warning}");
}

#[test]
fn a_controller_is_read_from_its_labels() {
    let deployment = json!({"metadata": {"namespace": "a", "name": "fsm-controller", "labels": {"meshName": "m", "enforceSingleMesh": "true"}}});
    assert_eq!(controller(&deployment), mesh("a", "m", true));
}
