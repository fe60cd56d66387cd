//! Which pods get a sidecar, and what that adds to them.
//!
//! Same decisions, annotations and names as FSM's injector (its webhook is not involved: pods are made here). Three
//! things are added: the label `fsm-proxy-uuid`, an init container `fsm-init` after the pod's own ones, which redirects
//! the traffic, and the container `sidecar`. Two differences: applications are held until the proxy is ready (unless
//! `flomesh.io/hold-application-until-proxy-starts` says no), and probes are left as they are, since they are made
//! inside the pod, where the redirection does not apply.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, Namespace, ObjectFieldSelector, Pod, Probe,
    SecurityContext,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

/// Label that makes a pod a proxy; its value is the proxy's UUID.
pub const PROXY_LABEL: &str = "fsm-proxy-uuid";
/// Name of the sidecar's container.
pub const SIDECAR: &str = "sidecar";
/// Name of the redirecting init container.
pub const REDIRECTION: &str = "fsm-init";
/// Label of namespaces that belong to a mesh.
pub const MONITORED_BY: &str = "flomesh.io/monitored-by";

/// Where the credentials appear in the sidecar.
pub const IDENTITY_DIRECTORY: &str = "/run/fsm-sidecar/identity";
/// Where the sidecar keeps the last good configuration.
pub const CACHE_DIRECTORY: &str = "/run/fsm-sidecar/cache";

const INJECTION: &str = "flomesh.io/sidecar-injection";
const HOLD: &str = "flomesh.io/hold-application-until-proxy-starts";

/// What all sidecars of a mesh have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Name of the mesh.
    pub name: String,
    /// FSM's own namespace, whose pods get no sidecar.
    pub fsm_namespace: String,
    /// Where fsm-control's stream is, such as `https://10.99.0.1:15443`.
    pub control: String,
    /// Name in fsm-control's certificate.
    pub control_name: String,
    /// Packet mark by which the sidecar's traffic is known where it cannot have a user id of its own.
    pub mark: Option<u32>,
    /// What MeshConfig says.
    pub traffic: Traffic,
}

/// What MeshConfig says about injection. The mesh-wide lists come before those of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Destinations that bypass the sidecar.
    pub outbound_range_exclusions: Vec<String>,
    /// If not empty, the only destinations that do not.
    pub outbound_range_inclusions: Vec<String>,
    /// Destination ports that bypass it.
    pub outbound_port_exclusions: Vec<String>,
    /// Ports of the pod that bypass it.
    pub inbound_port_exclusions: Vec<String>,
    /// Interfaces that bypass it.
    pub interface_exclusions: Vec<String>,
    /// The sidecar's log level, as FSM spells it.
    pub log_level: Option<String>,
    /// `localProxyMode: PodIP`.
    pub to_pod_address: bool,
    /// Interception without sidecars (`NodeLevel`, `ebpf`): nothing is injected but the label.
    pub is_node_level: bool,
}

