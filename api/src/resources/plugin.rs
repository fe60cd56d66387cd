//! Modules that users put into the proxies: the kinds of `plugin.flomesh.io/v1alpha1`.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::PolicyStatus;
use super::schema::free_form;

/// A module, by its source text.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "plugin.flomesh.io",
    version = "v1alpha1",
    kind = "Plugin",
    plural = "plugins",
    shortname = "pi",
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "Plugin is a module for the proxies."
)]
#[serde(rename_all = "camelCase")]
pub struct PluginSpec {
    /// The source text.
    pub pipyscript: String,
    /// Modules of a higher priority run first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<f64>,
}

/// Into which chains of which pods modules are put.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "plugin.flomesh.io",
    version = "v1alpha1",
    kind = "PluginChain",
    plural = "pluginchains",
    shortname = "pichn",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "PluginChain puts modules into the chains of proxies."
)]
#[serde(rename_all = "camelCase")]
pub struct PluginChainSpec {
    /// The chains.
    pub chains: Vec<PluginChainEntry>,
    /// Whose proxies.
    pub selectors: PluginChainSelectors,
}

/// Modules of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginChainEntry {
    /// `inbound-tcp`, `inbound-http`, `outbound-tcp` or `outbound-http`.
    pub name: String,
    /// Names of [`Plugin`]s.
    pub plugins: Vec<String>,
}

/// Pods by their labels and the labels of their namespaces; the [`PluginChain`]'s own namespace does not matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginChainSelectors {
    /// Labels of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Labels of the namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
}

/// Settings of a module for some Services.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "plugin.flomesh.io",
    version = "v1alpha1",
    kind = "PluginConfig",
    plural = "pluginconfigs",
    shortname = "picfg",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "PluginConfig holds the settings of a module."
)]
#[serde(rename_all = "camelCase")]
pub struct PluginConfigSpec {
    /// Name of the [`Plugin`].
    pub plugin: String,
    /// The Services that it is for.
    pub destination_refs: Vec<ObjectReference>,
    /// What the module reads.
    #[schemars(schema_with = "free_form")]
    pub config: serde_json::Map<String, serde_json::Value>,
}
