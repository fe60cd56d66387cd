//! Any object that users write, by kind, and its key.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::kind::{Kind, Scope};
use super::table::every_kind;

/// What tells objects apart. The order is by kind first: what others refer to comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for objects of the whole cluster.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object with this kind, namespace (empty: none) and name.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

/// `Kind namespace/name`, or `Kind name` for objects of the whole cluster; only `Kind` when the name is not known.
impl fmt::Display for ObjectKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        if name.is_empty() {
            return write!(out, "{kind}");
        }
        if namespace.is_empty() { write!(out, "{kind} {name}") } else { write!(out, "{kind} {namespace}/{name}") }
    }
}

/// A document that is not an object, with the reason.
#[derive(Debug, thiserror::Error)]
pub enum InvalidObject {
    /// The document has no `apiVersion`, or no `kind`.
    #[error("the document has no {field}, so nobody knows what it is: add {field} as text at the top")]
    NoKind {
        /// The field that is missing.
        field: &'static str,
    },
    /// A field is missing or has the wrong type.
    #[error("{kind}: {source}")]
    Fields {
        /// The kind of the document.
        kind: Kind,
        /// What is wrong.
        source: serde_json::Error,
    },
}

macro_rules! define_objects {
    ($($family:ident $variant:ident($type:ty) $kind:literal $group:literal $versions:tt $former:tt $plural:literal
        $short:tt $scope:ident;)*) => {
        /// An object that users write. Clones share it.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Object {
            $(
                #[doc = concat!("`", $kind, "` of `", $group, "`")]
                $variant(Arc<$type>),
            )*
            /// An object of a kind that the mesh does not know, kept as it is.
            Other(Arc<Value>),
        }

        $(
            impl From<$type> for Object {
                fn from(object: $type) -> Self {
                    Self::$variant(Arc::new(object))
                }
            }
        )*

        impl Object {
            /// The kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$variant,)*
                    Self::Other(value) => Kind::of(text(value, "apiVersion"), text(value, "kind")),
                }
            }

            /// Name, namespace, labels and so on; none for kinds that the mesh does not know.
            #[must_use]
            pub fn metadata(&self) -> Option<&ObjectMeta> {
                Some(match self {
                    $(Self::$variant(object) => &object.metadata,)*
                    Self::Other(_) => return None,
                })
            }

            fn metadata_mut(&mut self) -> Option<&mut ObjectMeta> {
                Some(match self {
                    $(Self::$variant(object) => &mut Arc::make_mut(object).metadata,)*
                    Self::Other(_) => return None,
                })
            }

            /// Reads an object of the given kind. `apiVersion` and `kind` are not looked at.
            pub(super) fn read<'de, D: Deserializer<'de>>(kind: &Kind, input: D) -> Result<Self, D::Error> {
                Ok(match kind {
                    $(Kind::$variant => Self::$variant(Arc::new(<$type>::deserialize(input)?)),)*
                    Kind::Other(_) => Self::Other(Arc::new(Value::deserialize(input)?)),
                })
            }
        }

        /// As the object is written in YAML, with `apiVersion` and `kind`.
        impl Serialize for Object {
            fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant(object) => object.serialize(output),)*
                    Self::Other(value) => value.serialize(output),
                }
            }
        }
    };
}

every_kind!(define_objects);

impl Object {
    /// Kind, namespace and name. The namespace is the one that the object names; objects of a namespaced kind that name
    /// none are in `default`, as with kubectl.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        let (namespace, name) = match (self, self.metadata()) {
            (_, Some(metadata)) => (metadata.namespace.as_deref(), metadata.name.as_deref()),
            (Self::Other(value), None) => {
                let field = |name| value.get("metadata").and_then(|m| m.get(name)).and_then(Value::as_str);
                (field("namespace"), field("name"))
            }
            _ => (None, None),
        };
        let kind = self.kind();
        let namespace = match kind.scope() {
            Some(Scope::Cluster) => "",
            Some(Scope::Namespaced) => namespace.filter(|n| !n.is_empty()).unwrap_or("default"),
            None => namespace.unwrap_or_default(),
        };
        ObjectKey::new(kind, namespace, name.unwrap_or_default())
    }

    /// Puts an object that names no namespace into this one, as `kubectl -n` does. Objects of the whole cluster, and of
    /// kinds that the mesh does not know, stay as they are.
    pub fn default_namespace(&mut self, namespace: &str) {
        if self.kind().scope() != Some(Scope::Namespaced) || self.metadata().is_none_or(has_namespace) {
            return;
        }
        if let Some(metadata) = self.metadata_mut() {
            metadata.namespace = Some(namespace.to_owned());
        }
    }

    /// The object in a JSON value, as an API server or a state file gives it.
    ///
    /// # Errors
    /// The value has no `apiVersion` or `kind`, or a field is missing or of the wrong type.
    pub fn from_json(mut value: Value) -> Result<Self, InvalidObject> {
        for field in ["apiVersion", "kind"] {
            if text(&value, field).is_empty() {
                return Err(InvalidObject::NoKind { field });
            }
        }
        let kind = Kind::of(text(&value, "apiVersion"), text(&value, "kind"));
        if let (Some(names), Some(fields)) = (kind.names(), value.as_object_mut()) {
            fields.insert("apiVersion".to_owned(), names.api_version().into());
            if kind.has_definition() && fields.get("spec").is_none_or(Value::is_null) {
                fields.insert("spec".to_owned(), Value::Object(serde_json::Map::new()));
            }
        }
        Self::read(&kind, value).map_err(|source| InvalidObject::Fields { kind, source })
    }

    /// The object as JSON.
    ///
    /// # Errors
    /// Never for objects that were read; kept because serialization may fail in principle.
    pub fn to_json(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(self)
    }
}

fn has_namespace(metadata: &ObjectMeta) -> bool {
    metadata.namespace.as_deref().is_some_and(|namespace| !namespace.is_empty())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
