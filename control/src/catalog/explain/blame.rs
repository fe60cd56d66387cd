//! Which objects decided, and what each of them says about the call.

use super::follow::{Answer, Found, described};
use super::{Asked, Origin, Said};
use crate::catalog::access;
use crate::world::{Account, ServiceKey, ServicePort, World};
use fsm_api::resources::smi::{RouteKind, TrafficTarget, TrafficTargetRule};
use fsm_api::resources::{Kind, ObjectKey};
use std::collections::BTreeSet;

/// The objects that decide.
pub(super) fn objects(
    world: &World,
    origin: &Origin<'_>,
    service: &ServiceKey,
    port: &ServicePort,
    request: Option<&Asked>,
    found: &Found,
) -> Vec<Said> {
    let mut said = Vec::new();
    for split in world.splits_of_root(service) {
        let object = key(Kind::TrafficSplit, split.metadata.namespace.as_deref(), split.metadata.name.as_deref());
        let shares: Vec<String> =
            world.split_backends(split).iter().map(|(backend, weight)| format!("{}: {weight}", backend.name)).collect();
        said.push(Said { object, allows: true, text: format!("shares requests out ({})", shares.join(", ")) });
    }
    said.extend(outside(world, service));
    if world.mesh().permissive {
        said.push(Said {
            object: mesh_config(world),
            allows: true,
            text:
                "permissive mode (`spec.traffic.enablePermissiveTrafficPolicyMode`): members of the mesh may call each \
                   other, TrafficTargets are not asked"
                    .to_owned(),
        });
        return said;
    }
    let mut accounts: BTreeSet<Account> = found.servers.iter().map(|(account, _)| account.clone()).collect();
    if accounts.is_empty() {
        accounts = world.accounts_of(service);
    }
    for account in &accounts {
        let targets = world.targets_to(account);
        if targets.is_empty() {
            said.push(Said {
                object: format!("ServiceAccount {account}"),
                allows: false,
                text: "no TrafficTarget in its namespace has it as destination: nobody may call its pods".to_owned(),
            });
        }
        said.extend(targets.into_iter().map(|target| judged(world, origin, target, port, request)));
    }
    let plaintext = matches!(found.reason(), Some("mtls-required")) && origin.group.is_some();
    if plaintext {
        said.push(Said {
            object: mesh_config(world),
            allows: false,
            text: "`spec.traffic.enableEgress`: what a sidecar does not know passes through in plaintext, which the server's \
                   sidecar refuses"
                .to_owned(),
        });
    }
    said
}

/// What a TrafficTarget to the server says.
fn judged(
    world: &World,
    origin: &Origin<'_>,
    target: &TrafficTarget,
    port: &ServicePort,
    request: Option<&Asked>,
) -> Said {
    let object = key(Kind::TrafficTarget, target.metadata.namespace.as_deref(), target.metadata.name.as_deref());
    let sources = access::callers(target);
    let caller = origin.identity();
    if !sources.contains(&caller) {
        let text = format!("does not name {caller}; its sources are {}", listed(&sources));
        return Said { object, allows: false, text };
    }
    let rules: Vec<(bool, String)> =
        target.spec.rules.iter().map(|rule| ruled(world, target, rule, port, request)).collect();
    let allows = rules.iter().any(|(allows, _)| *allows);
    let texts: Vec<String> = rules.into_iter().filter(|(good, _)| *good == allows).map(|(_, text)| text).collect();
    let text = if texts.is_empty() { "names the caller, but has no rules".to_owned() } else { texts.join("; ") };
    Said { object, allows, text: format!("names {caller}; {text}") }
}

