//! `Spec`: settings of the proxy as a whole.

use super::write;
use serde::Serialize;
use std::collections::BTreeMap;

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
    /// *Additive.* Responses do not tell which workload and pod answered (`fsm-stats`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hide_stats_headers: bool,
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
    /// Ours: access log of the proxy itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// Ours: what the metrics page looks like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
}

/// Access log of the proxy itself; an addition to FSM's document.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// `stdout`, `stderr` or the absolute path of a file; empty: `stdout`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// `json` or `text`; empty: `json`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// Line of text with fields in braces; empty: the usual one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// Only requests that failed.
    pub errors_only: bool,
    /// Fraction of logged requests, 0 to 1. A decimal string on the wire.
    #[serde(serialize_with = "write::fraction_string", skip_serializing_if = "Option::is_none")]
    pub sampled_fraction: Option<f64>,
}

/// What the metrics page looks like; an addition to FSM's document.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Buckets of histograms: `fsm`, `fine` or `coarse`; empty: `fsm`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub buckets: String,
    /// Pods of a workload are told apart.
    pub pod_labels: bool,
}

/// Collector of spans.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// Ours: `zipkin` or `otlp`; empty: `zipkin`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// `host:port`.
    pub address: String,
    /// Path; empty: `/api/v2/spans`, and `/v1/traces` for OTLP.
    pub endpoint: String,
    /// Fraction of sampled traces, 0 to 1. A decimal string on the wire.
    #[serde(serialize_with = "write::fraction_string", skip_serializing_if = "Option::is_none")]
    pub sampled_fraction: Option<f64>,
}

/// Remote access log. Its `Debug` form hides the authorization.
#[derive(Clone, Default, PartialEq, Serialize)]
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
    #[serde(serialize_with = "write::fraction_string", skip_serializing_if = "Option::is_none")]
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
