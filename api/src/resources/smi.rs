//! The Service Mesh Interface: who may call whom (access), what a call looks like (specs), and how traffic to one
//! Service is shared between several (split).
//!
//! Versions: access v1alpha3, specs v1alpha4, split v1alpha4 and v1alpha2 (the same without `matches`), as FSM serves
//! them.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::number;

/// Who may call an account's pods, and with which requests.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "access.smi-spec.io",
    version = "v1alpha3",
    kind = "TrafficTarget",
    plural = "traffictargets",
    shortname = "tt",
    namespaced,
    derive = "PartialEq",
    doc = "TrafficTarget lets accounts call the pods of another account."
)]
#[serde(rename_all = "camelCase")]
pub struct TrafficTargetSpec {
    /// Whose pods are called; its namespace is the object's own when absent.
    pub destination: AccountRef,
    /// Who may call.
    pub sources: Vec<AccountRef>,
    /// Which requests.
    pub rules: Vec<TrafficTargetRule>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountRef {
    /// `ServiceAccount`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace; absent: the object's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Requests that a [`TrafficTarget`] lets through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficTargetRule {
    /// What `name` is.
    pub kind: RouteKind,
    /// Name of an object of the same namespace.
    pub name: String,
    /// Names of matches in an [`HttpRouteGroup`]; none: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<String>,
}

/// Kinds that describe traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RouteKind {
    /// HTTP requests.
    #[serde(rename = "HTTPRouteGroup")]
    HttpRouteGroup,
    /// TCP connections.
    #[serde(rename = "TCPRoute")]
    TcpRoute,
    /// Accepted, as FSM's schema does; the mesh does not carry UDP.
    #[serde(rename = "UDPRoute")]
    UdpRoute,
}

/// Descriptions of HTTP requests, each with a name.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "specs.smi-spec.io",
    version = "v1alpha4",
    kind = "HTTPRouteGroup",
    root = "HttpRouteGroup",
    singular = "httproutegroup",
    plural = "httproutegroups",
    shortname = "htr",
    namespaced,
    derive = "PartialEq",
    doc = "HTTPRouteGroup describes HTTP requests."
)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteGroupSpec {
    /// The descriptions.
    pub matches: Vec<HttpMatch>,
}

/// A description of HTTP requests: everything that is given must be so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// The name by which others mean it.
    pub name: String,
    /// A regular expression for the whole path, without the query; absent: any path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_regex: Option<String>,
    /// Methods; none: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// Headers and regular expressions for their values: a list of maps, which count as one map.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<BTreeMap<String, String>>,
}

impl HttpMatch {
    /// All headers as one map; of two entries for the same name the later one counts, as with FSM.
    #[must_use]
    pub fn merged_headers(&self) -> BTreeMap<String, String> {
        self.headers.iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// HTTP methods of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Any method.
    #[serde(rename = "*")]
    Any,
    /// GET
    Get,
    /// HEAD
    Head,
    /// PUT
    Put,
    /// POST
    Post,
    /// DELETE
    Delete,
    /// CONNECT
    Connect,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// PATCH
    Patch,
}

impl Method {
    /// The method as it is written in requests; `*` for any.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "*",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }
}

/// A description of TCP connections by destination port.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "specs.smi-spec.io",
    version = "v1alpha4",
    kind = "TCPRoute",
    root = "TcpRoute",
    singular = "tcproute",
    plural = "tcproutes",
    shortname = "tr",
    namespaced,
    derive = "PartialEq",
    doc = "TCPRoute describes TCP connections."
)]
#[serde(rename_all = "camelCase")]
pub struct TcpRouteSpec {
    /// Which connections.
    pub matches: TcpMatch,
}

/// Which TCP connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpMatch {
    /// Optional name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Destination ports.
    pub ports: Vec<u16>,
}

/// How traffic to one Service is shared between several.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "split.smi-spec.io",
    version = "v1alpha4",
    kind = "TrafficSplit",
    plural = "trafficsplits",
    shortname = "ts",
    namespaced,
    derive = "PartialEq",
    doc = "TrafficSplit shares the traffic to one Service between several.",
    printcolumn(
        name = "Service",
        type_ = "string",
        json_path = ".spec.service",
        description = "The apex service of this split."
    )
)]
#[serde(rename_all = "camelCase")]
pub struct TrafficSplitSpec {
    /// The Service that clients call: a name of this namespace, or a host name.
    pub service: String,
    /// Who gets which share.
    pub backends: Vec<TrafficSplitBackend>,
    /// Only requests that match one of these are shared; none: all requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<TrafficSplitMatch>,
}

/// One Service of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficSplitBackend {
    /// Name of the Service.
    pub service: String,
    /// Its share, relative to the others'.
    #[serde(deserialize_with = "number::whole")]
    #[schemars(with = "f64", range(min = 0))]
    pub weight: u32,
}

/// Requests that a split counts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficSplitMatch {
    /// Group of the kind: `specs.smi-spec.io`. FSM's schema does not have the field, so that an API server drops it.
    #[serde(rename = "apiGroup", default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// `HTTPRouteGroup`.
    pub kind: TrafficSplitMatchKind,
    /// Name of an object of the same namespace.
    pub name: String,
}

/// Kinds that a split can match by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficSplitMatchKind {
    /// Any of the matches of an [`HttpRouteGroup`].
    #[serde(rename = "HTTPRouteGroup")]
    HttpRouteGroup,
}
