//! Cluster, GlobalTrafficPolicy, ServiceExport.

use super::Faults;
use crate::world::{NamespacedName, World};
use fsm_api::resources::Kind;
use fsm_api::resources::multicluster::{
    Cluster, GlobalTrafficPolicy, LbType, PathType, ServiceExport, ServiceExportRule,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) fn cluster(cluster: &Cluster, faults: &mut Faults) {
    let spec = &cluster.spec;
    let host = spec.gateway_host.as_deref().unwrap_or_default();
    match host.parse::<IpAddr>() {
        _ if host.is_empty() => {
            faults.add(
                "spec.gatewayHost",
                "GatewayHost is required; write the address or name of the other cluster's gateway",
            );
        }
        Ok(address) if address.is_loopback() || address.is_unspecified() => faults.add(
            "spec.gatewayHost",
            format!(
                "{address} is not an address by which another cluster can be reached; write the one of its gateway"
            ),
        ),
        Ok(_) => {}
        Err(_) if is_name(host) => {}
        Err(_) => faults.add("spec.gatewayHost", format!("{host:?} is neither an address nor a name of DNS")),
    }
    if spec.gateway_port == 0 {
        faults.add("spec.gatewayPort", "0 is no port; write one from 1 to 65535");
    }
    if spec.kubeconfig.as_deref().is_none_or(|text| text.trim().is_empty()) {
        faults
            .add("spec.kubeconfig", "kubeconfig must be set, as it is how the other cluster is asked for its services");
    }
}

pub(super) fn policy(policy: &GlobalTrafficPolicy, faults: &mut Faults) {
    let targets = policy.spec.targets.len();
    match policy.spec.lb_type {
        LbType::Locality if targets > 1 => faults.add(
            "spec.targets",
            format!("In case of Locality load balancer, the traffic can only be sticky to exact one cluster, and there are {targets}"),
        ),
        LbType::FailOver if targets == 0 => {
            faults.add("spec.targets", "In case of FailOver load balancer, the targets cannot be empty; name a cluster");
        }
        _ => {}
    }
}

/// FSM takes anything, and its controller says later in the conditions what it makes nothing of.
pub(super) fn export(world: &World, export: &ServiceExport, faults: &mut Faults) {
    let own = name_of(export);
    if world.service(&own).is_some_and(|service| service.external_name.is_some()) {
        let text = format!("service {own} is of type ExternalName: it has no pods that other clusters could call");
        faults.add("metadata.name", text);
    }
    let others = paths_of_others(world, &own);
    let mut seen = BTreeMap::new();
    for (index, rule) in export.spec.rules.iter().enumerate() {
        let field = |name: &str| format!("spec.rules[{index}].{name}");
        match rule.port_number {
            Some(0) => faults.add(field("portNumber"), "0 is no port; write one of the service's"),
            Some(_) => {}
            None => faults.add(field("portNumber"), "a rule needs a port: write one of the service's"),
        }
        let Some(path) = rule.path.as_deref().filter(|path| path.starts_with('/')) else {
            let found = rule.path.as_deref().unwrap_or_default();
            faults.add(
                field("path"),
                format!("{found:?} is no path; write one that begins with /, such as /{}", own.name),
            );
            continue;
        };
        let key = (path.to_owned(), is_prefix(rule));
        if let Some(first) = seen.insert(key.clone(), index) {
            faults.add(field("path"), format!("path {path} is that of spec.rules[{first}], too; remove one of them"));
        } else if let Some(other) = others.get(&key) {
            let text = format!(
                "The path {path} has been defined in ServiceExport {other}; other clusters reach both by the same gateway, so \
                 each needs a path of its own"
            );
            faults.add(field("path"), text);
        }
    }
    let rewrite = export.spec.path_rewrite.as_ref();
    let parts = rewrite.map(|rewrite| (rewrite.from.as_deref(), rewrite.to.as_deref()));
    if matches!(parts, Some((None | Some(""), Some(_)) | (Some(_), None))) {
        faults.add("spec.pathRewrite", "from and to go together; write both, or neither");
    }
}

/// What is taken, and is better known.
pub(super) fn export_warnings(world: &World, export: &ServiceExport) -> Vec<String> {
    let own = name_of(export);
    let Some(service) = world.service(&own) else {
        if !world.is_complete_in(&Kind::Service, &own.namespace) {
            return Vec::new();
        }
        return vec![format!("there is no service {own}, which this ServiceExport is to export by its name")];
    };
    let has = |port: &u16| service.ports.iter().any(|one| one.port == *port);
    let missing = export.spec.rules.iter().filter_map(|rule| rule.port_number).filter(|port| !has(port));
    missing.map(|port| format!("service {own} has no TCP port {port}: this rule has no effect")).collect()
}

/// Which ServiceExport has a path already.
fn paths_of_others(world: &World, own: &NamespacedName) -> BTreeMap<(String, bool), NamespacedName> {
    let mut paths = BTreeMap::new();
    for other in world.service_exports() {
        let name = name_of(other);
        let rules = other.spec.rules.iter().filter(|_| name != *own);
        for rule in rules.filter(|rule| rule.path.is_some()) {
            let path = rule.path.clone().unwrap_or_default();
            paths.entry((path, is_prefix(rule))).or_insert_with(|| name.clone());
        }
    }
    paths
}

fn is_prefix(rule: &ServiceExportRule) -> bool {
    rule.path_type == PathType::Prefix
}

fn name_of(export: &ServiceExport) -> NamespacedName {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    NamespacedName::new(text(&export.metadata.namespace), text(&export.metadata.name))
}

/// A name of DNS, RFC 1123.
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let known = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_');
        !label.is_empty() && label.len() <= 63 && known && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= 253 && host.trim_end_matches('.').split('.').all(is_label)
}
