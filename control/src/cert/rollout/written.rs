//! What stands in MeshRootCertificates besides what their owners wrote: states, and what whoever leads next must know.

use crate::cert::changeover::{Move, Root, State};
use crate::cert::tresor::rfc3339;
use crate::limits;
use crate::source::kubernetes::describe;
use fsm_api::resources::root_certificate::MeshRootCertificate;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use tokio::time::timeout;
use tracing::warn;

/// Until when a state lasts.
const UNTIL: &str = "flomesh.io/state-until";

/// The longest validity that the object's provider was asked for, in seconds.
const LONGEST_VALIDITY: &str = "flomesh.io/longest-validity-seconds";

/// Writes into objects.
pub(super) struct Written {
    objects: Api<MeshRootCertificate>,
}

impl Written {
    pub(super) fn new(objects: Api<MeshRootCertificate>) -> Self {
        Self { objects }
    }

    pub(super) fn objects(&self) -> Api<MeshRootCertificate> {
        self.objects.clone()
    }

    /// Writes a state; whether it was written.
    pub(super) async fn state(&self, next: &Move) -> bool {
        let status = json!({ "state": next.state.as_str() });
        let whole = json!({ "metadata": { "annotations": { UNTIL: next.until.map(rfc3339) } }, "status": status });
        let only = json!({ "status": status });
        let writing = async {
            let written = self.patch(&next.name, &whole).await?;
            if written.status.is_none_or(|status| status.state != next.state.as_str()) {
                // There is a sub-resource, then, and the object's own field was passed over.
                self.objects.patch_status(&next.name, &PatchParams::default(), &Patch::Merge(&only)).await?;
            }
            Ok(())
        };
        is_written("state", &next.name, writing).await
    }

    /// Writes down the longest validity of a certificate.
    pub(super) async fn longest_validity(&self, name: &str, longest: Duration) {
        let patch = json!({ "metadata": { "annotations": { LONGEST_VALIDITY: longest.as_secs().to_string() } } });
        is_written("longest validity", name, async { self.patch(name, &patch).await.map(drop) }).await;
    }

    async fn patch(&self, name: &str, patch: &Value) -> kube::Result<MeshRootCertificate> {
        self.objects.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }
}

async fn is_written(what: &str, name: &str, writing: impl Future<Output = kube::Result<()>>) -> bool {
    let why = match timeout(limits::WRITE_TIMEOUT, writing).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => describe(&error),
        Err(_) => "the API server does not answer".to_owned(),
    };
    warn!("the {what} of MeshRootCertificate {name} cannot be written: {why}; it is tried again");
    false
}

/// What an object is there for.
pub(super) fn root_of(object: &MeshRootCertificate) -> Root {
    let time = |text: &String| text.parse::<jiff::Timestamp>().ok().map(SystemTime::from);
    let created = object.metadata.creation_timestamp.as_ref().map(|created| SystemTime::from(created.0));
    Root {
        name: object.name_any(),
        created: created.unwrap_or(SystemTime::UNIX_EPOCH),
        state: object.status.as_ref().map_or(State::New, |status| State::read(&status.state)),
        until: object.annotations().get(UNTIL).and_then(time),
    }
}

/// The longest validity that was written down.
pub(super) fn longest_validity(object: &MeshRootCertificate) -> Duration {
    let seconds = object.annotations().get(LONGEST_VALIDITY).and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}