/// Why a pod cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// The annotation that decides is neither yes nor no.
    #[error(
        "{on} has the annotation {INJECTION}: {value:?}, which is neither enabled (yes, true) nor disabled (no, false): \
         write one of these"
    )]
    Decision {
        /// `pod ns/name` or `namespace name`.
        on: String,
        /// As written.
        value: String,
    },
    /// A list in an annotation has an entry of the wrong form.
    #[error("pod {pod} has the annotation {annotation} with the entry {entry:?}, which is no {wanted}: correct it")]
    Entry {
        /// `ns/name`.
        pod: String,
        /// Name of the annotation.
        annotation: &'static str,
        /// As written.
        entry: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl Traffic {
    /// Reads a MeshConfig object, tolerantly: what is missing or of another type counts as not set.
    pub fn of_mesh_config(object: &Value) -> Self {
        let list = |path: &str| -> Vec<String> {
            let entries = object.pointer(path).and_then(Value::as_array);
            let text = |entry: &Value| match entry {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
            entries.into_iter().flatten().filter_map(text).collect()
        };
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
        Self {
            outbound_range_exclusions: list("/spec/traffic/outboundIPRangeExclusionList"),
            outbound_range_inclusions: list("/spec/traffic/outboundIPRangeInclusionList"),
            outbound_port_exclusions: list("/spec/traffic/outboundPortExclusionList"),
            inbound_port_exclusions: list("/spec/traffic/inboundPortExclusionList"),
            interface_exclusions: list("/spec/traffic/networkInterfaceExclusionList"),
            log_level: text("/spec/sidecar/logLevel").map(str::to_owned),
            to_pod_address: text("/spec/sidecar/localProxyMode") == Some("PodIP"),
            is_node_level: matches!(text("/spec/traffic/interceptionMode"), Some("NodeLevel" | "ebpf")),
        }
    }
}

/// Whether this is the container that [`inject`] adds as the sidecar.
pub fn is_sidecar(pod: &Pod, container: &Container) -> bool {
    container.name == SIDECAR && is_proxy(pod)
}

/// Whether this is the container that [`inject`] adds to redirect the traffic.
pub fn is_redirection(pod: &Pod, container: &Container) -> bool {
    container.name == REDIRECTION && is_proxy(pod)
}

/// Takes away what [`inject`] has added to a pod that was written back.
pub fn strip(pod: &mut Pod) {
    if !is_proxy(pod) {
        return;
    }
    if let Some(labels) = &mut pod.metadata.labels {
        labels.remove(PROXY_LABEL);
    }
    if let Some(spec) = &mut pod.spec {
        spec.containers.retain(|container| container.name != SIDECAR);
        if let Some(init) = &mut spec.init_containers {
            init.retain(|container| container.name != REDIRECTION);
        }
    }
}

/// Adds the sidecar if the pod shall have one; says whether it did. `uuid` becomes the proxy's.
///
/// # Errors
/// What FSM's webhook refuses: annotations that cannot be understood.
pub fn inject(pod: &mut Pod, namespace: Option<&Namespace>, mesh: &Mesh, uuid: &str) -> Result<bool, InjectError> {
    if !is_wanted(pod, namespace, mesh)? {
        return Ok(false);
    }
    let redirection = redirection(pod, mesh)?;
    pod.metadata.labels.get_or_insert_default().insert(PROXY_LABEL.to_owned(), uuid.to_owned());
    if mesh.traffic.is_node_level {
        return Ok(true);
    }
    if is_yes(annotation(namespace.map(|namespace| &namespace.metadata), "flomesh.io/metrics")) == Some(true) {
        let annotations = pod.metadata.annotations.get_or_insert_default();
        for (name, value) in [("scrape", "true"), ("port", "15010"), ("path", "/stats/prometheus")] {
            annotations.insert(format!("prometheus.io/{name}"), value.to_owned());
        }
    }
    let sidecar = sidecar(pod, namespace, mesh);
    let spec = pod.spec.get_or_insert_default();
    spec.init_containers.get_or_insert_default().push(redirection);
    spec.containers.push(sidecar);
    Ok(true)
}

fn is_proxy(pod: &Pod) -> bool {
    pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(PROXY_LABEL))
}

fn is_wanted(pod: &Pod, namespace: Option<&Namespace>, mesh: &Mesh) -> Result<bool, InjectError> {
    let Some(namespace) = namespace else { return Ok(false) };
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    let is_on_host_network = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let label = |name: &str| namespace.metadata.labels.as_ref().and_then(|labels| labels.get(name));
    let is_monitored = label(MONITORED_BY).is_some_and(|value| *value == mesh.name);
    let is_ignored = label("flomesh.io/ignore").is_some();
    let is_of_system = ["kube-system", "kube-public", mesh.fsm_namespace.as_str()].contains(&name);
    if is_on_host_network || is_of_system || !is_monitored || is_ignored {
        return Ok(false);
    }
    let decisions = [
        (format!("pod {}", named(&pod.metadata)), annotation(Some(&pod.metadata), INJECTION)),
        (format!("namespace {name}"), annotation(Some(&namespace.metadata), INJECTION)),
    ];
    for (on, value) in decisions {
        if let Some(value) = value {
            return is_yes(Some(value)).ok_or_else(|| InjectError::Decision { on, value: value.to_owned() });
        }
    }
    Ok(false)
}

fn redirection(pod: &Pod, mesh: &Mesh) -> Result<Container, InjectError> {
    let traffic = &mesh.traffic;
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port != 0);
    let is_range = |text: &str| text.parse::<IpNet>().is_ok();
    let list = |annotation_name: &'static str, wanted: &'static str, fits: &dyn Fn(&str) -> bool| {
        let text = annotation(Some(&pod.metadata), annotation_name).unwrap_or_default();
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let checked = entries.map(|entry| match fits(entry) {
            true => Ok(entry.to_owned()),
            false => Err(InjectError::Entry {
                pod: named(&pod.metadata),
                annotation: annotation_name,
                entry: entry.to_owned(),
                wanted,
            }),
        });
        checked.collect::<Result<Vec<String>, InjectError>>()
    };
    const PORT: &str = "port from 1 to 65535";
    const RANGE: &str = "range of addresses such as 10.1.0.0/16";
    let options: [(&str, &[String], Vec<String>); 5] = [
        (
            "--inbound-exclude-port",
            &traffic.inbound_port_exclusions,
            list("flomesh.io/inbound-port-exclusion-list", PORT, &is_port)?,
        ),
        (
            "--outbound-exclude-port",
            &traffic.outbound_port_exclusions,
            list("flomesh.io/outbound-port-exclusion-list", PORT, &is_port)?,
        ),
        (
            "--outbound-exclude-cidr",
            &traffic.outbound_range_exclusions,
            list("flomesh.io/outbound-ip-range-exclusion-list", RANGE, &is_range)?,
        ),
        (
            "--outbound-include-cidr",
            &traffic.outbound_range_inclusions,
            list("flomesh.io/outbound-ip-range-inclusion-list", RANGE, &is_range)?,
        ),
        ("--exclude-interface", &traffic.interface_exclusions, Vec::new()),
    ];
    let mut arguments = Vec::new();
    for (flag, of_mesh, of_pod) in options {
        for entry in of_mesh.iter().chain(&of_pod) {
            arguments.extend([flag.to_owned(), entry.clone()]);
        }
    }
    if traffic.to_pod_address {
        arguments.extend(["--pod-ip".to_owned(), "$(POD_IP)".to_owned()]);
    }
    if let Some(mark) = mesh.mark {
        arguments.extend(["--proxy-mark".to_owned(), format!("{mark:#x}")]);
    }
    Ok(Container {
        name: REDIRECTION.to_owned(),
        image: Some("fsm/fsm-init".to_owned()),
        command: Some(vec!["fsm-init".to_owned()]),
        args: Some(arguments),
        env: Some(vec![from_field("POD_IP", "status.podIP")]),
        ..Container::default()
    })
}

