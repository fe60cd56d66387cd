//! The definitions of the mesh's kinds for an API server.
//!
//! The schemas are derived from the types; this file makes them such that what FSM's own definitions accept, these
//! accept: older versions are served, nothing is required that FSM leaves optional, and status is a plain field where
//! FSM has no sub-resource for it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::Value;

use super::kind::Kind;
use super::table::every_kind;

macro_rules! define_crds {
    (@one kubernetes $variant:ident $type:ty) => { None };
    (@one mesh $variant:ident $type:ty) => { Some((Kind::$variant, <$type>::crd())) };
    ($($family:ident $variant:ident($type:ty) $kind:literal $group:literal $versions:tt $former:tt $plural:literal
        $short:tt $scope:ident;)*) => {
        fn derived() -> Vec<(Kind, CustomResourceDefinition)> {
            [$(define_crds!(@one $family $variant $type)),*].into_iter().flatten().collect()
        }
    };
}

every_kind!(define_crds);

/// The definitions of all kinds of the mesh and of SMI, in the order of [`Kind::ALL`].
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    derived().into_iter().map(|(kind, crd)| finish(&kind, crd)).collect()
}

/// The definitions of all kinds of the mesh and of SMI, as YAML documents that `kubectl apply -f` takes.
#[must_use]
pub fn crds_yaml() -> String {
    let mut text = String::new();
    for crd in crds() {
        #[allow(clippy::expect_used)] // The definitions do not depend on input: a test writes all of them.
        let document = serde_saphyr::to_string(&crd).expect("invariant: definitions are maps with string keys");
        text.push_str("---\n");
        text.push_str(&document);
    }
    text
}

fn finish(kind: &Kind, mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    // `fsm uninstall mesh` finds the definitions by this label, FSM's as well as ours.
    crd.metadata.labels.get_or_insert_default().insert("app.kubernetes.io/name".to_owned(), "flomesh.io".to_owned());
    crd.spec.names.list_kind = Some(format!("{}List", kind.name()));
    for version in &mut crd.spec.versions {
        finish_version(kind, version);
    }
    // Oldest first, as FSM has them; the last one is stored.
    let names = kind.names().map_or(&[][..], |names| names.versions);
    for (place, name) in names.iter().skip(1).rev().enumerate() {
        let Some(mut version) = crd.spec.versions.last().cloned() else { break };
        version.name = (*name).to_owned();
        version.storage = false;
        make_older(kind, &mut version);
        crd.spec.versions.insert(place, version);
    }
    crd
}

fn finish_version(kind: &Kind, version: &mut CustomResourceDefinitionVersion) {
    if has_plain_status(kind) {
        version.subresources = None;
    }
    let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else { return };
    if !is_connector(kind)
        && let Some(required) = &mut schema.required
    {
        required.retain(|field| field != "spec");
    }
    for_each(schema, &mut tidy);
}

/// FSM has a status sub-resource for these groups only. Without one, status is written with the object.
fn has_plain_status(kind: &Kind) -> bool {
    !["multicluster.flomesh.io", "networking.flomesh.io", "connector.flomesh.io"].contains(&kind.group())
}

/// FSM's connectors are the only kinds whose `spec` is required.
fn is_connector(kind: &Kind) -> bool {
    kind.group() == "connector.flomesh.io"
}

/// Takes away what derive writes and API servers do not need or do not know.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if schema.default.as_ref().is_some_and(|default| says_nothing(&default.0)) {
        schema.default = None;
    }
    if let Some(JSON(Value::Object(fields))) = &mut schema.default {
        fields.retain(|_, value| !says_nothing(value));
    }
    // API servers warn of formats that they do not know.
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    relax_reference(schema);
    if schema.required.as_ref().is_some_and(Vec::is_empty) {
        schema.required = None;
    }
}

/// Whoever reads takes what is absent for empty. An empty text would even be refused: API servers of 1.20 take it for null.
fn says_nothing(default: &Value) -> bool {
    match default {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(says_nothing),
        _ => false,
    }
}

/// Kubernetes' references by name: a name may be absent, and is empty then.
fn relax_reference(schema: &mut JSONSchemaProps) {
    const DESCRIPTION: &str = "Name of the referent. This field is effectively required, but";
    let Some(name) = schema.properties.as_ref().and_then(|properties| properties.get("name")) else { return };
    if name.description.as_ref().is_some_and(|text| text.starts_with(DESCRIPTION))
        && let Some(required) = &mut schema.required
    {
        required.retain(|field| field != "name");
    }
}

/// Makes the schema of the present version one of an older version.
fn make_older(kind: &Kind, version: &mut CustomResourceDefinitionVersion) {
    let name = version.name.clone();
    let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else { return };
    match kind {
        Kind::MeshConfig => {
            version.deprecated = Some(true);
            // Closed sets and defaults came with v1alpha3; shares were numbers in v1alpha1.
            for_each(schema, &mut |schema| {
                schema.enum_ = None;
                schema.default = None;
                if name == "v1alpha1"
                    && let Some(share) = schema.properties.as_mut().and_then(|p| p.get_mut("sampledFraction"))
                {
                    share.type_ = Some("number".to_owned());
                }
            });
        }
        Kind::TrafficSplit => {
            if let Some(spec) = schema.properties.as_mut().and_then(|p| p.get_mut("spec"))
                && let Some(fields) = &mut spec.properties
            {
                fields.remove("matches");
            }
        }
        _ => version.deprecated = Some(true),
    }
}

fn for_each(schema: &mut JSONSchemaProps, change: &mut impl FnMut(&mut JSONSchemaProps)) {
    change(schema);
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        for_each(property, change);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        for_each(items, change);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        for_each(values, change);
    }
}

#[cfg(test)]
mod tests;
