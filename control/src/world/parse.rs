//! Kubernetes' core objects become lean models, once, when they arrive.
//!
//! Nothing here fails: what an object does not say, or says in a way that cannot be understood, is left out of the model,
//! so that one odd field never costs more than itself.

use super::model::{
    Account, Condition, EndpointPort, Namespace, NamespacedName, Phase, Pod, Protocol, Service, ServicePort,
    TargetPort, TlsSecret, WarmUp, WarmUpChoice,
};
use fsm_api::config::{HttpGetProbe, HttpHeader, Probe, Probes};
use fsm_api::resources::GoDuration;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The namespace of a namespaced object that says none, as `kubectl` reads it.
const DEFAULT_NAMESPACE: &str = "default";

/// The label of a namespace that names its mesh.
pub(super) const MONITORED_BY: &str = "flomesh.io/monitored-by";
const SERVICE_EXCLUSION: &str = "flomesh.io/service-exclusion";
const SERVICE_EXCLUSION_LIST: &str = "flomesh.io/service-exclusion-list";
const EGRESS_GATEWAY_MODE: &str = "flomesh.io/egress-gateway-mode";
const PROXY_UUID: &str = "fsm-proxy-uuid";
const SCRAPE: &str = "prometheus.io/scrape";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const INGRESS_SERVICE: &str = "meta.flomesh.io/ingress-pipy-svc";
const INGRESS_NAMESPACES: [&str; 3] =
    ["meta.flomesh.io/fsm-namespace", "meta.flomesh.io/erie-canal-namespace", "meta.flomesh.io/namespace"];

/// What one slice (or one old Endpoints object) says about one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) ips: Vec<IpAddr>,
    pub(super) hostname: Option<String>,
    pub(super) pod: Option<NamespacedName>,
    pub(super) ports: Arc<[EndpointPort]>,
    pub(super) condition: Condition,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) service: NamespacedName,
    pub(super) mentions: Vec<Mention>,
}

pub(super) fn name_of(metadata: &ObjectMeta) -> NamespacedName {
    let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    NamespacedName::new(namespace.unwrap_or(DEFAULT_NAMESPACE), metadata.name.as_deref().unwrap_or_default())
}

pub(super) fn namespace(object: &core::Namespace, mesh_name: &str) -> Namespace {
    let metadata = &object.metadata;
    let excluded = annotation(metadata, SERVICE_EXCLUSION_LIST).unwrap_or_default();
    Namespace {
        name: metadata.name.clone().unwrap_or_default(),
        monitored: metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(MONITORED_BY))
            .is_some_and(|by| by == mesh_name),
        labels: metadata.labels.clone().unwrap_or_default(),
        annotations: metadata
            .annotations
            .iter()
            .flatten()
            .filter(|(name, _)| name.starts_with("flomesh.io/"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        excluded_services: excluded.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect(),
        warm_up: warm_up_of(metadata),
    }
}

fn warm_up_of(metadata: &ObjectMeta) -> WarmUpChoice {
    let read = |name: &str| annotation(metadata, &format!("flomesh.io/traffic-warmup-{name}"));
    match read("enable").map(is_true) {
        None => WarmUpChoice::Unsaid,
        Some(false) => WarmUpChoice::Off,
        Some(true) => {
            let usual = WarmUp::default();
            let weight = |name, usual| {
                read(name).and_then(|text| text.parse().ok()).map_or(usual, |weight: u32| weight.min(100))
            };
            let duration = read("duration").and_then(|text| text.parse::<GoDuration>().ok());
            let aggression = read("aggression").and_then(|text| text.parse::<f64>().ok());
            WarmUpChoice::On(WarmUp {
                duration: duration.map_or(usual.duration, Duration::from),
                min_weight: weight("minweight", usual.min_weight),
                max_weight: weight("maxweight", usual.max_weight),
                aggression: aggression
                    .filter(|value| value.is_finite())
                    .map_or(usual.aggression, |value| value.max(1.0)),
            })
        }
    }
}

pub(super) fn pod(object: &core::Pod) -> Pod {
    let metadata = &object.metadata;
    let key = name_of(metadata);
    let spec = object.spec.as_ref();
    let status = object.status.as_ref();
    let labels = metadata.labels.clone().unwrap_or_default();
    let account = spec
        .and_then(|spec| spec.service_account_name.clone().or_else(|| spec.service_account.clone()))
        .unwrap_or_default();
    let mut ips: Vec<IpAddr> = Vec::new();
    let listed = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten().map(|ip| ip.ip.as_str());
    for ip in status.and_then(|status| status.pod_ip.as_deref()).into_iter().chain(listed).filter_map(address) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    Pod {
        uid: metadata.uid.clone().unwrap_or_default(),
        ips,
        account: Account::new(&key.namespace, account),
        hostname: spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty()),
        subdomain: spec.and_then(|spec| spec.subdomain.clone()).filter(|name| !name.is_empty()),
        ready: status
            .and_then(|status| status.conditions.as_ref())
            .is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")),
        phase: match status.and_then(|status| status.phase.as_deref()) {
            Some("Running") => Phase::Running,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            Some("Unknown") => Phase::Unknown,
            _ => Phase::Pending,
        },
        terminating: metadata.deletion_timestamp.is_some(),
        proxy_uuid: labels.get(PROXY_UUID).filter(|uuid| !uuid.is_empty()).cloned(),
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or_default(),
        probes: Arc::new(spec.map(probes).unwrap_or_default()),
        metrics: annotation(metadata, SCRAPE).is_some_and(is_true),
        named_ports: spec.map(named_ports).unwrap_or_default(),
        started: status
            .and_then(|status| status.start_time.as_ref())
            .or(metadata.creation_timestamp.as_ref())
            .map(|time| time.0),
        labels,
        key,
    }
}

