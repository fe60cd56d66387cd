//! What the group's pods may call, and where that is.

use super::elements::{Elements, Kind};
use super::inbound::any_request;
use super::names::{self, Asker};
use super::problems::Problems;
use super::view::View;
use crate::world::{AccessMode, MeshService, Protocol, Target};
use fsm_api::config::{ClusterConfig, Endpoint, Outbound, OutboundRouteRules, OutboundTcpRouteRules};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

pub(super) fn build(view: &View<'_>, problems: &mut Problems) -> Outbound {
    let mut elements = Elements::default();
    let mut clusters = BTreeMap::new();
    for port in reachable(view) {
        add_service(view, &mut elements, &mut clusters, port, problems);
    }
    Outbound { traffic_matches: elements.into_matches(), clusters_configs: clusters }
}

/// The ports that may be called.
fn reachable<'a>(view: &View<'a>) -> Vec<&'a MeshService> {
    if view.mesh.permissive { view.world.mesh_services().collect() } else { Vec::new() }
}

fn add_service(
    view: &View<'_>,
    elements: &mut Elements,
    clusters: &mut BTreeMap<String, ClusterConfig>,
    port: &MeshService,
    problems: &mut Problems,
) {
    let _ = &problems;
    let targets = view.targets(port);
    let name = names::cluster(port);
    clusters.entry(name.clone()).or_insert_with(|| cluster(view, port, &targets));
    let service = view.world.service(&port.service);
    let headless = service.is_none_or(|service| service.headless);
    let virtual_ips: BTreeSet<IpAddr> = service.iter().flat_map(|service| &service.cluster_ips).copied().collect();
    let pod_ips: BTreeSet<IpAddr> = targets.iter().flat_map(|target| &target.ips).copied().collect();
    // Names of a headless service lead to pods, and what is dialled there is as often the pods' own port.
    let mut ports = BTreeSet::from([port.port]);
    if headless {
        ports.extend(port.target_port);
    }
    let rule_set = names::rule_set(&port.name(), port.namespace());
    let by_pod = headless || !port.protocol.is_http() || view.mesh.access_mode != AccessMode::Domain;
    for &number in &ports {
        let kind = match port.protocol {
            Protocol::Http => Kind::Http,
            Protocol::Grpc => Kind::Grpc,
            Protocol::Tcp | Protocol::TcpServerFirst => Kind::Tcp(rule_set.clone()),
        };
        let rank = (port.host.is_none(), !headless, port.service.clone(), port.host.clone());
        let pods = if by_pod { pod_ips.clone() } else { BTreeSet::new() };
        elements.claim(number, &kind, &virtual_ips, pods, rank);
        let element = elements.element(number, kind);
        if port.protocol.is_http() {
            let addresses = virtual_ips.union(&pod_ips).copied().collect();
            let asker = Asker::From(view.group.namespace());
            let hosts = names::authorities(view.mesh, &port.name(), port.namespace(), asker, &ports, &addresses);
            super::inbound::add_hosts(&mut element.http_host_port2_service, hosts, &rule_set);
            let rule =
                fsm_api::config::RouteRule { target_clusters: BTreeMap::from([(name.clone(), 100)]), ..any_request() };
            let rules = OutboundRouteRules { route_rules: vec![rule], ..OutboundRouteRules::default() };
            element.http_service_route_rules.entry(rule_set.clone()).or_insert(rules);
        } else {
            element.tcp_service_route_rules = Some(OutboundTcpRouteRules {
                target_clusters: Some(BTreeMap::from([(name.clone(), 100)])),
                ..OutboundTcpRouteRules::default()
            });
        }
    }
}

fn cluster(view: &View<'_>, port: &MeshService, targets: &[Target<'_>]) -> ClusterConfig {
    let accounts = view.world.accounts_of(&port.service);
    ClusterConfig {
        endpoints: targets.iter().map(|target| endpoint(view, target)).collect(),
        service_identities: accounts.iter().map(|account| account.identity()).collect(),
        ..ClusterConfig::default()
    }
}

/// An endpoint without a proxy is dialled in plaintext, which FSM's documents say with a gateway to go through.
fn endpoint(view: &View<'_>, target: &Target<'_>) -> (String, Endpoint) {
    let address = SocketAddr::new(target.ip, target.port).to_string();
    let via_gateway = (view.mesh.mtls && !target.has_proxy).then(|| address.clone());
    (address, Endpoint { weight: 100, via_gateway, ..Endpoint::default() })
}
