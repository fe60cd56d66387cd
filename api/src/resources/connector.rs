//! Connectors between Kubernetes and service registries: the kinds of `connector.flomesh.io/v1alpha1`.
//!
//! They are namespaced, as FSM's are today; until FSM 1.3 they were of the whole cluster.

// Each printer column has a type: the lint takes their second `type_ = "string"` for a repetition.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LocalObjectReference, ResourceRequirements};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;

mod sync;

pub use sync::*;

/// A connector to Consul.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "connector.flomesh.io",
    version = "v1alpha1",
    kind = "ConsulConnector",
    plural = "consulconnectors",
    shortname = "consulconnector",
    namespaced,
    status = "ConnectorStatus",
    derive = "PartialEq",
    doc = "ConsulConnector keeps the Services of Kubernetes and of Consul alike.",
    printcolumn(name = "HttpAddr", type_ = "string", json_path = ".spec.httpAddr"),
    printcolumn(name = "SyncToK8S", type_ = "string", json_path = ".spec.syncToK8S.enable"),
    printcolumn(name = "SyncFromK8S", type_ = "string", json_path = ".spec.syncFromK8S.enable"),
    printcolumn(name = "toK8SServices", type_ = "integer", json_path = ".status.toK8SServiceCnt"),
    printcolumn(name = "fromK8SServices", type_ = "integer", json_path = ".status.fromK8SServiceCnt")
)]
#[serde(rename_all = "camelCase")]
pub struct ConsulConnectorSpec {
    /// Address of the registry.
    pub http_addr: String,
    /// Namespace that gets the Services of the registry.
    pub derive_namespace: String,
    /// Whether instances of the registry are treated as if they ran in this cluster.
    #[serde(default)]
    pub as_internal_services: bool,
    /// Stop, and delete everything that the connector made.
    #[serde(default)]
    pub purge: bool,
    /// Whether only one pod of the connector works at a time.
    #[serde(default = "yes")]
    pub leader_election: bool,
    /// Number of pods.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub replicas: i32,
    /// Resources of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Secrets for pulling the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Limit of the calls to the registry.
    #[serde(default)]
    pub limiter: Limiter,
    /// How often the registry is asked.
    #[serde(default = "five_seconds")]
    pub sync_period: GoDuration,
    /// From the registry to Kubernetes.
    #[serde(rename = "syncToK8S")]
    pub sync_to_k8s: ConsulToK8s,
    /// From Kubernetes to the registry.
    #[serde(rename = "syncFromK8S")]
    pub sync_from_k8s: ConsulFromK8s,
}

/// A connector to Eureka.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "connector.flomesh.io",
    version = "v1alpha1",
    kind = "EurekaConnector",
    plural = "eurekaconnectors",
    shortname = "eurekaconnector",
    namespaced,
    status = "ConnectorStatus",
    derive = "PartialEq",
    doc = "EurekaConnector keeps the Services of Kubernetes and of Eureka alike.",
    printcolumn(name = "HttpAddr", type_ = "string", json_path = ".spec.httpAddr"),
    printcolumn(name = "SyncToK8S", type_ = "string", json_path = ".spec.syncToK8S.enable"),
    printcolumn(name = "SyncFromK8S", type_ = "string", json_path = ".spec.syncFromK8S.enable"),
    printcolumn(name = "toK8SServices", type_ = "integer", json_path = ".status.toK8SServiceCnt"),
    printcolumn(name = "fromK8SServices", type_ = "integer", json_path = ".status.fromK8SServiceCnt")
)]
#[serde(rename_all = "camelCase")]
pub struct EurekaConnectorSpec {
    /// Address of the registry.
    pub http_addr: String,
    /// Namespace that gets the Services of the registry.
    pub derive_namespace: String,
    /// Whether instances of the registry are treated as if they ran in this cluster.
    #[serde(default)]
    pub as_internal_services: bool,
    /// Stop, and delete everything that the connector made.
    #[serde(default)]
    pub purge: bool,
    /// Whether only one pod of the connector works at a time.
    #[serde(default = "yes")]
    pub leader_election: bool,
    /// Number of pods.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub replicas: i32,
    /// Resources of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Secrets for pulling the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Limit of the calls to the registry (FSM spells it so).
    #[serde(rename = "Limiter", default)]
    pub limiter: Limiter,
    /// How often the registry is asked.
    #[serde(default = "five_seconds")]
    pub sync_period: GoDuration,
    /// From the registry to Kubernetes.
    #[serde(rename = "syncToK8S")]
    pub sync_to_k8s: EurekaToK8s,
    /// From Kubernetes to the registry.
    #[serde(rename = "syncFromK8S")]
    pub sync_from_k8s: EurekaFromK8s,
}

