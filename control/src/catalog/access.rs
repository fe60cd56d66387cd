//! Who may call the group's application, and whom the group may call: permissive mode, or SMI's TrafficTargets.
//!
//! A rule of a TrafficTarget that names no matches means all matches of its HTTPRouteGroup (SMI; FSM let nothing through).
//! Routes are looked up in the target's own namespace. The ports of a TCPRoute hold on the server: FSM kept them nowhere.
//!
//! Where mTLS is disabled nobody can prove who he is, and only addresses are left to decide. They can if all TrafficTargets
//! to an account let in the same callers: then only those callers' pods may connect. If they differ, rules for single
//! callers admit nobody, and a Problem says so; FSM trusted a header there.

use super::problems::{Problems, described};
use super::route;
use super::view::{Served, View};
use crate::world::Account;
use fsm_api::config::RouteRule;
use fsm_api::resources::smi::{HttpMatch, HttpRouteGroup, Method, RouteKind, TrafficTarget, TrafficTargetRule};
use fsm_api::resources::{Kind, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};

/// Whom a group may call.
pub(super) enum Reach {
    /// Every service of the mesh.
    Everyone,
    /// The pods of these accounts.
    Accounts(BTreeSet<Account>),
}

impl Reach {
    /// Whether pods of this account may be called.
    pub(super) fn has(&self, account: Option<&Account>) -> bool {
        match self {
            Self::Everyone => true,
            Self::Accounts(accounts) => account.is_some_and(|account| accounts.contains(account)),
        }
    }
}

/// Whom the group may call.
pub(super) fn reach(view: &View<'_>) -> Reach {
    if view.mesh.permissive {
        return Reach::Everyone;
    }
    // Only targets in the namespace of their destination count.
    let targets = view.world.targets_from(&view.group.account);
    Reach::Accounts(targets.iter().map(|target| Account::new(own(target), &target.spec.destination.name)).collect())
}

/// The HTTP rules of every service of the group, without their clusters.
pub(super) fn http_rules(view: &View<'_>, problems: &mut Problems) -> Vec<RouteRule> {
    if view.mesh.permissive {
        return vec![route::any_request()];
    }
    let by_address = callers_by_address(view).is_some();
    let mut rules = Vec::new();
    for (target, rule) in target_rules(view, RouteKind::HttpRouteGroup) {
        let allowed_services = (!by_address).then(|| callers(target));
        for found in matches(view, target, rule, problems) {
            rules.push(RouteRule { allowed_services: allowed_services.clone(), ..request(found) });
        }
    }
    rules
}

/// Who may open TCP connections to a port, sorted; `None`: anyone of the mesh.
pub(super) fn tcp_callers(view: &View<'_>, served: Served<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    if view.mesh.permissive {
        return None;
    }
    let mut permitted = BTreeSet::new();
    for (target, rule) in target_rules(view, RouteKind::TcpRoute) {
        let Some(route) = view.world.tcp_route(own(target), &rule.name) else {
            report_missing(target, Kind::TcpRoute, &rule.name, problems);
            continue;
        };
        let ports = &route.spec.matches.ports;
        if ports.is_empty() || ports.iter().any(|&port| means(view, served, port)) {
            permitted.extend(callers(target));
        }
    }
    if !permitted.is_empty() && callers_by_address(view).is_some() {
        return None;
    }
    Some(permitted.into_iter().collect())
}

/// The identities of the only callers, in a mesh without mTLS whose TrafficTargets agree about them; `None`: identities are
/// proven, or nobody asks for them, or addresses cannot stand in for them.
pub(super) fn callers_by_address(view: &View<'_>) -> Option<Vec<String>> {
    if view.mesh.mtls || view.mesh.permissive {
        return None;
    }
    let mut callers = view.world.targets_to(&view.group.account).into_iter().map(|target| callers(target));
    let first = callers.next().unwrap_or_default();
    callers.all(|other| other == first).then_some(first)
}

/// Reports TrafficTargets that cannot be kept without mTLS.
pub(super) fn report_unproven_callers(view: &View<'_>, problems: &mut Problems) {
    if view.mesh.mtls || view.mesh.permissive || callers_by_address(view).is_some() {
        return;
    }
    let targets = view.world.targets_to(&view.group.account).into_iter();
    let mut objects: Vec<ObjectKey> = targets.map(|target| described(Kind::TrafficTarget, &target.metadata)).collect();
    objects.push(view.mesh_config());
    let text = format!(
        "let different callers call {}, which cannot be told apart while `spec.sidecar.sidecarDisabledMTLS` is set: nobody is \
         let in. Enable mTLS, or give all of them the same sources",
        view.group.account
    );
    problems.error(objects, "UnprovenCallers", text);
}

