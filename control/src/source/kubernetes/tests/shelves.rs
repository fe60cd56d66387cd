#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::raw::Raw;
use super::super::shelf::Shelf;
use super::{settings, view, views};
use crate::source::Event;
use fsm_api::resources::Kind;
use kube::runtime::watcher;
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn split(name: &str, version: u32, weight: serde_json::Value) -> Raw {
    let object = json!({
        "metadata": {"namespace": "shop", "name": name, "resourceVersion": version.to_string()},
        "spec": {"service": "s", "backends": [{"service": "s-v1", "weight": weight}]},
    });
    Raw::read(&object.to_string())
}

fn pod(namespace: &str, name: &str, version: u32, phase: &str) -> Raw {
    let object = json!({
        "metadata": {"namespace": namespace, "name": name, "resourceVersion": version.to_string()},
        "spec": {"containers": []},
        "status": {"phase": phase, "message": version.to_string()},
    });
    Raw::read(&object.to_string())
}

/// What events say, briefly: `+` applied, `-` removed, `!` problem, `.` no problem any more.
fn said(events: &[Event]) -> Vec<String> {
    let brief = |event: &Event| match event {
        Event::Applied(located) => format!("+{}", located.value.key().name),
        Event::Removed(key) => format!("-{}", key.name),
        Event::Synced | Event::Complete { .. } => panic!("a shelf never says this"),
        Event::Problems { origin, problems } => {
            let sign = if problems.is_empty() { "." } else { "!" };
            format!("{sign}{}", origin.rsplit('/').next().unwrap())
        }
    };
    events.iter().map(brief).collect()
}

fn list(shelf: &mut Shelf, objects: impl IntoIterator<Item = Raw>) -> Vec<String> {
    let mut events = shelf.take_in(watcher::Event::Init);
    for object in objects {
        events.extend(shelf.take_in(watcher::Event::InitApply(object)));
    }
    events.extend(shelf.take_in(watcher::Event::InitDone));
    said(&events)
}

fn apply(shelf: &mut Shelf, object: Raw) -> Vec<String> {
    said(&shelf.take_in(watcher::Event::Apply(object)))
}

#[test]
fn a_list_that_comes_again_says_only_what_differs() {
    let mut shelf = Shelf::new(view(Kind::TrafficSplit));
    let first = list(&mut shelf, [split("a", 1, 1.into()), split("b", 2, 1.into()), split("c", 3, 1.into())]);
    assert_eq!(first, ["+a", "+b", "+c"]);
    let second = list(&mut shelf, [split("a", 1, 1.into()), split("b", 9, 2.into()), split("d", 8, 1.into())]);
    assert_eq!(second, ["+b", "+d", "-c"]);
    assert_eq!(list(&mut shelf, []), ["-a", "-b", "-d"]);
}

#[test]
fn a_list_that_breaks_off_removes_nothing() {
    let mut shelf = Shelf::new(view(Kind::TrafficSplit));
    list(&mut shelf, [split("a", 1, 1.into()), split("b", 2, 1.into())]);
    assert_eq!(said(&shelf.take_in(watcher::Event::Init)), [""; 0]);
    assert_eq!(said(&shelf.take_in(watcher::Event::InitApply(split("a", 1, 1.into())))), [""; 0]);
    assert!(shelf.is_listing());
    assert_eq!(list(&mut shelf, [split("b", 2, 1.into())]), ["-a"]);
    assert!(!shelf.is_listing());
}

#[test]
fn an_object_that_cannot_be_read_stays_as_it_was_and_is_reported_by_name() {
    let mut shelf = Shelf::new(view(Kind::TrafficSplit));
    let bad = || split("a", 2, json!("much"));
    assert_eq!(list(&mut shelf, [split("a", 1, 1.into()), split("b", 1, json!([]))]), ["+a", "!b"]);
    assert_eq!(apply(&mut shelf, bad()), ["!a"]);
    assert_eq!(apply(&mut shelf, bad()), [""; 0], "said once");
    assert_eq!(list(&mut shelf, [bad(), split("c", 3, 1.into())]), ["+c", ".b"], "a is in force still");
    assert_eq!(apply(&mut shelf, split("a", 3, 1.into())), [".a", "+a"]);
    assert_eq!(apply(&mut shelf, bad()), ["!a"]);
    assert_eq!(said(&shelf.take_in(watcher::Event::Delete(bad()))), [".a", "-a"]);
}

#[test]
fn the_problem_names_the_object_and_says_what_holds() {
    let mut shelf = Shelf::new(view(Kind::TrafficSplit));
    let problem = |events: Vec<Event>| match events.into_iter().next() {
        Some(Event::Problems { problems, .. }) => problems.into_iter().next().unwrap(),
        other => panic!("{other:?}"),
    };
    let first = problem(shelf.take_in(watcher::Event::Apply(split("a", 1, json!("much")))));
    assert_eq!(first.objects, ["TrafficSplit shop/a"]);
    assert!(first.text.contains("it has no effect"), "{}", first.text);
    apply(&mut shelf, split("a", 2, 1.into()));
    let second = problem(shelf.take_in(watcher::Event::Apply(split("a", 3, json!("much")))));
    assert!(second.text.contains("what it said before stays in force"), "{}", second.text);
}

