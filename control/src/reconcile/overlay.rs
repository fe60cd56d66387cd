//! What is wanted of an object, laid over what is there. Pure.
//!
//! Only what is wanted counts: fields that somebody else wrote, and those that the API server fills in, stay as they are. A
//! list is one value: where it differs, all of it is replaced.

use serde_json::{Map, Value};

/// What is to be done about an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is as it should be.
    Nothing,
    /// It is not there.
    Create(Value),
    /// It differs; this is to be written in its place, with the version that was looked at.
    Replace(Value),
}

/// What is to be done so that an object is as wanted.
pub fn step(found: Option<&Value>, wanted: &Value) -> Step {
    match found {
        None => Step::Create(wanted.clone()),
        Some(found) if covers(found, wanted) => Step::Nothing,
        Some(found) => {
            let mut object = found.clone();
            overlay(&mut object, wanted);
            Step::Replace(object)
        }
    }
}

/// Whether everything that is wanted is there.
pub fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| found.get(key).map_or(says_nothing(wanted), |found| covers(found, wanted))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| covers(found, wanted))
        }
        (Value::Number(found), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        (found, wanted) => found == wanted,
    }
}

/// What the API server made of what was wanted: fields that it does not know are dropped from it. Otherwise an older server
/// would be told the same thing for ever.
pub fn as_kept(wanted: &Value, kept: &Value) -> Value {
    match (wanted, kept) {
        (Value::Object(wanted), Value::Object(kept)) => {
            let both = wanted.iter().filter_map(|(key, wanted)| Some((key.clone(), as_kept(wanted, kept.get(key)?))));
            Value::Object(both.collect())
        }
        (Value::Array(wanted), Value::Array(kept)) if wanted.len() == kept.len() => {
            Value::Array(wanted.iter().zip(kept).map(|(wanted, kept)| as_kept(wanted, kept)).collect())
        }
        (_, kept) => kept.clone(),
    }
}

fn overlay(found: &mut Value, wanted: &Value) {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            for (key, wanted) in wanted {
                overlay(found.entry(key.clone()).or_insert(Value::Null), wanted);
            }
        }
        (found, wanted) if covers(found, wanted) => {}
        (found, wanted) => *found = wanted.clone(),
    }
}

/// API servers leave out what is empty.
fn says_nothing(wanted: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Bool(wanted) => !wanted,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => Map::is_empty(fields),
        Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::{Step, as_kept, covers, step};
    use serde_json::json;

    #[test]
    fn only_what_is_wanted_counts() {
        let found = json!({"metadata": {"name": "a", "labels": {"mine": "1", "theirs": "2"}}, "spec": {"list": [{"a": 1, "filled": true}]}});
        let wanted =
            json!({"metadata": {"name": "a", "labels": {"mine": "1"}}, "spec": {"list": [{"a": 1.0}], "empty": []}});
        assert!(covers(&found, &wanted));
        assert_eq!(step(Some(&found), &wanted), Step::Nothing);
        assert_eq!(step(None, &wanted), Step::Create(wanted));
    }

    #[test]
    fn what_differs_is_written_and_what_others_wrote_stays() {
        let found = json!({"metadata": {"resourceVersion": "7", "labels": {"mine": "0", "theirs": "2"}}, "webhooks": [{"name": "a", "filled": 1}, {"name": "b"}], "on": true});
        let wanted = json!({"metadata": {"labels": {"mine": "1"}}, "webhooks": [{"name": "a"}], "on": false});
        let Step::Replace(object) = step(Some(&found), &wanted) else { panic!("not replaced") };
        let expected = json!({"metadata": {"resourceVersion": "7", "labels": {"mine": "1", "theirs": "2"}}, "webhooks": [{"name": "a"}], "on": false});
        assert_eq!(object, expected);
    }

    #[test]
    fn what_a_server_does_not_know_is_not_wanted_of_it_again() {
        let wanted = json!({"spec": {"old": 1, "new": 2, "list": [{"a": 1, "new": 1}]}});
        let kept = json!({"metadata": {"uid": "1"}, "spec": {"old": 1, "filled": 3, "list": [{"a": 1}]}});
        assert!(!covers(&kept, &wanted));
        let normal = as_kept(&wanted, &kept);
        assert_eq!(normal, json!({"spec": {"old": 1, "list": [{"a": 1}]}}));
        assert!(covers(&kept, &normal));
    }
}
