//! Sections of a [`MeshConfig`](super::MeshConfig) on observation, certificates, features and the cluster.

use super::{Deserialize, JsonSchema, SecretReference, Serialize, number};

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
    /// Access log of the proxies themselves (not in FSM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// What the proxies' metrics look like (not in FSM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
}

/// Access log of the proxies themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// Whether there is one; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// `stdout`, `stderr` or the absolute path of a file in the sidecar's container; absent: `stdout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `json` or `text`; absent: `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["json", "text"]))]
    pub format: Option<String>,
    /// Line of text with fields in braces, e.g. `{method} {path} {status}`; absent: the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Only requests that failed; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_only: Option<bool>,
    /// Share of requests that are logged, 0 to 1, as text; absent: 1.
    #[serde(default, deserialize_with = "number::as_text", skip_serializing_if = "Option::is_none")]
    pub sampled_fraction: Option<String>,
}

/// What the proxies' metrics look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Buckets of histograms: `fsm`, `fine` or `coarse`; absent: `fsm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["fsm", "fine", "coarse"]))]
    pub buckets: Option<String>,
    /// Whether pods of a workload are told apart; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_labels: Option<bool>,
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
    /// What the collector understands: `zipkin`, or `otlp` (over HTTP; not in FSM); absent: `zipkin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["zipkin", "otlp"]))]
    pub protocol: Option<String>,
    /// Port of the collector; absent: 9411, and 4318 for `otlp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path of the collector; absent: `/api/v2/spans`, and `/v1/traces` for `otlp`.
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
    /// How much, 0 to 2; absent: 2.
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

fn default_place() -> String {
    "default".to_owned()
}
