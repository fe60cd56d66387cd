//! HTTP rules, which inbound and outbound rule sets share.

use super::HttpRateLimit;
use serde::Serialize;
use std::collections::BTreeMap;

/// Which rule set serves a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostService {
    /// Key into `HttpServiceRouteRules`.
    pub rule_name: String,
    /// The service's own name, in packed documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// One HTTP rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RouteRule {
    /// Path, prefix or regular expression, by `type`.
    pub path: String,
    /// `Regex`, `Exact` or `Prefix`.
    #[serde(rename = "Type")]
    pub path_type: PathType,
    /// Header name (lower case) → regular expression that its value must match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Permitted methods; `None` or `*` means all, an empty list none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Cluster → weight; 0 marks a failover cluster.
    pub target_clusters: BTreeMap<String, u32>,
    /// `<service account>.<namespace>` of permitted callers; `None` means anyone, an empty list nobody (inbound only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_services: Option<Vec<String>>,
    /// Limit of requests to this route (inbound only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<HttpRateLimit>,
}

/// How a rule's path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum PathType {
    /// Regular expression over the whole path, without the query.
    #[default]
    Regex,
    /// The whole path.
    Exact,
    /// The beginning of the path, ending at a segment boundary.
    Prefix,
}

impl PathType {
    /// As the document spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regex => "Regex",
            Self::Exact => "Exact",
            Self::Prefix => "Prefix",
        }
    }
}
