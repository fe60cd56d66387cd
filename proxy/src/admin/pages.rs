//! The longer answers of the operator's port.

use super::AdminState;
use super::reply::{Reply, json, text};
use crate::config::snapshot::Snapshot;
use crate::config::store::Status;
use crate::reason::Reason;
use crate::telemetry::build::{GIT_COMMIT, RUSTC, VERSION};
use crate::telemetry::control::ControlStatus;
use crate::upstream::cluster::Cluster;
use crate::upstream::connect::Security;
use crate::upstream::endpoint::EndpointStatus;
use fsm_api::config::Problem;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json as object};
use std::fmt::Write;

/// The document in force, in FSM's shape and without secrets.
pub(super) fn config_dump(state: &AdminState) -> Reply {
    match state.store.snapshot() {
        Some(snapshot) => json(&snapshot.document.redacted()),
        None => text(StatusCode::SERVICE_UNAVAILABLE, "no configuration is in force yet; see /config_status\n"),
    }
}

/// Where the configuration comes from, how old it is and what is wrong with it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigStatus {
    #[serde(flatten)]
    status: Status,
    /// When the controller published the document, by its own account.
    published: Option<String>,
    age_seconds: Option<u64>,
    /// How it stands with fsm-control, where the configuration comes from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<ControlStatus>,
    not_ready: Vec<&'static str>,
    /// What is wrong with the document; [`Status`] has their number under `problems`.
    details: Vec<Problem>,
}

pub(super) fn config_status(state: &AdminState) -> ConfigStatus {
    let snapshot = state.store.snapshot();
    ConfigStatus {
        status: state.store.status(),
        published: snapshot.as_ref().and_then(|snapshot| snapshot.document.ts.clone()),
        age_seconds: state.store.age().map(|age| age.as_secs()),
        control: state.telemetry.control.get().map(|link| link.status()),
        not_ready: state.readiness.missing(),
        details: snapshot.map(|snapshot| snapshot.problems.clone()).unwrap_or_default(),
    }
}

/// Version of the proxy.
pub(super) fn version() -> Value {
    object!({ "name": "fsm-proxy", "version": VERSION, "gitCommit": GIT_COMMIT, "rustc": RUSTC })
}

/// Every reason code and what it means.
pub(super) fn reasons() -> String {
    let width = Reason::ALL.iter().map(|reason| reason.code().len()).max().unwrap_or_default();
    let mut table = format!("{:width$}  http  grpc  meaning\n", "reason");
    for reason in Reason::ALL {
        let (status, grpc) = (reason.status().as_u16(), reason.grpc_status());
        let _ = writeln!(table, "{:width$}  {status:<4}  {grpc:<4}  {}", reason.code(), reason.meaning());
    }
    table
}

/// Clusters for people.
pub(super) fn clusters_text(snapshot: Option<&Snapshot>) -> String {
    let mut page = String::new();
    for cluster in snapshot.into_iter().flat_map(|snapshot| &snapshot.clusters) {
        write_cluster(&mut page, cluster);
    }
    page
}

fn write_cluster(page: &mut String, cluster: &Cluster) {
    let counters = cluster.counters();
    let totals = counters.edges.totals();
    let classes = (1..=5).map(|class| (class, totals.class(class))).filter(|(_, count)| *count > 0);
    let classes: String = classes.map(|(class, count)| format!(" {class}xx={count}")).collect();
    let _ = writeln!(
        page,
        "{} {} requests={}{classes} active={} connections={} opened={} connect-failures={} connect-timeouts={} \
         retries={} timeouts={} overflows={} sent={} received={}",
        one_line(&cluster.name),
        cluster.direction.name(),
        totals.responses(),
        counters.requests_active.get(),
        counters.connections_active.get(),
        counters.connections_opened.get(),
        counters.connect_failures.get(),
        counters.connect_timeouts.get(),
        counters.retries.get(),
        counters.request_timeouts.get(),
        counters.overflows.get(),
        counters.sent_bytes.get(),
        counters.received_bytes.get(),
    );
    let endpoints = cluster.endpoints();
    if endpoints.is_empty() {
        page.push_str("  no endpoints\n");
    }
    for endpoint in endpoints {
        let EndpointStatus { address, weight, healthy, connections, requests, .. } = endpoint;
        let state = if healthy { "healthy" } else { "ejected" };
        let address = one_line(&address);
        let _ = writeln!(page, "  {address} {state} weight={weight} connections={connections} requests={requests}");
    }
}

/// Names come from the configuration; a line must stay a line.
fn one_line(name: &str) -> String {
    name.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

/// Clusters for programs.
pub(super) fn clusters_json(snapshot: Option<&Snapshot>) -> Value {
    let clusters = snapshot.into_iter().flat_map(|snapshot| &snapshot.clusters);
    clusters.map(|cluster| cluster_json(cluster)).collect()
}

fn cluster_json(cluster: &Cluster) -> Value {
    let counters = cluster.counters();
    let totals = counters.edges.totals();
    let endpoints = cluster.endpoints().into_iter().map(|endpoint| {
        object!({
            "address": endpoint.address,
            "weight": endpoint.weight,
            "healthy": endpoint.healthy,
            "connections": endpoint.connections,
            "requests": endpoint.requests,
            "security": security(&endpoint.security),
            "identities": match endpoint.security {
                Security::Mesh(identities) => identities,
                Security::Plaintext | Security::Origination => Vec::new(),
            },
        })
    });
    object!({
        "name": cluster.name,
        "direction": cluster.direction.name(),
        "requests": totals.responses(),
        "responses": (1..=5).map(|class| totals.class(class)).collect::<Vec<_>>(),
        "grpcFailures": totals.grpc_failures(),
        "requestsActive": counters.requests_active.get(),
        "connectionsActive": counters.connections_active.get(),
        "connectionsOpened": counters.connections_opened.get(),
        "connectFailures": counters.connect_failures.get(),
        "connectTimeouts": counters.connect_timeouts.get(),
        "retries": counters.retries.get(),
        "requestTimeouts": counters.request_timeouts.get(),
        "overflows": counters.overflows.get(),
        "sentBytes": counters.sent_bytes.get(),
        "receivedBytes": counters.received_bytes.get(),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn security(security: &Security) -> &'static str {
    match security {
        Security::Plaintext => "plaintext",
        Security::Mesh(_) => "mutual-tls",
        Security::Origination => "tls",
    }
}
