//! Puts the proxy into pods: what the injection webhook answers, as a pure function of the pod, its namespace and the
//! mesh's settings.
//!
//! A pod of the mesh gets a label with the identity of its proxy, a projected service-account token and the mesh's trust
//! bundle (in place of FSM's Secret with a private key: the proxy makes its own key), the init container that redirects
//! traffic, and the sidecar. Probes of the application are led to the proxy's probe ports. Nothing else is changed, and
//! injecting twice changes nothing.
//!
//! Fails only on annotations that cannot be read, naming the annotation, its value and the remedy: a pod that would
//! silently be outside the mesh is worse than one that is not admitted. Never talks to anybody.

mod annotations;
mod containers;
mod decision;
mod graft;
mod probes;
mod remove;

pub(crate) use annotations::is_quantity;
pub(crate) use containers::TRUST_BUNDLE;
pub use decision::{NamespaceFacts, SkipReason};
pub use graft::graft;
pub use remove::{Removed, remove};

use fsm_api::resources::mesh_config::MeshConfigSpec;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use std::collections::BTreeMap;
use thiserror::Error;

/// Label of a pod of the mesh: the identity of its proxy.
pub const PROXY_UUID_LABEL: &str = "fsm-proxy-uuid";

/// The image that has both the proxy and the init program, where nothing else is said.
pub const DEFAULT_IMAGE: &str = concat!("flomesh/fsm-proxy:", env!("CARGO_PKG_VERSION"));

/// Where metrics of the proxy are, for Prometheus' annotations.
const PROMETHEUS: [(&str, &str); 3] =
    [("prometheus.io/scrape", "true"), ("prometheus.io/port", "15010"), ("prometheus.io/path", "/stats/prometheus")];

/// What the injector is told when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of the mesh.
    pub mesh: String,
    /// Namespace of the control plane.
    pub fsm_namespace: String,
    /// Image of the sidecar where neither annotation nor MeshConfig names one.
    pub sidecar_image: String,
    /// Image of the init container.
    pub init_image: String,
    /// `imagePullPolicy` of both.
    pub pull_policy: String,
    /// Whether the API server knows native sidecars (`restartPolicy: Always` of init containers, Kubernetes 1.29), or the
    /// operator wants them.
    pub native_sidecars: bool,
    /// Audience of the projected token; empty: the API server's own.
    pub token_audience: String,
}

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It stays as it is.
    Skip(SkipReason),
    /// It becomes this one.
    Inject(Box<Pod>),
}

/// Why a pod cannot be admitted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InjectError {
    /// An annotation cannot be read.
    #[error("annotation {annotation} of {object} is {value:?}, which is {why}; {remedy}")]
    Annotation {
        /// Its name.
        annotation: String,
        /// `pod ns/name` or `namespace ns`.
        object: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// No image is known for a container.
    #[error(
        "no image is known for the {container} container: set {setting} in MeshConfig fsm-mesh-config, or install the \
         chart again"
    )]
    Image {
        /// `sidecar` or `init`.
        container: &'static str,
        /// Where it is set.
        setting: &'static str,
    },
    /// The application uses a name or an id that the mesh needs.
    #[error("{object} already has a {what}, which the mesh needs for itself; rename it")]
    Taken {
        /// `pod ns/name`.
        object: String,
        /// Container or volume with its name.
        what: String,
    },
}

/// Decides about a pod that is about to be created. `uuid` is the identity of its proxy.
///
/// # Errors
/// [`InjectError`].
pub fn inject(
    pod: &Pod,
    namespace: &NamespaceFacts,
    mesh: &MeshConfigSpec,
    settings: &Settings,
    uuid: &str,
) -> Result<Decision, InjectError> {
    if let Some(reason) = decision::skip_reason(pod, namespace, settings)? {
        return Ok(Decision::Skip(reason));
    }
    let mut pod = pod.clone();
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(PROXY_UUID_LABEL.to_owned(), uuid.to_owned());
    let node_level = mesh.traffic.as_ref().and_then(|traffic| traffic.interception_mode.as_deref());
    if matches!(node_level, Some("NodeLevel" | "ebpf")) {
        // Interception happens outside of the pod: its label is all that is needed.
        return Ok(Decision::Inject(Box::new(pod)));
    }
    if namespace.metrics_enabled()? {
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.extend(PROMETHEUS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let choices = annotations::Choices::read(&pod, namespace, mesh, settings)?;
    let object = object_of(&pod, namespace);
    let mut spec = pod.spec.take().unwrap_or_default();
    refuse_taken_names(&spec, &object)?;
    let probed = probes::rewrite(&mut spec, settings.native_sidecars);
    containers::add(&mut spec, &pod.metadata, &choices, &probed, settings, mesh);
    pod.spec = Some(spec);
    Ok(Decision::Inject(Box::new(pod)))
}

/// The identity of a new proxy: a random UUID (version 4, RFC 9562).
///
/// # Errors
/// When the system has no random numbers.
pub fn new_uuid() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    Ok([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}

fn refuse_taken_names(spec: &PodSpec, object: &str) -> Result<(), InjectError> {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let taken = containers
        .map(|container| ("container", container.name.as_str()))
        .chain(spec.volumes.iter().flatten().map(|volume| ("volume", volume.name.as_str())))
        .find(|(kind, name)| match *kind {
            "container" => [containers::SIDECAR, containers::INIT].contains(name),
            _ => containers::VOLUMES.contains(name),
        });
    match taken {
        None => Ok(()),
        Some((kind, name)) => {
            Err(InjectError::Taken { object: object.to_owned(), what: format!("{kind} named {name}") })
        }
    }
}

/// The pod for people. Its name may not be known yet: controllers leave it to the API server.
fn object_of(pod: &Pod, namespace: &NamespaceFacts) -> String {
    let metadata = &pod.metadata;
    let generated = || metadata.generate_name.as_deref().map(|prefix| format!("{prefix}*"));
    let name = metadata.name.clone().or_else(generated).unwrap_or_default();
    format!("pod {}/{name}", namespace.name)
}

type Annotations = BTreeMap<String, String>;

#[cfg(test)]
mod tests;
