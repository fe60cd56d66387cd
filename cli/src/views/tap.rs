//! Requests as sidecars tell of them while they happen: one line each.
//!
//! Everything in a line was sent by somebody: control characters never reach the terminal.

use serde_json::{Map, Value};

use super::policy::encoded;

/// What is asked of a sidecar's `/tap`: the path with its filters.
#[must_use]
pub fn path(filters: &[(&str, Option<&str>)]) -> String {
    let given = filters.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={}", encoded(value))));
    let given: Vec<String> = given.collect();
    if given.is_empty() { "/tap".to_owned() } else { format!("/tap?{}", given.join("&")) }
}

/// A request, for people.
#[must_use]
pub fn line(pod: &str, request: &Value) -> String {
    if let Some(lost) = request["lost"].as_u64() {
        return format!("… {lost} requests of {pod} are missing here: they came faster than they could be shown");
    }
    let text = |field: &str| request[field].as_str().unwrap_or_default();
    let number = |field: &str| request[field].as_f64();
    let time = text("time").split_once('T').map_or("", |(_, time)| time);
    let time = time.get(..12).unwrap_or(time);
    let way = match text("direction") {
        "inbound" => "in ",
        "outbound" => "out",
        other => other,
    };
    let status = request["status"].as_u64().map_or_else(|| "-".to_owned(), |status| status.to_string());
    let took = number("durationMs").map_or_else(|| "-".to_owned(), |time| format!("{time:.1}ms"));
    let from = if text("identity").is_empty() { text("peer") } else { text("identity") };
    let to = if text("endpoint").is_empty() { text("destination") } else { text("endpoint") };
    let mut line = format!("{time} {pod} {way} {} {}{} {status} {took}", text("method"), text("host"), text("path"));
    if way == "in " {
        line.push_str(&format!(" from {from}"));
    } else {
        line.push_str(&format!(" to {to}"));
    }
    line.push_str(if request["mtls"] == Value::Bool(true) { " mTLS" } else { " plaintext" });
    for (name, field) in [("reason", "reason"), ("reason of the other side", "upstreamReason")] {
        if !text(field).is_empty() {
            line.push_str(&format!(" {name}: {}", text(field)));
        }
    }
    if request["complete"] == Value::Bool(false) {
        line.push_str(" broken off");
    }
    line.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The same request for programs, with the pod that told of it.
#[must_use]
pub fn object(namespace: &str, pod: &str, request: Value) -> Value {
    let mut object = Map::new();
    object.insert("namespace".to_owned(), namespace.into());
    object.insert("pod".to_owned(), pod.into());
    if let Value::Object(fields) = request {
        object.extend(fields);
    }
    Value::Object(object)
}
