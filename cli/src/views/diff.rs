//! Where two documents differ, by JSON path.
//!
//! Objects are compared by key and arrays by place. Members that say when and under which name a document was made
//! (`Ts`, `Version`) are no difference, and null and absent are the same, as they are for a proxy.

use serde::Serialize;
use serde_json::Value;

use super::Row;

/// One place where they differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// JSON pointer.
    pub path: String,
    /// What fsm-control wants; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Value>,
    /// What is in force; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<Value>,
}

/// Longest value that a table shows.
const LONGEST: usize = 80;

/// All differences between two documents.
#[must_use]
pub fn documents(wanted: &Value, actual: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(wanted), Some(actual), &mut found);
    found
}

fn compare(path: &str, wanted: Option<&Value>, actual: Option<&Value>, found: &mut Vec<Difference>) {
    let present = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
    match (wanted, actual) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let only_other = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(only_other) {
                if path.is_empty() && (key == "Ts" || key == "Version") {
                    continue;
                }
                let below = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                compare(&below, one.get(key), other.get(key), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for index in 0..one.len().max(other.len()) {
                compare(&format!("{path}/{index}"), one.get(index), other.get(index), found);
            }
        }
        _ => {
            let (wanted, actual) = (present(wanted), present(actual));
            if wanted != actual {
                found.push(Difference { path: path.to_owned(), wanted, actual });
            }
        }
    }
}

impl Row for Difference {
    const HEADINGS: &'static [&'static str] = &["PATH", "WANTED", "ACTUAL"];

    fn cells(&self) -> Vec<String> {
        let short = |value: &Option<Value>| match value {
            None => "-".to_owned(),
            Some(value) => {
                let text = value.to_string();
                let cut: String = text.chars().take(LONGEST).collect();
                if cut.len() < text.len() { format!("{cut}…") } else { text }
            }
        };
        vec![self.path.clone(), short(&self.wanted), short(&self.actual)]
    }
}
