//! How a new version of an object is laid over what is there.
//!
//! Lists are replaced as a whole, everywhere: an object's fields are never mixed out of two lists. That is simpler than
//! kubectl's strategic merge, and the same for the mesh's own kinds, where kubectl does it too.

use serde_json::{Map, Value};

/// Annotation with the object as it was last applied, as kubectl calls it: what is in there and no longer in the file is
/// removed from the object, what others have set stays.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// RFC 7396: fields of the patch replace those of the object, `null` removes.
pub(super) fn patch(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(object) = object.as_object_mut() else { return };
    for (key, value) in fields {
        if value.is_null() {
            object.shift_remove(key);
        } else {
            self::patch(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The object that results from applying `wanted` to `live`.
pub(super) fn apply(live: Option<Value>, wanted: &Value) -> Value {
    let mut recorded = wanted.clone();
    strip(&mut recorded);
    let text = recorded.to_string();
    let mut result = live.unwrap_or_else(|| Value::Object(Map::new()));
    let last = result
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(LAST_APPLIED))
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(last) = last {
        remove_absent(&mut result, &last, &recorded);
    }
    patch(&mut result, &recorded);
    let annotation = serde_json::json!({"metadata": {"annotations": {LAST_APPLIED: text}}});
    patch(&mut result, &annotation);
    result
}

/// What the user does not decide: the status, and the marks of an API server (people apply what `get -o yaml` printed).
fn strip(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    fields.shift_remove("status");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["uid", "creationTimestamp", "generation", "resourceVersion", "managedFields"] {
            metadata.shift_remove(field);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove(LAST_APPLIED);
            if annotations.is_empty() {
                metadata.shift_remove("annotations");
            }
        }
    }
}

/// Removes from `object` the fields of `last` that `wanted` no longer has.
fn remove_absent(object: &mut Value, last: &Value, wanted: &Value) {
    let (Some(fields), Some(last)) = (object.as_object_mut(), last.as_object()) else { return };
    for (key, before) in last {
        match wanted.get(key) {
            None => {
                fields.shift_remove(key);
            }
            Some(wanted) => {
                if let Some(field) = fields.get_mut(key) {
                    remove_absent(field, before, wanted);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
