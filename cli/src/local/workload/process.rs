//! From a container's spec to the process that runs: environment, files, working directory, program.
//!
//! `$(NAME)` is expanded as Kubernetes does; ConfigMaps and Secrets are read at each start. Volumes that need storage
//! or a cloud are empty directories of the pod.

use super::images::{self, Tools, Wanted};
use super::inject;
use super::pod::Refusal;
use super::runtime::{Mount, MountSource, Process, User};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, KeyToPath, Pod, Secret, Volume};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// ConfigMaps and Secrets of a pod's namespace.
pub trait Settings {
    /// A ConfigMap by name.
    fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMap>;
    /// A Secret by name.
    fn secret(&self, namespace: &str, name: &str) -> Option<&Secret>;
}

/// The process of a container.
///
/// # Errors
/// `CreateContainerConfigError` when something that it refers to is missing; reasons of [`images::command`].
pub fn of_container(
    pod: &Pod,
    container: &Container,
    addresses: &[IpAddr],
    settings: &dyn Settings,
    tools: &dyn Tools,
) -> Result<Process, Refusal> {
    let place = Place { pod, container, addresses, settings };
    let environment = place.environment()?;
    let expand = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| expand(word, &environment)).collect()
    };
    let (command, arguments) = (expand(&container.command), expand(&container.args));
    let mut mounts = place.mounts(&environment)?;
    let files = file_contents(&mounts);
    let user = if inject::is_sidecar(pod, container) {
        mounts.extend(sidecar_mounts(pod));
        User::Sidecar
    } else if inject::is_redirection(pod, container) {
        User::Redirection
    } else {
        User::Application
    };
    let command = if user == User::Redirection {
        // No program: the runtime does it itself.
        command.into_iter().chain(arguments).collect()
    } else if user == User::Application {
        let first_port = container.ports.iter().flatten().next();
        let wanted = Wanted {
            image: container.image.as_deref().unwrap_or_default(),
            command: &command,
            arguments: &arguments,
            port: first_port.and_then(|port| u16::try_from(port.container_port).ok()),
            files: &files,
        };
        images::command(&wanted, tools)?
    } else {
        own_program(command, arguments, tools)?
    };
    let directory = container.working_dir.clone().filter(|directory| !directory.is_empty());
    let mut environment: Vec<(String, String)> = environment.into_iter().collect();
    let hostname = pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).or_else(|| pod.metadata.name.clone());
    if !environment.iter().any(|(name, _)| name == "HOSTNAME") {
        environment.push(("HOSTNAME".to_owned(), hostname.unwrap_or_default()));
    }
    Ok(Process { command, environment, directory, user, mounts })
}

struct Place<'a> {
    pod: &'a Pod,
    container: &'a Container,
    addresses: &'a [IpAddr],
    settings: &'a dyn Settings,
}