fn named_ports(spec: &core::PodSpec) -> BTreeMap<String, u16> {
    // Sidecars that Kubernetes itself knows are init containers that always restart; their ports count too.
    let sidecars =
        spec.init_containers.iter().flatten().filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let mut named = BTreeMap::new();
    for port in spec.containers.iter().chain(sidecars).filter_map(|container| container.ports.as_ref()).flatten() {
        if let (Some(name), Ok(number), true) =
            (&port.name, u16::try_from(port.container_port), is_tcp(port.protocol.as_deref()))
        {
            named.entry(name.clone()).or_insert(number);
        }
    }
    named
}

fn probes(spec: &core::PodSpec) -> Probes {
    let mut probes = Probes::default();
    // Init containers that keep running have probes, too.
    let lasting = spec.init_containers.iter().flatten();
    let lasting = lasting.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    for container in spec.containers.iter().chain(lasting) {
        let read = |probe: &Option<core::Probe>| probe.as_ref().and_then(|probe| http_probe(probe, container));
        probes.readiness_probes.extend(read(&container.readiness_probe));
        probes.liveness_probes.extend(read(&container.liveness_probe));
        probes.startup_probes.extend(read(&container.startup_probe));
    }
    probes
}

fn http_probe(probe: &core::Probe, container: &core::Container) -> Option<Probe> {
    let get = probe.http_get.as_ref()?;
    let port = match &get.port {
        IntOrString::Int(number) => u16::try_from(*number).ok()?,
        IntOrString::String(text) => match text.parse() {
            Ok(number) => number,
            Err(_) => {
                let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(text))?;
                u16::try_from(named.container_port).ok()?
            }
        },
    };
    let seconds = |value: Option<i32>| value.and_then(|value| u64::try_from(value).ok());
    Some(Probe {
        http_get: Some(HttpGetProbe {
            path: get.path.clone().unwrap_or_default(),
            port,
            scheme: get.scheme.clone().unwrap_or_default(),
            http_headers: (get.http_headers.iter().flatten())
                .map(|header| HttpHeader { name: header.name.clone(), value: header.value.clone() })
                .collect(),
        }),
        initial_delay_seconds: seconds(probe.initial_delay_seconds),
        timeout_seconds: seconds(probe.timeout_seconds),
        period_seconds: seconds(probe.period_seconds),
        success_threshold: seconds(probe.success_threshold),
        failure_threshold: seconds(probe.failure_threshold),
    })
}

