//! A Secret with roots, keys and phase, which all processes of the control plane share.
//!
//! Its keys `ca.crt` and `private.key` are FSM's: the root that signs, and its key. What FSM does not have is in a third
//! one, `rotation.json`: where a change of roots stands, and the other roots. So the Secret of an FSM that was there
//! before is taken over as it is, and an FSM that comes after reads the root that signs.
//!
//! Nothing of the Secret but these three keys is touched. It is written only over the version that was read.

use super::{Kept, KeptRoot, StorageError, Stored, Version};
use crate::cert::rotation::Phase;
use crate::limits;
use crate::source::kubernetes::describe;
use futures_util::{Stream, StreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;
use tracing::debug;

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "private.key";
const ROTATION: &str = "rotation.json";

/// FSM's validity of workloads' certificates: what an FSM that was there before will have issued.
const BEFORE: Duration = Duration::from_secs(24 * 3600);

/// Which Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretPlace {
    /// Namespace of the control plane.
    pub namespace: String,
    /// FSM's `--ca-bundle-secret-name`.
    pub name: String,
    /// Name of the mesh, for the label.
    pub mesh: String,
}

/// The Secret.
pub(in crate::cert) struct SecretStorage {
    secrets: Api<Secret>,
    place: SecretPlace,
}

/// What FSM has no key for.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rotation {
    phase: Phase,
    longest_validity: u64,
    since: u64,
    /// The certificate of `ca.crt` when this was written: if another one is there now, somebody put it there.
    signer: String,
    /// All but the one that signs.
    others: Vec<KeptRoot>,
}

impl SecretStorage {
    pub(in crate::cert) fn new(client: Client, place: SecretPlace) -> Self {
        Self { secrets: Api::namespaced(client, &place.namespace), place }
    }

    pub(in crate::cert) fn place(&self) -> String {
        format!("Secret {}/{}", self.place.namespace, self.place.name)
    }

    /// Says when the Secret may have changed. What cannot be followed at the moment is tried again, with pauses.
    pub(in crate::cert) fn changes(&self) -> impl Stream<Item = ()> + use<> {
        let one = watcher::Config::default().fields(&format!("metadata.name={}", self.place.name));
        watcher(self.secrets.clone(), one).default_backoff().filter_map(|event| {
            std::future::ready(match event {
                Ok(watcher::Event::Init) => None,
                Ok(_) => Some(()),
                Err(error) => {
                    debug!("the roots of the mesh cannot be followed: {}; it is tried again", describe(&error));
                    None
                }
            })
        })
    }

    pub(super) async fn read(&self) -> Result<Option<Stored>, StorageError> {
        let found = self.within("read", self.secrets.get_opt(&self.place.name)).await?;
        found.map(|secret| self.stored(&secret)).transpose()
    }

