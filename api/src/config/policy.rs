//! Policies: rate limits, connection limits, circuit breakers and retries.

use super::write;
use serde::Serialize;

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
    #[serde(serialize_with = "write::optional_number", skip_serializing_if = "Option::is_none")]
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
    #[serde(serialize_with = "write::optional_number")]
    pub stat_time_window: Option<f64>,
    /// Ratios count only from so many requests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_request_amount: Option<u32>,
    /// Seconds for which the breaker stays open.
    #[serde(serialize_with = "write::optional_number")]
    pub degraded_time_window: Option<f64>,
    /// Seconds from which on a response is slow.
    #[serde(serialize_with = "write::optional_number", skip_serializing_if = "Option::is_none")]
    pub slow_time_threshold: Option<f64>,
    /// So many slow responses open the breaker; 0 never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_amount_threshold: Option<u32>,
    /// Such a share of slow responses opens the breaker; 0 never.
    #[serde(serialize_with = "write::optional_number", skip_serializing_if = "Option::is_none")]
    pub slow_ratio_threshold: Option<f64>,
    /// So many failed responses open the breaker; 0 never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_amount_threshold: Option<u32>,
    /// Such a share of failed responses opens the breaker; 0 never.
    #[serde(serialize_with = "write::optional_number", skip_serializing_if = "Option::is_none")]
    pub error_ratio_threshold: Option<f64>,
    /// Status of the answer while open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded_status_code: Option<u16>,
    /// Body of the answer while open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded_response_content: Option<String>,
}

/// *Additive.* How the endpoints of one cluster are chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LoadBalancing {
    /// `round-robin`, `least-request` or `hash`; unset: `round-robin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// What `hash` and sessions go by: `source-ip`, `header:<name>` or `cookie:<name>`; unset: `source-ip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<String>,
    /// Seconds for which a session stays with its endpoint without being used; unset or 0: no sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_seconds: Option<f64>,
    /// How new endpoints are brought up to their share; unset: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
}

/// *Additive.* How new endpoints are brought up to their share.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct WarmUp {
    /// Seconds until an endpoint has its full share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<f64>,
    /// 1 is a straight line, more gives more at the beginning; unset: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggression: Option<f64>,
    /// Share at the beginning, 0.1 to 1; unset: 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
}

/// Retries of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RetryPolicy {
    /// Conditions, separated by commas; empty means `5xx`.
    pub retry_on: String,
    /// Seconds for each attempt.
    #[serde(serialize_with = "write::optional_number")]
    pub per_try_timeout: Option<f64>,
    /// Most retries after the first attempt.
    pub num_retries: Option<u32>,
    /// Seconds of the first back-off.
    #[serde(serialize_with = "write::optional_number")]
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
    #[serde(serialize_with = "write::number")]
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
    #[serde(serialize_with = "write::number")]
    pub stat_time_window: f64,
    /// Size of the bucket; unset: `connections`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}
