//! The sidecar document: `config.json` as FSM's controller serves it to a sidecar, plus our additive fields.
//!
//! One document holds everything that one pod's proxy needs. fsm-control's stream may send what differs from the one
//! before instead, as a [`Change`]. The types follow the
//! document key by key and keep its spelling, so a reader who has a `config.json` open finds every field here.
//! They say what was *written*; what it *means* (parsed CIDRs, compiled regular expressions, resolved clusters) is
//! the business of the proxy's compiler.
//!
//! Reading is tolerant ([`Config::read`]): FSM 1.3 to 1.5 spell some things differently, and one broken rule must not
//! take the others down. Whatever is skipped or repaired is reported as a [`Problem`] that names the JSON path.
//! Only bytes that are no JSON object at all make reading fail.
//!
//! Additive fields (absent in documents of FSM's own controller) are marked *additive* where they are declared and
//! listed in `docs/configuration.md`.

mod change;
mod inbound;
mod outbound;
mod policy;
mod problem;
mod read;
mod redact;
mod rule;
mod spec;
mod write;

pub use change::{Change, ChangeError, Touched};
pub use inbound::{Inbound, InboundRouteRules, InboundTcpRouteRules, InboundTrafficMatch, SourceIpRange};
pub use outbound::{
    ClusterConfig, DestinationIpRange, EgressGateway, Endpoint, Forward, Outbound, OutboundRouteRules,
    OutboundTcpRouteRules, OutboundTrafficMatch,
};
pub use policy::{
    CircuitBreaking, ConnectionSettings, HttpConnectionSettings, HttpLocalRateLimit, HttpRateLimit, LoadBalancing,
    NameValue, RetryPolicy, TcpConnectionSettings, TcpLocalRateLimit, TcpRateLimit, WarmUp,
};
pub use problem::{Problem, Severity};
pub use read::{MAX_DOCUMENT_BYTES, ReadError};
pub use rule::{HostService, PathType, RouteRule};
pub use spec::{
    AccessLog, DnsServers, FeatureFlags, HttpGetProbe, HttpHeader, LocalDnsProxy, Metrics, Observability, Probe,
    Probes, RemoteLogging, Spec, Tracing, Traffic,
};

use serde::Serialize;
use std::collections::BTreeMap;

/// A whole sidecar document.
///
/// Written with `serde_json`, it has the form that FSM's own controller gives it (`null` and absent members included),
/// **private keys and all**; anything that shows a document to people starts from [`Config::redacted`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// When the controller published the document (RFC 3339); informational.
    pub ts: Option<String>,
    /// Content hash of the document, decimal digits; the repository's version and `ETag`.
    pub version: Option<String>,
    /// Whether the namespace asks for metrics scraping; the proxy exports metrics regardless.
    pub metrics: bool,
    /// Settings of the proxy as a whole.
    pub spec: Spec,
    /// The pod's mesh certificate; `None` when mesh mTLS is disabled. A certificate that cannot be read is `Some` with
    /// empty members, never `None`.
    pub certificate: Option<Certificate>,
    /// What may enter the pod. `None` and empty are the same: nothing.
    pub inbound: Option<Inbound>,
    /// What the pod may call. `None`: nothing is known, only egress passthrough applies.
    pub outbound: Option<Outbound>,
    /// Egress gateways, when the mesh has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// Addresses (`IP` or CIDR) that may open connections to this pod, with a label for people.
    pub allowed_endpoints: BTreeMap<String, String>,
    /// Stage lists by chain name; `modules/…` are built in, `plugins/…` are extension points.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub chains: BTreeMap<String, Vec<String>>,
    /// Names answered by the local DNS proxy (FSM 1.3.0–1.3.8).
    #[serde(rename = "DNSResolveDB", skip_serializing_if = "Option::is_none")]
    pub dns_resolve_db: Option<BTreeMap<String, Vec<String>>>,
}

/// A certificate with its key and the roots it is to be used with. Its `Debug` form hides the key.
///
/// A certificate that cannot be read is kept with the unreadable members empty: taking it for absent would turn TLS off.
#[derive(Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Certificate {
    /// For [`OutboundTrafficMatch`] and cluster certificates: `true` means "use the mesh certificate".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fsm_issued: Option<bool>,
    /// `<service account>.<namespace>.<trust domain>`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub common_name: String,
    /// Subject alternative names, informational.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
    /// `YYYY-MM-DD hh:mm:ss`, no zone; informational (the certificate itself decides).
    pub expiration: String,
    /// PEM: leaf and intermediates.
    pub cert_chain: String,
    /// PEM: private key. Never shown by any endpoint of the proxy.
    pub private_key: String,
    /// PEM: trusted roots.
    #[serde(rename = "IssuingCA")]
    pub issuing_ca: String,
}

impl Certificate {
    /// Whether it stands for the certificate that fsm-control issues to the proxy itself: it says so and has none.
    pub fn is_issued_by_control(&self) -> bool {
        self.fsm_issued == Some(true) && self.cert_chain.is_empty()
    }
}

impl Config {
    /// Whether this is the empty document, as which FSM's repository serves `{}` to a sidecar whose own document it does
    /// not have yet (the entry is inherited from the code base that all sidecars share). It is never a document to run on.
    pub fn is_empty_placeholder(&self) -> bool {
        *self == Self::default()
    }
}
