//! The sidecar document as other crates see it: read, written, redacted, mutilated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod documents;
mod malformed;
mod mutation;
mod oracle;
mod redaction;

use fsm_api::config::{Config, Problem};
use serde_json::Value;

/// Every fixture: name and text. The first four are the complete documents of today's FSM.
const FIXTURES: [(&str, &str); 6] = [
    ("permissive", PERMISSIVE),
    ("smi", SMI),
    ("egress", EGRESS),
    ("policies", POLICIES),
    ("packed", include_str!("../../../tests/fixtures/documents/packed.json")),
    ("legacy-1.3.0", LEGACY),
];

const PERMISSIVE: &str = include_str!("../../../tests/fixtures/documents/permissive.json");
const SMI: &str = include_str!("../../../tests/fixtures/documents/smi.json");
const EGRESS: &str = include_str!("../../../tests/fixtures/documents/egress.json");
const POLICIES: &str = include_str!("../../../tests/fixtures/documents/policies.json");
const LEGACY: &str = include_str!("../../../tests/fixtures/documents/legacy-1.3.0.json");

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn read(document: &Value) -> (Config, Vec<Problem>) {
    Config::read(document.to_string().as_bytes()).unwrap()
}

/// Reads a document that must be without problems.
fn read_clean(text: &str) -> Config {
    let (config, problems) = Config::read(text.as_bytes()).unwrap();
    assert_eq!(problems, []);
    config
}

fn written(config: &Config) -> Value {
    serde_json::to_value(config).unwrap()
}
