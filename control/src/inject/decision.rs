//! Whether a pod belongs into the mesh (FSM's rules, in FSM's order).

use super::annotations::{METRICS, SIDECAR_INJECTION, switch};
use super::{Annotations, InjectError, PROXY_UUID_LABEL, Settings, object_of};
use k8s_openapi::api::core::v1::Pod;

/// What the decision needs to know of the pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Its name.
    pub name: String,
    /// Its label `flomesh.io/monitored-by`: the mesh that it belongs to.
    pub monitored_by: Option<String>,
    /// Its annotations.
    pub annotations: Annotations,
}

impl NamespaceFacts {
    pub(super) fn metrics_enabled(&self) -> Result<bool, InjectError> {
        Ok(switch(&self.annotations, METRICS, &format!("namespace {}", self.name))?.unwrap_or(false))
    }
}

/// Why a pod is not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// It has the network of its node: redirecting there would redirect the node.
    HostNetwork,
    /// Namespaces of the system and of the control plane are never in the mesh.
    SystemNamespace,
    /// Its namespace is not in this mesh.
    NotMonitored,
    /// An annotation of the pod or of its namespace says no, or nothing says yes.
    NotWanted,
    /// It has a proxy already: a copy made for debugging, or a second call of the webhook.
    AlreadyInjected,
}

impl SkipReason {
    /// For the log.
    pub const fn text(self) -> &'static str {
        match self {
            Self::HostNetwork => "it uses the network of its node",
            Self::SystemNamespace => "its namespace belongs to the system or to the control plane",
            Self::NotMonitored => "its namespace is not in this mesh",
            Self::NotWanted => "neither its annotations nor those of its namespace ask for a sidecar",
            Self::AlreadyInjected => "it has a sidecar already",
        }
    }
}

/// Why the pod is not to be touched; `None` when it gets a sidecar.
pub(super) fn skip_reason(
    pod: &Pod,
    namespace: &NamespaceFacts,
    settings: &Settings,
) -> Result<Option<SkipReason>, InjectError> {
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.host_network).unwrap_or(false) {
        return Ok(Some(SkipReason::HostNetwork));
    }
    if ["kube-system", "kube-public", settings.fsm_namespace.as_str()].contains(&namespace.name.as_str()) {
        return Ok(Some(SkipReason::SystemNamespace));
    }
    if namespace.monitored_by.as_deref() != Some(settings.mesh.as_str()) {
        return Ok(Some(SkipReason::NotMonitored));
    }
    let none = Annotations::new();
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(&none);
    let wanted = match switch(annotations, SIDECAR_INJECTION, &object_of(pod, namespace))? {
        Some(wanted) => wanted,
        None => {
            let object = format!("namespace {}", namespace.name);
            switch(&namespace.annotations, SIDECAR_INJECTION, &object)?.unwrap_or(false)
        }
    };
    if !wanted {
        return Ok(Some(SkipReason::NotWanted));
    }
    let containers =
        spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let labelled = pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(PROXY_UUID_LABEL));
    let has_sidecar = containers.into_iter().any(|container| container.name == super::containers::SIDECAR);
    Ok((labelled && has_sidecar).then_some(SkipReason::AlreadyInjected))
}
