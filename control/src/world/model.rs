//! What the mesh knows about workloads: lean models of Kubernetes' core objects.
//!
//! A model is made once, when an object arrives, and holds only what decides a proxy's document. Raw Pods, Services and
//! EndpointSlices are not kept. Everything is plain data; what follows from several objects together (which pods a service
//! has, what its ports mean) is answered by [`World`](super::World).

use fsm_api::config::Probes;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Namespace and name of a namespaced object. Ordered by namespace, then name; shown as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The key of a Service.
pub type ServiceKey = NamespacedName;

/// The key of a Pod.
pub type PodKey = NamespacedName;

impl NamespacedName {
    /// The key of `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A service account: whose certificate a proxy has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    /// Namespace.
    pub namespace: String,
    /// Name; an account without a name is `default`, as in Kubernetes.
    pub name: String,
}

impl Account {
    /// The account `name` of `namespace`; an empty name is `default`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { namespace: namespace.into(), name: if name.is_empty() { "default".into() } else { name } }
    }

    /// The service identity `<account>.<namespace>`, FSM's spelling.
    pub fn identity(&self) -> String {
        format!("{}.{}", self.name, self.namespace)
    }

    /// The principal `<account>.<namespace>.<trust domain>`: the common name of the account's certificates.
    pub fn principal(&self, trust_domain: &str) -> String {
        format!("{}.{}.{trust_domain}", self.name, self.namespace)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Its label `flomesh.io/monitored-by` names this mesh.
    pub monitored: bool,
    /// Labels, which plugin chains select by.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the mesh (`flomesh.io/…`), which the injector reads.
    pub annotations: BTreeMap<String, String>,
    /// Services that the annotation `flomesh.io/service-exclusion-list` keeps out of the mesh.
    pub excluded_services: BTreeSet<String>,
    /// What the annotations `flomesh.io/traffic-warmup-…` say about warm-up.
    pub warm_up: WarmUpChoice,
}

/// What a namespace or service says about the warm-up of new endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum WarmUpChoice {
    /// Nothing: the mesh's setting holds.
    #[default]
    Unsaid,
    /// New endpoints get their full share at once.
    Off,
    /// New endpoints are brought up to their share.
    On(WarmUp),
}

impl Eq for WarmUpChoice {}

/// How new endpoints are brought up to their share (reference: FSM's TrafficWarmup).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmUp {
    /// Time until an endpoint has its full share.
    pub duration: Duration,
    /// Weight at the beginning, 0 to 100.
    pub min_weight: u32,
    /// Weight at the end, 0 to 100.
    pub max_weight: u32,
    /// 1 is a straight line; more gives more at the beginning.
    pub aggression: f64,
}

impl Default for WarmUp {
    fn default() -> Self {
        Self { duration: Duration::from_secs(90), min_weight: 10, max_weight: 100, aggression: 1.0 }
    }
}

/// A pod, with or without a proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Namespace and name.
    pub key: PodKey,
    /// UID; empty when unknown.
    pub uid: String,
    /// Its addresses; the primary one first. Empty until it has one.
    pub ips: Vec<IpAddr>,
    /// Its service account.
    pub account: Account,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `spec.hostname`, which makes a name below a headless service (StatefulSets).
    pub hostname: Option<String>,
    /// `spec.subdomain`: the headless service below which [`Pod::hostname`] is a name.
    pub subdomain: Option<String>,
    /// Condition `Ready` is true.
    pub ready: bool,
    /// Where it is in its life.
    pub phase: Phase,
    /// It is being deleted (`metadata.deletionTimestamp`).
    pub terminating: bool,
    /// Label `fsm-proxy-uuid`: the pod has a proxy.
    pub proxy_uuid: Option<String>,
    /// It uses the node's network: its address is not its own.
    pub host_network: bool,
    /// HTTP probes of its containers as rewritten by the injector, which the proxy answers.
    pub probes: Arc<Probes>,
    /// Annotation `prometheus.io/scrape` asks for metrics.
    pub metrics: bool,
    /// TCP ports of its containers that have a name.
    pub named_ports: BTreeMap<String, u16>,
    /// When it was started, for warm-up.
    pub started: Option<Timestamp>,
}

impl Pod {
    /// Whether the pod has a proxy and may still send or serve traffic.
    pub fn has_proxy(&self) -> bool {
        self.proxy_uuid.is_some() && !self.phase.is_over()
    }

    /// The primary address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ips.first().copied()
    }
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Not started yet.
    #[default]
    Pending,
    /// At least one container runs.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended and one of them badly.
    Failed,
    /// The node does not answer.
    Unknown,
}

