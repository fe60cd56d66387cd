#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::json;

fn store() -> Store {
    Store::new(Arc::new(Telemetry::new()))
}

fn file() -> Origin {
    Origin::File("/etc/fsm/config.json".into())
}

fn repo() -> Origin {
    Origin::Repo("http://controller:6060/repo/a/config.json".into())
}

/// A small document; `identity` tells one from another.
fn document(version: &str, identity: &str) -> Vec<u8> {
    json!({"Ts": "2026-03-02T09:14:07Z", "Version": version, "Spec": {"ServiceIdentity": identity}})
        .to_string()
        .into_bytes()
}

#[test]
fn first_document_comes_into_force() {
    let store = store();
    let watch = store.subscribe();
    assert!(store.snapshot().is_none());
    assert_eq!(store.status(), Status::default());
    assert_eq!((store.age(), store.failure()), (None, None));

    let applied = store.apply(&document("1", "web.shop"), &file()).unwrap();

    assert_eq!(applied, Applied::Changed { generation: 1, problems: 0 });
    assert_eq!(store.snapshot().unwrap().version, "1");
    assert_eq!(store.load().as_ref().unwrap().version, "1");
    assert!(watch.has_changed().unwrap());
    assert_eq!(*watch.borrow(), 1);
    let status = store.status();
    assert_eq!(status.origin.as_deref(), Some("file /etc/fsm/config.json"));
    assert_eq!((status.generation, status.version.as_str()), (1, "1"));
    assert!(status.applied_at.unwrap().ends_with('Z'));
    assert!(store.age().is_some());
    assert_eq!(store.telemetry.config_applied.get(), 1);
}

#[test]
fn what_was_in_force_is_freed_by_nobody_who_reads_it() {
    let store = store();
    store.apply(&document("1", "web.shop"), &file()).unwrap();
    let reader = store.snapshot().unwrap();
    let gone = Arc::downgrade(&reader);
    store.apply(&document("2", "web.shop"), &file()).unwrap();

    let (unread, more) = store.take_retired();
    assert!(unread.is_empty() && more, "it is still read");

    drop(reader);
    assert!(gone.upgrade().is_some(), "the reader did not free it");
    let (unread, more) = store.take_retired();
    assert_eq!((unread.len(), more), (1, false));
    drop(unread);
    assert!(gone.upgrade().is_none());
}

#[test]
fn same_content_with_another_time_stamp_changes_nothing() {
    let store = store();
    store.apply(&document("1", "web.shop"), &file()).unwrap();
    let before = store.snapshot().unwrap();
    let later = String::from_utf8(document("1", "web.shop")).unwrap().replace("09:14", "10:15");

    assert_eq!(store.apply(later.as_bytes(), &repo()).unwrap(), Applied::Unchanged);

    assert!(Arc::ptr_eq(&before, &store.snapshot().unwrap()));
    assert_eq!(store.status().generation, 1);
    assert_eq!(store.status().origin, Some(repo().to_string()), "the latest place that confirmed it");
    assert_eq!(store.telemetry.config_applied.get(), 1);
}

#[test]
fn documents_that_differ_only_in_skipped_parts_are_different() {
    let store = store();
    let broken = |value: serde_json::Value| json!({"Version": "1", "Metrics": value}).to_string().into_bytes();
    store.apply(&broken(json!({"a": 1})), &file()).unwrap();
    assert!(store.status().problems > 0);

    let applied = store.apply(&broken(json!(false)), &file()).unwrap();

    assert_eq!(applied, Applied::Changed { generation: 2, problems: 0 });
}

#[test]
fn broken_document_leaves_the_last_good_one_in_force() {
    let store = store();
    store.apply(&document("1", "web.shop"), &file()).unwrap();
    for broken in [&b"{\"Version\":"[..], b"", b"[]", b"\x1f\x8b\x08broken", b"\xff\xfe"] {
        let rejected = store.apply(broken, &file()).unwrap_err();
        assert!(matches!(rejected, Rejected::Read { .. }), "{rejected}");
        let text = rejected.to_string();
        assert!(text.starts_with("file /etc/fsm/config.json: "), "{text}");
        assert!(text.ends_with("the previous configuration stays in force"), "{text}");
    }
    assert_eq!(store.snapshot().unwrap().version, "1");
    assert_eq!(store.telemetry.config_rejected.get(), 5);
    assert_eq!(store.failure(), store.status().rejected.map(|failure| failure.message));
    assert!(store.failure().is_some());

    store.apply(&document("2", "web.shop"), &file()).unwrap();

    assert_eq!(store.status().rejected, None, "a good document heals the status");
    assert_eq!(store.failure(), None);
}

#[test]
fn returning_to_the_document_in_force_heals_the_status_too() {
    let store = store();
    store.apply(&document("1", "web.shop"), &file()).unwrap();
    store.apply(b"garbage", &file()).unwrap_err();
    assert_eq!(store.apply(&document("1", "web.shop"), &file()).unwrap(), Applied::Unchanged);
    assert_eq!(store.status().rejected, None);
}

