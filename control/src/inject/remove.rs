//! The way back: takes out of a pod what [`inject`](super::inject) puts into it.
//!
//! Everything comes back as it was, with these exceptions, since an injected pod no longer says them: probes are restored
//! from the headers that tell the proxy where they were led from, so a named port comes back as its number, a path or
//! scheme that was the usual one may be left out or written down, and what an HTTPS probe asked for is not known any more
//! ([`Removed::guessed`]); and annotations for Prometheus that the mesh's own replaced are gone. Never fails, and leaves a
//! pod alone that has nothing of the mesh.

use super::{PROMETHEUS, PROXY_UUID_LABEL, containers, probes};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// What was found in a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Whether anything of the mesh was in it.
    pub changed: bool,
    /// Probes that are to be looked at, such as `readinessProbe of container web`: they asked over HTTPS, and their path
    /// is not known any more.
    pub guessed: Vec<String>,
}

/// Removes everything that injection adds.
pub fn remove(pod: &mut Pod) -> Removed {
    let mut removed = Removed::default();
    let labels = &mut pod.metadata.labels;
    removed.changed = labels.as_mut().is_some_and(|labels| labels.remove(PROXY_UUID_LABEL).is_some());
    if !removed.changed {
        // Whoever has none of the mesh's labels has a container named sidecar of his own.
        return removed;
    }
    labels.take_if(|labels| labels.is_empty());
    let annotations = &mut pod.metadata.annotations;
    if let Some(annotations) = annotations.as_mut()
        && PROMETHEUS.iter().all(|&(name, value)| annotations.get(name).is_some_and(|found| found == value))
    {
        annotations.retain(|name, _| !PROMETHEUS.iter().any(|(of_mesh, _)| of_mesh == name));
    }
    annotations.take_if(|annotations| annotations.is_empty());
    if let Some(spec) = &mut pod.spec {
        remove_from(spec, &mut removed);
    }
    removed
}

fn remove_from(spec: &mut PodSpec, removed: &mut Removed) {
    let of_mesh = |container: &Container| [containers::SIDECAR, containers::INIT].contains(&container.name.as_str());
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    if !all.into_iter().any(of_mesh) {
        // Interception by the node: the label was all.
        return;
    }
    spec.containers.retain(|container| !of_mesh(container));
    if let Some(containers) = &mut spec.init_containers {
        containers.retain(|container| !of_mesh(container));
    }
    spec.init_containers.take_if(|containers| containers.is_empty());
    if let Some(volumes) = &mut spec.volumes {
        volumes.retain(|volume| !containers::VOLUMES.contains(&volume.name.as_str()));
    }
    spec.volumes.take_if(|volumes| volumes.is_empty());
    removed.guessed = probes::restore(spec);
}
