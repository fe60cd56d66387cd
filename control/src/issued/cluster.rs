//! Writes objects through an API server.
//!
//! A Secret is looked at before it is written, and written only if nobody changed it since: what somebody else made in
//! between is never replaced. Statuses are a field of the policies themselves, without a sub-resource as in FSM's
//! definitions; where a definition has one, it is used. A policy that is gone needs no status.

use super::secret::Owner;
use super::writer::{WriteError, WriteFuture, Writer};
use crate::source::kubernetes::describe;
use crate::world::NamespacedName;
use fsm_api::resources::policy::PolicyStatus;
use fsm_api::resources::{Kind, ObjectKey};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;

/// Writes through an API server.
#[derive(Clone)]
pub struct ClusterWriter {
    client: Client,
    owner: Owner,
}

impl ClusterWriter {
    /// Writes through this client the objects of this owner.
    pub fn new(client: Client, owner: Owner) -> Self {
        Self { client, owner }
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn put(&self, mut secret: Secret) -> Result<(), WriteError> {
        let namespace = secret.metadata.namespace.clone().unwrap_or_default();
        let name = secret.metadata.name.clone().unwrap_or_default();
        let key = ObjectKey::new(Kind::Secret, &namespace, &name);
        let secrets = self.secrets(&namespace);
        let parameters = PostParams::default();
        if let Some(found) = self.ours(&secrets, &key).await? {
            if found.type_ == secret.type_ {
                adopt(&mut secret, found);
                let replaced = secrets.replace(&name, &parameters, &secret).await;
                return replaced.map(drop).map_err(|error| refused(&key, &error));
            }
            // The type of a Secret cannot be changed.
            delete(&secrets, &key, &found).await?;
        }
        secrets.create(&parameters, &secret).await.map(drop).map_err(|error| refused(&key, &error))
    }

    async fn remove(&self, secret: NamespacedName) -> Result<(), WriteError> {
        let key = ObjectKey::new(Kind::Secret, &secret.namespace, &secret.name);
        let secrets = self.secrets(&secret.namespace);
        match self.ours(&secrets, &key).await? {
            Some(found) => delete(&secrets, &key, &found).await,
            None => Ok(()),
        }
    }

    /// What is there, if it is ours; `None` if there is nothing.
    async fn ours(&self, secrets: &Api<Secret>, key: &ObjectKey) -> Result<Option<Secret>, WriteError> {
        match secrets.get_opt(&key.name).await.map_err(|error| refused(key, &error))? {
            Some(found) if !self.owner.made(&found.metadata) => Err(WriteError::NotOurs { object: key.clone() }),
            found => Ok(found),
        }
    }

    async fn write_status(&self, key: ObjectKey, status: Option<PolicyStatus>) -> Result<(), WriteError> {
        let (Some(status), Some(resource)) = (status, resource(&key.kind)) else { return Ok(()) };
        let policies: Api<DynamicObject> = match key.namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let wanted = json!({ "status": status });
        let (patch, parameters) = (Patch::Merge(&wanted), PatchParams::default());
        let taken = |policy: &DynamicObject| policy.data.get("status") == wanted.get("status");
        let patched = match policies.patch(&key.name, &parameters, &patch).await {
            Ok(policy) if taken(&policy) => return Ok(()),
            // There is a sub-resource, then, and the object's own field was passed over.
            Ok(_) => policies.patch_status(&key.name, &parameters, &patch).await,
            Err(error) => Err(error),
        };
        match patched {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            patched => patched.map(drop).map_err(|error| refused(&key, &error)),
        }
    }
}

impl Writer for ClusterWriter {
    fn put_secret(&self, secret: Secret) -> WriteFuture<'_> {
        Box::pin(self.put(secret))
    }

    fn remove_secret(&self, secret: NamespacedName) -> WriteFuture<'_> {
        Box::pin(self.remove(secret))
    }

    fn statuses(&self) -> WriteFuture<'_, Option<BTreeMap<ObjectKey, PolicyStatus>>> {
        Box::pin(ready(Ok(None)))
    }

    fn set_status(&self, policy: ObjectKey, status: Option<PolicyStatus>) -> WriteFuture<'_> {
        Box::pin(self.write_status(policy, status))
    }
}

/// What others wrote into the metadata stays; the version that was looked at is the one that is replaced.
fn adopt(new: &mut Secret, found: Secret) {
    let mut metadata = found.metadata;
    metadata.labels.get_or_insert_default().extend(new.metadata.labels.take().unwrap_or_default());
    metadata.annotations.get_or_insert_default().extend(new.metadata.annotations.take().unwrap_or_default());
    new.metadata = metadata;
}

/// Deletes exactly what was looked at.
async fn delete(secrets: &Api<Secret>, key: &ObjectKey, found: &Secret) -> Result<(), WriteError> {
    let preconditions =
        Preconditions { uid: found.metadata.uid.clone(), resource_version: found.metadata.resource_version.clone() };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match secrets.delete(&key.name, &parameters).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => deleted.map(drop).map_err(|error| refused(key, &error)),
    }
}

fn resource(kind: &Kind) -> Option<ApiResource> {
    let names = kind.names()?;
    let gvk = GroupVersionKind::gvk(names.group, names.versions.first()?, names.kind);
    Some(ApiResource::from_gvk_with_plural(&gvk, names.plural))
}

fn refused(object: &ObjectKey, error: &kube::Error) -> WriteError {
    WriteError::ApiServer { object: object.clone(), reason: describe(error) }
}

impl fmt::Debug for ClusterWriter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ClusterWriter").field("owner", &self.owner).finish_non_exhaustive()
    }
}
