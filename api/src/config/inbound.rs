//! `Inbound`: what may enter the pod, from whom, and where it goes.

use super::{HostService, HttpRateLimit, RouteRule, TcpRateLimit, write};
use serde::Serialize;
use std::collections::BTreeMap;

/// What may enter the pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inbound {
    /// By original destination port, which between sidecars is the *service* port. Written as `null` when empty.
    #[serde(serialize_with = "write::null_when_empty")]
    pub traffic_matches: BTreeMap<u16, InboundTrafficMatch>,
    /// Local clusters: name → `host:port` → weight. Written as `null` when empty.
    #[serde(serialize_with = "write::null_when_empty")]
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
    /// Clients outside the mesh that are let in: CIDR → how. A `null` value means plaintext. A range whose value cannot
    /// be read is kept as [`SourceIpRange::refusing`], so that no wider range takes its place.
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
    /// Certificate names that are let in; `None` accepts any name of the trusted roots, an empty list none at all.
    pub authenticated_principals: Option<Vec<String>>,
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

/// Where inbound TCP connections go.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InboundTcpRouteRules {
    /// Cluster → weight.
    pub target_clusters: BTreeMap<String, u32>,
    /// *Additive.* `<service account>.<namespace>` of permitted callers; `None` means anyone of the mesh, an empty list
    /// nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_services: Option<Vec<String>>,
    /// Plugin name → its configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, serde_json::Value>,
}

impl SourceIpRange {
    /// A range that lets nobody in: TLS is required and no certificate name suffices.
    ///
    /// Leaving a range out instead could let its clients in through a wider one (`10.0.0.0/8` as plaintext beside
    /// `10.1.0.0/16` with principals).
    pub fn refusing() -> Self {
        Self { mtls: true, skip_client_cert_validation: false, authenticated_principals: Some(Vec::new()) }
    }
}
