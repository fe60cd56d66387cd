//! Which pods get a sidecar, and what that adds to them: decided and done by the code of the injector's webhook
//! ([`fsm_control::inject`]), since pods are made here without an API server that would ask one.
//!
//! What is different on one machine is put in afterwards ([`adapt`]): where the sidecar cannot have a user id of its own,
//! its traffic is known by a mark; and the order in which a pod ends is kept by whoever runs it, so no hook has to.

use fsm_api::resources::mesh_config::MeshConfigSpec;
use fsm_control::inject::{self, DEFAULT_IMAGE, Decision, InjectError, NamespaceFacts, Settings};
use k8s_openapi::api::core::v1::{Container, Namespace, Pod};

/// Name of the sidecar's container.
pub const SIDECAR: &str = "sidecar";
/// Name of the redirecting init container.
pub const REDIRECTION: &str = "fsm-init";

/// Namespaces that FSM's webhook is not asked about.
const IGNORE: &str = "flomesh.io/ignore";
const MONITORED_BY: &str = "flomesh.io/monitored-by";

/// What all sidecars of a mesh have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// Name of the mesh.
    pub name: String,
    /// FSM's own namespace, whose pods get no sidecar.
    pub fsm_namespace: String,
    /// Packet mark by which the sidecar's traffic is known where it cannot have a user id of its own.
    pub mark: Option<u32>,
    /// What MeshConfig says.
    pub config: MeshConfigSpec,
}

/// Whether this is the container that [`inject()`] adds as the sidecar.
pub fn is_sidecar(pod: &Pod, container: &Container) -> bool {
    container.name == SIDECAR && is_proxy(pod)
}

/// Whether this is the container that [`inject()`] adds to redirect the traffic.
pub fn is_redirection(pod: &Pod, container: &Container) -> bool {
    container.name == REDIRECTION && is_proxy(pod)
}

/// Takes away what [`inject()`] has added to a pod that was written back.
pub fn strip(pod: &mut Pod) {
    inject::remove(pod);
}

/// Adds the sidecar if the pod shall have one; says whether it did. `uuid` becomes the proxy's.
///
/// # Errors
/// What the webhook refuses: annotations that cannot be understood, names that the mesh needs.
pub fn inject(pod: &mut Pod, namespace: Option<&Namespace>, mesh: &Mesh, uuid: &str) -> Result<bool, InjectError> {
    let Some(namespace) = namespace else { return Ok(false) };
    let labels = namespace.metadata.labels.as_ref();
    if labels.is_some_and(|labels| labels.contains_key(IGNORE)) {
        return Ok(false);
    }
    let facts = NamespaceFacts {
        name: namespace.metadata.name.clone().unwrap_or_default(),
        monitored_by: labels.and_then(|labels| labels.get(MONITORED_BY)).cloned(),
        annotations: namespace.metadata.annotations.clone().unwrap_or_default(),
    };
    match inject::inject(pod, &facts, &mesh.config, &settings(mesh), uuid)? {
        Decision::Skip(_) => Ok(false),
        Decision::Inject(injected) => {
            *pod = *injected;
            adapt(pod, mesh.mark);
            Ok(true)
        }
    }
}

fn settings(mesh: &Mesh) -> Settings {
    Settings {
        mesh: mesh.name.clone(),
        fsm_namespace: mesh.fsm_namespace.clone(),
        // Whatever the image: the programs are those beside `fsm`.
        sidecar_image: DEFAULT_IMAGE.to_owned(),
        init_image: DEFAULT_IMAGE.to_owned(),
        pull_policy: "IfNotPresent".to_owned(),
        native_sidecars: false,
        token_audience: String::new(),
    }
}

fn adapt(pod: &mut Pod, mark: Option<u32>) {
    let Some(spec) = &mut pod.spec else { return };
    // Whoever runs the pod starts the sidecar first wherever it stands, and users look for their own containers first.
    spec.containers.sort_by_key(|container| container.name == SIDECAR);
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    for container in containers {
        let flag = match container.name.as_str() {
            SIDECAR => {
                if let Some(lifecycle) = &mut container.lifecycle {
                    lifecycle.pre_stop = None;
                }
                let arguments = container.args.get_or_insert_default();
                // How much it says while it starts; then its document tells, which follows MeshConfig.
                arguments.retain(|argument| !argument.starts_with("--log-level="));
                // The applications have ended when the sidecar is told to: nothing new can come.
                arguments.extend(["--drain-min=0s", "--drain-max=5s"].map(str::to_owned));
                "--upstream-mark"
            }
            REDIRECTION => "--proxy-mark",
            _ => continue,
        };
        if let Some(mark) = mark {
            container.args.get_or_insert_default().push(format!("{flag}={mark:#x}"));
        }
    }
}

fn is_proxy(pod: &Pod) -> bool {
    pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(inject::PROXY_UUID_LABEL))
}

#[cfg(test)]
mod tests;
