//! Sections of a [`MeshConfig`](super::MeshConfig) for the controllers beside the mesh: ingress, gateways, load
//! balancers, connectors.

use super::{BTreeMap, Deserialize, JsonSchema, Serialize};

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
