//! The settings of the whole mesh: MeshConfig with every default resolved.

use super::Settings;
use super::local_names::LocalNames;
use super::model::WarmUp;
use fsm_api::config::{AccessLog, Metrics};
use fsm_api::resources::GoDuration;
use fsm_api::resources::mesh_config::{
    self, EgressGatewayMode, FeatureFlags, MeshConfigSpec, Observability, Sidecar, Traffic,
};
use fsm_api::resources::policy::TrafficWarmupSpec;
use std::collections::BTreeMap;
use std::time::Duration;

/// FSM ignores shorter intervals.
const LEAST_RESYNC_INTERVAL: Duration = Duration::from_secs(30);

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
    /// The control plane's debug server is open (`observability.enableDebugServer`).
    pub debug_server: bool,
    /// Access log of the proxies themselves; `None`: off.
    pub access_log: Option<AccessLog>,
    /// What the proxies' metrics look like.
    pub metrics: Metrics,
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
    /// Names that sidecars answer by themselves; `None`: they answer nothing.
    pub local_names: Option<LocalNames>,
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

/// Export of spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// `zipkin` or `otlp`.
    pub protocol: String,
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
            debug_server: false,
            access_log: None,
            metrics: Metrics::default(),
            certificate_validity: Duration::from_secs(24 * 3600),
            certificate_key_bits: 2048,
            features: Features::default(),
            plugin_chains: PluginChains::default(),
            cluster_set: ClusterSet::default(),
            local_names: None,
            warm_up: None,
            egress_gateway: EgressGatewaySettings::default(),
        }
    }
}

impl Mesh {
    /// What holds with a MeshConfig: its values, and where it says nothing, or something that cannot be, the usual ones.
    pub(super) fn resolve(settings: &Settings, config: Option<&MeshConfigSpec>) -> Self {
        let mut mesh = Self::defaults(settings);
        let Some(config) = config else { return mesh };
        if let Some(sidecar) = &config.sidecar {
            mesh.read_sidecar(sidecar);
        }
        if let Some(traffic) = &config.traffic {
            mesh.read_traffic(traffic);
        }
        if let Some(observability) = &config.observability {
            mesh.read_observability(observability);
        }
        if let Some(certificate) = &config.certificate {
            let validity = certificate.service_cert_validity_duration.as_deref().and_then(duration);
            mesh.certificate_validity = validity.unwrap_or(mesh.certificate_validity);
            let bits = certificate.cert_key_bit_size.and_then(|bits| u32::try_from(bits).ok());
            mesh.certificate_key_bits =
                bits.filter(|bits| (2048..=4096).contains(bits)).unwrap_or(mesh.certificate_key_bits);
        }
        if let Some(flags) = &config.feature_flags {
            mesh.read_features(flags);
        }
        if let Some(chains) = &config.plugin_chains {
            mesh.plugin_chains.read(chains);
        }
        if let Some(set) = &config.cluster_set {
            mesh.cluster_set.read(set);
        }
        if let Some(gateway) = &config.egress_gateway {
            mesh.egress_gateway = EgressGatewaySettings {
                enabled: gateway.enabled,
                mode: match gateway.mode {
                    EgressGatewayMode::Http2tunnel => "http2tunnel".into(),
                    EgressGatewayMode::Sock5 => "sock5".into(),
                },
                port: gateway.port,
            };
        }
        mesh.warm_up = config.warmup.as_ref().filter(|spec| spec.enable).map(warm_up);
        mesh
    }

    fn read_sidecar(&mut self, sidecar: &Sidecar) {
        self.mtls = !sidecar.sidecar_disabled_mtls.unwrap_or_default();
        if let Some(level) = sidecar.log_level.as_ref().filter(|level| !level.is_empty()) {
            self.sidecar_log_level.clone_from(level);
        }
        let timeout =
            sidecar.sidecar_timeout.and_then(|seconds| u64::try_from(seconds).ok()).filter(|&seconds| seconds > 0);
        self.sidecar_timeout = timeout.map_or(self.sidecar_timeout, Duration::from_secs);
        if sidecar.local_proxy_mode.as_deref().is_some_and(|mode| mode.eq_ignore_ascii_case("PodIP")) {
            self.local_proxy_mode = LocalProxyMode::PodIp;
        }
        self.max_data_plane_connections =
            sidecar.max_data_plane_connections.and_then(|most| u32::try_from(most).ok()).filter(|&most| most > 0);
        self.config_resync_interval = (sidecar.config_resync_interval.as_deref())
            .and_then(duration)
            .filter(|interval| *interval >= LEAST_RESYNC_INTERVAL);
        self.compress_config = sidecar.compress_config;
        self.local_names = sidecar.local_dns_proxy.as_ref().and_then(LocalNames::read);
    }

    fn read_traffic(&mut self, traffic: &Traffic) {
        let set = |field: &mut bool, value: Option<bool>| *field = value.unwrap_or(*field);
        set(&mut self.enable_egress, traffic.enable_egress);
        set(&mut self.permissive, traffic.enable_permissive_traffic_policy_mode);
        set(&mut self.http1_per_request_load_balancing, traffic.http1_per_request_load_balancing);
        set(&mut self.http2_per_request_load_balancing, traffic.http2_per_request_load_balancing);
        self.access_mode = match traffic.service_access_mode.to_ascii_lowercase().as_str() {
            "ip" => AccessMode::Ip,
            "domain" => AccessMode::Domain,
            _ => AccessMode::Mixed,
        };
        self.access_names = AccessNames {
            must_with_service_port: traffic.service_access_names.must_with_service_port,
            with_trust_domain: traffic.service_access_names.with_trust_domain,
            must_with_namespace: traffic.service_access_names.must_with_namespace,
        };
    }