fn sidecar(pod: &Pod, namespace: Option<&Namespace>, mesh: &Mesh) -> Container {
    let mut arguments: Vec<String> = [
        ("--control", mesh.control.clone()),
        ("--control-name", mesh.control_name.clone()),
        ("--control-ca", format!("{IDENTITY_DIRECTORY}/ca.pem")),
        ("--control-token", format!("{IDENTITY_DIRECTORY}/token")),
        ("--cache-dir", CACHE_DIRECTORY.to_owned()),
        // The applications have ended when the sidecar is told to: nothing new can come.
        ("--drain-min", "0s".to_owned()),
        ("--drain-max", "5s".to_owned()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect();
    if let Some(mark) = mesh.mark {
        arguments.extend(["--upstream-mark".to_owned(), format!("{mark:#x}")]);
    }
    let holds = annotation(Some(&pod.metadata), HOLD)
        .or_else(|| annotation(namespace.map(|namespace| &namespace.metadata), HOLD))
        .is_none_or(|value| is_yes(Some(value)) != Some(false));
    // With the hold, being ready once is part of starting; without it, of readiness alone.
    let probe = |threshold| Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/ready".to_owned()),
            port: IntOrString::Int(15000),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(1),
        failure_threshold: Some(threshold),
        ..Probe::default()
    };
    let owner = pod.metadata.owner_references.iter().flatten().next();
    let mut environment = vec![
        literal("MESH_NAME", &mesh.name),
        from_field("POD_UID", "metadata.uid"),
        from_field("POD_NAME", "metadata.name"),
        from_field("POD_NAMESPACE", "metadata.namespace"),
        from_field("POD_IP", "status.podIP"),
        from_field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
    ];
    if let Some(owner) = owner {
        let (kind, name) = match owner.kind.as_str() {
            "ReplicaSet" => ("Deployment", owner.name.rsplit_once('-').map_or(owner.name.as_str(), |(name, _)| name)),
            kind => (kind, owner.name.as_str()),
        };
        environment.extend([literal("POD_CONTROLLER_KIND", kind), literal("POD_CONTROLLER_NAME", name)]);
    }
    let port = |name: &str, number| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        ..ContainerPort::default()
    };
    Container {
        name: SIDECAR.to_owned(),
        image: Some("fsm/fsm-proxy".to_owned()),
        command: Some(vec!["fsm-proxy".to_owned()]),
        args: Some(arguments),
        env: Some(environment),
        ports: Some(vec![port("proxy-admin", 15000), port("proxy-inbound", 15003), port("proxy-metrics", 15010)]),
        security_context: Some(SecurityContext {
            run_as_user: Some(1500),
            allow_privilege_escalation: Some(false),
            ..SecurityContext::default()
        }),
        startup_probe: holds.then(|| probe(600)),
        readiness_probe: Some(probe(3)),
        ..Container::default()
    }
}

fn annotation<'a>(metadata: Option<&'a ObjectMeta>, name: &str) -> Option<&'a str> {
    metadata?.annotations.as_ref()?.get(name).map(String::as_str)
}

fn is_yes(value: Option<&str>) -> Option<bool> {
    match value?.to_ascii_lowercase().as_str() {
        "enabled" | "yes" | "true" => Some(true),
        "disabled" | "no" | "false" => Some(false),
        _ => None,
    }
}

fn named(metadata: &ObjectMeta) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    format!("{}/{}", text(&metadata.namespace), text(&metadata.name))
}

fn literal(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn from_field(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { api_version: None, field_path: path.to_owned() };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

#[cfg(test)]
mod tests;