pub(super) fn service(object: &core::Service) -> Service {
    let metadata = &object.metadata;
    let default = core::ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&default);
    let mut cluster_ips: Vec<IpAddr> = Vec::new();
    let listed = spec.cluster_ips.iter().flatten().map(String::as_str);
    for ip in spec.cluster_ip.as_deref().into_iter().chain(listed).filter_map(address) {
        if !cluster_ips.contains(&ip) {
            cluster_ips.push(ip);
        }
    }
    let family = spec.ip_families.iter().flatten().next();
    Service {
        key: name_of(metadata),
        headless: spec.cluster_ip.as_deref().is_some_and(|ip| ip.eq_ignore_ascii_case("none")),
        selector: spec.selector.clone().unwrap_or_default(),
        ports: spec.ports.iter().flatten().filter_map(service_port).collect(),
        excluded: annotation(metadata, SERVICE_EXCLUSION).is_some_and(is_true),
        external_name: (spec.type_.as_deref() == Some("ExternalName"))
            .then(|| spec.external_name.clone().unwrap_or_default()),
        egress_gateway_mode: annotation(metadata, EGRESS_GATEWAY_MODE).map(Into::into),
        prefers_ipv6: family
            .map_or_else(|| cluster_ips.first().is_some_and(IpAddr::is_ipv6), |family| family == "IPv6"),
        cluster_ips,
    }
}

fn service_port(port: &core::ServicePort) -> Option<ServicePort> {
    if !is_tcp(port.protocol.as_deref()) {
        return None;
    }
    let number = u16::try_from(port.port).ok().filter(|&number| number > 0)?;
    let name = port.name.clone().unwrap_or_default();
    Some(ServicePort {
        port: number,
        protocol: protocol(port.app_protocol.as_deref(), &name),
        target: match &port.target_port {
            // Go's zero value, which an API server may write for "the same".
            None | Some(IntOrString::Int(0)) => TargetPort::Number(number),
            Some(IntOrString::Int(target)) => TargetPort::Number(u16::try_from(*target).ok()?),
            Some(IntOrString::String(text)) if text.is_empty() => TargetPort::Number(number),
            Some(IntOrString::String(text)) => match text.parse() {
                Ok(target) => TargetPort::Number(target),
                Err(_) => TargetPort::Name(text.clone()),
            },
        },
        name,
    })
}

/// What is spoken on a port: `appProtocol`, else the prefix `<protocol>-` of the port's name, else HTTP (FSM's rule; a
/// bare name `tcp` says nothing).
///
/// FSM takes `appProtocol` to the letter and forgets ports whose value it does not know. Here Kubernetes' standard values
/// mean what they say, and whatever is left is opaque bytes.
pub(super) fn protocol(app_protocol: Option<&str>, port_name: &str) -> Protocol {
    match app_protocol.filter(|text| !text.is_empty()) {
        Some(text) => known_protocol(text).unwrap_or(Protocol::Tcp),
        None => {
            let prefixes = [
                ("tcp-server-first-", Protocol::TcpServerFirst),
                ("http-", Protocol::Http),
                ("tcp-", Protocol::Tcp),
                ("grpc-", Protocol::Grpc),
            ];
            prefixes
                .into_iter()
                .find(|(prefix, _)| port_name.starts_with(prefix))
                .map_or(Protocol::Http, |(_, protocol)| protocol)
        }
    }
}

/// The meaning of a value of `appProtocol`; `None`: unknown, or never HTTP without TLS of its own.
fn known_protocol(text: &str) -> Option<Protocol> {
    let text = text.to_ascii_lowercase();
    match text.strip_prefix("kubernetes.io/").unwrap_or(&text) {
        "http" | "http2" | "h2c" | "ws" => Some(Protocol::Http),
        "grpc" => Some(Protocol::Grpc),
        "tcp" => Some(Protocol::Tcp),
        "tcp-server-first" => Some(Protocol::TcpServerFirst),
        _ => None,
    }
}

