//! What connectors take from a registry, and what they bring there.

use super::{BTreeMap, Deserialize, GoDuration, JsonSchema, Serialize, yes};

/// From Consul to Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsulToK8s {
    /// Whether Services come from the registry.
    pub enable: bool,
    /// Label of the cluster for the instances that come from the registry.
    #[serde(default)]
    pub cluster_id: String,
    /// Whether only healthy instances count.
    #[serde(default = "yes")]
    pub passing_only: bool,
    /// Only instances with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_tag: Option<String>,
    /// Tags that begin with this and `=` name a further Service: the value goes before the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_tag: Option<String>,
    /// Tags that begin with this and `=` name a further Service: the value goes behind the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix_tag: Option<String>,
    /// Only instances with all of these metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_metadatas: Vec<Metadata>,
    /// Only instances without these metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_metadatas: Vec<Metadata>,
    /// Key of metadata that name a further Service: the value goes before the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_metadata: Option<String>,
    /// Key of metadata that name a further Service: the value goes behind the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix_metadata: Option<String>,
    /// Only instances with an address in these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_ip_ranges: Vec<String>,
    /// Only instances with an address outside of these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_ip_ranges: Vec<String>,
    /// Port under which every HTTP port is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_http_service_port: Option<u16>,
    /// Labels of the Services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub append_labels: BTreeMap<String, String>,
    /// Annotations of the Services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub append_annotations: BTreeMap<String, String>,
    /// How tags become labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_strategy: Option<ConversionRules>,
    /// How metadata become labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_strategy: Option<ConversionRules>,
    /// Which Services come, and under which names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion_strategy: Option<ServiceConversions>,
    /// Whether there is a further Service `<name>-health-check` for each.
    #[serde(default)]
    pub generate_internal_service_health_check: bool,
    /// Whether the Services are reached through a gateway.
    #[serde(default)]
    pub with_gateway: GatewayToK8s,
}

/// From Kubernetes to Consul.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsulFromK8s {
    /// Whether Services go to the registry.
    pub enable: bool,
    /// Whether Services go that do not say so by annotation.
    #[serde(default = "yes")]
    pub default_sync: bool,
    /// Whether Services with a cluster address go.
    #[serde(rename = "syncClusterIPServices", default = "yes")]
    pub sync_cluster_ip_services: bool,
    /// Whether the instances of a load balancer's Service go, rather than its address.
    #[serde(default)]
    pub sync_load_balancer_endpoints: bool,
    /// Which addresses of nodes go for Services with a port of every node.
    #[serde(default)]
    pub node_port_sync_type: NodePortSyncType,
    /// Whether the host of an Ingress goes, rather than the instances.
    #[serde(default)]
    pub sync_ingress: bool,
    /// Whether the address of an Ingress's load balancer goes, rather than its host.
    #[serde(rename = "syncIngressLoadBalancerIPs", default)]
    pub sync_ingress_load_balancer_ips: bool,
    /// Put before the names.
    #[serde(default)]
    pub add_service_prefix: String,
    /// Whether the namespace is put behind the names.
    #[serde(rename = "addK8SNamespaceAsServiceSuffix", default)]
    pub add_k8s_namespace_as_service_suffix: bool,
    /// Tags of the instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub append_tags: Vec<String>,
    /// Metadata of the instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub append_metadatas: Vec<Metadata>,
    /// Namespaces whose Services go; `*`: all.
    #[serde(default = "all_namespaces")]
    #[schemars(length(min = 1))]
    pub allow_k8s_namespaces: Vec<String>,
    /// Namespaces whose Services do not go; counts more than `allowK8sNamespaces`.
    #[serde(default = "no_namespace")]
    #[schemars(length(min = 1))]
    pub deny_k8s_namespaces: Vec<String>,
    /// Only Services with all of these labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_labels: Vec<Metadata>,
    /// Only Services with all of these annotations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_annotations: Vec<Metadata>,
    /// Only instances with an address in these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_ip_ranges: Vec<String>,
    /// Only instances with an address outside of these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_ip_ranges: Vec<String>,
    /// How labels and annotations become tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_strategy: Option<ConversionRules>,
    /// How labels and annotations become metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_strategy: Option<ConversionRules>,
    /// Node in Consul that the instances belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consul_node_name: Option<String>,
    /// Whether namespaces of Consul are used.
    #[serde(default)]
    pub consul_enable_namespaces: bool,
    /// Namespace in Consul.
    #[serde(default = "consul_namespace")]
    pub consul_destination_namespace: String,
    /// Whether namespaces of Kubernetes become namespaces of Consul.
    #[serde(rename = "consulEnableK8SNSMirroring", default)]
    pub consul_enable_k8s_namespace_mirroring: bool,
    /// Put before the names of such namespaces.
    #[serde(rename = "consulK8SNSMirroringPrefix", default)]
    pub consul_k8s_namespace_mirroring_prefix: String,
    /// Policy that lets Services find those of other namespaces.
    #[serde(rename = "consulCrossNamespaceACLPolicy", default)]
    pub consul_cross_namespace_acl_policy: String,
    /// Whether instances are registered with a gateway's address.
    #[serde(default)]
    pub with_gateway: GatewayFromK8s,
}

