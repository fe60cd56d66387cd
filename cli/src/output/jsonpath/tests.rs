#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use serde_json::json;

use super::*;

fn pods() -> Value {
    json!({"kind": "List", "items": [
        {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}}, "status": {"ready": true, "n": 1,
         "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}},
        {"metadata": {"name": "b", "namespace": "n"}, "status": {"ready": false, "n": 2}},
        {"metadata": {"name": "c"}, "spec": {"list": [1, 2, 3]}}]})
}

#[test]
fn templates_of_scripts_are_understood() {
    for (template, expected) in [
        ("{.items[0].metadata.name}", "a"),
        ("{.items..metadata.name}", "a b c"),
        ("{.items[*].metadata.name}", "a b c"),
        ("{items[1].metadata.name}", "b"),
        ("{.items[-1].metadata.name}", "c"),
        ("{.items[0:2].metadata.name}", "a b"),
        ("{.items[1:].metadata.name}", "b c"),
        ("{range .items[*]}{.metadata.name}={.status.n}{\"\\n\"}{end}", "a=1\nb=2\nc=\n"),
        ("name: {.items[1].metadata.name}!", "name: b!"),
        ("{.items[0].metadata.labels.app\\.kubernetes\\.io/name}", "x"),
        ("{.items[0].metadata.labels['app.kubernetes.io/name']}", "x"),
        ("{.items[0].status.conditions[?(@.type==\"Ready\")].status}", "True"),
        ("{.items[?(@.status.n>1)].metadata.name}", "b"),
        ("{.items[?(@.metadata.namespace)].metadata.name}", "b"),
        ("{.items[2].spec}", "{\"list\":[1,2,3]}"),
        ("{.items[2].spec.list}", "[1,2,3]"),
        ("{.items[0].status.ready} {.missing.field}", "true "),
        ("{$.kind}", "List"),
        ("{range .items[*]}{range .status.conditions[*]}{.type},{end};{end}", "Ready,Other,;;;"),
        ("plain", "plain"),
        ("", ""),
    ] {
        assert_eq!(apply(template, &pods()).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn a_script_does_not_go_on_with_the_name_of_nothing() {
    let none = json!({"items": []});
    assert!(apply("{.items[0].metadata.name}", &none).unwrap_err().to_string().contains("length 0"));
    assert_eq!(apply("{.items..metadata.name}", &none).as_deref(), Ok(""));
}

#[test]
fn mistakes_are_told() {
    for template in [
        "{",
        "{.a",
        "{.a[}",
        "{.a[x]}",
        "{range .a}",
        "{end}",
        "{.}}{",
        "{.a[?(@.b==\"]}",
        "{\"x}",
        "{.a b}",
        "{..}",
        "{.a[]}",
    ] {
        assert!(apply(template, &pods()).is_err(), "{template}");
    }
}
