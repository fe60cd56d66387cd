//! An object as an API server sends it, read so that reading never fails.
//!
//! A list fails as a whole when one item of it cannot be read, and a watch passes over an event that cannot be read
//! without saying whose it was. So the text of each item is taken as it is, and its content may turn out unreadable
//! (nested deeper than a program's stack is trusted with, for example) while its name is known all the same.
//!
//! What nobody here reads is dropped at once, so that a page of a list never holds it: the book-keeping of server-side
//! apply and kubectl's copy of the whole object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// kubectl's copy of the object as it was last applied.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object of any kind.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    /// Namespace, name and resource version; nothing else.
    metadata: ObjectMeta,
    /// The whole object, or why it cannot be read.
    pub(super) content: Result<Value, String>,
}

impl Raw {
    /// Reads the text of an object.
    pub(super) fn read(text: &str) -> Self {
        match serde_json::from_str::<Value>(text) {
            Ok(mut value) => {
                let metadata = value.get("metadata").map(identity).unwrap_or_default();
                drop_book_keeping(&mut value);
                Self { metadata, content: Ok(value) }
            }
            Err(error) => {
                let skeleton: Skeleton = serde_json::from_str(text).unwrap_or_default();
                let Names { namespace, name, resource_version } = skeleton.metadata;
                let metadata = ObjectMeta { namespace, name, resource_version, ..ObjectMeta::default() };
                Self { metadata, content: Err(error.to_string()) }
            }
        }
    }

    /// The namespace; empty for objects of the whole cluster.
    pub(super) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The name.
    pub(super) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

/// What is needed of an object that cannot be read. Unknown fields are passed over without recursion.
#[derive(Default, Deserialize)]
struct Skeleton {
    #[serde(default)]
    metadata: Names,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    namespace: Option<String>,
    name: Option<String>,
    resource_version: Option<String>,
}

fn identity(metadata: &Value) -> ObjectMeta {
    let text = |field| metadata.get(field).and_then(Value::as_str).map(str::to_owned);
    ObjectMeta {
        namespace: text("namespace"),
        name: text("name"),
        resource_version: text("resourceVersion"),
        ..ObjectMeta::default()
    }
}

fn drop_book_keeping(value: &mut Value) {
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.shift_remove("managedFields");
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(input).map(|text| Self::read(text.get()))
    }
}

impl kube::Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
