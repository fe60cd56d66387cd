//! Objects of any kind at an API server: reading, writing and removing them, each with a deadline.

use crate::limits;
use crate::source::kubernetes::describe;
use fsm_api::resources::{Kind, Scope};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;
use std::fmt;
use thiserror::Error;
use tokio::time::timeout;

/// Objects in one page of a list.
const PAGE: u32 = 500;

/// An API server.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

/// Where an object is, or may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The kind.
    pub resource: ApiResource,
    /// Empty for objects of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Why something could not be read or written.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The API server says no.
    #[error("the API server does not {doing} {object}: {reason}{remedy}")]
    Refused {
        /// What it should do.
        doing: &'static str,
        /// With what.
        object: String,
        /// What it says.
        reason: String,
        /// What helps, where something is known to.
        remedy: &'static str,
        /// Its status code.
        code: u16,
    },
    /// It does not answer.
    #[error("the API server does not {doing} {object}: {reason}")]
    Away {
        /// What it should do.
        doing: &'static str,
        /// With what.
        object: String,
        /// What happened.
        reason: String,
    },
}

impl ClusterError {
    /// Somebody else changed or made the object meanwhile: looking again helps.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }
}

/// How `kubectl` names a kind.
pub fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// One of the kinds that the mesh knows, in the version that is written.
pub fn resource_of(kind: &Kind) -> Option<ApiResource> {
    let names = kind.names()?;
    Some(resource(names.group, names.versions.first()?, names.kind, names.plural))
}

impl Place {
    /// Of a kind that the mesh knows.
    pub fn of(kind: &Kind, namespace: &str, name: &str) -> Option<Self> {
        let namespace = if kind.names()?.scope == Scope::Cluster { "" } else { namespace };
        Some(Self::new(resource_of(kind)?, namespace, name))
    }

    /// Of any kind; an empty namespace for objects of the whole cluster.
    pub fn new(resource: ApiResource, namespace: &str, name: &str) -> Self {
        Self { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, namespace, name } = self;
        if namespace.is_empty() {
            write!(out, "{} {name}", resource.kind)
        } else {
            write!(out, "{} {namespace}/{name}", resource.kind)
        }
    }
}

impl Cluster {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// For what is not asked by object.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Major and minor version of the server.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn version(&self) -> Result<(String, String), ClusterError> {
        let asked = timeout(limits::VERSION_TIMEOUT, self.client.apiserver_version()).await;
        let away = |reason| ClusterError::Away { doing: "tell", object: "its version".to_owned(), reason };
        match asked {
            Ok(Ok(version)) => Ok((version.major, version.minor)),
            Ok(Err(error)) => Err(away(describe(&error))),
            Err(_) => Err(away("it does not answer in time".to_owned())),
        }
    }

    /// An object, if it is there.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn get(&self, place: &Place) -> Result<Option<Value>, ClusterError> {
        let found = asked("read", place, self.api(place).get_opt(&place.name)).await?;
        Ok(found.map(value))
    }

    /// Makes an object.
    ///
    /// # Errors
    /// [`ClusterError`]; a conflict if it is there.
    pub async fn create(&self, place: &Place, object: &Value) -> Result<Value, ClusterError> {
        let object = dynamic(place, object)?;
        Ok(value(asked("create", place, self.api(place).create(&PostParams::default(), &object)).await?))
    }

    /// Writes an object in place of the version that it names.
    ///
    /// # Errors
    /// [`ClusterError`]; a conflict if there is another version by now.
    pub async fn replace(&self, place: &Place, object: &Value) -> Result<Value, ClusterError> {
        let object = dynamic(place, object)?;
        let api = self.api(place);
        Ok(value(asked("write", place, api.replace(&place.name, &PostParams::default(), &object)).await?))
    }

    /// Changes an object's status.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn merge_status(&self, place: &Place, status: &Value) -> Result<(), ClusterError> {
        let patch = Patch::Merge(serde_json::json!({ "status": status }));
        let api = self.api(place);
        let parameters = PatchParams::default();
        let patched = api.patch_status(&place.name, &parameters, &patch);
        asked("write the status of", place, patched).await.map(drop)
    }

    /// Removes an object: only this one if `found` is given, and not another that took its name. Whether there was one.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn delete(&self, place: &Place, found: Option<&Value>) -> Result<bool, ClusterError> {
        let uid = found.and_then(|found| found.pointer("/metadata/uid")).and_then(Value::as_str);
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        match asked("delete", place, self.api(place).delete(&place.name, &parameters)).await {
            Ok(_) => Ok(true),
            Err(ClusterError::Refused { code: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind with these labels, in one namespace or (empty) everywhere; none if the kind is not there.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn list(
        &self,
        resource: &ApiResource,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<Value>, ClusterError> {
        let place = Place::new(resource.clone(), namespace, "*");
        let api = self.api(&place);
        let mut parameters = ListParams::default().limit(PAGE).labels(labels);
        let mut objects = Vec::new();
        loop {
            let page = match asked("list", &place, api.list(&parameters)).await {
                Ok(page) => page,
                Err(ClusterError::Refused { code: 404, .. }) => return Ok(objects),
                Err(error) => return Err(error),
            };
            objects.extend(page.items.into_iter().map(value));
            parameters.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if parameters.continue_token.is_none() {
                return Ok(objects);
            }
        }
    }

    fn api(&self, place: &Place) -> Api<DynamicObject> {
        match place.namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &place.resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &place.resource),
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cluster").finish_non_exhaustive()
    }
}

async fn asked<T>(
    doing: &'static str,
    place: &Place,
    asking: impl Future<Output = kube::Result<T>>,
) -> Result<T, ClusterError> {
    let object = || place.to_string();
    match timeout(limits::WRITE_TIMEOUT, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => {
            let remedy =
                if status.code == 403 { "; grant it: docs/kubernetes.md lists the rights of each role" } else { "" };
            let reason = if status.message.is_empty() { status.reason } else { status.message };
            Err(ClusterError::Refused { doing, object: object(), reason, remedy, code: status.code })
        }
        Ok(Err(error)) => Err(ClusterError::Away { doing, object: object(), reason: describe(&error) }),
        Err(_) => Err(ClusterError::Away { doing, object: object(), reason: "it does not answer in time".to_owned() }),
    }
}

fn value(object: DynamicObject) -> Value {
    // It came from JSON.
    serde_json::to_value(object).unwrap_or_default()
}

fn dynamic(place: &Place, object: &Value) -> Result<DynamicObject, ClusterError> {
    serde_json::from_value(object.clone()).map_err(|error| ClusterError::Refused {
        doing: "get",
        object: place.to_string(),
        reason: format!("it cannot be written: {error}"),
        remedy: "",
        code: 0,
    })
}