/// The rule of a description of requests, without callers and clusters.
pub(super) fn request(found: &HttpMatch) -> RouteRule {
    let any = found.methods.is_empty() || found.methods.contains(&Method::Any);
    let headers = found.merged_headers().into_iter();
    RouteRule {
        path: found.path_regex.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| ".*".into()),
        methods: (!any).then(|| found.methods.iter().map(|method| method.as_str().to_owned()).collect()),
        headers: headers.map(|(name, pattern)| (name.to_ascii_lowercase(), pattern)).collect(),
        ..RouteRule::default()
    }
}

/// Reports expressions that no proxy can use: rules with them let nothing through.
pub(super) fn check_patterns(group: &HttpRouteGroup, problems: &mut Problems) {
    for found in &group.spec.matches {
        let patterns = found.path_regex.iter().chain(found.headers.iter().flat_map(BTreeMap::values));
        for pattern in patterns {
            if let Err(error) = regex::Regex::new(pattern) {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default();
                let text = format!(
                    "match `{}`: {pattern:?} is no regular expression that proxies can use ({reason}); the match fits \
                     nothing until it is mended",
                    found.name
                );
                problems.error(vec![described(Kind::HttpRouteGroup, &group.metadata)], "BadPattern", text);
            }
        }
    }
}

/// A port of a TCPRoute is a port of the application. FSM's examples do not tell it from the Service's: a number that is
/// no port of the application is taken for the Service's.
fn means(view: &View<'_>, served: Served<'_>, port: u16) -> bool {
    port == served.target || (port == served.port.port && view.served().iter().all(|other| other.target != port))
}

/// The rules of one kind in all TrafficTargets to the group's account.
fn target_rules<'a>(view: &View<'a>, kind: RouteKind) -> Vec<(&'a TrafficTarget, &'a TrafficTargetRule)> {
    let targets = view.world.targets_to(&view.group.account).into_iter();
    let rules = targets.flat_map(|target| target.spec.rules.iter().map(move |rule| (&**target, rule)));
    rules.filter(|(_, rule)| rule.kind == kind).collect()
}

/// Identities, sorted.
pub(super) fn callers(target: &TrafficTarget) -> Vec<String> {
    let accounts = target.spec.sources.iter().filter(|source| source.kind == "ServiceAccount");
    let identities = accounts.map(|source| {
        let namespace = source.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        Account::new(namespace.unwrap_or(own(target)), &source.name).identity()
    });
    let identities: BTreeSet<String> = identities.collect();
    identities.into_iter().collect()
}

fn matches<'a>(
    view: &View<'a>,
    target: &TrafficTarget,
    rule: &TrafficTargetRule,
    problems: &mut Problems,
) -> Vec<&'a HttpMatch> {
    let Some(group) = view.world.route_group(own(target), &rule.name) else {
        report_missing(target, Kind::HttpRouteGroup, &rule.name, problems);
        return Vec::new();
    };
    check_patterns(group, problems);
    if rule.matches.is_empty() {
        return group.spec.matches.iter().collect();
    }
    let mut found = Vec::new();
    for name in &rule.matches {
        let before = found.len();
        found.extend(group.spec.matches.iter().filter(|one| one.name == *name));
        if found.len() == before {
            let group = described(Kind::HttpRouteGroup, &group.metadata);
            let text = format!(
                "{group} has no match `{name}`; that name lets nothing through. Use one of the group's names, or leave \
                 `matches` out for all of them"
            );
            problems.error(vec![described(Kind::TrafficTarget, &target.metadata), group], "MissingMatch", text);
        }
    }
    found
}

fn report_missing(target: &TrafficTarget, kind: Kind, name: &str, problems: &mut Problems) {
    let missing = ObjectKey::new(kind, own(target), name);
    let text = format!(
        "{missing} does not exist; that rule lets nothing through. Routes are looked up in the namespace of the \
         TrafficTarget"
    );
    problems.error(vec![described(Kind::TrafficTarget, &target.metadata), missing], "MissingRoute", text);
}

/// The target's own namespace.
pub(super) fn own(target: &TrafficTarget) -> &str {
    target.metadata.namespace.as_deref().unwrap_or_default()
}
