//! The settings of the whole mesh: MeshConfig with every default resolved.

use super::Settings;
use super::model::WarmUp;
use std::collections::BTreeMap;
use std::time::Duration;

/// What holds for the whole mesh. Values and fall-backs are FSM's (`pkg/configurator`, the chart's preset).
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// Name of the mesh.
    pub name: String,
    /// Namespace of the control plane.
    pub fsm_namespace: String,
    /// Trust domain of certificates and of service names.
    pub trust_domain: String,
    /// Proxies speak mTLS among each other (`sidecar.sidecarDisabledMTLS` is not set).
    pub mtls: bool,
    /// Log level of proxies.
    pub sidecar_log_level: String,
    /// Connect, idle, read and write timeout of proxies; 60 s unless set.
    pub sidecar_timeout: Duration,
    /// Where proxies dial their application.
    pub local_proxy_mode: LocalProxyMode,
    /// Most proxies that may be connected; `None`: no limit.
    pub max_data_plane_connections: Option<u32>,
    /// Period of full re-pushes; `None`: none. Never less than 30 s.
    pub config_resync_interval: Option<Duration>,
    /// Indent published documents.
    pub pretty_config: bool,
    /// Publish `config.json.gz` instead of `config.json`.
    pub compress_config: bool,
    /// Unknown destinations are passed through.
    pub enable_egress: bool,
    /// Every service of the mesh may call every other; TrafficTargets are ignored.
    pub permissive: bool,
    /// Choose an endpoint for every HTTP/1 request.
    pub http1_per_request_load_balancing: bool,
    /// Choose an endpoint for every HTTP/2 request.
    pub http2_per_request_load_balancing: bool,
    /// Which authorities a service has.
    pub access_mode: AccessMode,
    /// Which of its names a service has.
    pub access_names: AccessNames,
    /// Zipkin export; `None`: off.
    pub tracing: Option<Tracing>,
    /// Access-log shipping; `None`: off.
    pub remote_logging: Option<RemoteLogging>,
    /// Life of mesh certificates; 24 h unless set.
    pub certificate_validity: Duration,
    /// Size of RSA keys in bits, 2048 to 4096.
    pub certificate_key_bits: u32,
    /// Optional behaviours.
    pub features: Features,
    /// Order of built-in and plugged-in stages.
    pub plugin_chains: PluginChains,
    /// This cluster's place in the cluster set.
    pub cluster_set: ClusterSet,
    /// Warm-up of new endpoints; `None`: off.
    pub warm_up: Option<WarmUp>,
    /// The egress gateway that the control plane runs.
    pub egress_gateway: EgressGatewaySettings,
}

/// `sidecar.localProxyMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalProxyMode {
    /// `127.0.0.1`.
    #[default]
    Localhost,
    /// The pod's own address (realised by one more DNAT rule).
    PodIp,
}

/// `traffic.serviceAccessMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessMode {
    /// Addresses only.
    Ip,
    /// Names only.
    Domain,
    /// Names and addresses.
    #[default]
    Mixed,
}

/// `traffic.serviceAccessNames`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessNames {
    /// Only names with `:<port>`.
    pub must_with_service_port: bool,
    /// Also names below `svc.<trust domain>`.
    pub with_trust_domain: bool,
    /// Names without a namespace only inside the namespace.
    pub must_with_namespace: bool,
}

impl Default for AccessNames {
    fn default() -> Self {
        Self { must_with_service_port: false, with_trust_domain: true, must_with_namespace: true }
    }
}

/// Zipkin v2 export of spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Host of the collector; `jaeger.<fsm namespace>.svc.cluster.local` unless set.
    pub address: String,
    /// Port; 9411 unless set.
    pub port: u16,
    /// Path; `/api/v2/spans` unless set.
    pub endpoint: String,
    /// Fraction of traces that are sampled, 0 to 1.
    pub sampled_fraction: f64,
}

/// Shipping of access logs. Its `Debug` form shows the authorization: never log it.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteLogging {
    /// 0: log as is; 1: make trace headers when absent; 2: always rewrite them.
    pub level: u64,
    /// Host of the collector.
    pub address: String,
    /// Port; 30514 unless set.
    pub port: u16,
    /// Path and query.
    pub endpoint: String,
    /// Value of the `authorization` header.
    pub authorization: String,
    /// Fraction of requests that are logged, 0 to 1.
    pub sampled_fraction: f64,
}

/// `featureFlags`, as far as proxies see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Honour Egress.
    pub egress_policy: bool,
    /// Honour IngressBackend.
    pub ingress_backend_policy: bool,
    /// Honour AccessControl.
    pub access_control_policy: bool,
    /// Honour AccessCert.
    pub access_cert_policy: bool,
    /// Honour Retry.
    pub retry_policy: bool,
    /// Honour Plugin, PluginChain and PluginConfig.
    pub plugin_policy: bool,
    /// Honour TrafficWarmup.
    pub traffic_warmup_policy: bool,
    /// Route requests for an unknown host to the first host of the port.
    pub auto_default_route: bool,
    /// Carried to the proxy, which checks passively anyway.
    pub sidecar_active_health_checks: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            egress_policy: true,
            ingress_backend_policy: true,
            access_control_policy: true,
            access_cert_policy: false,
            retry_policy: false,
            plugin_policy: false,
            traffic_warmup_policy: false,
            auto_default_route: false,
            sidecar_active_health_checks: false,
        }
    }
}