/// A connector to Nacos.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "connector.flomesh.io",
    version = "v1alpha1",
    kind = "NacosConnector",
    plural = "nacosconnectors",
    shortname = "nacosconnector",
    namespaced,
    status = "ConnectorStatus",
    derive = "PartialEq",
    doc = "NacosConnector keeps the Services of Kubernetes and of Nacos alike.",
    printcolumn(name = "HttpAddr", type_ = "string", json_path = ".spec.httpAddr"),
    printcolumn(name = "SyncToK8S", type_ = "string", json_path = ".spec.syncToK8S.enable"),
    printcolumn(name = "SyncFromK8S", type_ = "string", json_path = ".spec.syncFromK8S.enable"),
    printcolumn(name = "toK8SServices", type_ = "integer", json_path = ".status.toK8SServiceCnt"),
    printcolumn(name = "fromK8SServices", type_ = "integer", json_path = ".status.fromK8SServiceCnt")
)]
#[serde(rename_all = "camelCase")]
pub struct NacosConnectorSpec {
    /// Address of the registry: a URL, whose path is the context path; the port for gRPC is `?grpcport=`, or the URL's
    /// port and 1000.
    pub http_addr: String,
    /// Namespace that gets the Services of the registry.
    pub derive_namespace: String,
    /// How the connector shows who it is.
    #[serde(default)]
    pub auth: NacosAuth,
    /// Whether instances of the registry are treated as if they ran in this cluster.
    #[serde(default)]
    pub as_internal_services: bool,
    /// Stop, and delete everything that the connector made.
    #[serde(default)]
    pub purge: bool,
    /// Whether only one pod of the connector works at a time.
    #[serde(default = "yes")]
    pub leader_election: bool,
    /// Number of pods.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub replicas: i32,
    /// Resources of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Secrets for pulling the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Limit of the calls to the registry (FSM spells it so).
    #[serde(rename = "Limiter", default)]
    pub limiter: Limiter,
    /// How often the registry is asked.
    #[serde(default = "five_seconds")]
    pub sync_period: GoDuration,
    /// From the registry to Kubernetes.
    #[serde(rename = "syncToK8S")]
    pub sync_to_k8s: NacosToK8s,
    /// From Kubernetes to the registry.
    #[serde(rename = "syncFromK8S")]
    pub sync_from_k8s: NacosFromK8s,
}

/// How a connector shows Nacos who it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NacosAuth {
    /// Name of a user.
    pub username: String,
    /// Password of the user.
    pub password: String,
    /// Key.
    pub access_key: String,
    /// Secret of the key.
    pub secret_key: String,
    /// Namespace in Nacos.
    pub namespace_id: String,
    /// How long a token is used, in seconds, at least 60.
    #[schemars(range(min = 60))]
    pub token_expire_seconds: i32,
}

impl Default for NacosAuth {
    fn default() -> Self {
        Self {
            username: String::new(),
            password: String::new(),
            access_key: String::new(),
            secret_key: String::new(),
            namespace_id: "public".to_owned(),
            token_expire_seconds: 3600,
        }
    }
}

/// Without the password and the secret.
impl std::fmt::Debug for NacosAuth {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("NacosAuth")
            .field("username", &self.username)
            .field("access_key", &self.access_key)
            .field("namespace_id", &self.namespace_id)
            .field("token_expire_seconds", &self.token_expire_seconds)
            .finish_non_exhaustive()
    }
}

/// Limit of the calls to a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limiter {
    /// Calls in a second.
    pub limit: u32,
    /// Calls that may come at once.
    pub burst: u32,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { limit: 500, burst: 750 }
    }
}

/// What a connector has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorStatus {
    /// One word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_status: Option<String>,
    /// Why the connector is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of Services from the registry.
    #[serde(rename = "toK8SServiceCnt", default, skip_serializing_if = "Option::is_none")]
    pub to_k8s_service_count: Option<i64>,
    /// Number of Services to the registry.
    #[serde(rename = "fromK8SServiceCnt", default, skip_serializing_if = "Option::is_none")]
    pub from_k8s_service_count: Option<i64>,
    /// Hash of the list of Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_services_hash: Option<String>,
    /// Services of the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub catalog_services: Vec<CatalogService>,
}

/// A Service of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogService {
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub service: String,
}

fn yes() -> bool {
    true
}

fn one() -> i32 {
    1
}

fn five_seconds() -> GoDuration {
    GoDuration::from_seconds(5)
}