/// From Eureka to Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EurekaToK8s {
    /// Whether Services come from the registry.
    pub enable: bool,
    /// Label of the cluster for the instances that come from the registry.
    #[serde(default)]
    pub cluster_id: String,
    /// Only instances with all of these metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_metadatas: Vec<Metadata>,
    /// Only instances without these metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_metadatas: Vec<Metadata>,
    /// Key of metadata that name a further Service: the value goes before the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_metadata: Option<String>,
    /// Key of metadata that name a further Service: the value goes behind the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix_metadata: Option<String>,
    /// Only instances with an address in these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_ip_ranges: Vec<String>,
    /// Only instances with an address outside of these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_ip_ranges: Vec<String>,
    /// Port under which every HTTP port is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_http_service_port: Option<u16>,
    /// Labels of the Services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub append_labels: BTreeMap<String, String>,
    /// Annotations of the Services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub append_annotations: BTreeMap<String, String>,
    /// How metadata become labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_strategy: Option<ConversionRules>,
    /// Which Services come, and under which names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion_strategy: Option<ServiceConversions>,
    /// Whether the Services are reached through a gateway.
    #[serde(default)]
    pub with_gateway: GatewayToK8s,
}

/// From Kubernetes to Eureka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EurekaFromK8s {
    /// Whether Services go to the registry.
    pub enable: bool,
    /// Whether Services go that do not say so by annotation.
    #[serde(default = "yes")]
    pub default_sync: bool,
    /// Whether Services with a cluster address go.
    #[serde(rename = "syncClusterIPServices", default = "yes")]
    pub sync_cluster_ip_services: bool,
    /// Whether the instances of a load balancer's Service go, rather than its address.
    #[serde(default)]
    pub sync_load_balancer_endpoints: bool,
    /// Which addresses of nodes go for Services with a port of every node.
    #[serde(default)]
    pub node_port_sync_type: NodePortSyncType,
    /// Whether the host of an Ingress goes, rather than the instances.
    #[serde(default)]
    pub sync_ingress: bool,
    /// Whether the address of an Ingress's load balancer goes, rather than its host.
    #[serde(rename = "syncIngressLoadBalancerIPs", default)]
    pub sync_ingress_load_balancer_ips: bool,
    /// Put before the names.
    #[serde(default)]
    pub add_service_prefix: String,
    /// Whether the namespace is put behind the names.
    #[serde(rename = "addK8SNamespaceAsServiceSuffix", default)]
    pub add_k8s_namespace_as_service_suffix: bool,
    /// Metadata of the instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub append_metadatas: Vec<Metadata>,
    /// Namespaces whose Services go; `*`: all.
    #[serde(default = "all_namespaces")]
    #[schemars(length(min = 1))]
    pub allow_k8s_namespaces: Vec<String>,
    /// Namespaces whose Services do not go; counts more than `allowK8sNamespaces`.
    #[serde(default = "no_namespace")]
    #[schemars(length(min = 1))]
    pub deny_k8s_namespaces: Vec<String>,
    /// Only Services with all of these labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_labels: Vec<Metadata>,
    /// Only Services with all of these annotations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_annotations: Vec<Metadata>,
    /// Only instances with an address in these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_ip_ranges: Vec<String>,
    /// Only instances with an address outside of these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_ip_ranges: Vec<String>,
    /// How labels and annotations become metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_strategy: Option<ConversionRules>,
    /// Whether the connector sends heart beats for the instances.
    #[serde(default = "yes")]
    pub heart_beat_instance: bool,
    /// How often.
    #[serde(default = "three_seconds")]
    pub heart_beat_period: GoDuration,
    /// Whether identities of instances are checked.
    #[serde(default = "yes")]
    pub check_service_instance_id: bool,
    /// Whether instances are registered with a gateway's address.
    #[serde(default)]
    pub with_gateway: GatewayFromK8s,
}