    fn read_observability(&mut self, observability: &Observability) {
        let text =
            |given: &Option<String>, usual: String| given.clone().filter(|text| !text.is_empty()).unwrap_or(usual);
        let port = |given: Option<u16>, usual: u16| given.filter(|&port| port > 0).unwrap_or(usual);
        let collector = format!("jaeger.{}.svc.{}", self.fsm_namespace, self.trust_domain);
        if let Some(tracing) = observability.tracing.as_ref().filter(|tracing| tracing.enable.unwrap_or_default()) {
            let protocol = text(&tracing.protocol, "zipkin".into());
            let (usual_port, usual_path) =
                if protocol == "otlp" { (4318, "/v1/traces") } else { (9411, "/api/v2/spans") };
            self.tracing = Some(Tracing {
                address: text(&tracing.address, collector),
                port: port(tracing.port, usual_port),
                endpoint: text(&tracing.endpoint, usual_path.into()),
                protocol,
                sampled_fraction: fraction(tracing.sampled_fraction.as_deref()),
            });
        }
        self.debug_server = observability.enable_debug_server.unwrap_or_default();
        let logging = observability.remote_logging.as_ref();
        if let Some(logging) = logging.filter(|logging| logging.enable.unwrap_or_default()) {
            self.remote_logging = Some(RemoteLogging {
                level: logging.level.and_then(|level| u64::try_from(level).ok()).unwrap_or(2),
                address: logging.address.clone().unwrap_or_default(),
                port: port(logging.port, 30514),
                endpoint: logging.endpoint.clone().unwrap_or_default(),
                authorization: logging.authorization.clone().unwrap_or_default(),
                sampled_fraction: fraction(logging.sampled_fraction.as_deref()),
            });
        }
        if let Some(log) = observability.access_log.as_ref().filter(|log| log.enable.unwrap_or_default()) {
            self.access_log = Some(AccessLog {
                path: log.path.clone().unwrap_or_default(),
                format: log.format.clone().unwrap_or_default(),
                template: log.template.clone().unwrap_or_default(),
                errors_only: log.errors_only.unwrap_or_default(),
                sampled_fraction: Some(fraction(log.sampled_fraction.as_deref())).filter(|fraction| *fraction < 1.0),
            });
        }
        if let Some(metrics) = &observability.metrics {
            self.metrics = Metrics {
                buckets: metrics.buckets.clone().unwrap_or_default(),
                pod_labels: metrics.pod_labels.unwrap_or_default(),
            };
        }
    }

    fn read_features(&mut self, flags: &FeatureFlags) {
        let features = &mut self.features;
        for (field, value) in [
            (&mut features.egress_policy, flags.enable_egress_policy),
            (&mut features.ingress_backend_policy, flags.enable_ingress_backend_policy),
            (&mut features.access_control_policy, flags.enable_access_control_policy),
            (&mut features.access_cert_policy, flags.enable_access_cert_policy),
            (&mut features.retry_policy, flags.enable_retry_policy),
            (&mut features.plugin_policy, flags.enable_plugin_policy),
            (&mut features.traffic_warmup_policy, flags.enable_traffic_warmup_policy),
            (&mut features.auto_default_route, flags.enable_auto_default_route),
            (&mut features.sidecar_active_health_checks, flags.enable_sidecar_active_health_checks),
            (&mut self.pretty_config, flags.enable_sidecar_pretty_config),
        ] {
            *field = value.unwrap_or(*field);
        }
    }
}

/// Warm-up as written; weights beyond 100 and an aggression below 1 are brought into range.
pub(super) fn warm_up(spec: &TrafficWarmupSpec) -> WarmUp {
    WarmUp {
        duration: Duration::from(spec.duration),
        min_weight: spec.min_weight.min(100),
        max_weight: spec.max_weight.min(100),
        aggression: if spec.aggression.is_finite() { spec.aggression.max(1.0) } else { 1.0 },
    }
}

fn duration(text: &str) -> Option<Duration> {
    text.trim().parse::<GoDuration>().ok().map(Duration::from).filter(|duration| !duration.is_zero())
}

fn fraction(text: Option<&str>) -> f64 {
    let given = text.and_then(|text| text.trim().parse::<f64>().ok()).filter(|fraction| fraction.is_finite());
    given.map_or(1.0, |fraction| fraction.clamp(0.0, 1.0))
}

impl PluginChains {
    fn read(&mut self, chains: &mesh_config::PluginChains) {
        for (name, given) in [
            ("inbound-tcp", &chains.inbound_tcp),
            ("inbound-http", &chains.inbound_http),
            ("outbound-tcp", &chains.outbound_tcp),
            ("outbound-http", &chains.outbound_http),
        ] {
            // A chain with nothing in it has not been said: to a Pipy sidecar it would mean that it sends everything back.
            if let Some(given) = given.as_ref().filter(|given| !given.is_empty()) {
                let enabled = given.iter().filter(|stage| !stage.disable);
                let stages = enabled.map(|stage| Stage { name: stage.plugin.clone(), priority: stage.priority });
                self.stages.insert(name.into(), stages.collect());
            }
        }
    }
}

impl ClusterSet {
    fn read(&mut self, set: &mesh_config::ClusterSet) {
        *self = Self {
            is_managed: set.is_managed,
            uid: set.uid.clone().unwrap_or_default(),
            region: set.region.clone(),
            zone: set.zone.clone(),
            group: set.group.clone(),
            name: set.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| self.name.clone()),
            control_plane_uid: set.control_plane_uid.clone().unwrap_or_default(),
            properties: set.properties.iter().map(|one| (one.name.clone(), one.value.clone())).collect(),
        };
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
