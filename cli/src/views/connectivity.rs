//! What has to be true for a pod to reach another one, step by step.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::pages::{Certificate, Cluster};
use super::policy::Explained;
use super::status::{State, Status};
use crate::output::Style;

/// One thing that has to be true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Whether it is; `None`: it could not be found out.
    pub holds: Option<bool>,
    /// What was found.
    pub text: String,
    /// What to do where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// All that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `namespace/name` of the caller.
    pub from_pod: String,
    /// `namespace/name` of the server.
    pub to_pod: String,
    /// `namespace/service:port`.
    pub service: Option<String>,
    /// In the order in which a request meets them.
    pub checks: Vec<Check>,
}

impl Check {
    /// Something is as it has to be.
    pub fn good(text: impl Into<String>) -> Self {
        Self { holds: Some(true), text: text.into(), suggestion: None }
    }

    /// Something is not.
    pub fn bad(text: impl Into<String>, suggestion: impl Into<String>) -> Self {
        Self { holds: Some(false), text: text.into(), suggestion: Some(suggestion.into()) }
    }

    /// Something could not be found out.
    pub fn unknown(text: impl Into<String>) -> Self {
        Self { holds: None, text: text.into(), suggestion: None }
    }
}

impl Report {
    /// Whether nothing was found that keeps the caller out.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.holds != Some(false))
    }
}

/// Whether a sidecar has the newest configuration.
#[must_use]
pub fn synced(status: &Status) -> Check {
    let pod = format!("{}/{}", status.namespace, status.name);
    let logs = format!("`fsm logs {} -n {} -c sidecar`, `fsm proxy diff {0} -n {1}`", status.name, status.namespace);
    match status.state {
        State::Synced => Check::good(format!("the sidecar of {pod} has the newest configuration")),
        State::Alone => Check::unknown(format!("the sidecar of {pod} does not follow fsm-control")),
        state => Check::bad(format!("the sidecar of {pod} is {}: {}", state.word(), status.why), logs),
    }
}

/// What policies say.
#[must_use]
pub fn permitted(explained: &Explained) -> Check {
    let last = explained.steps.last().map(|step| step.text.clone()).unwrap_or_default();
    let reason = explained.reason.clone().unwrap_or_default();
    let again = format!("fsm policy explain --from {} --to {}", explained.caller, explained.service);
    match explained.verdict.as_str() {
        "allowed" => Check::good(format!("policies allow {} to call {}", explained.caller, explained.service)),
        "partly" => Check::good(format!("policies allow some requests: {last}")),
        _ => Check::bad(
            format!("policies do not allow it ({reason}): {last}"),
            explained.remedy.clone().unwrap_or_else(|| format!("`{again}` says more")),
        ),
    }
}

