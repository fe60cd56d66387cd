//! Who this proxy is, as far as metrics and logs name it.
//!
//! Taken once from the environment that FSM's injector sets; an absent variable is an empty label, which Prometheus
//! treats as no label.

use http::{HeaderName, HeaderValue};

/// The workload that this proxy belongs to: labels `source_*` of FSM's metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// `POD_NAMESPACE`.
    pub namespace: String,
    /// `POD_CONTROLLER_KIND`, e.g. `Deployment`.
    pub kind: String,
    /// `SERVICE_ACCOUNT`; FSM's metrics call it the workload's name.
    pub name: String,
    /// `POD_NAME`.
    pub pod: String,
}

impl Workload {
    /// Reads the environment of this process.
    pub fn from_environment() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads the variables from `lookup`.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name| lookup(name).unwrap_or_default();
        Self {
            namespace: value("POD_NAMESPACE"),
            kind: value("POD_CONTROLLER_KIND"),
            name: value("SERVICE_ACCOUNT"),
            pod: value("POD_NAME"),
        }
    }

    /// Value of the `fsm-stats` response header: `<namespace>,<kind>,<service account>,<pod>`; `None` outside a pod.
    pub fn stats_header(&self) -> Option<HeaderValue> {
        let Self { namespace, kind, name, pod } = self;
        let known = [namespace, kind, name, pod].iter().all(|part| !part.is_empty());
        known.then(|| HeaderValue::from_str(&format!("{namespace},{kind},{name},{pod}")).ok()).flatten()
    }

    /// FSM's `fsm-stats-…` request headers, by which a server learns who calls it; none outside a pod.
    pub fn stats_request_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        if self.stats_header().is_none() {
            return Vec::new();
        }
        let headers = [
            (HeaderName::from_static("fsm-stats-namespace"), &self.namespace),
            (HeaderName::from_static("fsm-stats-kind"), &self.kind),
            (HeaderName::from_static("fsm-stats-name"), &self.name),
            (HeaderName::from_static("fsm-stats-pod"), &self.pod),
        ];
        headers.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(value).ok()?))).collect()
    }

    /// The label of FSM's counter `sidecar_local_rate_limit_inbound`:
    /// `<namespace>/<pod name up to the first hyphen>_<port>_<protocol>`.
    pub fn connection_limit_label(&self, port: u16, protocol: &str) -> String {
        let service = self.pod.split('-').next().unwrap_or_default();
        format!("{}/{service}_{port}_{protocol}", self.namespace)
    }
}

/// What a sidecar says of itself in `fsm-stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Kind of the workload; empty if it is none that we know.
    pub kind: &'a str,
    /// Service account.
    pub name: &'a str,
    /// Pod.
    pub pod: &'a str,
}

/// Kinds of workloads. A label has no other values, whatever a sidecar says.
const KINDS: [&str; 8] =
    ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController", "Pod"];

/// Reads a `fsm-stats` header; `None` if it is not what [`Workload::stats_header`] makes.
pub fn read_stats_header(value: &[u8]) -> Option<Said<'_>> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_STATS_BYTES)?;
    let mut parts = text.split(',');
    let said = Said { namespace: parts.next()?, kind: parts.next()?, name: parts.next()?, pod: parts.next()? };
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':'))
    };
    let whole = parts.next().is_none() && [said.namespace, said.name, said.pod].into_iter().all(is_name);
    let kind = if KINDS.contains(&said.kind) { said.kind } else { "" };
    whole.then_some(Said { kind, ..said })
}

/// Four names of Kubernetes, each of up to 253 characters.
const MAX_STATS_BYTES: usize = 4 * 254;
