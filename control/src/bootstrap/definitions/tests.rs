#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Plan, definitions, not_served, plan, stored};
use crate::bootstrap::migrate::has_old;
use crate::reconcile::Step;
use serde_json::{Value, json};

fn wanted(name: &str) -> Value {
    definitions(true).into_iter().find(|definition| definition["metadata"]["name"] == name).unwrap()
}

#[test]
fn every_definition_stores_one_version_asks_nobody_to_convert_and_has_the_labels() {
    let definitions = definitions(true);
    assert_eq!(definitions.len(), fsm_api::resources::crds().len());
    for definition in &definitions {
        let versions = definition["spec"]["versions"].as_array().unwrap();
        assert_eq!(versions.iter().filter(|version| version["storage"] == true).count(), 1);
        assert_eq!(definition["spec"]["conversion"], json!({"strategy": "None"}));
        let labels = &definition["metadata"]["labels"];
        assert_eq!(labels["flomesh.io/reconcile"], "true");
        assert_eq!(labels["app.kubernetes.io/name"], "flomesh.io");
    }
}

#[test]
fn what_is_there_already_needs_nothing_and_what_is_not_is_made() {
    let wanted = wanted("meshconfigs.config.flomesh.io");
    assert_eq!(plan(None, &wanted), Plan::Bring(Step::Create(wanted.clone())));
    assert_eq!(plan(Some(&wanted), &wanted), Plan::Bring(Step::Nothing));
}

#[test]
fn an_older_definition_is_upgraded_and_keeps_serving_versions_that_only_it_has() {
    let wanted = wanted("meshconfigs.config.flomesh.io");
    let mut old = wanted.clone();
    old["metadata"]["resourceVersion"] = "7".into();
    old["spec"]["versions"] = json!([{"name": "v0", "served": true, "storage": true, "schema": {}}]);
    old["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"clientConfig": {}}});
    let Plan::Bring(Step::Replace(new)) = plan(Some(&old), &wanted) else { panic!() };
    assert_eq!(new["metadata"]["resourceVersion"], "7");
    assert_eq!(new["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(stored(&new), "v1alpha3");
    let versions = new["spec"]["versions"].as_array().unwrap();
    let kept = versions.iter().find(|version| version["name"] == "v0").unwrap();
    assert_eq!((&kept["served"], &kept["storage"]), (&json!(true), &json!(false)));
    assert_eq!(plan(Some(&new), &wanted), Plan::Bring(Step::Nothing));
}

#[test]
fn definitions_of_others_are_left_alone_if_they_do() {
    let wanted = wanted("traffictargets.access.smi-spec.io");
    let mut theirs = json!({"metadata": {"name": "traffictargets.access.smi-spec.io"}, "spec": {"versions": [
        {"name": "v1alpha3", "served": true, "storage": true}]}});
    assert_eq!(plan(Some(&theirs), &wanted), Plan::LeaveToOwner);
    theirs["spec"]["versions"][0]["name"] = "v1alpha2".into();
    assert_eq!(plan(Some(&theirs), &wanted), Plan::Foreign { version: "v1alpha3".into() });
}

#[test]
fn a_scope_cannot_be_changed_in_place() {
    let wanted = wanted("consulconnectors.connector.flomesh.io");
    let mut old = wanted.clone();
    old["spec"]["scope"] = "Cluster".into();
    let expected = Plan::Unchangeable { field: "scope", found: "Cluster".into(), wanted: "Namespaced".into() };
    assert_eq!(plan(Some(&old), &wanted), expected);
}

#[test]
fn objects_of_an_old_version_and_definitions_that_are_not_served_are_seen() {
    let mut definition = wanted("trafficsplits.split.smi-spec.io");
    assert!(!has_old(&definition));
    definition["status"] = json!({"storedVersions": ["v1alpha4"], "conditions": [
        {"type": "NamesAccepted", "status": "False", "message": "\"ts\" is in use"}]});
    assert!(!has_old(&definition));
    assert_eq!(not_served(&definition).unwrap(), ": \"ts\" is in use");
    definition["status"] = json!({"storedVersions": ["v1alpha2", "v1alpha4"], "conditions": [
        {"type": "Established", "status": "True"}]});
    assert!(has_old(&definition));
    assert_eq!(not_served(&definition), None);
}

#[test]
fn a_short_name_that_its_own_singular_has_taken_is_not_claimed_again() {
    let wanted =
        definitions(false).into_iter().find(|one| one["metadata"]["name"] == "egresses.policy.flomesh.io").unwrap();
    assert_eq!(wanted["spec"]["names"]["shortNames"], json!(["egress"]), "a new definition has it");
    assert_eq!(plan(Some(&wanted), &wanted), Plan::Bring(Step::Nothing));
    let mut changed = wanted.clone();
    changed["spec"]["names"]["shortNames"] = json!(["other"]);
    let Plan::Bring(Step::Replace(brought)) = plan(Some(&changed), &wanted) else { panic!("it is brought back") };
    assert_eq!(brought["spec"]["names"]["shortNames"], json!([]));
    changed["spec"]["names"].as_object_mut().unwrap().remove("shortNames");
    assert_eq!(plan(Some(&changed), &wanted), Plan::Bring(Step::Nothing), "and then left in peace");
}
