//! Reading HTTP rules, and the parts that inbound and outbound rule sets share.
//!
//! A rule is read wholly or not at all: without one of its conditions it would apply to requests that it was not
//! written for. FSM judges a caller by the rules that name it, and callers that no rule names by the rules that name
//! nobody, so leaving a rule out opens no other rule to anybody whom that rule does not name. (A caller that only the
//! lost rule named is judged like any other; FSM never mixes both kinds of rules in one set.)

use super::super::{HostService, PathType, RouteRule};
use super::INFORMATION;
use super::cursor::{Bearable, Loss, Node, Unreadable};
use super::policy::read_http_rate_limit;
use serde_json::Value;
use std::collections::BTreeMap;

const RULE: Loss = Loss::error("the rule is left out and permits nothing");

/// The rules of a set, without the unreadable ones.
pub(super) fn read_rules(node: &Node<'_>) -> Vec<RouteRule> {
    const RULES: Loss = Loss::error("the rule set has no rules and denies every request");
    node.list(RULES, |rule| read_rule(&rule).ok()).or_default()
}

fn read_rule(node: &Node<'_>) -> Result<RouteRule, Unreadable> {
    let rule = node.required(node.object(RULE), RULE)?;
    let path = rule.member("Path");
    Ok(RouteRule {
        path: path.required(path.text(RULE), RULE)?,
        path_type: read_path_type(&rule.member("Type"))?,
        headers: read_headers(&rule.member("Headers"))?,
        methods: rule.member("Methods").texts(RULE)?,
        target_clusters: read_rule_targets(&rule.member("TargetClusters")),
        allowed_services: rule.member("AllowedServices").texts(RULE)?,
        rate_limit: read_http_rate_limit(&rule.member("RateLimit")),
    })
}

fn read_path_type(node: &Node<'_>) -> Result<PathType, Unreadable> {
    let written = node.required(node.text(RULE), RULE)?;
    [PathType::Regex, PathType::Exact, PathType::Prefix]
        .into_iter()
        .find(|known| written.eq_ignore_ascii_case(known.as_str()))
        .ok_or_else(|| node.expected_not_text("Regex, Exact or Prefix", RULE))
}

/// Header names come out in lower case, as they do in requests.
fn read_headers(node: &Node<'_>) -> Result<BTreeMap<String, String>, Unreadable> {
    let mut readable = true;
    let mut headers = BTreeMap::<String, String>::new();
    let expressions = node.map(RULE, |name, expression| {
        match expression.required(expression.text(RULE), RULE) {
            Ok(text) => match headers.insert(name.to_ascii_lowercase(), text) {
                None => {}
                Some(_) => {
                    // Both would have to match, which one entry cannot say.
                    expression.report("another entry names the same header", RULE);
                    readable = false;
                }
            },
            Err(Unreadable) => readable = false,
        }
        Some(())
    })?;
    match expressions {
        _ if !readable => Err(Unreadable),
        _ => Ok(headers),
    }
}

/// Clusters of a rule. If they are unreadable the rule stays, so that no later rule answers in its place.
fn read_rule_targets(node: &Node<'_>) -> BTreeMap<String, u32> {
    const TARGETS: Loss = Loss::error("the rule has no cluster to send requests to");
    read_weights(node, TARGETS).unwrap_or_default().unwrap_or_default()
}

/// Cluster → weight, or another name → weight. An unreadable weight costs its entry only.
pub(super) fn read_weights(node: &Node<'_>, loss: Loss) -> Result<Option<BTreeMap<String, u32>>, Unreadable> {
    const WEIGHT: Loss = Loss::error("the entry gets no traffic");
    node.map(loss, |_, weight| weight.required(weight.count(WEIGHT), WEIGHT).ok())
}

/// Host → rule set.
pub(super) fn read_hosts(node: &Node<'_>) -> BTreeMap<String, HostService> {
    const HOSTS: Loss = Loss::error("no host is known on this port");
    node.map(HOSTS, |_, host| read_host(host).ok()).or_default()
}

/// FSM 1.3.7 and older write the rule set's name alone, later ones an object.
fn read_host(node: &Node<'_>) -> Result<HostService, Unreadable> {
    const HOST: Loss = Loss::error("the host is left out and not answered");
    if let Value::String(rule_name) = node.json() {
        return Ok(HostService { rule_name: rule_name.clone(), service: None });
    }
    if !node.is_absent() && !node.json().is_object() {
        return Err(node.expected("the name of a rule set or an object", HOST));
    }
    let rule_name = node.member("RuleName");
    Ok(HostService {
        rule_name: rule_name.required(rule_name.text(HOST), HOST)?,
        service: node.member("Service").text(INFORMATION).value(),
    })
}

/// `http`, `grpc`, `tcp`, …; in lower case. What an unknown one means is the compiler's business.
pub(super) fn read_protocol(node: &Node<'_>, loss: Loss) -> Result<String, Unreadable> {
    let protocol = node.required(node.text(loss), loss)?;
    if protocol.is_empty() {
        return Err(node.expected_not_text("a protocol such as http, grpc or tcp", loss));
    }
    Ok(protocol.to_ascii_lowercase())
}

/// Plugin name → any JSON.
pub(super) fn read_plugins(node: &Node<'_>, loss: Loss) -> Result<BTreeMap<String, Value>, Unreadable> {
    Ok(node.map(loss, |_, settings| Some(settings.json().clone()))?.unwrap_or_default())
}
