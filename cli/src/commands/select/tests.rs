#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use serde_json::json;

use super::*;

#[test]
fn selectors_choose_by_label() {
    let object = json!({"metadata": {"labels": {"app": "pipy-ok", "version": "v2"}}});
    for (selector, expected) in [
        ("app=pipy-ok,version=v2", true),
        ("app==pipy-ok", true),
        ("app=pipy-ok,version=v1", false),
        ("version!=v1", true),
        ("other!=x", true),
        ("app", true),
        ("other", false),
        ("!other", true),
        ("!app", false),
        ("version in (v1, v2),app", true),
        ("version notin (v1,v2)", false),
        ("", true),
    ] {
        assert_eq!(selector.parse::<Selector>().unwrap().matches(&object), expected, "{selector}");
        let none = selector.parse::<Selector>().unwrap().matches(&json!({}));
        assert_eq!(
            none,
            matches!(selector, "version!=v1" | "other!=x" | "!other" | "!app" | "version notin (v1,v2)" | "")
        );
    }
    for wrong in ["=x", "a in b", "a b", "!", "a in (x"] {
        assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
    }
}

#[test]
fn objects_are_named_as_with_kubectl() {
    let words = |text: &str| named(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let names = |text: &str| -> Vec<(String, Option<String>)> {
        words(text).unwrap().into_iter().map(|named| (named.resource.kind, named.name)).collect()
    };
    let one = |kind: &str, name: &str| (kind.to_owned(), Some(name.to_owned()));
    assert_eq!(names("svc,po"), [("Service".to_owned(), None), ("Pod".to_owned(), None)]);
    assert_eq!(names("deploy curl httpbin"), [one("Deployment", "curl"), one("Deployment", "httpbin")]);
    assert_eq!(names("pod/a svc/b"), [one("Pod", "a"), one("Service", "b")]);
    assert_eq!(names("trafficsplits.split.smi-spec.io x"), [one("TrafficSplit", "x")]);
    assert!(names("all").len() > 5);
    for wrong in ["", "nonsense", "pod/a b", "pod/"] {
        assert!(words(wrong).is_err(), "{wrong}");
    }
}