/// From Nacos to Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NacosToK8s {
    /// Whether Services come from the registry.
    pub enable: bool,
    /// Label of the cluster for the instances that come from the registry.
    #[serde(default)]
    pub cluster_id: String,
    /// Whether only healthy instances count.
    #[serde(default = "yes")]
    pub passing_only: bool,
    /// Only instances with all of these metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_metadatas: Vec<Metadata>,
    /// Only instances without these metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_metadatas: Vec<Metadata>,
    /// Key of metadata that name a further Service: the value goes before the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_metadata: Option<String>,
    /// Key of metadata that name a further Service: the value goes behind the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix_metadata: Option<String>,
    /// Only instances with an address in these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_ip_ranges: Vec<String>,
    /// Only instances with an address outside of these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_ip_ranges: Vec<String>,
    /// Clusters of Nacos to read, at least one.
    #[serde(default = "nacos_clusters")]
    #[schemars(length(min = 1))]
    pub cluster_set: Vec<String>,
    /// Groups of Nacos to read, at least one.
    #[serde(default = "nacos_groups")]
    #[schemars(length(min = 1))]
    pub group_set: Vec<String>,
    /// Port under which every HTTP port is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_http_service_port: Option<u16>,
    /// Labels of the Services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub append_labels: BTreeMap<String, String>,
    /// Annotations of the Services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub append_annotations: BTreeMap<String, String>,
    /// How metadata become labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_strategy: Option<ConversionRules>,
    /// Which Services come, and under which names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion_strategy: Option<ServiceConversions>,
    /// Whether the Services are reached through a gateway.
    #[serde(default)]
    pub with_gateway: GatewayToK8s,
}

