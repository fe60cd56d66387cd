//! What volumes of a pod show: ConfigMaps, Secrets, fields of the pod, and tokens, together or alone.
//!
//! Volumes that need storage or a cloud are empty directories of the pod. Everything is read anew when it is asked for, so
//! whoever mounts a volume can ask again when objects have changed ([`current`]).

use super::pod::Refusal;
use super::process::Settings;
use super::runtime::{self, MountSource, TokenWish};
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret, SecretVolumeSource, Volume,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// As Kubernetes has it where a projection does not say how long a token is to be good.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// Why a container is not started that refers to an object which is not there.
pub(super) const MISSING_OBJECT: &str = "CreateContainerConfigError";

type Files = Vec<(String, Vec<u8>)>;

/// A pod, and what it needs to know of what is around it.
pub(super) struct Place<'a> {
    pub(super) pod: &'a Pod,
    pub(super) addresses: &'a [IpAddr],
    pub(super) settings: &'a dyn Settings,
}

/// The pod's volumes that are made of objects, as they should be now. Those of which something is missing are left out:
/// containers that run keep what they have.
pub fn current(pod: &Pod, addresses: &[IpAddr], settings: &dyn Settings) -> Vec<runtime::Volume> {
    let place = Place { pod, addresses, settings };
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let sources = volumes.filter_map(|volume| place.source(volume).ok());
    let of_objects = |source| if let MountSource::Volume(volume) = source { Some(volume) } else { None };
    sources.filter_map(of_objects).collect()
}

impl Place<'_> {
    pub(super) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn account(&self) -> String {
        let account = self.pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned())
    }

    /// A field of the pod, as the downward API names it.
    pub(super) fn field(&self, path: &str) -> Result<String, Refusal> {
        let metadata = &self.pod.metadata;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        if let Some((kind, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
            let map = match kind {
                "metadata.labels" => &metadata.labels,
                "metadata.annotations" => &metadata.annotations,
                _ => return Err(no_field(path)),
            };
            return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
        }
        let all = |map: &Option<BTreeMap<String, String>>| {
            let lines = map.iter().flatten().map(|(name, value)| format!("{name}={value:?}"));
            lines.collect::<Vec<String>>().join("\n")
        };
        let host = self.settings.host();
        Ok(match path {
            "metadata.name" => text(&metadata.name),
            "metadata.namespace" => text(&metadata.namespace),
            "metadata.uid" => text(&metadata.uid),
            "metadata.labels" => all(&metadata.labels),
            "metadata.annotations" => all(&metadata.annotations),
            "spec.nodeName" => host.map_or_else(|| "local".to_owned(), |host| host.name.clone()),
            "status.hostIP" | "status.hostIPs" => {
                host.map_or_else(|| "local".to_owned(), |host| host.address.to_string())
            }
            "spec.serviceAccountName" => self.account(),
            "status.podIP" => self.addresses.first().map(ToString::to_string).unwrap_or_default(),
            "status.podIPs" => self.addresses.iter().map(ToString::to_string).collect::<Vec<String>>().join(","),
            _ => return Err(no_field(path)),
        })
    }

    pub(super) fn missing(&self, kind: &str, name: &str) -> Refusal {
        config_error(format!(
            "there is no {kind} {name} in the namespace {}: create it; the container starts when it is there",
            self.namespace()
        ))
    }

    pub(super) fn source(&self, volume: &Volume) -> Result<MountSource, Refusal> {
        if let Some(path) = &volume.host_path {
            return Ok(MountSource::Host(PathBuf::from(&path.path)));
        }
        let mut tokens = Vec::new();
        let files = if let Some(source) = &volume.config_map {
            self.config_map(&source.name, source.items.as_deref(), source.optional)?
        } else if let Some(source) = &volume.secret {
            self.secret(source)?
        } else if let Some(source) = &volume.downward_api {
            self.downward(source.items.as_deref())?
        } else if let Some(source) = &volume.projected {
            self.projected(source, &mut tokens)?
        } else {
            return Ok(MountSource::Shared(volume.name.clone()));
        };
        Ok(MountSource::Volume(runtime::Volume { name: volume.name.clone(), files, tokens }))
    }

    fn projected(&self, source: &ProjectedVolumeSource, tokens: &mut Vec<TokenWish>) -> Result<Files, Refusal> {
        let mut files = Files::new();
        for part in source.sources.iter().flatten() {
            if let Some(map) = &part.config_map {
                files.extend(self.config_map(&map.name, map.items.as_deref(), map.optional)?);
            }
            if let Some(secret) = &part.secret {
                let source = SecretVolumeSource {
                    secret_name: Some(secret.name.clone()),
                    items: secret.items.clone(),
                    optional: secret.optional,
                    ..SecretVolumeSource::default()
                };
                files.extend(self.secret(&source)?);
            }
            if let Some(fields) = &part.downward_api {
                files.extend(self.downward(fields.items.as_deref())?);
            }
            if let Some(token) = &part.service_account_token {
                let lifetime = token.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
                tokens.push(TokenWish {
                    path: token.path.clone(),
                    service_account: self.account(),
                    audience: token.audience.clone().filter(|audience| !audience.is_empty()),
                    lifetime: lifetime.map_or(TOKEN_LIFETIME, Duration::from_secs),
                });
            }
        }
        Ok(files)
    }

    fn config_map(&self, name: &str, items: Option<&[KeyToPath]>, optional: Option<bool>) -> Result<Files, Refusal> {
        match self.settings.config_map(self.namespace(), name) {
            Some(map) => Ok(selected(config_map_values(map), items)),
            None if optional == Some(true) => Ok(Files::new()),
            None => Err(self.missing("ConfigMap", name)),
        }
    }

    fn secret(&self, source: &SecretVolumeSource) -> Result<Files, Refusal> {
        let name = source.secret_name.as_deref().unwrap_or_default();
        match self.settings.secret(self.namespace(), name) {
            Some(secret) => Ok(selected(secret_values(secret), source.items.as_deref())),
            None if source.optional == Some(true) => Ok(Files::new()),
            None => Err(self.missing("Secret", name)),
        }
    }

    fn downward(&self, items: Option<&[DownwardAPIVolumeFile]>) -> Result<Files, Refusal> {
        let items = items.into_iter().flatten().filter_map(|item| Some((&item.path, item.field_ref.as_ref()?)));
        items.map(|(path, field)| Ok((path.clone(), self.field(&field.field_path)?.into_bytes()))).collect()
    }
}