/// An EndpointSlice; `None` when it belongs to no service or names hosts instead of addresses.
pub(super) fn slice(object: &discovery::EndpointSlice) -> Option<Slice> {
    let name = name_of(&object.metadata);
    let service = object.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    if !matches!(object.address_type.as_str(), "IPv4" | "IPv6") {
        return None;
    }
    let ports = endpoint_ports(object.ports.iter().flatten().map(|port| {
        (port.name.as_deref().unwrap_or_default(), port.port.unwrap_or_default(), port.protocol.as_deref())
    }));
    let mentions = object.endpoints.iter().flatten().map(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
        Mention {
            ips: endpoint.addresses.iter().filter_map(|text| address(text)).collect(),
            hostname: endpoint.hostname.clone().filter(|name| !name.is_empty()),
            pod: pod_reference(endpoint.target_ref.as_ref(), &name.namespace),
            ports: ports.clone(),
            condition: match (ready, serving) {
                (true, _) => Condition::Ready,
                (false, true) => Condition::Serving,
                (false, false) => Condition::NotReady,
            },
        }
    });
    Some(Slice {
        service: NamespacedName::new(&name.namespace, service),
        mentions: mentions.filter(|mention| !mention.ips.is_empty()).collect(),
    })
}

/// An old Endpoints object, which has the name of its service.
pub(super) fn endpoints(object: &core::Endpoints) -> Vec<Mention> {
    let name = name_of(&object.metadata);
    let mut mentions = Vec::new();
    for subset in object.subsets.iter().flatten() {
        let ports = endpoint_ports(
            (subset.ports.iter().flatten())
                .map(|port| (port.name.as_deref().unwrap_or_default(), port.port, port.protocol.as_deref())),
        );
        let ready = subset.addresses.iter().flatten().map(|address| (address, Condition::Ready));
        let other = subset.not_ready_addresses.iter().flatten().map(|address| (address, Condition::NotReady));
        mentions.extend(ready.chain(other).filter_map(|(listed, condition)| {
            Some(Mention {
                ips: vec![address(&listed.ip)?],
                hostname: listed.hostname.clone().filter(|name| !name.is_empty()),
                pod: pod_reference(listed.target_ref.as_ref(), &name.namespace),
                ports: ports.clone(),
                condition,
            })
        }));
    }
    mentions
}

fn endpoint_ports<'a>(ports: impl Iterator<Item = (&'a str, i32, Option<&'a str>)>) -> Arc<[EndpointPort]> {
    let ports: BTreeSet<EndpointPort> = ports
        .filter(|(_, _, protocol)| is_tcp(*protocol))
        .filter_map(|(name, number, _)| {
            let port = u16::try_from(number).ok().filter(|&port| port > 0)?;
            Some(EndpointPort { name: name.into(), port })
        })
        .collect();
    ports.into_iter().collect()
}

fn pod_reference(reference: Option<&core::ObjectReference>, namespace: &str) -> Option<NamespacedName> {
    let reference = reference.filter(|reference| reference.kind.as_deref() == Some("Pod"))?;
    // A pod of another namespace never stands behind a service: the writer of an endpoint must not borrow its account.
    let same = reference.namespace.as_deref().is_none_or(|other| other.is_empty() || other == namespace);
    reference.name.as_ref().filter(|name| same && !name.is_empty()).map(|name| NamespacedName::new(namespace, name))
}

/// The certificate of a Secret; `None` when it has neither a CA, a certificate nor a key, so that nothing of other
/// Secrets is ever kept.
pub(super) fn tls_secret(object: &core::Secret) -> Option<TlsSecret> {
    let read = |name: &str| {
        let plain = object.string_data.as_ref().and_then(|data| data.get(name)).cloned();
        plain.or_else(|| {
            let bytes = &object.data.as_ref()?.get(name)?.0;
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        })
    };
    let (ca, certificate, key) = (read("ca.crt"), read("tls.crt"), read("tls.key"));
    (ca.is_some() || certificate.is_some() || key.is_some()).then(|| TlsSecret {
        ca: ca.unwrap_or_default(),
        certificate: certificate.unwrap_or_default(),
        key: key.unwrap_or_default(),
    })
}

/// The Service of the ingress controller that an IngressClass names.
pub(crate) fn ingress_service<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Option<NamespacedName> {
    let annotation = |name: &str| annotation(name).map(str::trim);
    let service = annotation(INGRESS_SERVICE).filter(|name| !name.is_empty())?;
    let namespace = INGRESS_NAMESPACES.iter().find_map(|name| annotation(name))?;
    Some(NamespacedName::new(namespace, service))
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(|text| text.trim())
}

/// FSM's reading of "boolean-like" annotations.
fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "enabled" | "enable" | "on" | "1")
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol.is_empty() || protocol.eq_ignore_ascii_case("tcp"))
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()).filter(|ip| !ip.is_unspecified())
}
