//! Carries a change of a typed pod over to the JSON that it was read from.
//!
//! An API server may know fields that this program does not. A patch computed from typed objects would drop them, or, when
//! a container is put before others, leave them with the wrong one. Here everything that injection did not touch stays
//! exactly as it was written, and items of lists are told apart by their name. Never fails.

use serde_json::{Map, Value};

/// What `raw` becomes when what was read from it changes from `before` to `after`.
pub fn graft(raw: &Value, before: &Value, after: &Value) -> Value {
    if before == after {
        return raw.clone();
    }
    match (raw, before, after) {
        (Value::Object(raw), Value::Object(before), Value::Object(after)) => Value::Object(fields(raw, before, after)),
        (Value::Array(raw), Value::Array(before), Value::Array(after)) if raw.len() == before.len() => {
            items(raw, before, after)
        }
        _ => after.clone(),
    }
}

fn fields(raw: &Map<String, Value>, before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
    let mut grafted = Map::new();
    for (name, value) in raw {
        match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) => drop(grafted.insert(name.clone(), graft(value, before, after))),
            (None, Some(after)) => drop(grafted.insert(name.clone(), after.clone())),
            (Some(_), None) => {}
            // Unknown to the types, or `null`.
            (None, None) => drop(grafted.insert(name.clone(), value.clone())),
        }
    }
    for (name, value) in after {
        if !raw.contains_key(name) && before.get(name) != Some(value) {
            grafted.insert(name.clone(), value.clone());
        }
    }
    grafted
}

fn items(raw: &[Value], before: &[Value], after: &[Value]) -> Value {
    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    let mut left: Vec<(Option<String>, usize)> = before.iter().map(name).zip(0..).collect();
    let mut item = |item: &Value| {
        let wanted = name(item)?;
        let found = left.iter().position(|(known, _)| known.as_ref() == Some(&wanted))?;
        let (_, index) = left.remove(found);
        Some(graft(&raw[index], &before[index], item))
    };
    Value::Array(after.iter().map(|after| item(after).unwrap_or_else(|| after.clone())).collect())
}
