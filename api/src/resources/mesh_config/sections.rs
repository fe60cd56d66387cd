//! The smaller sections of a [`MeshConfig`](super::MeshConfig).

use super::{BTreeMap, Deserialize, JsonSchema, SecretReference, Serialize, number};

/// Logs and traces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Observability {
    /// Log level of the control plane; absent: `info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["trace", "debug", "info", "warn", "error", "fatal", "panic", "disabled"]))]
    pub fsm_log_level: Option<String>,
    /// FSM until 1.3: whether the debug server runs; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_debug_server: Option<bool>,
    /// Traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// Shipping of access logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_logging: Option<RemoteLogging>,
}

/// Traces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// Whether there are any; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// Host of the collector; absent: `jaeger.<namespace of the mesh>.svc.cluster.local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Port of the collector; absent: 9411.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path of the collector; absent: `/api/v2/spans`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Share of requests that are traced, 0 to 1, as text (v1alpha1: as a number); absent: 1.
    #[serde(default, deserialize_with = "number::as_text", skip_serializing_if = "Option::is_none")]
    pub sampled_fraction: Option<String>,
}

/// Shipping of access logs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteLogging {
    /// Whether they are shipped; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// How much: 0 nothing, 1 without bodies, 2 everything; absent: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<i64>,
    /// Host of the collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Port of the collector; absent: 30514.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path of the collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Value of the `Authorization` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    /// Share of requests that are logged, 0 to 1, as text (v1alpha1: as a number); absent: 1.
    #[serde(default, deserialize_with = "number::as_text", skip_serializing_if = "Option::is_none")]
    pub sampled_fraction: Option<String>,
    /// Secret with the settings; absent: `fsm-remote-logging-secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// Certificates of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Life of the proxies' certificates, as a duration; absent or unreadable: `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_cert_validity_duration: Option<String>,
    /// Size of RSA keys in bits, 2048 to 4096; absent: 2048.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_key_bit_size: Option<i64>,
    /// Client certificate of an ingress that is not part of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_gateway: Option<IngressGatewayCertificate>,
}

/// Client certificate of an ingress that is not part of the mesh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressGatewayCertificate {
    /// Names that it is for; the first is its common name too.
    pub subject_alt_names: Vec<String>,
    /// Its life, as a duration.
    pub validity_duration: String,
    /// Where it is put.
    pub secret: SecretReference,
}

/// Which kinds of policies count, and other switches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeatureFlags {
    /// Egress; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_egress_policy: Option<bool>,
    /// IngressBackend; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_ingress_backend_policy: Option<bool>,
    /// AccessControl; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_access_control_policy: Option<bool>,
    /// AccessCert; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_access_cert_policy: Option<bool>,
    /// Retry; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_retry_policy: Option<bool>,
    /// Plugin, PluginChain and PluginConfig; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_plugin_policy: Option<bool>,
    /// TrafficWarmup; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_traffic_warmup_policy: Option<bool>,
    /// Passed on to the proxies; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_auto_default_route: Option<bool>,
    /// Passed on to the proxies; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_sidecar_active_health_checks: Option<bool>,
    /// Whether published configurations are indented; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_sidecar_pretty_config: Option<bool>,
    /// Accepted; without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_snapshot_cache_mode: Option<bool>,
    /// Accepted; without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_async_proxy_service_mapping: Option<bool>,
    /// Gateway API: host names of listeners are judged; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_validate_gateway_listener_hostname: Option<bool>,
    /// Gateway API: host names of HTTPRoutes are judged; absent: true.
    #[serde(rename = "enableValidateHTTPRouteHostnames", default, skip_serializing_if = "Option::is_none")]
    pub enable_validate_http_route_hostnames: Option<bool>,
    /// Gateway API: host names of GRPCRoutes are judged; absent: true.
    #[serde(rename = "enableValidateGRPCRouteHostnames", default, skip_serializing_if = "Option::is_none")]
    pub enable_validate_grpc_route_hostnames: Option<bool>,
    /// Gateway API: host names of TLSRoutes are judged; absent: true.
    #[serde(rename = "enableValidateTLSRouteHostnames", default, skip_serializing_if = "Option::is_none")]
    pub enable_validate_tls_route_hostnames: Option<bool>,
    /// Gateway API: instances are taken from EndpointSlices; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_endpoint_slices_for_gateway: Option<bool>,
    /// Gateway API: rules without an instance are dropped; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_route_rule_if_no_available_backends: Option<bool>,
}

/// Order of the proxies' built-in modules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PluginChains {
    /// Of TCP connections to the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound_tcp: Option<Vec<ChainModule>>,
    /// Of HTTP requests to the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound_http: Option<Vec<ChainModule>>,
    /// Of TCP connections from the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound_tcp: Option<Vec<ChainModule>>,
    /// Of HTTP requests from the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound_http: Option<Vec<ChainModule>>,
}

