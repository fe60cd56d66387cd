//! TrafficSplit: traffic to one service (the root) is shared between others, in the proxy of the client.
//!
//! Splits hold in permissive mode too, and grant nothing: outside of it the caller still needs a TrafficTarget for every
//! backend. HTTPRouteGroups are looked up in the split's own namespace.

use super::access;
use super::names;
use super::problems::{Problems, described, object};
use super::route;
use super::view::View;
use crate::world::MeshService;
use fsm_api::config::RouteRule;
use fsm_api::resources::smi::TrafficSplit;
use fsm_api::resources::{Kind, ObjectKey};
use std::collections::BTreeMap;

/// How traffic to one port of a root is shared.
pub(super) struct Shares<'a> {
    /// HTTP: rules in order.
    pub(super) rules: Vec<RouteRule>,
    /// TCP: clusters with their weights.
    pub(super) targets: BTreeMap<String, u32>,
    /// The ports whose clusters these are.
    pub(super) backends: Vec<&'a MeshService>,
}

/// What the splits of a root say; `None`: none has an effect, and the root is called like any service.
pub(super) fn shares<'a>(view: &View<'a>, port: &MeshService, problems: &mut Problems) -> Option<Shares<'a>> {
    if port.host.is_some() {
        return None;
    }
    let mut splits = Vec::new();
    for split in view.world.splits_of_root(&port.service) {
        let backends = backends(view, split, port, problems);
        if !backends.is_empty() {
            splits.push(Sharing { split, targets: weights(&backends), backends });
        }
    }
    if splits.is_empty() {
        return None;
    }
    let rules = if port.protocol.is_http() { rules(view, &splits, problems) } else { Vec::new() };
    let for_all = splits.iter().find(|sharing| sharing.split.spec.matches.is_empty()).or(splits.first())?;
    let targets = for_all.targets.clone();
    let mut backends: Vec<&MeshService> =
        splits.iter().flat_map(|sharing| sharing.backends.iter().map(|(port, _)| *port)).collect();
    backends.sort();
    backends.dedup();
    Some(Shares { rules, targets, backends })
}

/// One split of the root.
struct Sharing<'a> {
    split: &'a TrafficSplit,
    backends: Vec<(&'a MeshService, u32)>,
    targets: BTreeMap<String, u32>,
}

/// The backends that exist and have the root's port.
fn backends<'a>(
    view: &View<'a>,
    split: &'a TrafficSplit,
    root: &MeshService,
    problems: &mut Problems,
) -> Vec<(&'a MeshService, u32)> {
    let mut found = Vec::new();
    for (service, weight) in view.world.split_backends(split) {
        let ports = view.world.mesh_services_of(&service);
        let fitting = ports.iter().find(|port| {
            port.host.is_none() && port.port == root.port && port.protocol.is_http() == root.protocol.is_http()
        });
        match fitting {
            Some(port) => found.push((port, weight)),
            None => {
                let objects = vec![described(Kind::TrafficSplit, &split.metadata), object(Kind::Service, &service)];
                let what = if ports.is_empty() {
                    "is no service of the mesh".to_owned()
                } else {
                    format!("has no {} port {}", if root.protocol.is_http() { "HTTP" } else { "TCP" }, root.port)
                };
                let text = format!("backend {} {what}; it gets no traffic, the others share its part", objects[1]);
                problems.error(objects, "MissingBackend", text);
            }
        }
    }
    found
}

/// Weights by cluster. Backends that all have weight 0 share alike.
fn weights(backends: &[(&MeshService, u32)]) -> BTreeMap<String, u32> {
    let idle = backends.iter().all(|(_, weight)| *weight == 0);
    let mut targets = BTreeMap::new();
    for (port, weight) in backends {
        let weight = if idle { 100 } else { *weight };
        let total: &mut u32 = targets.entry(names::cluster(port)).or_default();
        *total = total.saturating_add(weight);
    }
    targets
}

fn rules(view: &View<'_>, splits: &[Sharing<'_>], problems: &mut Problems) -> Vec<RouteRule> {
    let mut found: Vec<(RouteRule, &TrafficSplit)> = Vec::new();
    for sharing in splits {
        for rule in conditions(view, sharing.split, problems) {
            let rule = RouteRule { target_clusters: sharing.targets.clone(), ..rule };
            match found.iter().find(|(known, _)| route::same_conditions(known, &rule)) {
                Some((known, _)) if known.target_clusters == rule.target_clusters => {}
                Some((_, first)) => report_conflict(sharing.split, first, &rule, problems),
                None => found.push((rule, sharing.split)),
            }
        }
    }
    let mut rules: Vec<RouteRule> = found.into_iter().map(|(rule, _)| rule).collect();
    if !rules.iter().any(route::is_any_path) {
        // FSM: what no split takes is shared by all backends alike.
        let all = splits.iter().flat_map(|sharing| sharing.targets.keys());
        rules.push(RouteRule {
            target_clusters: all.map(|cluster| (cluster.clone(), 100)).collect(),
            ..route::any_request()
        });
    }
    route::ordered(rules)
}

/// The requests that a split is about: all, or those of its HTTPRouteGroups.
fn conditions(view: &View<'_>, split: &TrafficSplit, problems: &mut Problems) -> Vec<RouteRule> {
    if split.spec.matches.is_empty() {
        return vec![route::any_request()];
    }
    let own = split.metadata.namespace.clone().unwrap_or_default();
    let mut rules = Vec::new();
    for found in &split.spec.matches {
        match view.world.route_group(&own, &found.name) {
            Some(group) => {
                access::check_patterns(group, problems);
                rules.extend(group.spec.matches.iter().map(access::request));
            }
            None => {
                let missing = ObjectKey::new(Kind::HttpRouteGroup, &own, &found.name);
                let objects = vec![described(Kind::TrafficSplit, &split.metadata), missing];
                let text = format!(
                    "{} does not exist; the split takes no requests by it. Groups are looked up in the split's namespace",
                    objects[1]
                );
                problems.error(objects, "MissingRoute", text);
            }
        }
    }
    route::ordered(rules)
}

fn report_conflict(split: &TrafficSplit, first: &TrafficSplit, rule: &RouteRule, problems: &mut Problems) {
    let objects = vec![described(Kind::TrafficSplit, &split.metadata), described(Kind::TrafficSplit, &first.metadata)];
    let text = format!(
        "shares requests for path {:?} in another way than the older {}, which holds. Change one of them, or give them \
         different matches",
        rule.path, objects[1]
    );
    problems.error(objects, "SplitConflict", text);
}