/// From Kubernetes to Nacos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NacosFromK8s {
    /// Whether Services go to the registry.
    pub enable: bool,
    /// Whether Services go that do not say so by annotation.
    #[serde(default = "yes")]
    pub default_sync: bool,
    /// Whether Services with a cluster address go.
    #[serde(rename = "syncClusterIPServices", default = "yes")]
    pub sync_cluster_ip_services: bool,
    /// Whether the instances of a load balancer's Service go, rather than its address.
    #[serde(default)]
    pub sync_load_balancer_endpoints: bool,
    /// Which addresses of nodes go for Services with a port of every node.
    #[serde(default)]
    pub node_port_sync_type: NodePortSyncType,
    /// Whether the host of an Ingress goes, rather than the instances.
    #[serde(default)]
    pub sync_ingress: bool,
    /// Whether the address of an Ingress's load balancer goes, rather than its host.
    #[serde(rename = "syncIngressLoadBalancerIPs", default)]
    pub sync_ingress_load_balancer_ips: bool,
    /// Put before the names.
    #[serde(default)]
    pub add_service_prefix: String,
    /// Whether the namespace is put behind the names.
    #[serde(rename = "addK8SNamespaceAsServiceSuffix", default)]
    pub add_k8s_namespace_as_service_suffix: bool,
    /// Metadata of the instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub append_metadatas: Vec<Metadata>,
    /// Namespaces whose Services go; `*`: all.
    #[serde(default = "all_namespaces")]
    #[schemars(length(min = 1))]
    pub allow_k8s_namespaces: Vec<String>,
    /// Namespaces whose Services do not go; counts more than `allowK8sNamespaces`.
    #[serde(default = "no_namespace")]
    #[schemars(length(min = 1))]
    pub deny_k8s_namespaces: Vec<String>,
    /// Only Services with all of these labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_labels: Vec<Metadata>,
    /// Only Services with all of these annotations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_annotations: Vec<Metadata>,
    /// Only instances with an address in these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_ip_ranges: Vec<String>,
    /// Only instances with an address outside of these ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_ip_ranges: Vec<String>,
    /// How labels and annotations become metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_strategy: Option<ConversionRules>,
    /// Group in Nacos.
    #[serde(default = "nacos_group")]
    pub group_id: String,
    /// Cluster in Nacos.
    #[serde(default = "nacos_cluster")]
    pub cluster_id: String,
    /// Whether instances are registered with a gateway's address.
    #[serde(default)]
    pub with_gateway: GatewayFromK8s,
}

/// A key and a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// How names of one side become names of the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversionRules {
    /// Whether they do.
    #[serde(default)]
    pub enable: bool,
    /// Of labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub label_conversions: BTreeMap<String, String>,
    /// Of annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotation_conversions: BTreeMap<String, String>,
}

/// Which Services come from a registry, and under which names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConversions {
    /// Whether only the listed ones come.
    #[serde(default)]
    pub enable: bool,
    /// The list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_conversions: Vec<ServiceConversion>,
}

/// A Service that comes from a registry under another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConversion {
    /// Its name in the registry.
    pub service: String,
    /// Its namespace in the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name in Kubernetes.
    pub convert_name: String,
}

/// Whether Services of a registry are reached through a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayToK8s {
    /// Whether they are.
    pub enable: bool,
    /// Whether there may be several gateways.
    pub multi_gateways: bool,
}

impl Default for GatewayToK8s {
    fn default() -> Self {
        Self { enable: false, multi_gateways: true }
    }
}

/// Whether instances are registered with a gateway's address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayFromK8s {
    /// Whether they are.
    pub enable: bool,
    /// What the gateway does.
    pub gateway_mode: GatewayMode,
}

/// What a connector's gateway does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GatewayMode {
    /// It is a proxy that clients know.
    Proxy,
    /// It passes traffic on.
    #[default]
    Forward,
}

/// Which addresses of nodes are registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodePortSyncType {
    /// The outer ones.
    #[default]
    ExternalOnly,
    /// The inner ones.
    InternalOnly,
    /// The outer ones; where there is none, the inner ones.
    ExternalFirst,
}

fn three_seconds() -> GoDuration {
    GoDuration::from_seconds(3)
}

fn all_namespaces() -> Vec<String> {
    vec!["*".to_owned()]
}

fn no_namespace() -> Vec<String> {
    vec![String::new()]
}

fn consul_namespace() -> String {
    "default".to_owned()
}

fn nacos_group() -> String {
    "DEFAULT_GROUP".to_owned()
}

fn nacos_cluster() -> String {
    "DEFAULT".to_owned()
}

fn nacos_groups() -> Vec<String> {
    vec![nacos_group()]
}

fn nacos_clusters() -> Vec<String> {
    vec![nacos_cluster()]
}