/// A built-in module of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChainModule {
    /// Name of the module.
    pub plugin: String,
    /// Modules of a higher priority run first.
    pub priority: f64,
    /// Whether it is left out.
    pub disable: bool,
}

/// Which cluster of a set this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSet {
    /// Whether another control plane manages this one.
    #[serde(default)]
    pub is_managed: bool,
    /// Identity of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Region of the cluster.
    #[serde(default = "default_place")]
    pub region: String,
    /// Zone of the region.
    #[serde(default = "default_place")]
    pub zone: String,
    /// Group of the zone.
    #[serde(default = "default_place")]
    pub group: String,
    /// Name of the cluster; absent: `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Identity of the control plane that manages this one.
    #[serde(rename = "controlPlaneUID", default, skip_serializing_if = "Option::is_none")]
    pub control_plane_uid: Option<String>,
    /// Further properties.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<ClusterProperty>,
}

/// A property of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterProperty {
    /// Name of the property.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The ingress controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// Whether it runs.
    pub enabled: bool,
    /// Whether each namespace has its own.
    pub namespaced: bool,
    /// Type of its Service.
    #[serde(rename = "type")]
    pub type_: IngressServiceType,
    /// Its log level.
    #[schemars(extend("enum" = ["trace", "debug", "info", "warn", "error", "fatal", "panic", "disabled"]))]
    pub log_level: String,
    /// Plain HTTP.
    pub http: IngressHttp,
    /// HTTPS.
    pub tls: IngressTls,
}

impl Default for Ingress {
    fn default() -> Self {
        Self {
            enabled: true,
            namespaced: false,
            type_: IngressServiceType::default(),
            log_level: info(),
            http: IngressHttp::default(),
            // The default of the whole section differs from the default of its switch, as with FSM.
            tls: IngressTls { enabled: true, ..IngressTls::default() },
        }
    }
}

/// Type of the ingress controller's Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IngressServiceType {
    /// A load balancer.
    #[default]
    LoadBalancer,
    /// A port of every node.
    NodePort,
}

/// Plain HTTP of the ingress controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressHttp {
    /// Whether it is served.
    pub enabled: bool,
    /// Port of the Service.
    #[schemars(range(min = 1))]
    pub bind: u16,
    /// Port of the container.
    #[schemars(range(min = 1))]
    pub listen: u16,
    /// Port of the nodes.
    #[schemars(range(min = 1))]
    pub node_port: u16,
}

impl Default for IngressHttp {
    fn default() -> Self {
        Self { enabled: true, bind: 80, listen: 8000, node_port: 30508 }
    }
}

/// HTTPS of the ingress controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    /// Whether it is served.
    pub enabled: bool,
    /// Port of the Service.
    #[schemars(range(min = 1))]
    pub bind: u16,
    /// Port of the container.
    #[schemars(range(min = 1))]
    pub listen: u16,
    /// Port of the nodes.
    #[schemars(range(min = 1))]
    pub node_port: u16,
    /// Whether clients must present a certificate.
    #[serde(rename = "mTLS")]
    pub mtls: bool,
    /// TLS that is passed on unopened.
    pub ssl_passthrough: SslPassthrough,
}

impl Default for IngressTls {
    fn default() -> Self {
        Self {
            enabled: false,
            bind: 443,
            listen: 8443,
            node_port: 30607,
            mtls: false,
            ssl_passthrough: SslPassthrough::default(),
        }
    }
}

/// TLS that is passed on unopened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SslPassthrough {
    /// Whether it is.
    pub enabled: bool,
    /// To which port.
    #[schemars(range(min = 1))]
    pub upstream_port: u16,
}

impl Default for SslPassthrough {
    fn default() -> Self {
        Self { enabled: false, upstream_port: 443 }
    }
}

/// The controller of the Gateway API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayApi {
    /// Whether it runs.
    #[serde(default)]
    pub enabled: bool,
    /// Its log level.
    #[serde(default = "info")]
    #[schemars(extend("enum" = ["trace", "debug", "info", "warn", "error", "fatal", "panic", "disabled"]))]
    pub log_level: String,
}

/// The load balancer for Services on host ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceLb {
    /// Whether it runs.
    #[serde(default)]
    pub enabled: bool,
    /// Its image.
    #[serde(default = "service_lb_image")]
    pub image: String,
}

/// An external load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flb {
    /// Whether it is used.
    #[serde(default)]
    pub enabled: bool,
    /// Whether every namespace needs settings of its own.
    #[serde(default)]
    pub strict_mode: bool,
    /// What it sends traffic to.
    #[serde(default)]
    pub upstream_mode: FlbUpstreamMode,
    /// Secret with its settings.
    #[serde(default = "flb_secret")]
    pub secret_name: String,
}

