#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::json;

struct Place {
    _directory: tempfile::TempDir,
    objects: Objects,
    follower: Follower,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let objects = Objects::new(directory.path().to_owned());
    Place { follower: Follower::new(objects.clone()), objects, _directory: directory }
}

fn pod(color: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "a", "name": "p", "labels": {"c": color}}})
}

fn names(changes: &[Change]) -> Vec<String> {
    let name = |change: &Change| match change {
        Change::Applied { kind, key, .. } => format!("+{kind} {}/{}", key.0, key.1),
        Change::Removed { kind, key, .. } => format!("-{kind} {}/{}", key.0, key.1),
    };
    changes.iter().map(name).collect()
}

#[test]
fn changes_are_seen_once() {
    let mut place = place();
    place.objects.put(&pod("red")).unwrap();
    place.objects.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})).unwrap();
    assert_eq!(names(&place.follower.look()), ["+Namespace /a", "+Pod a/p"]);
    assert!(place.follower.look().is_empty());
    place.objects.put(&pod("blue")).unwrap();
    assert_eq!(names(&place.follower.look()), ["+Pod a/p"]);
    place.objects.remove(&crate::local::state::ObjectName::new("Pod", "a", "p")).unwrap();
    assert_eq!(names(&place.follower.look()), ["-Pod a/p"]);
}

#[test]
fn an_object_that_was_made_again_between_two_looks_is_another() {
    let mut place = place();
    place.objects.put(&pod("red")).unwrap();
    place.follower.look();
    place.objects.remove(&crate::local::state::ObjectName::new("Pod", "a", "p")).unwrap();
    place.objects.put(&pod("red")).unwrap();
    assert_eq!(names(&place.follower.look()), ["-Pod a/p", "+Pod a/p"]);
}

#[test]
fn a_broken_file_keeps_the_object_it_was() {
    let mut place = place();
    place.objects.put(&pod("red")).unwrap();
    place.follower.look();
    let file = place.objects.file(&crate::local::state::ObjectName::new("Pod", "a", "p")).unwrap();
    std::fs::write(file, "{ broken").unwrap();
    assert!(place.follower.look().is_empty());
}
