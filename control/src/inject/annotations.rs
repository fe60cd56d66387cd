//! What annotations of the pod, of its namespace and the mesh's settings choose, in this order.

use super::{Annotations, InjectError, NamespaceFacts, Settings, object_of};
use fsm_api::resources::mesh_config::MeshConfigSpec;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

pub(super) const SIDECAR_INJECTION: &str = "flomesh.io/sidecar-injection";
pub(super) const METRICS: &str = "flomesh.io/metrics";
const SIDECAR_IMAGE: &str = "flomesh.io/sidecar-image";
const INBOUND_PORT_EXCLUSION: &str = "flomesh.io/inbound-port-exclusion-list";
const OUTBOUND_PORT_EXCLUSION: &str = "flomesh.io/outbound-port-exclusion-list";
const OUTBOUND_RANGE_EXCLUSION: &str = "flomesh.io/outbound-ip-range-exclusion-list";
const OUTBOUND_RANGE_INCLUSION: &str = "flomesh.io/outbound-ip-range-inclusion-list";
const HOLD_APPLICATION: &str = "flomesh.io/hold-application-until-proxy-starts";
const GRACEFUL_EXIT: &str = "flomesh.io/graceful-exit-until-downstream-ends";
const RESOURCE_KINDS: [&str; 4] = ["cpu", "memory", "storage", "ephemeral-storage"];

/// Everything that is chosen for one pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choices {
    pub(super) sidecar_image: String,
    pub(super) init_image: String,
    pub(super) log_level: String,
    pub(super) privileged_init: bool,
    pub(super) pod_ip_mode: bool,
    /// The sidecar answers the application's questions about names.
    pub(super) local_names: bool,
    pub(super) hold_application: bool,
    pub(super) graceful_exit: bool,
    pub(super) sidecar_resources: Option<ResourceRequirements>,
    pub(super) init_resources: Option<ResourceRequirements>,
    pub(super) inbound_excluded_ports: Vec<String>,
    pub(super) outbound_excluded_ports: Vec<String>,
    pub(super) outbound_excluded_ranges: Vec<String>,
    pub(super) outbound_included_ranges: Vec<String>,
    pub(super) excluded_interfaces: Vec<String>,
}

impl Choices {
    pub(super) fn read(
        pod: &Pod,
        namespace: &NamespaceFacts,
        mesh: &MeshConfigSpec,
        settings: &Settings,
    ) -> Result<Self, InjectError> {
        let none = Annotations::new();
        let of_pod = Scope {
            annotations: pod.metadata.annotations.as_ref().unwrap_or(&none),
            object: object_of(pod, namespace),
        };
        let of_namespace =
            Scope { annotations: &namespace.annotations, object: format!("namespace {}", namespace.name) };
        let scopes = [&of_pod, &of_namespace];
        let sidecar = mesh.sidecar.as_ref();
        let traffic = mesh.traffic.as_ref();
        let sidecar_image = first(&scopes, SIDECAR_IMAGE)
            .map(str::to_owned)
            .or_else(|| sidecar.and_then(|sidecar| sidecar.sidecar_image.clone()))
            .filter(|image| !image.is_empty())
            .unwrap_or_else(|| settings.sidecar_image.clone());
        if sidecar_image.is_empty() {
            return Err(InjectError::Image { container: "sidecar", setting: "sidecar.sidecarImage" });
        }
        if settings.init_image.is_empty() {
            return Err(InjectError::Image { container: "init", setting: "the injector's --init-image" });
        }
        let switched = |name, fallback: Option<bool>| -> Result<bool, InjectError> {
            for scope in scopes {
                if let Some(on) = switch(scope.annotations, name, &scope.object)? {
                    return Ok(on);
                }
            }
            Ok(fallback.unwrap_or(true))
        };
        // FSM appends a pod's ports to the mesh's, and puts a pod's ranges before the mesh's.
        let mesh_ports = |ports: Option<&Vec<u16>>| -> Vec<String> {
            ports.into_iter().flatten().map(ToString::to_string).collect()
        };
        let mesh_ranges =
            |ranges: Option<&Vec<String>>| -> Vec<String> { ranges.into_iter().flatten().cloned().collect() };
        Ok(Self {
            sidecar_image,
            init_image: settings.init_image.clone(),
            log_level: sidecar
                .and_then(|sidecar| sidecar.log_level.clone())
                .filter(|level| !level.is_empty())
                .unwrap_or_else(|| "error".to_owned()),
            privileged_init: sidecar.and_then(|sidecar| sidecar.enable_privileged_init_container).unwrap_or(false),
            pod_ip_mode: sidecar.and_then(|sidecar| sidecar.local_proxy_mode.as_deref()) == Some("PodIP"),
            local_names: sidecar.and_then(|sidecar| sidecar.local_dns_proxy.as_ref()?.enable).unwrap_or(false),
            hold_application: switched(
                HOLD_APPLICATION,
                sidecar.map(|sidecar| sidecar.hold_application_until_proxy_starts),
            )?,
            graceful_exit: switched(GRACEFUL_EXIT, sidecar.map(|sidecar| sidecar.graceful_exit_until_downstream_ends))?,
            sidecar_resources: resources(&scopes, sidecar.and_then(|sidecar| sidecar.resources.as_ref()))?,
            init_resources: sidecar.and_then(|sidecar| sidecar.init_resources.clone()),
            inbound_excluded_ports: [
                mesh_ports(traffic.map(|traffic| &traffic.inbound_port_exclusion_list)),
                ports(&of_pod, INBOUND_PORT_EXCLUSION)?,
            ]
            .concat(),
            outbound_excluded_ports: [
                mesh_ports(traffic.map(|traffic| &traffic.outbound_port_exclusion_list)),
                ports(&of_pod, OUTBOUND_PORT_EXCLUSION)?,
            ]
            .concat(),
            outbound_excluded_ranges: [
                ranges(&of_pod, OUTBOUND_RANGE_EXCLUSION)?,
                mesh_ranges(traffic.map(|traffic| &traffic.outbound_ip_range_exclusion_list)),
            ]
            .concat(),
            outbound_included_ranges: [
                ranges(&of_pod, OUTBOUND_RANGE_INCLUSION)?,
                mesh_ranges(traffic.map(|traffic| &traffic.outbound_ip_range_inclusion_list)),
            ]
            .concat(),
            excluded_interfaces: mesh_ranges(traffic.map(|traffic| &traffic.network_interface_exclusion_list)),
        })
    }
}