impl Place<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn environment(&self) -> Result<BTreeMap<String, String>, Refusal> {
        let mut environment = BTreeMap::new();
        for source in self.container.env_from.iter().flatten() {
            let prefix = source.prefix.as_deref().unwrap_or_default();
            let mut add = |name: &str, value: String| environment.insert(format!("{prefix}{name}"), value);
            if let Some(from) = &source.config_map_ref {
                match self.settings.config_map(self.namespace(), &from.name) {
                    Some(map) => map.data.iter().flatten().for_each(|(name, value)| drop(add(name, value.clone()))),
                    None if from.optional == Some(true) => {}
                    None => return Err(self.missing("ConfigMap", &from.name)),
                }
            }
            if let Some(from) = &source.secret_ref {
                match self.settings.secret(self.namespace(), &from.name) {
                    Some(secret) => secret_values(secret).into_iter().for_each(|(name, value)| {
                        add(&name, String::from_utf8_lossy(&value).into_owned());
                    }),
                    None if from.optional == Some(true) => {}
                    None => return Err(self.missing("Secret", &from.name)),
                }
            }
        }
        for variable in self.container.env.iter().flatten() {
            if let Some(value) = self.value(variable, &environment)? {
                environment.insert(variable.name.clone(), value);
            }
        }
        Ok(environment)
    }

    fn value(&self, variable: &EnvVar, earlier: &BTreeMap<String, String>) -> Result<Option<String>, Refusal> {
        if let Some(value) = &variable.value {
            return Ok(Some(expand(value, earlier)));
        }
        let Some(source) = &variable.value_from else { return Ok(Some(String::new())) };
        if let Some(field) = &source.field_ref {
            return self.field(&field.field_path).map(Some);
        }
        if let Some(key) = &source.config_map_key_ref {
            let map = self.settings.config_map(self.namespace(), &key.name);
            let value = map.and_then(|map| map.data.as_ref()?.get(&key.key).cloned());
            return match value {
                None if key.optional != Some(true) => {
                    Err(self.missing("ConfigMap", &format!("{} with the key {}", key.name, key.key)))
                }
                value => Ok(value),
            };
        }
        if let Some(key) = &source.secret_key_ref {
            let secret = self.settings.secret(self.namespace(), &key.name);
            let value = secret.and_then(|secret| secret_values(secret).remove(&key.key));
            return match value {
                None if key.optional != Some(true) => {
                    Err(self.missing("Secret", &format!("{} with the key {}", key.name, key.key)))
                }
                value => Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
            };
        }
        // Resources are not limited here: Kubernetes shows the node's capacity then, and nothing sensible can be said.
        Ok(Some("0".to_owned()))
    }

    /// A field of the pod, as the downward API names it.
    fn field(&self, path: &str) -> Result<String, Refusal> {
        let metadata = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        if let Some((kind, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
            let map = match kind {
                "metadata.labels" => &metadata.labels,
                "metadata.annotations" => &metadata.annotations,
                _ => return Err(self.no_field(path)),
            };
            return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
        }
        let all = |map: &Option<BTreeMap<String, String>>| {
            let lines = map.iter().flatten().map(|(name, value)| format!("{name}={value:?}"));
            lines.collect::<Vec<String>>().join("\n")
        };
        Ok(match path {
            "metadata.name" => text(&metadata.name),
            "metadata.namespace" => text(&metadata.namespace),
            "metadata.uid" => text(&metadata.uid),
            "metadata.labels" => all(&metadata.labels),
            "metadata.annotations" => all(&metadata.annotations),
            "spec.nodeName" | "status.hostIP" | "status.hostIPs" => "local".to_owned(),
            "spec.serviceAccountName" => {
                spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_else(|| "default".to_owned())
            }
            "status.podIP" => self.addresses.first().map(ToString::to_string).unwrap_or_default(),
            "status.podIPs" => self.addresses.iter().map(ToString::to_string).collect::<Vec<String>>().join(","),
            _ => return Err(self.no_field(path)),
        })
    }

    fn mounts(&self, environment: &BTreeMap<String, String>) -> Result<Vec<Mount>, Refusal> {
        let volumes: Vec<&Volume> = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).collect();
        let mut mounts = Vec::new();
        for wanted in self.container.volume_mounts.iter().flatten() {
            let sub_path = match (&wanted.sub_path, &wanted.sub_path_expr) {
                (Some(path), _) => path.clone(),
                (None, Some(path)) => expand(path, environment),
                (None, None) => String::new(),
            };
            // A claim of a StatefulSet's template has no volume of its own in the pod.
            let volume = volumes.iter().find(|volume| volume.name == wanted.name);
            let source = match volume {
                Some(volume) => self.source(volume)?,
                None => MountSource::Shared(wanted.name.clone()),
            };
            let source = below(source, &sub_path).ok_or_else(|| {
                config_error(format!("the volume {} has nothing at the subPath {sub_path}", wanted.name))
            })?;
            mounts.push(Mount {
                source,
                target: PathBuf::from(&wanted.mount_path),
                read_only: wanted.read_only == Some(true),
            });
        }
        Ok(mounts)
    }

    fn source(&self, volume: &Volume) -> Result<MountSource, Refusal> {
        if let Some(source) = &volume.config_map {
            let Some(map) = self.settings.config_map(self.namespace(), &source.name) else {
                return match source.optional {
                    Some(true) => Ok(MountSource::Files(Vec::new())),
                    _ => Err(self.missing("ConfigMap", &source.name)),
                };
            };
            return Ok(MountSource::Files(selected(config_map_values(map), source.items.as_deref())));
        }
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let Some(secret) = self.settings.secret(self.namespace(), name) else {
                return match source.optional {
                    Some(true) => Ok(MountSource::Files(Vec::new())),
                    _ => Err(self.missing("Secret", name)),
                };
            };
            return Ok(MountSource::Files(selected(secret_values(secret), source.items.as_deref())));
        }
        if let Some(source) = &volume.host_path {
            return Ok(MountSource::Host(PathBuf::from(&source.path)));
        }
        if let Some(source) = &volume.downward_api {
            let items = source.items.iter().flatten().filter_map(|item| Some((&item.path, item.field_ref.as_ref()?)));
            let files = items.map(|(path, field)| Ok((path.clone(), self.field(&field.field_path)?.into_bytes())));
            return Ok(MountSource::Files(files.collect::<Result<_, Refusal>>()?));
        }
        if let Some(source) = &volume.projected {
            let mut files = Vec::new();
            for part in source.sources.iter().flatten() {
                if let Some(map) = &part.config_map {
                    match self.settings.config_map(self.namespace(), &map.name) {
                        Some(found) => files.extend(selected(config_map_values(found), map.items.as_deref())),
                        None if map.optional == Some(true) => {}
                        None => return Err(self.missing("ConfigMap", &map.name)),
                    }
                }
                if let Some(secret) = &part.secret {
                    match self.settings.secret(self.namespace(), &secret.name) {
                        Some(found) => files.extend(selected(secret_values(found), secret.items.as_deref())),
                        None if secret.optional == Some(true) => {}
                        None => return Err(self.missing("Secret", &secret.name)),
                    }
                }
            }
            return Ok(MountSource::Files(files));
        }
        Ok(MountSource::Shared(volume.name.clone()))
    }

    fn missing(&self, kind: &str, name: &str) -> Refusal {
        config_error(format!(
            "there is no {kind} {name} in the namespace {}: create it; the container starts when it is there",
            self.namespace()
        ))
    }

    fn no_field(&self, path: &str) -> Refusal {
        config_error(format!("the pod has no field {path} that can be passed on"))
    }
}

