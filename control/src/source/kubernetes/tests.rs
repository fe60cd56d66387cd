#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod discovered;
mod needed;
mod shelves;
mod trimmed;

use super::raw::Raw;
use super::retry::{Failure, Retry, classify};
use super::view::{View, Within, views};
use super::{Interest, Settings, note};
use crate::source::Event;
use fsm_api::resources::Kind;
use kube::runtime::watcher;
use std::collections::BTreeMap;
use std::time::Duration;

fn settings() -> Settings {
    Settings { mesh_name: "fsm".into(), fsm_namespace: "fsm-system".into(), interest: Interest::Mesh }
}

fn view(kind: Kind) -> View {
    views(&settings()).into_iter().find(|view| view.kind == kind).unwrap()
}

#[test]
fn everything_of_the_mesh_is_followed_and_of_kubernetes_what_is_read() {
    let kinds: Vec<Kind> = views(&settings()).into_iter().map(|view| view.kind).collect();
    for kind in [Kind::MeshConfig, Kind::TrafficSplit, Kind::Egress, Kind::ServiceImport, Kind::Pod, Kind::Secret] {
        assert!(kinds.contains(&kind), "{kind}");
    }
    for kind in [Kind::ConfigMap, Kind::ServiceAccount, Kind::Deployment, Kind::Job, Kind::ConsulConnector] {
        assert!(!kinds.contains(&kind), "{kind}");
    }
    let whole = Settings { interest: Interest::Whole(vec![Kind::Pod]), ..settings() };
    let [pods] = views(&whole).try_into().unwrap();
    assert!(!pods.trimmed && pods.within == Within::Everywhere && pods.fields.is_none());
}

#[test]
fn pauses_double_up_to_a_limit_and_are_spread() {
    let mut retry = Retry::new(Duration::from_millis(200), Duration::from_secs(1));
    let mut least = Duration::from_millis(100);
    for _ in 0..6 {
        let pause = retry.next();
        assert!(pause >= least && pause <= least * 2, "{pause:?} {least:?}");
        least = (least * 2).min(Duration::from_millis(500));
    }
    retry.reset();
    assert!(retry.next() <= Duration::from_millis(200));
}

#[test]
fn failures_are_told_apart_by_what_helps() {
    let status =
        |code| kube::Error::Api(Box::new(kube::core::Status { code, ..kube::core::Status::failure("no", "No") }));
    for (code, failure) in [
        (404, Failure::Missing),
        (403, Failure::Forbidden),
        (401, Failure::Forbidden),
        (410, Failure::Expired),
        (500, Failure::Other),
        (429, Failure::Other),
    ] {
        assert_eq!(classify(&watcher::Error::InitialListFailed(status(code))), failure);
        assert_eq!(classify(&watcher::Error::WatchStartFailed(status(code))), failure);
    }
    assert_eq!(classify(&watcher::Error::NoResourceVersion), Failure::Other);
}

#[test]
fn one_reason_is_one_problem_for_all_kinds_and_goes_when_they_are_all_well() {
    let mut troubles = BTreeMap::new();
    let away = || Some((Failure::Other, "connection refused".to_owned()));
    let said = |event: Option<Event>| match event {
        Some(Event::Problems { origin, problems }) if &*origin == "Kubernetes" => problems,
        other => panic!("{other:?}"),
    };
    assert_eq!(said(note(&mut troubles, Kind::Pod, away())).len(), 1);
    assert_eq!(note(&mut troubles, Kind::Pod, away()), None, "nothing new");
    let [problem] = said(note(&mut troubles, Kind::TrafficSplit, away())).try_into().unwrap();
    assert!(problem.text.contains("trafficsplits.split.smi-spec.io, pods: connection refused"), "{}", problem.text);
    let forbidden = Some((Failure::Forbidden, "secrets is forbidden".to_owned()));
    assert_eq!(said(note(&mut troubles, Kind::Secret, forbidden)).len(), 2);
    for kind in [Kind::Pod, Kind::TrafficSplit] {
        note(&mut troubles, kind, None);
    }
    assert_eq!(said(note(&mut troubles, Kind::Secret, None)), []);
    assert_eq!(note(&mut troubles, Kind::Secret, None), None);
}

#[test]
fn whatever_an_object_is_reading_it_gives_a_name_and_never_fails() {
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let text = format!(
        r#"{{"spec":{{"a":{deep}}},"metadata":{{"namespace":"n","name":"x","resourceVersion":"7","labels":{{}}}},"b":{deep}}}"#
    );
    let list: Vec<Raw> = serde_json::from_str(&format!("[{text}, 3, null, [], {{}}]")).unwrap();
    assert_eq!(list.len(), 5);
    assert!(list[0].content.as_ref().unwrap_err().contains("recursion limit"));
    assert_eq!((list[0].namespace(), list[0].name()), ("n", "x"));
    assert_eq!(kube::Resource::meta(&list[0]).resource_version.as_deref(), Some("7"));
    for raw in &list[1..] {
        assert_eq!(raw.name(), "");
    }
}

#[test]
fn book_keeping_is_dropped_when_an_object_is_read() {
    let raw = Raw::read(
        r#"{"metadata":{"name":"x","managedFields":[{}],"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","a":"b"}}}"#,
    );
    assert_eq!(raw.content.unwrap().to_string(), r#"{"metadata":{"name":"x","annotations":{"a":"b"}}}"#);
}