    pub(super) async fn create(&self, kept: &Kept) -> Result<Option<Stored>, StorageError> {
        let labels = [("app.kubernetes.io/name", "flomesh.io"), ("app.kubernetes.io/instance", &self.place.mesh)];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(self.place.name.clone()),
                namespace: Some(self.place.namespace.clone()),
                labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(self.encode(kept)?),
            ..Secret::default()
        };
        let parameters = PostParams::default();
        let created = self.secrets.create(&parameters, &secret);
        self.unless_changed("create", created).await?.map(|secret| self.stored(&secret)).transpose()
    }

    pub(super) async fn replace(&self, kept: &Kept, over: &str) -> Result<Option<Stored>, StorageError> {
        let patch = json!({ "metadata": { "resourceVersion": over }, "data": self.encode(kept)? });
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = self.secrets.patch(&self.place.name, &parameters, &patch);
        self.unless_changed("patch", patched).await?.map(|secret| self.stored(&secret)).transpose()
    }

    fn encode(&self, kept: &Kept) -> Result<BTreeMap<String, ByteString>, StorageError> {
        encode(kept).map_err(|reason| StorageError::Content { place: self.place(), reason })
    }

    fn stored(&self, secret: &Secret) -> Result<Stored, StorageError> {
        let kept = decode(secret).map_err(|reason| StorageError::Content { place: self.place(), reason })?;
        Ok(Stored { kept, version: Version::Secret(secret.metadata.resource_version.clone().unwrap_or_default()) })
    }

    /// `None`: somebody else was faster (409), or the Secret is gone (404).
    async fn unless_changed(
        &self,
        doing: &'static str,
        asked: impl Future<Output = Result<Secret, kube::Error>>,
    ) -> Result<Option<Secret>, StorageError> {
        let asked = async {
            match asked.await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) && doing != "create" => Ok(None),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                answer => answer.map(Some),
            }
        };
        self.within(doing, asked).await
    }

    async fn within<T>(
        &self,
        doing: &'static str,
        asked: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, StorageError> {
        let place = self.place();
        match timeout(limits::WRITE_TIMEOUT, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let reason = describe(&error);
                Err(match error {
                    kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                        StorageError::Forbidden { place, doing, reason }
                    }
                    _ => StorageError::ApiServer { place, doing, reason },
                })
            }
            Err(_) => {
                let reason = format!("no answer within {} s", limits::WRITE_TIMEOUT.as_secs());
                Err(StorageError::ApiServer { place, doing, reason })
            }
        }
    }
}

fn encode(kept: &Kept) -> Result<BTreeMap<String, ByteString>, String> {
    let signer = kept.roots.first().ok_or("there is no root")?;
    let key = signer.key.clone().ok_or("the root that signs has no key")?;
    let rotation = Rotation {
        phase: kept.phase,
        longest_validity: kept.longest_validity,
        since: kept.since,
        signer: signer.certificate.clone(),
        others: kept.roots.iter().skip(1).cloned().collect(),
    };
    let rotation = serde_json::to_vec_pretty(&rotation).map_err(|error| error.to_string())?;
    let text = |text: String| ByteString(text.into_bytes());
    Ok(BTreeMap::from([
        (CERTIFICATE.to_owned(), text(signer.certificate.clone())),
        (KEY.to_owned(), text(key)),
        (ROTATION.to_owned(), ByteString(rotation)),
    ]))
}

fn decode(secret: &Secret) -> Result<Kept, String> {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes
            .map(|bytes| String::from_utf8(bytes.0.clone()).map_err(|_| format!("its key {key} is no text")))
            .transpose()
    };
    let missing = |key: &str| format!("it has no key {key}");
    let certificate = text(CERTIFICATE)?.ok_or_else(|| missing(CERTIFICATE))?;
    let key = text(KEY)?.ok_or_else(|| missing(KEY))?;
    let signer = KeptRoot { certificate, key: Some(key) };
    let Some(rotation) = text(ROTATION)? else {
        return Ok(Kept { roots: vec![signer], phase: Phase::Steady, longest_validity: BEFORE.as_secs(), since: 0 });
    };
    let rotation: Rotation =
        serde_json::from_str(&rotation).map_err(|error| format!("its key {ROTATION} cannot be read: {error}"))?;
    let Rotation { phase, longest_validity, since, signer: known, mut others } = rotation;
    if known.trim() == signer.certificate.trim() {
        others.insert(0, signer);
        return Ok(Kept { roots: others, phase, longest_validity, since });
    }
    // Somebody put another root in its place: it signs from now on, and what was trusted before stays so for a while,
    // which several roots without a change under way mean.
    let before = std::iter::once(known).chain(others.into_iter().map(|root| root.certificate));
    let before = before.filter(|certificate| certificate.trim() != signer.certificate.trim());
    let before: Vec<KeptRoot> = before.map(|certificate| KeptRoot { certificate, key: None }).collect();
    let roots = std::iter::once(signer).chain(before).collect();
    Ok(Kept { roots, phase: Phase::Steady, longest_validity, since })
}

impl fmt::Debug for SecretStorage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SecretStorage").field("place", &self.place).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