impl Phase {
    /// Whether no container will run any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: ServiceKey,
    /// Its virtual addresses; the primary one first. Empty when headless.
    pub cluster_ips: Vec<IpAddr>,
    /// `clusterIP: None`.
    pub headless: bool,
    /// Labels of its pods. Empty: it has no pods of its own, only endpoints that somebody writes.
    pub selector: BTreeMap<String, String>,
    /// Its TCP ports, in the order written.
    pub ports: Vec<ServicePort>,
    /// Annotation `flomesh.io/service-exclusion` keeps it out of the mesh.
    pub excluded: bool,
    /// `type: ExternalName`: only a name, nothing the mesh could reach.
    pub external_name: Option<String>,
    /// Annotation `flomesh.io/egress-gateway-mode` (`http2tunnel` or `sock5`).
    pub egress_gateway_mode: Option<String>,
    /// Its primary addresses are IPv6 (`ipFamilies`, or the first cluster IP).
    pub prefers_ipv6: bool,
}

/// A TCP port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; may be empty when it is the only one.
    pub name: String,
    /// The port that clients dial.
    pub port: u16,
    /// The port of the pods.
    pub target: TargetPort,
    /// What is spoken.
    pub protocol: Protocol,
}

/// `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A number, the same for every pod.
    Number(u16),
    /// The name of a container's port, which every pod resolves for itself.
    Name(String),
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1 or HTTP/2, found out from the bytes.
    Http,
    /// gRPC.
    Grpc,
    /// Opaque bytes.
    Tcp,
    /// Opaque bytes, and the server speaks first: nothing may wait for the client's.
    TcpServerFirst,
}

impl Protocol {
    /// FSM's spelling, in which documents carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
            Self::TcpServerFirst => "tcp-server-first",
        }
    }

    /// Whether requests are routed (HTTP and gRPC), not whole connections.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Grpc)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One port of one service as the mesh sees it: FSM's "MeshService".
///
/// A headless service whose endpoints have host names gives one for every host name and none for itself (FSM's rule for
/// StatefulSets).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeshService {
    /// The Service (or ServiceImport) behind it.
    pub service: ServiceKey,
    /// The host name below a headless service.
    pub host: Option<String>,
    /// The port that clients dial.
    pub port: u16,
    /// The name of the port; may be empty.
    pub port_name: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// The pods' port: the one that its endpoints have; without endpoints what `targetPort` says; the lowest when pods
    /// differ ([`World::endpoints`](super::World::endpoints) has each endpoint's own). `None` when nothing tells it.
    pub target_port: Option<u16>,
}

impl MeshService {
    /// `<service>` or `<host>.<service>`: the name without the namespace.
    pub fn name(&self) -> String {
        match &self.host {
            Some(host) => format!("{host}.{}", self.service.name),
            None => self.service.name.clone(),
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.service.namespace
    }
}

/// One endpoint of a service, whatever its port: the union over all its EndpointSlices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address to dial: of the service's primary family where the endpoint has one.
    pub ip: IpAddr,
    /// Its further addresses (dual stack): the same pod, so it must not get a share twice.
    pub other_ips: Vec<IpAddr>,
    /// Its name below a headless service.
    pub hostname: Option<String>,
    /// The pod, when one is known under the endpoint's reference or address.
    pub pod: Option<PodKey>,
    /// Its ports.
    pub ports: Arc<[EndpointPort]>,
    /// Whether it takes traffic.
    pub condition: Condition,
}

/// A TCP port of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointPort {
    /// Name of the Service port that it belongs to; may be empty.
    pub name: String,
    /// The number.
    pub port: u16,
}

/// Whether an endpoint takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// It takes traffic.
    Ready,
    /// It is being ended and still serves: only for want of a ready one.
    Serving,
    /// It takes none.
    NotReady,
}

/// An endpoint that a port of a service is dialled at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The address to dial.
    pub ip: IpAddr,
    /// The port to dial: the pod's own (`targetPort`), not the Service's.
    pub port: u16,
    /// All its addresses, [`Target::ip`] first.
    pub ips: Vec<IpAddr>,
    /// The pod; `None` for an address outside the cluster that somebody wrote into the endpoints.
    pub pod: Option<&'a PodKey>,
    /// The pod's account.
    pub account: Option<&'a Account>,
    /// The pod has a proxy, which speaks the mesh's mTLS.
    pub has_proxy: bool,
    /// When the pod was started, for warm-up.
    pub started: Option<Timestamp>,
}

/// An endpoint in another cluster (ServiceImport).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteTarget {
    /// `region/zone/group/cluster`.
    pub cluster: String,
    /// Address of that cluster's gateway.
    pub ip: IpAddr,
    /// Port of that cluster's gateway.
    pub port: u16,
    /// Path prefix under which the gateway serves the service; may be empty.
    pub path: String,
}

/// The parts of a Secret that proxies need for egress: PEM texts. Its `Debug` form hides the key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsSecret {
    /// `ca.crt`.
    pub ca: String,
    /// `tls.crt`.
    pub certificate: String,
    /// `tls.key`.
    pub key: String,
}

impl fmt::Debug for TlsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSecret")
            .field("ca", &self.ca)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}
