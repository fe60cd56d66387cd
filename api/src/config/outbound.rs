//! `Outbound` and `Forward`: what the pod may call, where that is, and through which egress gateway.

use super::{Certificate, ConnectionSettings, HostService, LoadBalancing, RetryPolicy, RouteRule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// CIDR → settings of that range. `None`: any destination (an egress rule); an empty map is read as `None`.
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
    /// *Additive.* How endpoints are chosen; absent: weighted round robin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancing>,
    /// *Additive.* `<service account>.<namespace>` or whole principals that the servers of this cluster may present.
    /// Empty: any certificate of the mesh CA, which is counted and reported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_identities: Vec<String>,
}

/// One endpoint of an outbound cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
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
    /// *Additive.* The gateway is asked over mutual TLS, and its certificate must name one of these:
    /// `<service account>.<namespace>` or whole principals; an empty list admits any certificate of the mesh CA.
    /// `None`: plaintext, as FSM's own gateways want it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_identities: Option<Vec<String>>,
}