/// What an external load balancer sends traffic to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FlbUpstreamMode {
    /// Ports of the nodes.
    NodePort,
    /// The instances.
    #[default]
    Endpoint,
}

/// The egress gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EgressGatewaySettings {
    /// Whether it runs.
    pub enabled: bool,
    /// Its log level.
    #[schemars(extend("enum" = ["trace", "debug", "info", "warn", "error", "fatal", "panic", "disabled"]))]
    pub log_level: String,
    /// How proxies speak to it.
    pub mode: EgressGatewayMode,
    /// Its port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Its port for operators.
    #[schemars(range(min = 1))]
    pub admin_port: u16,
    /// Number of instances.
    pub replicas: i32,
}

impl Default for EgressGatewaySettings {
    fn default() -> Self {
        Self {
            enabled: false,
            log_level: info(),
            mode: EgressGatewayMode::default(),
            port: 1080,
            admin_port: 6060,
            replicas: 1,
        }
    }
}

/// How proxies speak to an egress gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EgressGatewayMode {
    /// CONNECT over HTTP/2.
    #[default]
    Http2tunnel,
    /// SOCKS 5 (FSM spells it so).
    Sock5,
}

/// Images that controllers start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSettings {
    /// Their registry.
    #[serde(default = "image_registry")]
    pub registry: String,
    /// Their tag.
    #[serde(default = "image_tag")]
    pub tag: String,
    /// When they are pulled.
    #[serde(default = "image_pull_policy")]
    pub pull_policy: String,
    /// Names by component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub name: BTreeMap<String, String>,
    /// Digests by component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
}

/// The rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Misc {
    /// Image of the repository of configurations.
    #[serde(default = "repo_server_image")]
    pub repo_server_image: String,
    /// FSM 1.2: image with curl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curl_image: Option<String>,
}

/// Connectors to service registries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorSettings {
    /// A warning to readers.
    #[serde(rename = "DO_NOT_EDIT_viaGateway", default = "via_gateway_warning")]
    pub do_not_edit_via_gateway: String,
    /// Where the connectors' gateway is: the gateway connector writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via_gateway: Option<ViaGateway>,
    /// How traffic is shared between registries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lb: Option<ConnectorLb>,
    /// FSM 1.3: how traffic is shared between registries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lb_type: Option<ConnectorLbType>,
}

/// Where the connectors' gateway is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ViaGateway {
    /// Address in the cluster.
    #[serde(rename = "clusterIP", skip_serializing_if = "String::is_empty")]
    pub cluster_ip: String,
    /// Address outside of the cluster.
    #[serde(rename = "externalIP", skip_serializing_if = "String::is_empty")]
    pub external_ip: String,
    /// Address for traffic into the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ingress_addr: String,
    /// Port for HTTP into the cluster; 0: none.
    #[serde(rename = "ingressHTTPPort")]
    pub ingress_http_port: u16,
    /// Port for gRPC into the cluster; 0: none.
    #[serde(rename = "ingressGRPCPort")]
    pub ingress_grpc_port: u16,
    /// Address for traffic out of the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub egress_addr: String,
    /// Port for HTTP out of the cluster; 0: none.
    #[serde(rename = "egressHTTPPort")]
    pub egress_http_port: u16,
    /// Port for gRPC out of the cluster; 0: none.
    #[serde(rename = "egressGRPCPort")]
    pub egress_grpc_port: u16,
}

/// How traffic is shared between registries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorLb {
    /// How.
    #[serde(rename = "type", default)]
    pub type_: ConnectorLbType,
    /// FailOver: namespace of the first choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_namespace: Option<String>,
    /// FailOver: namespaces of the further choices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slave_namespaces: Vec<String>,
}

/// How traffic is shared between registries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConnectorLbType {
    /// All at once.
    #[default]
    ActiveActive,
    /// One after the other.
    FailOver,
}

fn default_place() -> String {
    "default".to_owned()
}

fn info() -> String {
    "info".to_owned()
}

fn service_lb_image() -> String {
    "flomesh/mirrored-klipper-lb:v0.4.7".to_owned()
}

fn flb_secret() -> String {
    "fsm-flb-secret".to_owned()
}

fn image_registry() -> String {
    "flomesh".to_owned()
}

fn image_tag() -> String {
    "latest".to_owned()
}

fn image_pull_policy() -> String {
    "IfNotPresent".to_owned()
}

fn repo_server_image() -> String {
    "flomesh/pipy-repo:1.5.14".to_owned()
}

fn via_gateway_warning() -> String {
    "viaGateway Managed by fsm-connector-gateway.".to_owned()
}
