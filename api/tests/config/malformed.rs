//! One wrong value at a time: exactly one problem, at exactly that path, and everything else of the document intact.

/// Shorthands for the places that most rows are about.
macro_rules! in80 {
    ($rest:literal) => {
        concat!("/Inbound/TrafficMatches/80", $rest)
    };
}
macro_rules! in80_path {
    ($rest:literal) => {
        concat!(r#"Inbound.TrafficMatches["80"]"#, $rest)
    };
}
macro_rules! out80 {
    ($rest:literal) => {
        concat!("/Outbound/TrafficMatches/80/0", $rest)
    };
}
macro_rules! out80_path {
    ($rest:literal) => {
        concat!(r#"Outbound.TrafficMatches["80"][0]"#, $rest)
    };
}

mod document;
mod inbound;
mod outbound;
mod policy;
mod settings;

use super::*;
use fsm_api::config::Severity;
use serde_json::json;

/// What the document says after the wrong value has taken its toll, as JSON pointers into the written document.
#[derive(Debug)]
enum Toll {
    /// This member is missing.
    Missing(&'static str),
    /// This element of a list is missing.
    MissingElement(&'static str),
    /// This has the default or denying value instead.
    Instead(&'static str, Value),
}
use Toll::{Instead, Missing, MissingElement};

struct Row {
    fixture: &'static str,
    /// JSON pointer of the value to replace (or to add).
    place: &'static str,
    wrong: Value,
    /// Path of the problem.
    path: &'static str,
    severity: Severity,
    toll: Toll,
}

fn row(fixture: &'static str, place: &'static str, wrong: Value, path: &'static str, toll: Toll) -> Row {
    Row { fixture, place, wrong, path, severity: Severity::Error, toll }
}

/// A row that costs people information and nothing else.
fn note(fixture: &'static str, place: &'static str, wrong: Value, path: &'static str, toll: Toll) -> Row {
    Row { severity: Severity::Note, ..row(fixture, place, wrong, path, toll) }
}

fn no_certificate() -> Value {
    json!({"Expiration": "", "CertChain": "", "PrivateKey": "", "IssuingCA": ""})
}

fn refusing() -> Value {
    json!({"mTLS": true, "SkipClientCertValidation": false, "AuthenticatedPrincipals": []})
}

#[test]
fn a_wrong_member_of_the_document_costs_that_member() {
    check(document::rows());
}

#[test]
fn a_wrong_setting_costs_that_setting() {
    check(settings::rows());
}

#[test]
fn a_wrong_part_of_inbound_denies_and_costs_nothing_else() {
    check(inbound::rows());
}

#[test]
fn a_wrong_part_of_outbound_costs_the_smallest_unit_and_opens_no_way_around() {
    check(outbound::rows());
}

#[test]
fn a_wrong_policy_is_left_out() {
    check(policy::rows());
}

fn check(rows: Vec<Row>) {
    for row in rows {
        let mut document = json(row.fixture);
        *at(&mut document, row.place) = row.wrong.clone();
        let (config, problems) = read(&document);
        let case = format!("{} = {}", row.place, row.wrong);

        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, [row.path], "{case}: {problems:#?}");
        assert_eq!(problems[0].severity, row.severity, "{case}: {problems:#?}");
        assert!(problems[0].message.contains("; "), "{case} says what was done: {problems:#?}");

        let mut expected = written(&read_clean(row.fixture));
        match &row.toll {
            Missing(place) | MissingElement(place) => remove(&mut expected, place),
            Instead(place, value) => *at(&mut expected, place) = value.clone(),
        }
        assert_eq!(written(&config), expected, "{case}, toll {:?}", row.toll);
    }
}

/// The value at a JSON pointer, created if its parent exists and it does not.
fn at<'a>(document: &'a mut Value, pointer: &str) -> &'a mut Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    let name = name.replace("~1", "/").replace("~0", "~");
    match parent {
        Value::Array(list) => &mut list[name.parse::<usize>().unwrap()],
        Value::Object(map) => map.entry(name).or_insert(Value::Null),
        other => panic!("{pointer} leads into {other}"),
    }
}

fn remove(document: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    match document.pointer_mut(parent) {
        Some(Value::Array(list)) => drop(list.remove(name.parse().unwrap())),
        Some(Value::Object(map)) => drop(map.remove(&name)),
        other => panic!("{pointer} leads into {other:?}"),
    }
}

#[test]
fn several_wrong_parts_are_each_reported_in_one_reading() {
    let mut document = json(SMI);
    *at(&mut document, "/Spec/SidecarTimeout") = json!("soon");
    *at(&mut document, "/Inbound/TrafficMatches/9000/Port") = json!(0);
    *at(&mut document, in80!("/HttpServiceRouteRules/orders.shop/RouteRules/0/Methods")) = json!(1);
    *at(&mut document, out80!("/HttpHostPort2Service/billing:80")) = json!(1);
    let (_, problems) = read(&document);
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "Spec.SidecarTimeout",
            in80_path!(r#".HttpServiceRouteRules["orders.shop"].RouteRules[0].Methods"#),
            r#"Inbound.TrafficMatches["9000"].Port"#,
            out80_path!(r#".HttpHostPort2Service["billing:80"]"#),
        ]
    );
}

#[test]
fn messages_say_what_was_found_what_was_done_and_what_is_right() {
    let mut document = json(SMI);
    *at(&mut document, in80!("/HttpServiceRouteRules/orders.shop/RouteRules/0/Type")) = json!("Glob");
    *at(&mut document, "/Spec/SidecarTimeout") = json!("a minute, or two, or as long as it takes them");
    *at(&mut document, "/Metrics") = json!(1);
    let (_, problems) = read(&document);
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "Metrics: expected true or false, found 1; it only informs people and is left out",
            "Spec.SidecarTimeout: expected a number of seconds from 0 to 315360000, found \"a minute, or two, or as long as it takes\"…; the proxy's own limits apply",
            r#"Inbound.TrafficMatches["80"].HttpServiceRouteRules["orders.shop"].RouteRules[0].Type: expected Regex, Exact or Prefix, found "Glob"; the rule is left out and permits nothing"#,
        ]
    );
}

/// A document that is wrong all over must not fill the memory and the log with complaints.
#[test]
fn the_list_of_problems_and_their_paths_are_bounded() {
    let long = "k".repeat(100_000);
    let labels: serde_json::Map<_, _> = (0..5_000).map(|n| (format!("{long}{n}"), json!(1))).take(20).collect();
    let hosts: serde_json::Map<_, _> = (0..5_000).map(|n| (format!("h{n}"), json!(1))).collect();
    let document = json!({
        "AllowedEndpoints": labels,
        "Inbound": {"TrafficMatches": {"80": {"Port": 80, "Protocol": "http", "HttpHostPort2Service": hosts}}}
    });
    let (_, problems) = read(&document);
    assert_eq!(problems.len(), 1_001);
    assert!(problems.iter().all(|problem| problem.path.chars().count() < 400));
    assert_eq!(problems[1_000].path, "(document)");
    assert!(problems[1_000].message.starts_with("4020 more parts"), "{}", problems[1_000]);
}