#[test]
fn only_pods_of_the_meshs_namespaces_count() {
    let mut shelf = Shelf::new(view(Kind::Pod));
    let mesh = |names: &[&str]| Arc::new(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    shelf.want(mesh(&["shop"]));
    let pods = || [pod("shop", "a", 1, "Running"), pod("other", "b", 2, "Running")];
    assert_eq!(list(&mut shelf, pods()), ["+a"]);
    assert_eq!(apply(&mut shelf, pod("other", "b", 3, "Running")), [""; 0]);
    assert_eq!(said(&shelf.want(mesh(&["other"]))), ["-a"]);
    assert_eq!(list(&mut shelf, pods()), ["+b"]);
}

#[test]
fn what_nobody_reads_is_no_change() {
    let mut shelf = Shelf::new(view(Kind::Pod));
    assert_eq!(apply(&mut shelf, pod("shop", "a", 1, "Running")), ["+a"]);
    assert_eq!(apply(&mut shelf, pod("shop", "a", 2, "Running")), [""; 0]);
    assert_eq!(apply(&mut shelf, pod("shop", "a", 3, "Failed")), ["+a"]);
    let mut whole = Shelf::new(super::View { trimmed: false, ..view(Kind::Pod) });
    assert_eq!(apply(&mut whole, pod("shop", "a", 1, "Running")), ["+a"]);
    assert_eq!(apply(&mut whole, pod("shop", "a", 2, "Running")), ["+a"]);
}

#[test]
fn of_a_secret_only_changes_of_its_certificate_count() {
    let secret = |data: serde_json::Value| {
        Raw::read(&json!({"metadata": {"namespace": "shop", "name": "s"}, "data": data}).to_string())
    };
    let mut shelf = Shelf::new(view(Kind::Secret));
    assert_eq!(apply(&mut shelf, secret(json!({"password": "eA=="}))), ["+s"]);
    assert_eq!(apply(&mut shelf, secret(json!({"password": "eQ=="}))), [""; 0]);
    assert_eq!(apply(&mut shelf, secret(json!({"ca.crt": "eA==", "password": "eA=="}))), ["+s"]);
    assert_eq!(apply(&mut shelf, secret(json!({"ca.crt": "eA==", "password": "eQ=="}))), [""; 0]);
    assert_eq!(apply(&mut shelf, secret(json!({"password": "eQ=="}))), ["+s"]);
}

#[test]
fn a_kind_that_is_gone_takes_its_objects_along() {
    let mut shelf = Shelf::new(view(Kind::TrafficSplit));
    list(&mut shelf, [split("a", 1, 1.into()), split("b", 1, json!([]))]);
    assert_eq!(said(&shelf.take_in_absence()), ["-a", ".b"]);
    assert_eq!(list(&mut shelf, [split("a", 1, 1.into())]), ["+a"]);
}

fn secret(namespace: &str, name: &str, mesh: &str) -> Raw {
    let labels = json!({"app.kubernetes.io/managed-by": "fsm-control", "app.kubernetes.io/instance": mesh});
    Raw::read(&json!({"metadata": {"namespace": namespace, "name": name, "labels": labels}}).to_string())
}

#[test]
fn secrets_that_this_mesh_made_count_wherever_they_are() {
    let mut shelf = Shelf::new(view(Kind::Secret));
    shelf.want(Arc::new(BTreeSet::from(["shop".to_owned()])));
    let all = [secret("shop", "a", "another"), secret("curl", "b", "fsm"), secret("curl", "c", "another")];
    assert_eq!(list(&mut shelf, all), ["+a", "+b"]);
    assert_eq!(said(&shelf.want(Arc::new(BTreeSet::new()))), ["-a"]);
    assert_eq!(apply(&mut shelf, secret("curl", "b", "another")), ["-b"], "somebody took it over");
    assert_eq!(apply(&mut shelf, secret("curl", "b", "another")), [""; 0]);
}

#[test]
fn policies_in_force_name_namespaces() {
    let mut shelf = Shelf::new(view(Kind::TrafficSplit));
    let split = |name: &str, backend: &str| {
        let backends = json!([{"service": backend, "weight": 1}]);
        let object =
            json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"service": "s", "backends": backends}});
        Raw::read(&object.to_string())
    };
    list(&mut shelf, [split("a", "one/s"), split("b", "two/s"), split("c", "s")]);
    let named = |shelf: &Shelf| shelf.named().remove("shop").unwrap_or_default().into_iter().collect::<Vec<_>>();
    assert_eq!(named(&shelf), ["one", "two"]);
    shelf.take_in(watcher::Event::Delete(split("a", "one/s")));
    assert_eq!(named(&shelf), ["two"]);
    shelf.take_in_absence();
    assert_eq!(named(&shelf), [""; 0]);
}

