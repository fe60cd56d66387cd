#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use serde_json::json;

use super::*;

/// The example of RFC 7396, and its corner cases.
#[test]
fn patches_follow_rfc_7396() {
    for (target, change, result) in [
        (
            json!({"a": "b", "c": {"d": "e", "f": "g"}}),
            json!({"a": "z", "c": {"f": null}}),
            json!({"a": "z", "c": {"d": "e"}}),
        ),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        let mut object = target.clone();
        patch(&mut object, &change);
        assert_eq!(object, result, "{target} + {change}");
    }
}

#[test]
fn what_left_the_file_leaves_the_object_and_what_others_set_stays() {
    let first = json!({"metadata": {"name": "x"}, "spec": {"a": 1, "b": {"c": 1, "d": 2}, "list": [1, 2]}});
    let mut live = apply(None, &first);
    patch(&mut live, &json!({"spec": {"clusterIP": "10.0.0.1", "b": {"e": 3}}, "status": {"ok": true}}));
    let second = json!({"metadata": {"name": "x"}, "spec": {"a": 1, "b": {"d": 4}, "list": [3]}});
    let live = apply(Some(live), &second);
    assert_eq!(live["spec"], json!({"a": 1, "b": {"d": 4, "e": 3}, "list": [3], "clusterIP": "10.0.0.1"}));
    assert_eq!(live["status"], json!({"ok": true}));
    assert_eq!(apply(Some(live.clone()), &second), live);
}

#[test]
fn an_object_that_was_printed_can_be_applied_again() {
    let live = apply(None, &json!({"metadata": {"name": "x"}, "spec": {"a": 1}}));
    let mut printed = live.clone();
    patch(
        &mut printed,
        &json!({"metadata": {"uid": "u", "generation": 3, "creationTimestamp": "t"}, "status": {"s": 1}}),
    );
    let again = apply(Some(live.clone()), &printed);
    assert_eq!(again, live);
}
