//! The sidecar document: `config.json` as FSM's controller serves it to a sidecar, plus our additive fields.
//!
//! One document holds everything that one pod's proxy needs; there is no incremental form. The types follow the
//! document key by key and keep its spelling, so a reader who has a `config.json` open finds every field here.
//! They say what was *written*; what it *means* (parsed CIDRs, compiled regular expressions, resolved clusters) is
//! the business of the proxy's compiler.
//!
//! Reading is tolerant ([`Config::read`]): FSM 1.3 to 1.5 spell some things differently, and one broken rule must not
//! take the others down. Whatever is skipped or repaired is reported as a [`Problem`] that names the JSON path.
//! Only bytes that are no JSON object at all make reading fail.
//!
//! Additive fields (absent in documents of FSM's own controller) are marked *additive* where they are declared and
//! listed in `docs/configuration.md`.

mod problem;
mod read;

pub use problem::{Problem, Severity};
pub use read::{MAX_DOCUMENT_BYTES, ReadError};

use serde::Serialize;
use std::collections::BTreeMap;

/// A whole sidecar document.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// When the controller published the document (RFC 3339); informational.
    pub ts: Option<String>,
    /// Content hash of the document, decimal digits; the repository's version and `ETag`.
    pub version: Option<String>,
    /// Whether the namespace asks for metrics scraping; the proxy exports metrics regardless.
    pub metrics: bool,
    /// Settings of the proxy as a whole.
    pub spec: Spec,
    /// The pod's mesh certificate; `None` when mesh mTLS is disabled.
    pub certificate: Option<Certificate>,
    /// What may enter the pod. `None` and empty are the same: nothing.
    pub inbound: Option<Inbound>,
    /// What the pod may call. `None`: nothing is known, only egress passthrough applies.
    pub outbound: Option<Outbound>,
    /// Egress gateways, when the mesh has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// Addresses (`IP` or CIDR) that may open connections to this pod, with a label for people.
    pub allowed_endpoints: BTreeMap<String, String>,
    /// Stage lists by chain name; `modules/…` are built in, `plugins/…` are extension points.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub chains: BTreeMap<String, Vec<String>>,
    /// Names answered by the local DNS proxy (FSM 1.3.0–1.3.8).
    #[serde(rename = "DNSResolveDB", skip_serializing_if = "Option::is_none")]
    pub dns_resolve_db: Option<BTreeMap<String, Vec<String>>>,
}

/// Settings of the proxy as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Spec {
    /// `<service account>.<namespace>` of this pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_identity: String,
    /// `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `disabled`.
    pub sidecar_log_level: String,
    /// Seconds for connecting, waiting for a response and staying idle; 0 leaves the proxy's own limits.
    pub sidecar_timeout: u64,
    /// How traffic to unknown destinations and over kept-alive connections is treated.
    pub traffic: Traffic,
    /// Optional behaviours.
    pub feature_flags: FeatureFlags,
    /// The pod's own probes, as rewritten by the injector.
    pub probes: Probes,
    /// Properties of the cluster set (multi-cluster); informational.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cluster_set: BTreeMap<String, String>,
    /// Where traces and access logs go.
    pub observability: Observability,
    /// Upstream resolvers of the local DNS proxy (FSM 1.3.0–1.3.8).
    #[serde(rename = "LocalDNSProxy", skip_serializing_if = "Option::is_none")]
    pub local_dns_proxy: Option<LocalDnsProxy>,
}

/// How traffic to unknown destinations and over kept-alive connections is treated.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Traffic {
    /// Pass unknown destinations through as plain TCP.
    pub enable_egress: bool,
    /// Choose an endpoint for every HTTP/1 request instead of once for each downstream connection.
    #[serde(rename = "HTTP1PerRequestLoadBalancing")]
    pub http1_per_request_load_balancing: bool,
    /// Choose an endpoint for every HTTP/2 request instead of once for each downstream connection.
    #[serde(rename = "HTTP2PerRequestLoadBalancing")]
    pub http2_per_request_load_balancing: bool,
}

/// Optional behaviours.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FeatureFlags {
    /// Sent by FSM, never acted upon.
    pub enable_sidecar_active_health_checks: bool,
    /// Route requests for an unknown host to the first host of the port.
    pub enable_auto_default_route: bool,
}

