//! HTTP rules: the one for any request, and the order in which they are tried.

use fsm_api::config::RouteRule;
use std::cmp::Reverse;

/// Rules in FSM's order: by path, any path (`.*`) last; of equal paths the one with more headers first, then the one that
/// names its methods. What is left is ordered by its text, so that the order never depends on chance. Rules with equal
/// conditions become one: its callers are those of all of them.
pub(super) fn ordered(rules: Vec<RouteRule>) -> Vec<RouteRule> {
    let mut ordered: Vec<RouteRule> = Vec::with_capacity(rules.len());
    for mut rule in rules {
        if let Some(methods) = &mut rule.methods {
            methods.sort();
            methods.dedup();
        }
        match ordered.iter_mut().find(|known| same_conditions(known, &rule)) {
            Some(known) => merge(known, rule),
            None => ordered.push(rule),
        }
    }
    ordered.sort_by(|one, other| key(one).cmp(&key(other)));
    ordered
}

/// Whether two rules fit the very same requests, as far as their texts tell.
pub(super) fn same_conditions(one: &RouteRule, other: &RouteRule) -> bool {
    one.path == other.path
        && one.path_type == other.path_type
        && one.headers == other.headers
        && one.methods == other.methods
}

/// Whether a rule's path fits everything.
pub(super) fn is_any_path(rule: &RouteRule) -> bool {
    rule.path == ".*"
}

fn merge(known: &mut RouteRule, rule: RouteRule) {
    known.allowed_services = match (known.allowed_services.take(), rule.allowed_services) {
        (Some(mut callers), Some(more)) => {
            callers.extend(more);
            callers.sort();
            callers.dedup();
            Some(callers)
        }
        // One of them admits anyone.
        _ => None,
    };
}

type Key<'a> = (bool, &'a str, Reverse<usize>, bool, Reverse<usize>, Option<&'a [String]>, Vec<(&'a str, &'a str)>);

fn key(rule: &RouteRule) -> Key<'_> {
    (
        is_any_path(rule),
        &rule.path,
        Reverse(rule.headers.len()),
        rule.methods.is_none(),
        Reverse(rule.methods.as_ref().map_or(0, Vec::len)),
        rule.methods.as_deref(),
        rule.headers.iter().map(|(name, pattern)| (name.as_str(), pattern.as_str())).collect(),
    )
}

/// Any request.
pub(super) fn any_request() -> RouteRule {
    RouteRule { path: ".*".into(), ..RouteRule::default() }
}