fn ruled(
    world: &World,
    target: &TrafficTarget,
    rule: &TrafficTargetRule,
    port: &ServicePort,
    request: Option<&Asked>,
) -> (bool, String) {
    let namespace = access::own(target);
    let http = port.protocol.is_http();
    if rule.kind == RouteKind::TcpRoute {
        let name = format!("TCPRoute {namespace}/{}", rule.name);
        return match world.tcp_route(namespace, &rule.name) {
            None => (false, format!("{name} does not exist")),
            Some(_) if http => (false, format!("{name} is for TCP, and the port speaks {}", port.protocol)),
            Some(route) if route.spec.matches.ports.is_empty() => (true, format!("{name} opens every port")),
            Some(route) => {
                let ports: Vec<String> = route.spec.matches.ports.iter().map(ToString::to_string).collect();
                (true, format!("{name} opens the ports {}", ports.join(", ")))
            }
        };
    }
    let name = format!("HTTPRouteGroup {namespace}/{}", rule.name);
    let Some(group) = world.route_group(namespace, &rule.name) else {
        return (false, format!("{name} does not exist"));
    };
    if !http {
        return (false, format!("{name} is for HTTP, and the port speaks {}", port.protocol));
    }
    let meant: Vec<_> = group
        .spec
        .matches
        .iter()
        .filter(|found| rule.matches.is_empty() || rule.matches.contains(&found.name))
        .collect();
    let Some(request) = request else {
        let all: Vec<String> =
            meant.iter().map(|found| format!("`{}` ({})", found.name, described(&access::request(found)))).collect();
        return (!all.is_empty(), format!("{name} lets in {}", listed(&all)));
    };
    let asked = format!("{} {}", request.method, request.path);
    let fitting = meant.iter().find(|found| super::follow::fits(&access::request(found), request));
    if let Some(found) = fitting {
        return (true, format!("match `{}` of {name} fits {asked}", found.name));
    }
    let but = meant.iter().find(|found| super::follow::fits_but_for_headers(&access::request(found), request));
    if let Some(found) = but {
        let wanted: Vec<String> =
            found.merged_headers().iter().map(|(header, pattern)| format!("{header}: {pattern}")).collect();
        return (false, format!("match `{}` of {name} fits {asked} with the headers {}", found.name, listed(&wanted)));
    }
    let all: Vec<String> =
        meant.iter().map(|found| format!("`{}` ({})", found.name, described(&access::request(found)))).collect();
    (false, format!("no match of {name} fits {asked}: {}", listed(&all)))
}

/// Policies that let in whoever is outside the mesh.
fn outside(world: &World, service: &ServiceKey) -> Vec<Said> {
    let mut said = Vec::new();
    for policy in world.ingress_backends_of(service) {
        let object = key(Kind::IngressBackend, policy.metadata.namespace.as_deref(), policy.metadata.name.as_deref());
        said.push(Said { object, allows: true, text: "lets its sources in from outside the mesh".to_owned() });
    }
    for policy in world.access_controls_of(service) {
        let object = key(Kind::AccessControl, policy.metadata.namespace.as_deref(), policy.metadata.name.as_deref());
        said.push(Said { object, allows: true, text: "lets its sources in from outside the mesh".to_owned() });
    }
    said
}

/// What would change the verdict.
pub(super) fn remedy(origin: &Origin<'_>, service: &ServiceKey, found: &Found) -> Option<String> {
    let caller = origin.identity();
    let servers: Vec<String> = found
        .servers
        .iter()
        .filter(|(_, answer)| matches!(answer, Answer::Denied(_)))
        .map(|(account, _)| account.to_string())
        .collect();
    let servers = if servers.is_empty() { format!("the service account of {service}") } else { listed(&servers) };
    Some(match found.reason()? {
        "mtls-required" | "source-not-allowed" if origin.group.is_none() => {
            "give the caller a sidecar (`fsm namespace add`, then restart it), or let it in from outside with an \
             AccessControl or IngressBackend"
                .to_owned()
        }
        "mtls-required" | "unknown-destination" | "no-service" | "identity-not-allowed" => {
            format!("make a TrafficTarget to {servers} with {caller} among its sources")
        }
        "no-route" => "let the HTTPRouteGroup of the TrafficTarget have a match that fits the request".to_owned(),
        "no-endpoint" => format!("`fsm get pods -n {}`: a pod with a sidecar must be ready", service.namespace),
        "unknown-port" => "say the port in the Service; sidecars let in nothing else".to_owned(),
        _ => return None,
    })
}

fn mesh_config(world: &World) -> String {
    let settings = world.settings();
    ObjectKey::new(Kind::MeshConfig, &settings.fsm_namespace, &settings.mesh_config_name).to_string()
}

fn key(kind: Kind, namespace: Option<&str>, name: Option<&str>) -> String {
    ObjectKey::new(kind, namespace.unwrap_or_default(), name.unwrap_or_default()).to_string()
}

fn listed(all: &[String]) -> String {
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
