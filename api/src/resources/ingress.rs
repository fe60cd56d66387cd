//! An ingress of one namespace: NamespacedIngress, `networking.flomesh.io/v1alpha1` (until FSM 1.2:
//! `flomesh.io/v1alpha1`, which is read too).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, PodSecurityContext, ResourceRequirements, SecurityContext, Toleration,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mesh_config::SslPassthrough;

/// The ingress controller of one namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "networking.flomesh.io",
    version = "v1alpha1",
    kind = "NamespacedIngress",
    plural = "namespacedingresses",
    shortname = "nsig",
    namespaced,
    status = "NamespacedIngressStatus",
    derive = "PartialEq",
    doc = "NamespacedIngress has an ingress controller run for one namespace.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespacedIngressSpec {
    /// Type of the Service.
    pub service_type: String,
    /// Annotations of the Service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub service_annotations: BTreeMap<String, String>,
    /// Labels of the Service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub service_labels: BTreeMap<String, String>,
    /// Account that the pods run as.
    pub service_account_name: String,
    /// Plain HTTP.
    pub http: NamespacedIngressHttp,
    /// HTTPS.
    pub tls: NamespacedIngressTls,
    /// Log level.
    #[schemars(extend("enum" = ["trace", "debug", "info", "warn", "error", "fatal", "panic", "disabled"]))]
    pub log_level: String,
    /// Number of pods.
    #[schemars(range(min = 1))]
    pub replicas: i32,
    /// Annotations of the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_annotations: BTreeMap<String, String>,
    /// Labels of the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_labels: BTreeMap<String, String>,
    /// Environment of the pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Resources of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Nodes that the pods may run on, by label.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Nodes that the pods may run on, by rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Taints that the pods bear.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Security settings of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_security_context: Option<PodSecurityContext>,
    /// Security settings of the containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,
}

impl Default for NamespacedIngressSpec {
    fn default() -> Self {
        Self {
            service_type: "LoadBalancer".to_owned(),
            service_annotations: BTreeMap::new(),
            service_labels: BTreeMap::new(),
            service_account_name: "fsm-namespaced-ingress".to_owned(),
            http: NamespacedIngressHttp::default(),
            tls: NamespacedIngressTls::default(),
            log_level: "info".to_owned(),
            replicas: 1,
            pod_annotations: BTreeMap::new(),
            pod_labels: BTreeMap::new(),
            env: Vec::new(),
            resources: None,
            node_selector: BTreeMap::new(),
            affinity: None,
            tolerations: Vec::new(),
            pod_security_context: None,
            security_context: None,
        }
    }
}

/// Plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespacedIngressHttp {
    /// Whether it is served.
    pub enabled: bool,
    /// Where.
    pub port: IngressPort,
}

impl Default for NamespacedIngressHttp {
    fn default() -> Self {
        Self { enabled: true, port: IngressPort::new("http", 80, 8000) }
    }
}

/// HTTPS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespacedIngressTls {
    /// Whether it is served.
    pub enabled: bool,
    /// Where.
    pub port: IngressPort,
    /// Whether clients must present a certificate.
    #[serde(rename = "mTLS")]
    pub mtls: bool,
    /// TLS that is passed on unopened.
    pub ssl_passthrough: SslPassthrough,
}

impl Default for NamespacedIngressTls {
    fn default() -> Self {
        Self {
            enabled: false,
            port: IngressPort::new("https", 443, 8443),
            mtls: false,
            ssl_passthrough: SslPassthrough::default(),
        }
    }
}

/// A port of the ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressPort {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its protocol.
    #[serde(default = "tcp")]
    pub protocol: String,
    /// Port of the Service.
    pub port: u16,
    /// Port of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
    /// Port of the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
}

impl IngressPort {
    fn new(name: &str, port: u16, target_port: u16) -> Self {
        Self { name: Some(name.to_owned()), protocol: tcp(), port, target_port: Some(target_port), node_port: None }
    }
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespacedIngressStatus {
    /// Number of pods.
    pub replicas: i32,
    /// Labels of the pods, as a selector in text form.
    pub selector: String,
}

fn tcp() -> String {
    "TCP".to_owned()
}