#[test]
fn every_kind_can_be_read_from_a_list_that_does_not_say_what_it_has() {
    for view in views(&settings()) {
        let kind = view.kind.clone();
        let mut shelf = Shelf::new(view);
        let object = json!({"metadata": {"namespace": "n", "name": "x"}, "spec": {}, "data": {"ca.crt": "eA=="}});
        let events = shelf.take_in(watcher::Event::Apply(Raw::read(&object.to_string())));
        let key = match &events[..] {
            [Event::Applied(located)] => located.value.key(),
            // Some fields are required; then at least the name is right.
            [Event::Problems { problems, .. }] => {
                assert!(problems[0].objects[0].starts_with(kind.name()), "{problems:?}");
                continue;
            }
            other => panic!("{kind}: {other:?}"),
        };
        assert_eq!((key.kind, key.name.as_str()), (kind, "x"));
    }
}

#[derive(Clone, Debug)]
enum Happens {
    Put(u8, u8),
    Delete(u8),
    /// The connection is lost here; what happens until the next list is not seen.
    Away,
    List,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0_u8..6, 0_u8..4).prop_map(|(name, weight)| Happens::Put(name, weight)),
        2 => (0_u8..6).prop_map(Happens::Delete),
        1 => Just(Happens::Away),
        1 => Just(Happens::List),
    ]
}

proptest! {
    /// Whoever applies and removes what the events say has what the server has, as far as it can be read.
    #[test]
    fn listeners_end_with_what_the_server_has(story in prop::collection::vec(happens(), 0..80)) {
        let mut shelf = Shelf::new(view(Kind::TrafficSplit));
        let mut server: BTreeMap<u8, (u32, u8)> = BTreeMap::new();
        let mut listener: BTreeMap<String, String> = BTreeMap::new();
        let mut broken: BTreeSet<String> = BTreeSet::new();
        let (mut version, mut away) = (0, true);
        // Weight 3 stands for something that cannot be read.
        let object = |name: u8, version: u32, weight: u8| {
            split(&name.to_string(), version, if weight == 3 { json!("much") } else { weight.into() })
        };
        for step in story.into_iter().chain([Happens::List]) {
            let mut events = Vec::new();
            match step {
                Happens::Put(name, weight) => {
                    version += 1;
                    server.insert(name, (version, weight));
                    if !away {
                        events = shelf.take_in(watcher::Event::Apply(object(name, version, weight)));
                    }
                }
                Happens::Delete(name) => {
                    if let Some((version, weight)) = server.remove(&name) && !away {
                        events = shelf.take_in(watcher::Event::Delete(object(name, version, weight)));
                    }
                }
                Happens::Away => away = true,
                Happens::List => {
                    away = false;
                    events = shelf.take_in(watcher::Event::Init);
                    for (name, (version, weight)) in &server {
                        events.extend(shelf.take_in(watcher::Event::InitApply(object(*name, *version, *weight))));
                    }
                    events.extend(shelf.take_in(watcher::Event::InitDone));
                }
            }
            for event in events {
                match event {
                    Event::Applied(object) => {
                        let version = object.value.metadata().unwrap().resource_version.clone().unwrap();
                        listener.insert(object.value.key().name, version);
                    }
                    Event::Removed(key) => { prop_assert!(listener.remove(&key.name).is_some(), "{key} was not there"); }
                    Event::Problems { origin, problems } if problems.is_empty() => { broken.remove(&*origin); }
                    Event::Problems { origin, .. } => { broken.insert(origin.to_string()); }
                    Event::Synced | Event::Complete { .. } => unreachable!(),
                }
            }
        }
        for (name, (version, weight)) in &server {
            let origin = format!("Kubernetes TrafficSplit shop/{name}");
            prop_assert_eq!(broken.contains(&origin), *weight == 3);
            if *weight != 3 {
                prop_assert_eq!(listener.get(&name.to_string()), Some(&version.to_string()));
            }
        }
        prop_assert!(listener.keys().all(|name| server.contains_key(&name.parse().unwrap())));
    }
}

#[test]
fn a_namespace_is_complete_when_a_list_was_that_began_after_it_was_wanted() {
    let set = |names: &[&str]| Arc::new(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    let mut shelf = Shelf::new(view(Kind::Secret));
    assert_eq!(shelf.complete(), Some(set(&[])));
    shelf.want(set(&["shop"]));
    assert_eq!(shelf.complete(), Some(set(&[])));
    list(&mut shelf, []);
    assert_eq!(shelf.complete(), Some(set(&["shop"])));
    shelf.want(set(&["shop", "edge"]));
    assert_eq!(shelf.complete(), Some(set(&["shop"])), "what was there still is");
    apply(&mut shelf, secret("edge", "a", "another"));
    shelf.take_in(watcher::Event::Init);
    assert_eq!(shelf.complete(), Some(set(&["shop"])));
    shelf.take_in(watcher::Event::InitDone);
    assert_eq!(shelf.complete(), Some(set(&["edge", "shop"])));
    shelf.want(set(&["edge"]));
    assert_eq!(shelf.complete(), Some(set(&["edge"])));
    shelf.take_in_absence();
    assert_eq!(shelf.complete(), None, "nowhere is one of a kind that there is not");
    shelf.want(set(&["edge"]));
    assert_eq!(shelf.complete(), Some(set(&[])), "there is such a kind again");
}