/// Order of stages by chain (`spec.pluginChains`); larger priorities run first.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginChains {
    /// Chain name (`inbound-tcp`, `inbound-http`, `outbound-tcp`, `outbound-http`) → built-in stages that are not
    /// disabled, in the order written.
    pub stages: BTreeMap<String, Vec<Stage>>,
}

/// A built-in stage of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Name, e.g. `tls-termination`.
    pub name: String,
    /// Larger runs first.
    pub priority: f64,
}

/// This cluster's place in the cluster set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSet {
    /// A control plane of the set manages this cluster.
    pub is_managed: bool,
    /// UID of this cluster.
    pub uid: String,
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// Group.
    pub group: String,
    /// Name.
    pub name: String,
    /// UID of the managing control plane.
    pub control_plane_uid: String,
    /// Further properties, informational.
    pub properties: BTreeMap<String, String>,
}

impl ClusterSet {
    /// `region/zone/group/name`.
    pub fn key(&self) -> String {
        format!("{}/{}/{}/{}", self.region, self.zone, self.group, self.name)
    }
}

/// `spec.egressGateway`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressGatewaySettings {
    /// The control plane runs one.
    pub enabled: bool,
    /// `http2tunnel` or `sock5`.
    pub mode: String,
    /// Its port; 1080 unless set.
    pub port: u16,
}

impl Mesh {
    /// What holds without any MeshConfig: the values of FSM's chart.
    pub fn defaults(settings: &Settings) -> Self {
        Self {
            name: settings.mesh_name.clone(),
            fsm_namespace: settings.fsm_namespace.clone(),
            trust_domain: settings.trust_domain.clone(),
            mtls: true,
            sidecar_log_level: "error".into(),
            sidecar_timeout: Duration::from_secs(60),
            local_proxy_mode: LocalProxyMode::Localhost,
            max_data_plane_connections: None,
            config_resync_interval: None,
            pretty_config: true,
            compress_config: true,
            enable_egress: true,
            permissive: true,
            http1_per_request_load_balancing: false,
            http2_per_request_load_balancing: true,
            access_mode: AccessMode::Mixed,
            access_names: AccessNames::default(),
            tracing: None,
            remote_logging: None,
            certificate_validity: Duration::from_secs(24 * 3600),
            certificate_key_bits: 2048,
            features: Features::default(),
            plugin_chains: PluginChains::default(),
            cluster_set: ClusterSet::default(),
            warm_up: None,
            egress_gateway: EgressGatewaySettings::default(),
        }
    }
}

impl Default for PluginChains {
    fn default() -> Self {
        let chain = |stages: &[(&str, u32)]| {
            stages.iter().map(|&(name, priority)| Stage { name: name.into(), priority: priority.into() }).collect()
        };
        Self {
            stages: BTreeMap::from([
                (
                    "inbound-tcp".into(),
                    chain(&[
                        ("tls-termination", 130),
                        ("tcp-routing", 120),
                        ("tcp-load-balancing", 110),
                        ("tcp-default", 100),
                    ]),
                ),
                (
                    "inbound-http".into(),
                    chain(&[
                        ("tls-termination", 180),
                        ("http-routing", 170),
                        ("metrics-http", 160),
                        ("tracing-http", 150),
                        ("logging-http", 140),
                        ("throttle-service", 130),
                        ("throttle-route", 120),
                        ("http-load-balancing", 110),
                        ("http-default", 100),
                    ]),
                ),
                (
                    "outbound-tcp".into(),
                    chain(&[("tcp-routing", 120), ("tcp-load-balancing", 110), ("tcp-default", 100)]),
                ),
                (
                    "outbound-http".into(),
                    chain(&[
                        ("http-routing", 160),
                        ("metrics-http", 150),
                        ("tracing-http", 140),
                        ("logging-http", 130),
                        ("circuit-breaker", 120),
                        ("http-load-balancing", 110),
                        ("http-default", 100),
                    ]),
                ),
            ]),
        }
    }
}

impl Default for ClusterSet {
    fn default() -> Self {
        Self {
            is_managed: false,
            uid: String::new(),
            region: "default".into(),
            zone: "default".into(),
            group: "default".into(),
            name: "local".into(),
            control_plane_uid: String::new(),
            properties: BTreeMap::new(),
        }
    }
}

impl Default for EgressGatewaySettings {
    fn default() -> Self {
        Self { enabled: false, mode: "http2tunnel".into(), port: 1080 }
    }
}
