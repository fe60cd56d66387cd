//! From a container's spec to the process that runs: environment, files, working directory, program.
//!
//! `$(NAME)` is expanded as Kubernetes does; ConfigMaps and Secrets are read at each start ([`super::volumes`]).

use super::images::{self, Tools, Wanted};
use super::inject;
use super::pod::Refusal;
use super::runtime::{self, Mount, MountSource, Process, User};
use super::volumes::{Place, below, config_error, secret_values};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, Pod, Secret, Volume};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// What containers need to know of what is around them.
pub trait Settings {
    /// A ConfigMap by name.
    fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMap>;
    /// A Secret by name.
    fn secret(&self, namespace: &str, name: &str) -> Option<&Secret>;
    /// The node of a cluster; `None`: there is no cluster, all this is one machine.
    fn host(&self) -> Option<&Host> {
        None
    }
    /// Variables that tell where Services are; `links`: not only the API server.
    fn service_variables(&self, _namespace: &str, _links: bool) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// A node of a cluster. Containers run there as whom their security context names, and the redirection is the program
/// that its image has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
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
    let site = Site { place: Place { pod, addresses, settings }, container };
    let environment = site.environment()?;
    let expand = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| expand(word, &environment)).collect()
    };
    let (command, arguments) = (expand(&container.command), expand(&container.args));
    let mounts = site.mounts(&environment)?;
    let files = file_contents(&mounts);
    let user = match settings.host() {
        Some(_) => user_of(pod, container),
        None if inject::is_sidecar(pod, container) => User::Sidecar,
        None if inject::is_redirection(pod, container) => User::Redirection,
        None => User::Application,
    };
    let command = if user == User::Redirection {
        // No program: the runtime does it itself.
        command.into_iter().chain(arguments).collect()
    } else {
        let first_port = container.ports.iter().flatten().next();
        let wanted = Wanted {
            image: container.image.as_deref().unwrap_or_default(),
            command: &command,
            arguments: &arguments,
            port: first_port.and_then(|port| u16::try_from(port.container_port).ok()),
            files: &files,
        };
        images::command(&wanted, tools)?
    };
    let directory = container.working_dir.clone().filter(|directory| !directory.is_empty());
    let mut environment: Vec<(String, String)> = environment.into_iter().collect();
    let hostname = pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).or_else(|| pod.metadata.name.clone());
    if !environment.iter().any(|(name, _)| name == "HOSTNAME") {
        environment.push(("HOSTNAME".to_owned(), hostname.unwrap_or_default()));
    }
    Ok(Process { command, environment, directory, user, mounts })
}

/// Whom the container says it runs as; without a word that is the one who runs all this.
fn user_of(pod: &Pod, container: &Container) -> User {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let id = |own: Option<i64>, of_pod: Option<i64>| own.or(of_pod).and_then(|id| u32::try_from(id).ok());
    let user = id(own.and_then(|own| own.run_as_user), of_pod.and_then(|pod| pod.run_as_user));
    let group = id(own.and_then(|own| own.run_as_group), of_pod.and_then(|pod| pod.run_as_group));
    match (user, group) {
        (None | Some(0), _) => User::Application,
        (Some(user), group) => User::Ids { user, group: group.unwrap_or(0) },
    }
}

/// A container and its pod.
struct Site<'a> {
    place: Place<'a>,
    container: &'a Container,
}

impl Site<'_> {
    fn environment(&self) -> Result<BTreeMap<String, String>, Refusal> {
        let Place { pod, settings, .. } = &self.place;
        let namespace = self.place.namespace();
        let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
        let mut environment: BTreeMap<String, String> =
            settings.service_variables(namespace, links).into_iter().collect();
        for source in self.container.env_from.iter().flatten() {
            let prefix = source.prefix.as_deref().unwrap_or_default();
            let mut add = |name: &str, value: String| environment.insert(format!("{prefix}{name}"), value);
            if let Some(from) = &source.config_map_ref {
                match settings.config_map(namespace, &from.name) {
                    Some(map) => map.data.iter().flatten().for_each(|(name, value)| drop(add(name, value.clone()))),
                    None if from.optional == Some(true) => {}
                    None => return Err(self.place.missing("ConfigMap", &from.name)),
                }
            }
            if let Some(from) = &source.secret_ref {
                match settings.secret(namespace, &from.name) {
                    Some(secret) => secret_values(secret).into_iter().for_each(|(name, value)| {
                        add(&name, String::from_utf8_lossy(&value).into_owned());
                    }),
                    None if from.optional == Some(true) => {}
                    None => return Err(self.place.missing("Secret", &from.name)),
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
        let Place { settings, .. } = &self.place;
        let namespace = self.place.namespace();
        if let Some(field) = &source.field_ref {
            return self.place.field(&field.field_path).map(Some);
        }
        if let Some(key) = &source.config_map_key_ref {
            let map = settings.config_map(namespace, &key.name);
            let value = map.and_then(|map| map.data.as_ref()?.get(&key.key).cloned());
            return match value {
                None if key.optional != Some(true) => {
                    Err(self.place.missing("ConfigMap", &format!("{} with the key {}", key.name, key.key)))
                }
                value => Ok(value),
            };
        }
        if let Some(key) = &source.secret_key_ref {
            let secret = settings.secret(namespace, &key.name);
            let value = secret.and_then(|secret| secret_values(secret).remove(&key.key));
            return match value {
                None if key.optional != Some(true) => {
                    Err(self.place.missing("Secret", &format!("{} with the key {}", key.name, key.key)))
                }
                value => Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
            };
        }
        // Resources are not limited here: Kubernetes shows the node's capacity then, and nothing sensible can be said.
        Ok(Some("0".to_owned()))
    }

    fn mounts(&self, environment: &BTreeMap<String, String>) -> Result<Vec<Mount>, Refusal> {
        let volumes: Vec<&Volume> = self.place.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).collect();
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
                Some(volume) => self.place.source(volume)?,
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

fn file_contents(mounts: &[Mount]) -> Vec<(PathBuf, Vec<u8>)> {
    let mut contents = Vec::new();
    for mount in mounts {
        match &mount.source {
            MountSource::Files(files) | MountSource::Volume(runtime::Volume { files, .. }) => {
                contents.extend(files.iter().map(|(name, content)| (mount.target.join(name), content.clone())));
            }
            MountSource::File(content) => contents.push((mount.target.clone(), content.clone())),
            _ => {}
        }
    }
    contents
}

#[cfg(test)]
mod tests;
