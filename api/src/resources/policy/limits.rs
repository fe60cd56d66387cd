//! What an [`UpstreamTrafficSetting`](super::UpstreamTrafficSetting) limits: connections, failures, rates.

use super::{Deserialize, GoDuration, JsonSchema, Serialize};

/// Limits of connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionSettings {
    /// Below HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpConnectionSettings>,
    /// Of HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpConnectionSettings>,
}

/// Limits of TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpConnectionSettings {
    /// Most connections to the host at a time; absent: 4294967295.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// How long to wait for a connection; absent: 5 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<GoDuration>,
}

/// Limits of HTTP requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpConnectionSettings {
    /// Most requests to the host at a time; absent: 4294967295.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// Most requests on one connection; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests_per_connection: Option<u32>,
    /// Most requests that wait for a connection; absent: 4294967295.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Most repetitions to the host at a time; absent: 4294967295.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// When requests are no longer sent because too many fail or are slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaking: Option<CircuitBreaking>,
}

/// When requests are no longer sent to a host because too many fail or are slow, and what callers see then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaking {
    /// The span of time that is looked at.
    pub stat_time_window: GoDuration,
    /// How long requests are refused then.
    pub degraded_time_window: GoDuration,
    /// Fewest requests in a window before anything is decided.
    pub min_request_amount: u32,
    /// From which duration on a request is slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_time_threshold: Option<GoDuration>,
    /// Number of slow requests that is too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_amount_threshold: Option<u32>,
    /// Share of slow requests that is too much, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_ratio_threshold: Option<f64>,
    /// Number of failed requests (5xx) that is too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_amount_threshold: Option<u32>,
    /// Share of failed requests that is too much, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_ratio_threshold: Option<f64>,
    /// Status of the answer while requests are refused; absent: 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded_status_code: Option<u32>,
    /// Body of the answer while requests are refused; absent: `Coming soon ...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded_response_content: Option<String>,
}

/// Limits of the rate at which a host takes traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Kept by each instance by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalRateLimit>,
}

/// Limits that each instance keeps by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRateLimit {
    /// Of connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpRateLimit>,
    /// Of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpRateLimit>,
}

/// How many connections an instance takes in a unit of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpRateLimit {
    /// Connections in one `unit`.
    pub connections: u32,
    /// `second`, `minute` or `hour`.
    pub unit: String,
    /// Further connections that may come at once; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// How many requests an instance takes in a unit of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRateLimit {
    /// Requests in one `unit`.
    pub requests: u32,
    /// `second`, `minute` or `hour`.
    pub unit: String,
    /// Further requests that may come at once; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Status of the answer to requests beyond the limit, 400 to 599; absent: 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_status_code: Option<u32>,
    /// Headers of the answer to requests beyond the limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers_to_add: Vec<HeaderValue>,
}

/// One header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderValue {
    /// Name of the header.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Limits of one route of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSetting {
    /// The route: its path expression must be this very text.
    pub path: String,
    /// Limits of the rate of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<HttpRouteRateLimit>,
}

/// Limits of the rate of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRateLimit {
    /// Kept by each instance by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<HttpRateLimit>,
}