/// The pod's own probes, as rewritten by the injector; one entry for each container that has one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Probes {
    /// Readiness probes, answered on port 15902.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub readiness_probes: Vec<Probe>,
    /// Liveness probes, answered on port 15901.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub liveness_probes: Vec<Probe>,
    /// Startup probes, answered on port 15903.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub startup_probes: Vec<Probe>,
}

/// A Kubernetes probe (Kubernetes' own JSON spelling).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// HTTP probe; the only kind that the injector sends to the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetProbe>,
    /// Seconds before the first probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_delay_seconds: Option<u64>,
    /// Seconds the kubelet waits for an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Seconds between probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<u64>,
    /// Consecutive successes that make the probe succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_threshold: Option<u64>,
    /// Consecutive failures that make the probe fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u64>,
}

/// The HTTP part of a probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpGetProbe {
    /// Path asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Port number; Kubernetes allows a string of digits too.
    pub port: u16,
    /// `HTTP` or `HTTPS`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    /// Extra request headers; the injector puts the original target here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_headers: Vec<HttpHeader>,
}

/// A header of a probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HttpHeader {
    /// Header name.
    pub name: String,
    /// Header value.
    pub value: String,
}

/// Where traces and access logs go.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Observability {
    /// Zipkin collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// Remote access log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_logging: Option<RemoteLogging>,
}

/// Zipkin collector.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// `host:port`.
    pub address: String,
    /// Path, `/api/v2/spans` by default.
    pub endpoint: String,
    /// Fraction of sampled traces, 0 to 1. A decimal string on the wire.
    #[serde(
        serialize_with = "read::fraction_string",
        skip_serializing_if = "Option::is_none"
    )]
    pub sampled_fraction: Option<f64>,
}

/// Remote access log.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteLogging {
    /// 0: log as is; 1: make trace headers when absent; 2: always rewrite them.
    pub level: u64,
    /// `host:port`.
    pub address: String,
    /// Path and query.
    pub endpoint: String,
    /// Value of the `authorization` header.
    pub authorization: String,
    /// Fraction of logged requests, 0 to 1. A decimal string on the wire.
    #[serde(
        serialize_with = "read::fraction_string",
        skip_serializing_if = "Option::is_none"
    )]
    pub sampled_fraction: Option<f64>,
}

/// Upstream resolvers of the local DNS proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LocalDnsProxy {
    /// Resolver addresses.
    #[serde(rename = "UpstreamDNSServers", skip_serializing_if = "Option::is_none")]
    pub upstream_dns_servers: Option<DnsServers>,
}

/// Resolver addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DnsServers {
    /// Asked first.
    pub primary: String,
    /// Asked when the first does not answer.
    pub secondary: String,
}

/// A certificate with its key and the roots it is to be used with.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Certificate {
    /// For [`OutboundTrafficMatch`] and cluster certificates: `true` means "use the mesh certificate".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fsm_issued: Option<bool>,
    /// `<service account>.<namespace>.<trust domain>`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub common_name: String,
    /// Subject alternative names, informational.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
    /// `YYYY-MM-DD hh:mm:ss`, no zone; informational (the certificate itself decides).
    pub expiration: String,
    /// PEM: leaf and intermediates.
    pub cert_chain: String,
    /// PEM: private key. Never shown by any endpoint of the proxy.
    pub private_key: String,
    /// PEM: trusted roots.
    #[serde(rename = "IssuingCA")]
    pub issuing_ca: String,
}

/// What may enter the pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inbound {
    /// By original destination port, which between sidecars is the *service* port.
    pub traffic_matches: BTreeMap<u16, InboundTrafficMatch>,
    /// Local clusters: name → `host:port` → weight.
    pub clusters_configs: BTreeMap<String, BTreeMap<String, u32>>,
}

/// What may enter the pod on one port.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InboundTrafficMatch {
    /// The application's own port.
    pub port: u16,
    /// `http`, `grpc`, `tcp`, `https`, …; lower case.
    pub protocol: String,
    /// Clients outside the mesh that are let in: CIDR → how. A `null` value means plaintext.
    #[serde(rename = "SourceIPRanges", skip_serializing_if = "BTreeMap::is_empty")]
    pub source_ip_ranges: BTreeMap<String, Option<SourceIpRange>>,
    /// Host → rule set. `*` stands for clients of `SourceIPRanges`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub http_host_port2_service: BTreeMap<String, HostService>,
    /// Rule sets by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub http_service_route_rules: BTreeMap<String, InboundRouteRules>,
    /// Where TCP connections go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_service_route_rules: Option<InboundTcpRouteRules>,
    /// Limit of new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<TcpRateLimit>,
}

