//! Who this proxy is, as far as metrics and logs name it.
//!
//! Taken once from the environment that FSM's injector sets; an absent variable is an empty label, which Prometheus
//! treats as no label.

use http::HeaderValue;

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

    /// The label of FSM's counter `sidecar_local_rate_limit_inbound`:
    /// `<namespace>/<pod name up to the first hyphen>_<port>_<protocol>`.
    pub fn connection_limit_label(&self, port: u16, protocol: &str) -> String {
        let service = self.pod.split('-').next().unwrap_or_default();
        format!("{}/{service}_{port}_{protocol}", self.namespace)
    }
}
