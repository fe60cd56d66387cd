#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn objects() -> (tempfile::TempDir, Objects) {
    let directory = tempfile::tempdir().unwrap();
    let objects = Objects::new(directory.path().to_owned());
    (directory, objects)
}

fn service(name: &str, port: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
           "spec": {"ports": [{"port": port}]}})
}

#[test]
fn an_object_is_created_configured_unchanged_and_removed() {
    let (_directory, objects) = objects();
    let name = ObjectName::new("Service", "shop", "a");
    assert_eq!(objects.put(&service("a", 80)).unwrap(), Change::Created);
    let first = objects.get(&name).unwrap().unwrap();
    assert_eq!(objects.put(&service("a", 80)).unwrap(), Change::Unchanged);
    assert_eq!(objects.get(&name).unwrap().unwrap(), first);
    assert_eq!(objects.put(&service("a", 81)).unwrap(), Change::Configured);
    let second = objects.get(&name).unwrap().unwrap();
    assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(second["metadata"]["creationTimestamp"], first["metadata"]["creationTimestamp"]);
    assert_eq!((&first["metadata"]["generation"], &second["metadata"]["generation"]), (&json!(1), &json!(2)));
    assert_eq!(objects.remove(&name).unwrap(), Change::Removed);
    assert_eq!(objects.remove(&name).unwrap(), Change::Unchanged);
    assert_eq!(objects.get(&name).unwrap(), None);
}

#[test]
fn a_change_of_status_or_labels_is_no_new_generation() {
    let (_directory, objects) = objects();
    objects.put(&service("a", 80)).unwrap();
    let name = ObjectName::new("Service", "shop", "a");
    let change = objects
        .update(&name, |old| {
            let mut object = old.unwrap();
            object["status"] = json!({"ok": true});
            object["metadata"]["labels"] = json!({"a": "b"});
            Some(object)
        })
        .unwrap();
    assert_eq!(change, Change::Configured);
    assert_eq!(objects.get(&name).unwrap().unwrap()["metadata"]["generation"], json!(1));
}

#[test]
fn lists_are_by_namespace_and_name() {
    let (_directory, objects) = objects();
    for name in ["b", "a"] {
        objects.put(&service(name, 80)).unwrap();
    }
    objects.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})).unwrap();
    fs::write(objects.path().join("Service/shop/.writing-x.tmp"), "{").unwrap();
    let names = |namespace| -> Vec<Value> {
        objects.list("Service", namespace).unwrap().iter().map(|o| o["metadata"]["name"].clone()).collect()
    };
    assert_eq!(names(None), ["a", "b"]);
    assert_eq!(names(Some("shop")), ["a", "b"]);
    assert!(names(Some("other")).is_empty());
    assert_eq!(objects.list("Namespace", Some("")).unwrap().len(), 1);
    assert!(objects.list("Pod", None).unwrap().is_empty());
    assert_eq!(objects.kinds().unwrap(), ["Namespace", "Service"]);
}

#[test]
fn no_name_leads_out_of_the_directory() {
    let (_directory, objects) = objects();
    for (namespace, name) in [("..", "a"), ("a", ".."), ("a", "../../b"), ("a", ""), ("_cluster", "a"), ("a/b", "c")] {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}});
        assert!(matches!(objects.put(&object), Err(StateError::Object { .. })), "{namespace} {name}");
    }
    assert!(matches!(objects.put(&json!({"kind": "Pod"})), Err(StateError::Object { .. })));
    assert!(matches!(objects.put(&json!([])), Err(StateError::Object { .. })));
}

#[test]
fn nothing_is_lost_on_the_way_through_yaml() {
    let (_directory, objects) = objects();
    let data = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "y",
        "annotations": {"n": "007", "b": "true", "z": "~", "e": "", "o": "0o7", "y": "yes", "f": "1e3", "d": "2001-01-01"}},
        "data": {"text": "a\n  b\n\nc", "trailing": "a\n\n", "tab": "\ta: b", "hash": "# no comment", "colon": "a: b", "unicode": "é\u{1F600}",
                 "crlf": "a\r\nb", "quote": "'\"", "control": "\u{1}\u{85}", "long": "x ".repeat(200), "number": 1.5, "big": 9_007_199_254_740_993_i64,
                 "null": null, "list": [], "map": {}, "nested": [[1, [2]], {"a": [{"b": "- c"}]}]}});
    objects.put(&data).unwrap();
    let read = objects.get(&ObjectName::of(&data).unwrap()).unwrap().unwrap();
    assert_eq!(read["data"], data["data"]);
    assert_eq!(read["metadata"]["annotations"], data["metadata"]["annotations"]);
}

#[test]
fn writers_exclude_each_other() {
    let (_directory, objects) = objects();
    objects.put(&service("a", 0)).unwrap();
    let name = ObjectName::new("Service", "shop", "a");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    objects
                        .update(&name, |old| {
                            let mut object = old.unwrap();
                            let count = object["spec"]["ports"][0]["port"].as_u64().unwrap();
                            object["spec"]["ports"][0]["port"] = json!(count + 1);
                            Some(object)
                        })
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(objects.get(&name).unwrap().unwrap()["spec"]["ports"][0]["port"], json!(100));
}