/// How clients of one source range are let in.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SourceIpRange {
    /// TLS is required.
    #[serde(rename = "mTLS")]
    pub mtls: bool,
    /// The client's principals are not compared.
    pub skip_client_cert_validation: bool,
    /// Certificate names that are let in; `None` accepts any name of the trusted roots.
    pub authenticated_principals: Option<Vec<String>>,
}

/// Which rule set serves a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostService {
    /// Key into `HttpServiceRouteRules`.
    pub rule_name: String,
    /// The service's own name, in packed documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// The rules of one inbound service.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InboundRouteRules {
    /// In evaluation order: the first match wins.
    pub route_rules: Vec<RouteRule>,
    /// Plugin name → its configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, serde_json::Value>,
    /// Limit of requests to the whole service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<HttpRateLimit>,
    /// Addresses of permitted callers (SMI mode), informational: identities decide.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allowed_endpoints: BTreeMap<String, String>,
}

/// One HTTP rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RouteRule {
    /// Path, prefix or regular expression, by `type`.
    pub path: String,
    /// `Regex`, `Exact` or `Prefix`.
    #[serde(rename = "Type")]
    pub path_type: PathType,
    /// Header name → regular expression that its value must match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Permitted methods; `None` or `*` means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Cluster → weight; 0 marks a failover cluster.
    pub target_clusters: BTreeMap<String, u32>,
    /// `<service account>.<namespace>` of permitted callers; `None` means anyone (inbound only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_services: Option<Vec<String>>,
    /// Limit of requests to this route (inbound only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<HttpRateLimit>,
}

/// How a rule's path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum PathType {
    /// Regular expression over the whole path, without the query.
    #[default]
    Regex,
    /// The whole path.
    Exact,
    /// The beginning of the path, ending at a segment boundary.
    Prefix,
}

/// Where inbound TCP connections go.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InboundTcpRouteRules {
    /// Cluster → weight.
    pub target_clusters: BTreeMap<String, u32>,
    /// *Additive.* `<service account>.<namespace>` of permitted callers; `None` means anyone of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_services: Option<Vec<String>>,
    /// Plugin name → its configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, serde_json::Value>,
}

/// What the pod may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Outbound {
    /// By original destination port.
    pub traffic_matches: BTreeMap<u16, Vec<OutboundTrafficMatch>>,
    /// Clusters by name.
    pub clusters_configs: BTreeMap<String, ClusterConfig>,
}

/// What the pod may call on one port and, optionally, in some address ranges.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OutboundTrafficMatch {
    /// CIDR → settings of that range. `None`: any destination (an egress rule).
    #[serde(rename = "DestinationIPRanges")]
    pub destination_ip_ranges: Option<BTreeMap<String, Option<DestinationIpRange>>>,
    /// Destination port.
    pub port: u16,
    /// `http`, `grpc`, `tcp`, `https`, …; lower case.
    pub protocol: String,
    /// Host → rule set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub http_host_port2_service: BTreeMap<String, HostService>,
    /// Rule sets by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub http_service_route_rules: BTreeMap<String, OutboundRouteRules>,
    /// Where TCP connections go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_service_route_rules: Option<OutboundTcpRouteRules>,
}

/// Settings of one destination range.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DestinationIpRange {
    /// Client certificate used towards this range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_cert: Option<Certificate>,
}

/// The rules of one outbound service.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OutboundRouteRules {
    /// In evaluation order: the first match wins.
    pub route_rules: Vec<RouteRule>,
    /// Egress gateway rule that this service uses (`*` is the global one).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_forward_gateway: Option<String>,
    /// Plugin name → its configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, serde_json::Value>,
    /// This pod's identity, in documents of FSM 1.3.8 and older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_identity: Option<String>,
}

/// Where outbound TCP connections go.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OutboundTcpRouteRules {
    /// Cluster → weight. `None` for TCP egress.
    pub target_clusters: Option<BTreeMap<String, u32>>,
    /// Pass connections through to their original destination.
    pub allowed_egress_traffic: bool,
    /// Egress gateway rule that this service uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_forward_gateway: Option<String>,
    /// Plugin name → its configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, serde_json::Value>,
}