struct Scope<'a> {
    annotations: &'a Annotations,
    object: String,
}

impl Scope<'_> {
    fn error(&self, annotation: &str, value: &str, why: impl Into<String>, remedy: &'static str) -> InjectError {
        InjectError::Annotation {
            annotation: annotation.to_owned(),
            object: self.object.clone(),
            value: value.to_owned(),
            why: why.into(),
            remedy,
        }
    }
}

/// FSM's switches: `enabled`, `yes`, `true`, or `disabled`, `no`, `false`, in any case.
pub(super) fn switch(annotations: &Annotations, name: &str, object: &str) -> Result<Option<bool>, InjectError> {
    let Some(value) = annotations.get(name) else { return Ok(None) };
    match value.to_ascii_lowercase().as_str() {
        "enabled" | "yes" | "true" => Ok(Some(true)),
        "disabled" | "no" | "false" => Ok(Some(false)),
        _ => Err(InjectError::Annotation {
            annotation: name.to_owned(),
            object: object.to_owned(),
            value: value.clone(),
            why: "neither yes nor no".to_owned(),
            remedy: "write enabled or disabled",
        }),
    }
}

fn first<'a>(scopes: &[&'a Scope<'a>], name: &str) -> Option<&'a str> {
    scopes.iter().find_map(|scope| scope.annotations.get(name)).map(String::as_str).filter(|value| !value.is_empty())
}

fn items<'a>(scope: &Scope<'a>, name: &str) -> impl Iterator<Item = &'a str> {
    let value = scope.annotations.get(name).map_or("", String::as_str);
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn ports(scope: &Scope<'_>, name: &str) -> Result<Vec<String>, InjectError> {
    items(scope, name)
        .map(|item| match item.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port.to_string()),
            _ => Err(scope.error(name, item, "no port", "write ports from 1 to 65535, separated by commas")),
        })
        .collect()
}

fn ranges(scope: &Scope<'_>, name: &str) -> Result<Vec<String>, InjectError> {
    items(scope, name)
        .map(|item| match item.parse::<IpNet>() {
            Ok(range) => Ok(range.to_string()),
            Err(_) => Err(scope.error(
                name,
                item,
                "no range of addresses",
                "write ranges such as 10.0.0.0/8, separated by commas",
            )),
        })
        .collect()
}

/// Each resource on its own: the pod's annotation, else the namespace's, else MeshConfig.
fn resources(
    scopes: &[&Scope<'_>],
    mesh: Option<&ResourceRequirements>,
) -> Result<Option<ResourceRequirements>, InjectError> {
    let mut resources = mesh.cloned().unwrap_or_default();
    for (list, into) in [("limits", &mut resources.limits), ("requests", &mut resources.requests)] {
        for kind in RESOURCE_KINDS {
            let name = format!("flomesh.io/sidecar-resource-{list}-{kind}");
            let Some(scope) = scopes.iter().find(|scope| scope.annotations.contains_key(&name)) else { continue };
            let value = &scope.annotations[&name];
            if !is_quantity(value) {
                return Err(scope.error(&name, value, "no quantity", "write one such as 100m, 0.5, 64Mi or 1Gi"));
            }
            let list: &mut BTreeMap<String, Quantity> = into.get_or_insert_default();
            list.insert(kind.to_owned(), Quantity(value.clone()));
        }
    }
    Ok((resources != ResourceRequirements::default()).then_some(resources))
}

/// A quantity of Kubernetes: a decimal number with a suffix or an exponent.
pub(crate) fn is_quantity(text: &str) -> bool {
    let end = text.find(|character: char| !(character.is_ascii_digit() || character == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let suffixes = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let exponent =
        |suffix: &str| suffix.strip_prefix(['e', 'E']).is_some_and(|exponent| exponent.parse::<i16>().is_ok());
    number.parse::<f64>().is_ok_and(f64::is_finite) && (suffixes.contains(&suffix) || exponent(suffix))
}
