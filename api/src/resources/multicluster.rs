//! Several clusters: the kinds of `multicluster.flomesh.io/v1alpha1` (until FSM 1.2: `flomesh.io/v1alpha1`, which is
//! read too).

// Each printer column has a type: the lint takes their second `type_ = "string"` for a repetition.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Another cluster of the set.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multicluster.flomesh.io",
    version = "v1alpha1",
    kind = "Cluster",
    plural = "clusters",
    status = "ConditionsStatus",
    derive = "PartialEq",
    doc = "Cluster is another cluster of the set.",
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.zone"),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.group"),
    printcolumn(name = "Gateway Host", type_ = "string", json_path = ".spec.gatewayHost"),
    printcolumn(name = "Gateway Port", type_ = "integer", json_path = ".spec.gatewayPort"),
    printcolumn(name = "Managed", type_ = "string", json_path = ".status.conditions[?(@.type=='Managed')].status"),
    printcolumn(
        name = "Managed Age",
        type_ = "date",
        json_path = ".status.conditions[?(@.type=='Managed')].lastTransitionTime"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Region of the cluster.
    #[serde(default = "default_place")]
    pub region: String,
    /// Zone of the region.
    #[serde(default = "default_place")]
    pub zone: String,
    /// Group of the zone.
    #[serde(default = "default_place")]
    pub group: String,
    /// Host of the cluster's gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_host: Option<String>,
    /// Port of the cluster's gateway.
    #[serde(default = "default_gateway_port")]
    #[schemars(range(min = 1))]
    pub gateway_port: u16,
    /// Text of a kubeconfig for the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// Namespace of the mesh's control plane in that cluster.
    pub fsm_namespace: String,
    /// Name of that mesh's MeshConfig.
    #[serde(default = "default_mesh_config_name")]
    pub fsm_mesh_config_name: String,
}

/// What is known about an object, condition by condition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConditionsStatus {
    /// The conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A Service that other clusters may call. It has the Service's name and namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multicluster.flomesh.io",
    version = "v1alpha1",
    kind = "ServiceExport",
    plural = "serviceexports",
    shortname = "sexp",
    namespaced,
    status = "ConditionsStatus",
    derive = "PartialEq",
    doc = "ServiceExport lets other clusters call a Service.",
    printcolumn(name = "Valid", type_ = "string", json_path = ".status.conditions[?(@.type=='Valid')].status"),
    printcolumn(name = "Conflict", type_ = "string", json_path = ".status.conditions[?(@.type=='Conflict')].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceExportSpec {
    /// Which paths of the gateway lead to which port, at least one when given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub rules: Vec<ServiceExportRule>,
    /// How the path is changed on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_rewrite: Option<PathRewrite>,
    /// Whether requests of one client stay with one instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_sticky: Option<bool>,
    /// How requests are shared between the instances.
    #[serde(default)]
    pub load_balancer: LoadBalancer,
    /// The account that the instances run as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// The clusters that may call, by key; none: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_clusters: Vec<String>,
}

/// Which path of the gateway leads to which port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceExportRule {
    /// Port of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_number: Option<u16>,
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How the path is compared.
    pub path_type: PathType,
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathType {
    /// The whole path.
    Exact,
    /// Its beginning.
    Prefix,
}

/// How a path is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathRewrite {
    /// A regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What is put in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// How requests are shared between instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LoadBalancer {
    /// In turn.
    #[default]
    #[serde(rename = "RoundRobinLoadBalancer")]
    RoundRobin,
    /// By a hash of the client.
    #[serde(rename = "HashingLoadBalancer")]
    Hashing,
    /// To the instance that has the least to do.
    #[serde(rename = "LeastWorkLoadBalancer")]
    LeastWork,
}

/// A Service of other clusters. It has the name and the namespace under which it is called here.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multicluster.flomesh.io",
    version = "v1alpha1",
    kind = "ServiceImport",
    plural = "serviceimports",
    shortname = "simp",
    namespaced,
    status = "ServiceImportStatus",
    derive = "PartialEq",
    doc = "ServiceImport is a Service of other clusters.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceImportSpec {
    /// Ports, and where they are found.
    pub ports: Vec<ServiceImportPort>,
    /// Address of the Service in this cluster, at most one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub ips: Vec<String>,
    /// Whether the Service has an address.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceImportType>,
    /// `None` or `ClientIP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<String>,
    /// Settings of the affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// The account that the instances run as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
}

/// One port of an imported Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceImportPort {
    /// Name of the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Port number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`; absent: TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// What is spoken there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    /// Where it is found.
    pub endpoints: Vec<ServiceImportEndpoint>,
}

/// One place of an imported Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceImportEndpoint {
    /// The cluster, as `region/zone/group/cluster`.
    pub cluster_key: String,
    /// The gateway of the cluster.
    pub target: ServiceImportTarget,
}

/// The gateway of another cluster, and the path there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceImportTarget {
    /// Host of the gateway.
    pub host: String,
    /// Address of the gateway.
    pub ip: String,
    /// Port of the gateway.
    pub port: u16,
    /// Path at the gateway.
    pub path: String,
}

/// Whether an imported Service has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceImportType {
    /// It has one.
    ClusterSetIP,
    /// Clients get the addresses of the instances.
    Headless,
}

/// Settings of session affinity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionAffinityConfig {
    /// By the client's address.
    #[serde(rename = "clientIP", default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<ClientIpAffinity>,
}

/// Settings of affinity by the client's address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientIpAffinity {
    /// How long a client stays with an instance, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

/// Which clusters an imported Service comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceImportStatus {
    /// The clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<ServiceImportCluster>,
}

/// A cluster that an imported Service comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceImportCluster {
    /// Key of the cluster.
    pub cluster: String,
    /// Addresses in the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// How traffic to the Service of the same name is shared between clusters.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multicluster.flomesh.io",
    version = "v1alpha1",
    kind = "GlobalTrafficPolicy",
    plural = "globaltrafficpolicies",
    shortname = "gtp",
    namespaced,
    status = "GlobalTrafficPolicyStatus",
    derive = "PartialEq",
    doc = "GlobalTrafficPolicy shares the traffic to a Service between clusters.",
    printcolumn(name = "LB Type", type_ = "string", json_path = ".spec.lbType"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GlobalTrafficPolicySpec {
    /// How.
    #[serde(default)]
    pub lb_type: LbType,
    /// The clusters that take part, for ActiveActive and FailOver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<GlobalTrafficTarget>,
}

/// Nothing yet: the object that FSM declares is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GlobalTrafficPolicyStatus {}

/// How traffic is shared between clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LbType {
    /// Only this cluster's instances.
    #[default]
    Locality,
    /// All clusters at once.
    ActiveActive,
    /// Other clusters when this one has no instance.
    FailOver,
}

/// A cluster that takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GlobalTrafficTarget {
    /// The cluster, as `region/zone/group/cluster`.
    pub cluster_key: String,
    /// Its share, relative to the others'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

fn default_place() -> String {
    "default".to_owned()
}

fn default_gateway_port() -> u16 {
    80
}

fn default_mesh_config_name() -> String {
    "fsm-mesh-config".to_owned()
}