/// One outbound cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClusterConfig {
    /// `host:port` → endpoint.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Limits and circuit breaking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_settings: Option<ConnectionSettings>,
    /// Retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// Client certificate for TLS origination (egress).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_cert: Option<Certificate>,
    /// Never set by FSM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<u64>,
    /// *Additive.* `<service account>.<namespace>` or whole principals that the servers of this cluster may present.
    /// Empty: any certificate of the mesh CA, which is counted and reported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_identities: Vec<String>,
}

/// One endpoint of an outbound cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoint {
    /// Share of the traffic; 0 marks a failover endpoint.
    pub weight: u32,
    /// Key of the remote cluster (multi-cluster).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Path prefix that the remote cluster's ingress wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `ip:port` of a gateway to go through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via_gateway: Option<String>,
}

/// Limits of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ConnectionSettings {
    /// TCP limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpConnectionSettings>,
    /// HTTP limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpConnectionSettings>,
}

/// TCP limits of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TcpConnectionSettings {
    /// Most connections at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Seconds until a connection attempt is given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<f64>,
}

/// HTTP limits of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HttpConnectionSettings {
    /// Most requests at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// A connection is retired after so many requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests_per_connection: Option<u32>,
    /// Most requests waiting for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Most retries at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Circuit breaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaking: Option<CircuitBreaking>,
}

/// Circuit breaker of one cluster. Unset members take the defaults of `docs/configuration.md`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CircuitBreaking {
    /// Seconds over which requests are counted.
    pub stat_time_window: Option<f64>,
    /// Ratios count only from so many requests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_request_amount: Option<u32>,
    /// Seconds for which the breaker stays open.
    pub degraded_time_window: Option<f64>,
    /// Seconds from which on a response is slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_time_threshold: Option<f64>,
    /// So many slow responses open the breaker; 0 never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_amount_threshold: Option<u32>,
    /// Such a share of slow responses opens the breaker; 0 never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_ratio_threshold: Option<f64>,
    /// So many failed responses open the breaker; 0 never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_amount_threshold: Option<u32>,
    /// Such a share of failed responses opens the breaker; 0 never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_ratio_threshold: Option<f64>,
    /// Status of the answer while open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded_status_code: Option<u16>,
    /// Body of the answer while open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded_response_content: Option<String>,
}

/// Retries of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RetryPolicy {
    /// Conditions, separated by commas; empty means `5xx`.
    pub retry_on: String,
    /// Seconds for each attempt.
    pub per_try_timeout: Option<f64>,
    /// Most retries after the first attempt.
    pub num_retries: Option<u32>,
    /// Seconds of the first back-off.
    pub retry_backoff_base_interval: Option<f64>,
}

/// Limit of HTTP requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HttpRateLimit {
    /// Limit kept by each proxy for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<HttpLocalRateLimit>,
}

/// Limit of HTTP requests kept by one proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HttpLocalRateLimit {
    /// Requests for each window.
    pub requests: u32,
    /// Seconds: 1, 60 or 3600.
    pub stat_time_window: f64,
    /// Size of the bucket; unset: `requests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Status of the answer; unset: 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status_code: Option<u16>,
    /// Headers of the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_headers_to_add: Vec<NameValue>,
}

/// A header to add.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NameValue {
    /// Header name.
    pub name: String,
    /// Header value.
    pub value: String,
}

/// Limit of new TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TcpRateLimit {
    /// Limit kept by each proxy for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<TcpLocalRateLimit>,
}

/// Limit of new TCP connections kept by one proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TcpLocalRateLimit {
    /// Connections for each window.
    pub connections: u32,
    /// Seconds: 1, 60 or 3600.
    pub stat_time_window: f64,
    /// Size of the bucket; unset: `connections`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// Egress gateways.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Forward {
    /// Rule (`*` is the global one) → `svc.ns` → weight.
    pub forward_matches: BTreeMap<String, BTreeMap<String, u32>>,
    /// `svc.ns` → gateway.
    pub egress_gateways: BTreeMap<String, EgressGateway>,
}

/// One egress gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EgressGateway {
    /// `host:port` → endpoint.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// `http2tunnel` or `sock5` (FSM's spelling).
    pub mode: String,
}