/// The sidecar's program is built with `fsm` and stands beside it.
fn own_program(command: Vec<String>, arguments: Vec<String>, tools: &dyn Tools) -> Result<Vec<String>, Refusal> {
    let name = command.first().cloned().unwrap_or_default();
    let path = tools.find(&name).ok_or_else(|| Refusal {
        reason: "ErrImagePull".to_owned(),
        message: format!(
            "the program {name} is neither beside fsm nor on PATH: build or install it (it comes with fsm), or name its \
             directory in FSM_TOOLS"
        ),
    })?;
    let mut words = vec![path.to_string_lossy().into_owned()];
    words.extend(command.into_iter().skip(1).chain(arguments));
    Ok(words)
}

fn sidecar_mounts(pod: &Pod) -> [Mount; 2] {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    [
        Mount {
            source: MountSource::Identity { service_account: account.unwrap_or_else(|| "default".to_owned()) },
            target: PathBuf::from(inject::IDENTITY_DIRECTORY),
            read_only: true,
        },
        Mount {
            source: MountSource::Shared("fsm-sidecar-cache".to_owned()),
            target: PathBuf::from(inject::CACHE_DIRECTORY),
            read_only: false,
        },
    ]
}

/// Expands `$(NAME)`; `$$` is a dollar sign, and an unknown name stays as it is.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        expanded.push_str(&rest[..start]);
        rest = &rest[start..];
        let name = rest.strip_prefix("$(").and_then(|after| after.split_once(')'));
        if let Some(after) = rest.strip_prefix("$$") {
            expanded.push('$');
            rest = after;
        } else if let Some((value, after)) = name.and_then(|(name, after)| Some((environment.get(name)?, after))) {
            expanded.push_str(value);
            rest = after;
        } else {
            expanded.push('$');
            rest = &rest[1..];
        }
    }
    expanded.push_str(rest);
    expanded
}

fn below(source: MountSource, sub_path: &str) -> Option<MountSource> {
    let sub_path = sub_path.trim_matches('/');
    if sub_path.is_empty() {
        return Some(source);
    }
    if Path::new(sub_path).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        return None;
    }
    match source {
        MountSource::Files(files) => match files.iter().find(|(name, _)| name == sub_path) {
            Some((_, content)) => Some(MountSource::File(content.clone())),
            None => {
                let prefix = format!("{sub_path}/");
                let inside =
                    |(name, content): (String, Vec<u8>)| Some((name.strip_prefix(&prefix)?.to_owned(), content));
                let files: Vec<(String, Vec<u8>)> = files.into_iter().filter_map(inside).collect();
                (!files.is_empty()).then_some(MountSource::Files(files))
            }
        },
        MountSource::Shared(name) => Some(MountSource::Shared(format!("{name}/{sub_path}"))),
        MountSource::Host(path) => Some(MountSource::Host(path.join(sub_path))),
        MountSource::File(_) | MountSource::Identity { .. } => None,
    }
}

fn file_contents(mounts: &[Mount]) -> Vec<(PathBuf, Vec<u8>)> {
    let mut contents = Vec::new();
    for mount in mounts {
        match &mount.source {
            MountSource::Files(files) => {
                contents.extend(files.iter().map(|(name, content)| (mount.target.join(name), content.clone())));
            }
            MountSource::File(content) => contents.push((mount.target.clone(), content.clone())),
            _ => {}
        }
    }
    contents
}

fn config_map_values(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(name, value)| (name.clone(), value.0.clone()));
    text.chain(binary).collect()
}

/// `stringData` wins over `data`, as the API server merges them.
fn secret_values(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let encoded = secret.data.iter().flatten().map(|(name, value)| (name.clone(), value.0.clone()));
    let text = secret.string_data.iter().flatten().map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    encoded.chain(text).collect()
}

fn selected(mut values: BTreeMap<String, Vec<u8>>, items: Option<&[KeyToPath]>) -> Vec<(String, Vec<u8>)> {
    match items {
        Some(items) if !items.is_empty() => {
            items.iter().filter_map(|item| Some((item.path.clone(), values.remove(&item.key)?))).collect()
        }
        _ => values.into_iter().collect(),
    }
}

fn config_error(message: String) -> Refusal {
    Refusal { reason: "CreateContainerConfigError".to_owned(), message }
}

#[cfg(test)]
mod tests;
