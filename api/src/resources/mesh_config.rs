//! The settings of a whole mesh: MeshConfig, `config.flomesh.io/v1alpha3`.
//!
//! One object counts: `fsm-mesh-config` in the mesh's namespace. FSM's schema requires most fields, because its chart
//! writes them all; here everything may be left out, so that a file with the one setting that matters is enough. What
//! is left out has the value that a default installation has; the world resolves it. Fields for which FSM's schema has
//! a default are not optional in Rust: the default is filled in when the section around them is given.
//!
//! The fields of the older versions v1alpha1 and v1alpha2 are read too.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, SecretReference};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::number;
use super::policy::TrafficWarmupSpec;

mod controllers;
mod sections;

pub use controllers::*;
pub use sections::*;

/// The settings of a whole mesh.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "config.flomesh.io",
    version = "v1alpha3",
    kind = "MeshConfig",
    plural = "meshconfigs",
    shortname = "meshconfig",
    namespaced,
    derive = "PartialEq",
    doc = "MeshConfig holds the settings of a whole mesh."
)]
#[serde(rename_all = "camelCase")]
pub struct MeshConfigSpec {
    /// Which cluster of a set this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_set: Option<ClusterSet>,
    /// The proxies beside the applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Sidecar>,
    /// The repository of proxy configurations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_server: Option<RepoServer>,
    /// What happens to traffic in general.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Logs and traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observability: Option<Observability>,
    /// Certificates of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// Which kinds of policies count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_flags: Option<FeatureFlags>,
    /// Order of the proxies' built-in modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_chains: Option<PluginChains>,
    /// The ingress controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// The controller of the Gateway API.
    #[serde(rename = "gatewayAPI", default, skip_serializing_if = "Option::is_none")]
    pub gateway_api: Option<GatewayApi>,
    /// The load balancer for Services on host ports.
    #[serde(rename = "serviceLB", default, skip_serializing_if = "Option::is_none")]
    pub service_lb: Option<ServiceLb>,
    /// An external load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flb: Option<Flb>,
    /// The egress gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_gateway: Option<EgressGatewaySettings>,
    /// Images that controllers start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSettings>,
    /// The rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misc: Option<Misc>,
    /// Connectors to service registries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<ConnectorSettings>,
    /// How new instances get their share of traffic, for Services without a TrafficWarmup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<TrafficWarmupSpec>,
}

/// The proxies beside the applications.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Whether the init container is privileged; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_privileged_init_container: Option<bool>,
    /// Log level of the proxies; absent or empty: `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Image of the proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar_image: Option<String>,
    /// True: proxies speak plain text with each other; absent: false.
    #[serde(rename = "sidecarDisabledMTLS", default, skip_serializing_if = "Option::is_none")]
    pub sidecar_disabled_mtls: Option<bool>,
    /// Most proxies that the control plane serves; 0 or absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_data_plane_connections: Option<i64>,
    /// How often everything is pushed again, as a duration (`90s`); FSM ignores what it cannot read, and less than 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_resync_interval: Option<String>,
    /// Connect, idle, read and write timeout of the proxies in seconds; absent, 0 or less: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar_timeout: Option<i64>,
    /// Resources of the proxy container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Resources of the init container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_resources: Option<ResourceRequirements>,
    /// Resources of the health check container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck_resources: Option<ResourceRequirements>,
    /// Lowest version of TLS: `TLS_AUTO`, `TLSv1_0` … `TLSv1_3`; absent: `TLSv1_2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_min_protocol_version: Option<String>,
    /// Highest version of TLS; absent: `TLSv1_3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_max_protocol_version: Option<String>,
    /// Cipher suites for TLS 1.2 and below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// Curves for the key exchange.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ecdh_curves: Vec<String>,
    /// Where applications are reached: `Localhost` or `PodIP`; absent: `Localhost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Localhost", "PodIP"]))]
    pub local_proxy_mode: Option<String>,
    /// The proxies' own DNS server.
    #[serde(rename = "localDNSProxy", default, skip_serializing_if = "Option::is_none")]
    pub local_dns_proxy: Option<LocalDnsProxy>,
    /// DNS of the node level mode.
    #[serde(rename = "xnetDNSProxy", default, skip_serializing_if = "Option::is_none")]
    pub xnet_dns_proxy: Option<XnetDnsProxy>,
    /// Whether configurations are published compressed.
    #[serde(default = "yes")]
    pub compress_config: bool,
    /// Whether applications start only when the proxy runs.
    #[serde(default = "yes")]
    pub hold_application_until_proxy_starts: bool,
    /// Whether the proxy stays until its clients have gone.
    #[serde(default = "yes")]
    pub graceful_exit_until_downstream_ends: bool,
    /// Until v1alpha2; not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar_class: Option<String>,
    /// Until v1alpha2: image of the init container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_container_image: Option<String>,
    /// Until v1alpha2; not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sidecar_drivers: Vec<SidecarDriver>,
}

/// A kind of proxy, until v1alpha2; not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SidecarDriver {
    /// Name of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar_name: Option<String>,
    /// Image of the proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar_image: Option<String>,
    /// Image of the init container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_container_image: Option<String>,
    /// Whether proxies speak plain text with each other.
    #[serde(rename = "sidecarDisabledMTLS")]
    pub sidecar_disabled_mtls: bool,
    /// Port of the control plane.
    pub proxy_server_port: u16,
}

