//! Pieces of schemas that derive cannot write.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Any object: an API server keeps its fields without looking at them.
pub(super) fn free_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
