//! Admin pages of sidecars and of fsm-control, as far as views look at them.
//!
//! Everything that an older or newer program may leave out has a default: a view then shows less, instead of nothing.

use std::collections::BTreeMap;

use serde::Deserialize;

/// An entry of a sidecar's `/clusters?format=json`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cluster {
    /// Its name: `<namespace>/<service>|<port>` where control made it.
    pub name: String,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// Responses to requests.
    pub requests: u64,
    /// The same by class of the status; the first is 1xx.
    pub responses: [u64; 5],
    /// gRPC calls that the server failed at; their HTTP status says nothing of it.
    pub grpc_failures: u64,
    /// Requests in flight.
    pub requests_active: u64,
    /// Open connections.
    pub connections_active: u64,
    /// Connections opened so far.
    pub connections_opened: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Bytes sent to endpoints.
    pub sent_bytes: u64,
    /// Bytes received from endpoints.
    pub received_bytes: u64,
    /// Where it leads.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// `host:port`.
    pub address: String,
    /// Share of the traffic.
    pub weight: u32,
    /// Not ejected.
    pub healthy: bool,
    /// Open connections.
    pub connections: u64,
    /// Requests in flight.
    pub requests: u64,
    /// `mutual-tls`, `tls` or `plaintext`; empty: unknown.
    pub security: String,
    /// Whose certificate the server must show.
    pub identities: Vec<String>,
}

/// A sidecar's `/config_status`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigStatus {
    /// Where the document came from.
    pub origin: Option<String>,
    /// `Version` of the document.
    pub version: String,
    /// How long it has been in force.
    pub age_seconds: Option<u64>,
    /// How many things are wrong with it …
    pub problems: u64,
    /// … and how many of them deny something.
    pub errors: u64,
    /// The last document that was refused.
    pub rejected: Option<Failure>,
    /// Why the source cannot be read.
    pub source_failure: Option<Failure>,
    /// How it stands with fsm-control.
    pub control: Option<ControlLink>,
    /// What keeps the pod from being ready.
    pub not_ready: Vec<String>,
}

/// Something that went wrong.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// What.
    pub message: String,
}

/// How a sidecar stands with fsm-control.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlLink {
    /// Whether its stream stands.
    pub connected: bool,
    /// The version that it has, as control calls it.
    pub version: Option<String>,
    /// Its certificate.
    pub certificate: Option<IssuedCertificate>,
    /// Why it has no stream.
    pub last_failure: Option<Failure>,
    /// Why it has no new certificate.
    pub certificate_failure: Option<Failure>,
}

/// A certificate that fsm-control issued.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IssuedCertificate {
    /// Whose.
    pub principal: String,
    /// RFC 3339.
    pub expires: String,
}

/// `/version` of a sidecar or of control.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Version {
    /// The version.
    pub version: String,
}

/// An entry of a sidecar's `/certs`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificate {
    /// `mesh-chain`, `mesh-root`, `egress-chain`, `egress-root`.
    pub role: String,
    /// Whose.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Serial number.
    pub serial: String,
    /// Alternative names.
    pub names: Vec<String>,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
    /// Until then; negative when it is over.
    pub seconds_left: Option<i64>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// An entry of fsm-control's `/proxies`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proxy {
    /// `namespace/name`.
    pub pod: String,
    /// `stream` or `repository`.
    pub follows: String,
    /// `<sa>.<ns>`.
    pub identity: String,
    /// The newest version for it.
    pub version_wanted: Option<String>,
    /// The version that it has.
    pub version_acknowledged: Option<String>,
    /// RFC 3339.
    pub certificate_expires: Option<String>,
    /// Of fsm-proxy.
    pub proxy_version: String,
    /// What it found in its document.
    pub problems: Vec<String>,
    /// What it refused.
    pub last_nack: Option<Nack>,
}

impl Proxy {
    /// Whether it has what fsm-control wants it to have.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.version_wanted == self.version_acknowledged
    }

    /// Why it does not take what fsm-control wants it to have; `None` if it has it, or has not answered yet.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        let nack = self.last_nack.as_ref().filter(|nack| self.version_wanted.as_ref() == Some(&nack.version))?;
        (!self.is_current()).then_some(nack.reason.as_str())
    }
}

/// A refusal.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Nack {
    /// What was refused.
    pub version: String,
    /// Why.
    pub reason: String,
}

/// A sidecar's `/signals`: what passed since it was started.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Signals {
    /// Since when.
    pub uptime_seconds: f64,
    /// Upper bounds of all `latency_buckets` but the last.
    pub latency_bounds_ms: Vec<f64>,
    /// What came in.
    pub inbound: Vec<SignalCluster>,
    /// What went out.
    pub outbound: Vec<SignalCluster>,
    /// What was refused.
    pub refusals: Vec<Refusal>,
}

/// A cluster of `/signals`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SignalCluster {
    /// Its name.
    pub cluster: String,
    /// What passed, by the workload at the other end.
    pub edges: Vec<Edge>,
}

/// What passed between a sidecar and one other workload.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Edge {
    /// The other workload.
    pub peer: Peer,
    /// Whether it proved who it is.
    pub mtls: bool,
    /// Responses.
    pub requests: u64,
    /// The same by status.
    pub responses: BTreeMap<String, u64>,
    /// gRPC calls that the server failed at; their HTTP status says nothing of it.
    pub grpc_failures: u64,
    /// How long they took.
    pub latency_buckets: Vec<u64>,
    /// TCP connections.
    pub connections: u64,
}

/// A workload at the other end, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub name: String,
}

/// What a sidecar refused.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// `inbound` or `outbound`.
    pub direction: String,
    /// Why.
    pub reason: String,
    /// Who asked.
    pub peer: Peer,
    /// Whether it proved who it is.
    pub mtls: bool,
    /// How often.
    pub count: u64,
}