/// The proxies' own DNS server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalDnsProxy {
    /// Whether it is used; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// First resolver to ask, port 53.
    #[serde(rename = "primaryUpstreamDNSServerIPAddr", default, skip_serializing_if = "Option::is_none")]
    pub primary_upstream_dns_server_ip_addr: Option<String>,
    /// Second resolver to ask, port 53.
    #[serde(rename = "secondaryUpstreamDNSServerIPAddr", default, skip_serializing_if = "Option::is_none")]
    pub secondary_upstream_dns_server_ip_addr: Option<String>,
    /// Whether an IPv6 address is made from each IPv4 address of an answer.
    #[serde(rename = "generateIPv6BasedOnIPv4", default)]
    pub generate_ipv6_based_on_ipv4: bool,
    /// What names get that nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wildcard: Option<DnsWildcard>,
    /// Fixed answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub db: Vec<DnsRecord>,
    /// FSM 1.2: whether the pod's namespace is searched; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searches_with_namespace: Option<bool>,
    /// FSM 1.2: whether the trust domain is searched; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searches_with_trust_domain: Option<bool>,
}

/// What names get that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsWildcard {
    /// Whether they get anything; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// The addresses that they get; none: `127.0.0.2`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<DnsAddress>,
    /// Loopback answers that are replaced by `ips`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub los: Vec<DnsAddress>,
    /// FSM 1.2: the addresses, IPv4 only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv4: Vec<String>,
}

/// An address of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsAddress {
    /// The IPv4 address.
    pub ipv4: String,
    /// The IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsRecord {
    /// The name.
    pub dn: String,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<DnsAddress>,
    /// FSM 1.2: its addresses, IPv4 only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv4: Vec<String>,
}

/// DNS of the node level mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct XnetDnsProxy {
    /// Whether it is used; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// The resolvers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<XnetDnsUpstream>,
}

/// A resolver: a Service, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct XnetDnsUpstream {
    /// Name of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The port.
    #[serde(default = "dns_port")]
    pub port: u16,
}

/// What happens to traffic in general.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// `PodLevel` (sidecars) or `NodeLevel`; FSM until 1.3 said `iptables` and `ebpf`; absent: `PodLevel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["NodeLevel", "PodLevel", "ebpf", "iptables"]))]
    pub interception_mode: Option<String>,
    /// Whether destinations that the mesh does not know may be reached; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_egress: Option<bool>,
    /// Whether everybody in the mesh may call everybody, whatever the TrafficTargets say; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_permissive_traffic_policy_mode: Option<bool>,
    /// Whether an instance is chosen for each HTTP/1 request rather than each connection; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http1_per_request_load_balancing: Option<bool>,
    /// The same for HTTP/2; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2_per_request_load_balancing: Option<bool>,
    /// By which names Services are called: `ip`, `domain` or `mixed`.
    #[serde(default = "mixed")]
    #[schemars(extend("enum" = ["ip", "domain", "mixed"]))]
    pub service_access_mode: String,
    /// Which forms of the names.
    #[serde(default)]
    pub service_access_names: ServiceAccessNames,
    /// Destination ranges that are not redirected to the proxy, in CIDR notation.
    #[serde(rename = "outboundIPRangeExclusionList", default, skip_serializing_if = "Vec::is_empty")]
    pub outbound_ip_range_exclusion_list: Vec<String>,
    /// Destination ranges that alone are redirected to the proxy, in CIDR notation; none: all.
    #[serde(rename = "outboundIPRangeInclusionList", default, skip_serializing_if = "Vec::is_empty")]
    pub outbound_ip_range_inclusion_list: Vec<String>,
    /// Destination ports that are not redirected to the proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbound_port_exclusion_list: Vec<u16>,
    /// Ports of applications that are not redirected to the proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inbound_port_exclusion_list: Vec<u16>,
    /// Network interfaces whose traffic is not redirected to the proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_interface_exclusion_list: Vec<String>,
    /// Accepted; FSM's proxies never used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound_external_authorization: Option<ExternalAuthorization>,
}

/// Which forms of a Service's name clients may call it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccessNames {
    /// Only names with the port.
    pub must_with_service_port: bool,
    /// Names with the trust domain too.
    pub with_trust_domain: bool,
    /// Only names with the namespace.
    pub must_with_namespace: bool,
    /// Of Services that come from a registry.
    pub cloud: CloudServiceAccessNames,
}

impl Default for ServiceAccessNames {
    fn default() -> Self {
        Self {
            must_with_service_port: false,
            with_trust_domain: true,
            must_with_namespace: true,
            cloud: CloudServiceAccessNames::default(),
        }
    }
}

/// Forms of the names of Services that come from a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CloudServiceAccessNames {
    /// Names with the namespace too.
    pub with_namespace: bool,
}

impl Default for CloudServiceAccessNames {
    fn default() -> Self {
        Self { with_namespace: true }
    }
}

/// An external authorization server. Accepted; FSM's proxies never used it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAuthorization {
    /// Whether it would be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Beginning of the names of its metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat_prefix: Option<String>,
    /// How long it may take, as a duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Whether requests pass when it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_mode_allow: Option<bool>,
}

/// The repository of proxy configurations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepoServer {
    /// Its address; absent: `127.0.0.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipaddr: Option<String>,
    /// Its port; absent: 6060.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path below which the configurations are; absent: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codebase: Option<String>,
}

fn yes() -> bool {
    true
}

fn dns_port() -> u16 {
    53
}

fn mixed() -> String {
    "mixed".to_owned()
}
