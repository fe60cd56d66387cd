//! What a group of proxies must do: a pure function of the world.
//!
//! [`build`] turns everything that concerns one [`Group`] into the document that its proxies follow. It waits for
//! nothing, reads no clock and keeps no state (but what is common to the groups of one world, [`Shared`]): the same world gives the same document, byte for byte, in whatever order
//! its objects came. It never fails and never panics; what cannot be used has no effect, and a [`Problem`] says so and names the
//! objects. One file for each concern; none reads what another one wrote.
//!
//! # Which port is dialled
//!
//! FSM dials `<pod IP>:<service port>` and counts on the server's redirection, which catches any port; a pod without a
//! proxy was reachable only where both ports are equal. Here **the pod's own port (`targetPort`) is dialled**, and the
//! server knows the connection by it: the key of `Inbound.TrafficMatches` is what the proxy looks up, the port of the
//! connection's original destination. That is the target port for our own clients, for clients without a proxy (a
//! Service's address was translated before the redirection), for ingresses and for calls by pod IP.
//!
//! Where the two ports differ, **the service port is a second key** with the same rules, for proxies that still follow a
//! document of FSM's controller (or its cached copy) during a migration. A target port wins over another service's
//! service port. The two keys have token buckets of their own where connections are limited.
//!
//! # Who may call
//!
//! Callers are known by their certificates: rules carry `AllowedServices` (absent: anyone of the mesh, which is what
//! permissive mode means; empty: nobody), clusters carry `ServiceIdentities`. Addresses decide only where mTLS is disabled.
//! Endpoints without a proxy are dialled in plaintext, which the document says by a `ViaGateway` that is the endpoint itself;
//! outside of permissive mode they are left out, because nothing proves who they are.

mod access;
mod egress;
mod egress_gateway;
mod elements;
pub mod explain;
mod inbound;
mod local_names;
mod locality;
mod names;
mod outbound;
mod outside;
mod plugin;
mod problems;
mod retry;
mod route;
mod shared;
mod split;
mod telemetry;
mod upstream_setting;
mod view;
mod warm_up;

pub use shared::Shared;

use crate::world::{Group, Problem, World};
use fsm_api::config::{Certificate, Config, FeatureFlags, Spec, Traffic};
use problems::Problems;
use std::collections::BTreeMap;
use view::View;

/// A document and what is wrong with the objects that it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The document, without `Ts` and `Version`. Where the mesh uses mTLS its certificate is one with `FsmIssued` and no
    /// key: the proxy has its own.
    pub config: Config,
    /// Conflicts and dangling references that show only here, in a fixed order, each once.
    pub problems: Vec<Problem>,
}

/// The document of one group of proxies.
pub fn build(world: &World, group: &Group) -> Built {
    build_with(world, group, &Shared::default())
}

/// The same where documents of several groups are made of one state of the world, with what they have in common in `shared`.
pub fn build_with(world: &World, group: &Group, shared: &Shared) -> Built {
    let view = View::new(world, group);
    let mut problems = Problems::default();
    let inbound = inbound::build(&view, &mut problems);
    let outbound = shared.outbound(&view, &mut problems, outbound::build);
    let config = Config {
        ts: None,
        version: None,
        metrics: group.metrics,
        spec: spec(&view),
        certificate: certificate(&view),
        inbound: Some(inbound),
        outbound: (!outbound.traffic_matches.is_empty()).then_some(outbound),
        forward: egress_gateway::forward(&view, &mut problems),
        allowed_endpoints: allowed_endpoints(&view, &mut problems),
        chains: plugin::chains(&view, &mut problems),
        dns_resolve_db: local_names::records(view.mesh),
    };
    Built { config, problems: problems.into_sorted() }
}

fn spec(view: &View<'_>) -> Spec {
    let mesh = view.mesh;
    Spec {
        service_identity: view.group.account.identity(),
        sidecar_log_level: mesh.sidecar_log_level.clone(),
        sidecar_timeout: mesh.sidecar_timeout.as_secs(),
        traffic: Traffic {
            enable_egress: mesh.enable_egress,
            http1_per_request_load_balancing: mesh.http1_per_request_load_balancing,
            http2_per_request_load_balancing: mesh.http2_per_request_load_balancing,
        },
        feature_flags: FeatureFlags {
            enable_sidecar_active_health_checks: mesh.features.sidecar_active_health_checks,
            enable_auto_default_route: mesh.features.auto_default_route,
            hide_stats_headers: false,
        },
        probes: (*view.group.probes).clone(),
        cluster_set: mesh.cluster_set.properties.clone(),
        observability: telemetry::observability(mesh),
        local_dns_proxy: local_names::proxy(mesh),
    }
}

/// The proxy fetches its certificate by itself; the document only says that it needs one.
fn certificate(view: &View<'_>) -> Option<Certificate> {
    view.mesh.mtls.then(|| Certificate {
        fsm_issued: Some(true),
        common_name: view.group.account.principal(&view.mesh.trust_domain),
        ..Certificate::default()
    })
}

/// With certificates they alone decide. Without them addresses do: those of every proxy, or only of the permitted callers.
fn allowed_endpoints(view: &View<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    if view.mesh.mtls {
        return BTreeMap::new();
    }
    access::report_unproven_callers(view, problems);
    let only = access::callers_by_address(view);
    let proxies = view.world.proxy_addresses().map(|(ip, account)| (ip.to_string(), account.identity()));
    proxies.filter(|(_, identity)| only.as_ref().is_none_or(|only| only.contains(identity))).collect()
}

#[cfg(test)]
mod tests;