/// Whether the caller's sidecar knows the server.
#[must_use]
pub fn known(clusters: &[Cluster], addresses: &[String]) -> Check {
    let outbound = clusters.iter().filter(|cluster| cluster.direction == "outbound");
    let mut found = Vec::new();
    for cluster in outbound {
        for endpoint in &cluster.endpoints {
            let host = endpoint.address.rsplit_once(':').map_or("", |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            if addresses.iter().any(|address| address == host) {
                found.push((cluster, endpoint));
            }
        }
    }
    match found.iter().find(|(_, endpoint)| endpoint.healthy).or(found.first()) {
        None => Check::bad(
            "the caller's sidecar knows no cluster with the server's address",
            "`fsm policy explain` says whether the caller may call it; `fsm proxy endpoints` shows what it knows",
        ),
        Some((cluster, endpoint)) if endpoint.healthy => Check::good(format!(
            "the caller's sidecar knows the server as {} of cluster {}",
            endpoint.address, cluster.name
        )),
        Some((cluster, endpoint)) => Check::bad(
            format!(
                "the caller's sidecar avoids {} of cluster {}: it was ejected for failing",
                endpoint.address, cluster.name
            ),
            "look at the server: `fsm logs`, `fsm stat`; an ejected endpoint is tried again by itself",
        ),
    }
}

/// Whether both have valid certificates of the same mesh.
#[must_use]
pub fn certified(from: &[Certificate], to: &[Certificate]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (who, page) in [("caller", from), ("server", to)] {
        let leaf = page.iter().find(|certificate| certificate.role == "mesh-chain");
        checks.push(match leaf {
            None => Check::unknown(format!("the {who} has no certificate of the mesh: mutual TLS is off")),
            Some(Certificate { error: Some(error), .. }) => {
                Check::bad(format!("the {who}'s certificate cannot be read: {error}"), "`fsm proxy certs` shows it")
            }
            Some(leaf) if leaf.seconds_left.is_some_and(|left| left <= 0) => Check::bad(
                format!("the {who}'s certificate has expired at {}", leaf.not_after),
                "`fsm proxy status` says why there is no new one; look at the clocks of the nodes",
            ),
            Some(leaf) => Check::good(format!("the {who}'s certificate is valid until {}", leaf.not_after)),
        });
    }
    let roots = |page: &[Certificate]| -> BTreeSet<String> {
        let roots = page.iter().filter(|certificate| certificate.role == "mesh-root");
        roots.map(|root| root.serial.clone()).collect()
    };
    let (one, other) = (roots(from), roots(to));
    if !one.is_empty() && !other.is_empty() {
        checks.push(if one.is_disjoint(&other) {
            Check::bad(
                "caller and server trust different roots",
                "restart the one that still has the old root: `fsm proxy certs`",
            )
        } else {
            Check::good("caller and server trust the same root")
        });
    }
    checks
}

/// What a live request met: what curl said of it.
#[must_use]
pub fn probed(url: &str, code: i32, output: &str) -> Check {
    let (status, reason) = output.trim().split_once(' ').unwrap_or((output.trim(), ""));
    match (code, status.parse::<u16>()) {
        (126 | 127, _) => Check::unknown(format!("{url} was not tried: the caller's container has no curl")),
        (0, Ok(status)) if reason.is_empty() => {
            Check::good(format!("a live request to {url} was answered by the application ({status})"))
        }
        (0, Ok(status)) => Check::bad(
            format!("a live request to {url} was refused: {status} ({reason})"),
            format!("`fsm explain {reason}`"),
        ),
        (code, _) => Check::bad(
            format!("a live request to {url} failed: {}", curl_said(code)),
            "`fsm tap` on both pods shows who refused it",
        ),
    }
}

fn curl_said(code: i32) -> String {
    let words = match code {
        6 => "the name does not resolve",
        7 => "the connection was refused",
        28 => "no answer in time",
        52 => "the connection was closed without an answer",
        56 => "the connection was reset",
        _ => return format!("curl's exit code is {code}"),
    };
    format!("{words} (curl's exit code {code})")
}

/// The services that lead to a pod with these labels, with their TCP ports.
#[must_use]
pub fn ports(service: &Value) -> Vec<u16> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let tcp = ports.filter(|port| port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP"));
    tcp.filter_map(|port| port["port"].as_u64().and_then(|port| u16::try_from(port).ok())).collect()
}

/// The report for people, in the manner of FSM's `verify`.
#[must_use]
pub fn told(report: &Report, style: Style) -> String {
    const LINE: &str = "---------------------------------------------\n";
    let service = report.service.as_ref().map(|service| format!(" for service \"{service}\"")).unwrap_or_default();
    let mut text = format!(
        "{LINE}[+] Context: Verify if pod \"{}\" can access pod \"{}\"{service}\n",
        report.from_pod, report.to_pod
    );
    for check in &report.checks {
        let mark = match check.holds {
            Some(true) => style.good("+"),
            Some(false) => style.bad("-"),
            None => "?".to_owned(),
        };
        text.push_str(&format!("    [{mark}] {}\n", check.text));
    }
    let failed: Vec<&Check> = report.checks.iter().filter(|check| check.holds == Some(false)).collect();
    if failed.is_empty() {
        text.push_str(&format!("Status: {}\n", style.good("Success")));
    } else {
        text.push_str(&format!("Status: {}\n", style.bad("Failure")));
    }
    for check in failed {
        text.push_str(&format!("Reason: {}\n", check.text));
        if let Some(suggestion) = &check.suggestion {
            text.push_str(&format!("Suggestion: {suggestion}\n"));
        }
    }
    text + LINE
}