#[test]
fn repeated_failures_are_counted_as_one() {
    let store = store();
    for _ in 0..3 {
        store.apply(b"garbage", &file()).unwrap_err();
        store.source_failed("the repository is away");
    }
    let status = store.status();
    assert_eq!(status.rejected.unwrap().count, 3);
    assert_eq!(status.source_failure.clone().unwrap().count, 3);
    assert_eq!(status.source_failure.unwrap().message, "the repository is away");
    assert_eq!(store.telemetry.config_source_errors.get(), 3);

    store.source_failed("the repository is broken");
    assert_eq!(store.status().source_failure.unwrap().count, 1, "another cause counts anew");
    store.source_recovered();
    assert_eq!(store.status().source_failure, None);
}

#[test]
fn empty_placeholder_is_refused_from_the_repository_only() {
    let store = store();
    store.apply(&document("1", "web.shop"), &repo()).unwrap();
    for placeholder in ["{}", " {\n} ", "{\"Unheard\":1}"] {
        let rejected = store.apply(placeholder.as_bytes(), &repo()).unwrap_err();
        assert!(matches!(rejected, Rejected::Placeholder { .. }), "{rejected}");
    }
    assert_eq!(store.snapshot().unwrap().version, "1");

    store.apply(b"{}", &file()).unwrap();

    assert_eq!(store.status().generation, 2, "who writes an empty file means it");
}

#[test]
fn problems_are_counted_in_the_status() {
    let store = store();
    let document = json!({"Version": "1", "Inbound": {"TrafficMatches": {"nonsense": {}}}}).to_string();
    store.apply(document.as_bytes(), &file()).unwrap();
    let status = store.status();
    assert!(status.problems > 0);
    assert!(status.errors > 0);
    assert_eq!(status.problems, store.snapshot().unwrap().problems.len());
}

#[test]
fn panic_of_the_compiler_leaves_the_last_good_document_in_force() {
    let mut store = store();
    store.apply(&document("1", "web.shop"), &file()).unwrap();
    store.compiler = |_, _, _, _| panic!("boom {}", 7);

    let rejected = store.apply(&document("2", "web.shop"), &file()).unwrap_err();

    assert!(matches!(&rejected, Rejected::Panicked { message, .. } if message == "boom 7"), "{rejected}");
    assert_eq!(store.snapshot().unwrap().version, "1");
    assert_eq!(store.telemetry.config_rejected.get(), 1);
    assert_eq!(store.telemetry.panics.get(), 0, "the process's panic hook counts it, and nobody else");
    store.compiler = compile;
    store.apply(&document("2", "web.shop"), &file()).unwrap();
    assert_eq!(store.snapshot().unwrap().version, "2", "the store works on after a panic");
}

#[test]
fn status_has_a_stable_form() {
    let store = store();
    store.apply(&document("1", "web.shop"), &file()).unwrap();
    store.apply(b"garbage", &file()).unwrap_err();
    let status = serde_json::to_value(store.status()).unwrap();
    let keys: Vec<&str> = status.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["origin", "generation", "appliedAt", "version", "problems", "errors", "rejected", "sourceFailure"];
    assert_eq!(keys, expected);
    let keys: Vec<&str> = status["rejected"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["message", "since", "count"]);
}

#[test]
fn cache_brings_the_last_document_of_the_repository_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache");
    let url = "http://controller:6060/repo/a/";
    let cached = || store().with_cache(Cache::open(&path, url).unwrap());
    let first = cached();
    assert_eq!(first.apply_cached(), None, "there is nothing yet");
    first.apply(&document("1", "web.shop"), &repo()).unwrap();
    first.apply(&document("2", "web.shop"), &repo()).unwrap();
    first.apply(b"garbage", &repo()).unwrap_err();

    let second = cached();

    assert_eq!(second.apply_cached(), Some(Applied::Changed { generation: 1, problems: 0 }));
    assert_eq!(second.snapshot().unwrap().version, "2");
    assert_eq!(second.source(), format!("cache {}", path.join("config.json").display()));
    assert_eq!(second.apply(&document("2", "web.shop"), &repo()).unwrap(), Applied::Unchanged);
    assert_eq!(second.source(), repo().to_string(), "the repository has confirmed the cache");
}

#[test]
fn documents_of_a_file_are_not_cached() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache");
    let url = "http://controller:6060/repo/a/";
    let store = store().with_cache(Cache::open(&path, url).unwrap());
    store.apply(&document("1", "web.shop"), &file()).unwrap();
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn corrupt_cache_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache");
    let url = "http://controller:6060/repo/a/";
    let cached = || store().with_cache(Cache::open(&path, url).unwrap());
    cached().apply(&document("1", "web.shop"), &repo()).unwrap();
    std::fs::write(path.join("config.json"), b"{\"Version\":\"1").unwrap();

    let store = cached();

    assert_eq!(store.apply_cached(), None);
    assert!(store.snapshot().is_none());
    store.apply(&document("2", "web.shop"), &repo()).unwrap();
    assert_eq!(cached().apply_cached(), Some(Applied::Changed { generation: 1, problems: 0 }));
}

#[test]
fn readers_never_see_a_mixture() {
    let store = Arc::new(store());
    let writer = {
        let store = store.clone();
        std::thread::spawn(move || {
            for number in 0..200 {
                let version = number.to_string();
                store.apply(&document(&version, &format!("{version}.shop")), &file()).unwrap();
            }
        })
    };
    while !writer.is_finished() {
        if let Some(snapshot) = store.snapshot() {
            assert_eq!(format!("{}.shop", snapshot.version), snapshot.document.spec.service_identity);
        }
    }
    writer.join().unwrap();
    assert_eq!(store.status().generation, 200);
}
