//! EgressGateway: what leaves the mesh, leaves through these services.

use super::problems::{Problems, described, object};
use super::view::View;
use crate::world::{MeshService, NamespacedName, Protocol, ServiceKey};
use fsm_api::config::{EgressGateway, Endpoint, Forward};
use fsm_api::resources::{Kind, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The rule for everything that leaves.
pub(super) const GLOBAL: &str = "*";

const MODES: [&str; 2] = ["http2tunnel", "sock5"];

/// The gateways of the mesh, if it has any.
pub(super) fn forward(view: &View<'_>, problems: &mut Problems) -> Option<Forward> {
    let policy = view.world.egress_gateway()?;
    if policy.spec.global.is_empty() {
        return None;
    }
    let name = described(Kind::EgressGateway, &policy.metadata);
    let mut weights = BTreeMap::new();
    let mut gateways = BTreeMap::new();
    for target in &policy.spec.global {
        let service = NamespacedName::new(&target.namespace, &target.service);
        let rule = super::names::rule_set(&service.name, &service.namespace);
        weights.insert(rule.clone(), target.weight.filter(|weight| *weight > 0).unwrap_or(100));
        match gateway(view, &service, &name, problems) {
            Some(gateway) => drop(gateways.insert(rule, gateway)),
            None => {
                let objects = vec![name.clone(), object(Kind::Service, &service)];
                let text = format!("{} has no endpoints; what must leave through it is refused", objects[1]);
                problems.error(objects, "NoEndpoints", text);
            }
        }
    }
    Some(Forward { forward_matches: BTreeMap::from([(GLOBAL.to_owned(), weights)]), egress_gateways: gateways })
}

/// Whether rule sets of egress are to name the gateways.
pub(super) fn rule(view: &View<'_>) -> Option<String> {
    let policy = view.world.egress_gateway()?;
    (!policy.spec.global.is_empty()).then(|| GLOBAL.to_owned())
}

fn gateway(view: &View<'_>, key: &ServiceKey, policy: &ObjectKey, problems: &mut Problems) -> Option<EgressGateway> {
    let service = view.world.service(key)?;
    // Gateways stand outside of the mesh, so that no port of theirs is a mesh service.
    let port = service.ports.first()?;
    let port = MeshService {
        service: key.clone(),
        host: None,
        port: port.port,
        port_name: port.name.clone(),
        protocol: Protocol::Tcp,
        target_port: None,
    };
    let targets = view.world.targets(&port);
    let endpoints: BTreeMap<String, Endpoint> = targets
        .iter()
        .map(|target| {
            let address = SocketAddr::new(target.ip, target.port).to_string();
            (address, Endpoint { weight: 100, ..Endpoint::default() })
        })
        .collect();
    if endpoints.is_empty() {
        return None;
    }
    // A gateway with a proxy of the mesh proves who it is; FSM's own cannot.
    let proven = view.mesh.mtls && targets.iter().all(|target| target.has_proxy);
    let identities = || {
        let accounts: BTreeSet<String> =
            targets.iter().filter_map(|target| target.account).map(|account| account.identity()).collect();
        accounts.into_iter().collect()
    };
    let mode = service.egress_gateway_mode.clone().unwrap_or_else(|| view.mesh.egress_gateway.mode.clone());
    let mode = if MODES.contains(&mode.as_str()) {
        mode
    } else {
        let text = format!("mode `{mode}` is neither http2tunnel nor sock5; http2tunnel is taken");
        problems.error(vec![object(Kind::Service, key), policy.clone()], "BadMode", text);
        MODES[0].to_owned()
    };
    Some(EgressGateway { endpoints, mode, service_identities: proven.then(identities) })
}