/// The part of a source that a `subPath` names; `None`: there is no such part.
pub(super) fn below(source: MountSource, sub_path: &str) -> Option<MountSource> {
    let sub_path = sub_path.trim_matches('/');
    if sub_path.is_empty() {
        return Some(source);
    }
    if Path::new(sub_path).components().any(|part| !matches!(part, Component::Normal(_))) {
        return None;
    }
    match source {
        MountSource::Files(files) | MountSource::Volume(runtime::Volume { files, .. }) => {
            if let Some((_, content)) = files.iter().find(|(name, _)| name == sub_path) {
                return Some(MountSource::File(content.clone()));
            }
            let prefix = format!("{sub_path}/");
            let inside = |(name, content): (String, Vec<u8>)| Some((name.strip_prefix(&prefix)?.to_owned(), content));
            let files: Files = files.into_iter().filter_map(inside).collect();
            (!files.is_empty()).then_some(MountSource::Files(files))
        }
        MountSource::Shared(name) => Some(MountSource::Shared(format!("{name}/{sub_path}"))),
        MountSource::Host(path) => Some(MountSource::Host(path.join(sub_path))),
        MountSource::File(_) => None,
    }
}

fn config_map_values(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(name, value)| (name.clone(), value.0.clone()));
    text.chain(binary).collect()
}

/// `stringData` wins over `data`, as the API server merges them.
pub(super) fn secret_values(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let encoded = secret.data.iter().flatten().map(|(name, value)| (name.clone(), value.0.clone()));
    let text = secret.string_data.iter().flatten().map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    encoded.chain(text).collect()
}

fn selected(mut values: BTreeMap<String, Vec<u8>>, items: Option<&[KeyToPath]>) -> Files {
    match items {
        Some(items) if !items.is_empty() => {
            items.iter().filter_map(|item| Some((item.path.clone(), values.remove(&item.key)?))).collect()
        }
        _ => values.into_iter().collect(),
    }
}

fn no_field(path: &str) -> Refusal {
    config_error(format!("the pod has no field {path} that can be passed on"))
}

pub(super) fn config_error(message: String) -> Refusal {
    Refusal { reason: MISSING_OBJECT.to_owned(), message }
}

#[cfg(test)]
mod tests;
