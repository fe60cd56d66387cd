//! What the group's pods may call, and where that is.
//!
//! A headless service with names for its pods (StatefulSet) has one cluster for each pod, which is reached by the pod's name
//! or address. FSM knows the service itself no more then; here HTTP by the service's own name still reaches any of its
//! pods.

use super::access::{self, Reach};
use super::elements::{Elements, Kind};
use super::inbound::add_hosts;
use super::names::{self, Asker};
use super::problems::{Problems, object};
use super::route;
use super::view::View;
use super::{egress, locality, plugin, retry, split, upstream_setting, warm_up};
use crate::world::{AccessMode, Account, MeshService, Protocol, Target};
use fsm_api::config::{
    ClusterConfig, Endpoint, Outbound, OutboundRouteRules, OutboundTcpRouteRules, OutboundTrafficMatch, RouteRule,
};
use fsm_api::resources::Kind as ObjectKind;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

pub(super) fn build(view: &View<'_>, problems: &mut Problems) -> Outbound {
    let mut callable =
        Callable { view, reach: access::reach(view), elements: Elements::default(), clusters: BTreeMap::new() };
    for service in view.world.callable_services(&view.group.account) {
        let ports = view.world.mesh_services_of(&service);
        for port in ports {
            callable.add(port, problems);
        }
        for port in whole_services(ports) {
            callable.add(&port, problems);
        }
    }
    let Callable { mut elements, mut clusters, .. } = callable;
    egress::add(view, &mut elements, &mut clusters, problems);
    Outbound { traffic_matches: elements.into_matches(), clusters_configs: clusters }
}

/// The HTTP ports of services that are only known pod by pod, without the pod.
fn whole_services(ports: &[MeshService]) -> BTreeSet<MeshService> {
    let of_pods = ports.iter().filter(|port| port.host.is_some() && port.protocol.is_http());
    let whole = of_pods.map(|port| MeshService { host: None, ..port.clone() });
    let mut by_port: BTreeMap<u16, MeshService> = BTreeMap::new();
    for port in whole.filter(|whole| !ports.contains(whole)) {
        by_port.entry(port.port).or_insert(port);
    }
    by_port.into_values().collect()
}

struct Callable<'v, 'a> {
    view: &'v View<'a>,
    reach: Reach,
    elements: Elements,
    clusters: BTreeMap<String, ClusterConfig>,
}

impl Callable<'_, '_> {
    /// Adds one port of a service.
    fn add(&mut self, port: &MeshService, problems: &mut Problems) {
        let view = self.view;
        let places = self.add_cluster(port, problems);
        let shares = split::shares(view, port, problems);
        for backend in shares.iter().flat_map(|shares| &shares.backends) {
            self.add_cluster(backend, problems);
        }
        let headless = view.world.service(&port.service).is_none_or(|service| service.headless);
        let virtual_ips = virtual_ips(view, port);
        let pod_ips: BTreeSet<IpAddr> = places.iter().flat_map(|place| place.ips.iter().copied()).collect();
        // Names of a headless service lead to pods, and what is dialled there is as often the pods' own port.
        let mut ports = BTreeSet::from([port.port]);
        if headless {
            ports.extend(places.iter().map(|place| place.port));
        }
        let http = port.protocol.is_http();
        let by_pod = headless || !http || view.mesh.access_mode != AccessMode::Domain;
        let claimed = if by_pod { pod_ips.clone() } else { BTreeSet::new() };
        let rank = (port.host.is_none(), !headless, port.service.clone(), port.host.clone());
        let addresses = if is_known_by_pods(view, port) { virtual_ips.clone() } else { &virtual_ips | &pod_ips };
        for &number in &ports {
            let kind = match port.protocol {
                Protocol::Http => Kind::Http,
                Protocol::Grpc => Kind::Grpc,
                Protocol::Tcp | Protocol::TcpServerFirst => Kind::Tcp(rule_set(port)),
            };
            self.elements.claim(number, &kind, &virtual_ips, &claimed, &rank);
            let element = self.elements.element(number, kind);
            if http {
                let rules = shares.as_ref().map(|shares| shares.rules.clone());
                add_http(view, element, port, rules, problems);
                let asker = Asker::From(view.group.namespace());
                let hosts = names::authorities(view.mesh, &port.name(), port.namespace(), asker, &ports, &addresses);
                add_hosts(&mut element.http_host_port2_service, hosts, &rule_set(port));
            } else {
                let targets = shares.as_ref().map(|shares| shares.targets.clone());
                element.tcp_service_route_rules = Some(OutboundTcpRouteRules {
                    target_clusters: Some(targets.unwrap_or_else(|| BTreeMap::from([(names::cluster(port), 100)]))),
                    plugins: plugin::settings(view, &port.service, problems),
                    ..OutboundTcpRouteRules::default()
                });
            }
        }
    }

    /// Adds the cluster of a port and says where it is dialled.
    fn add_cluster(&mut self, port: &MeshService, problems: &mut Problems) -> Vec<Place> {
        let view = self.view;
        let all = view.world.targets(port);
        let targets: Vec<&Target<'_>> = all.iter().filter(|target| self.may_be_called(target)).collect();
        let places = targets.iter().map(|target| Place { port: target.port, ips: target.ips.clone() }).collect();
        let name = names::cluster(port);
        if self.clusters.contains_key(&name) {
            return places;
        }
        if !view.mesh.permissive && all.iter().any(|target| !target.has_proxy) {
            let service = object(ObjectKind::Service, &port.service);
            let text = format!(
                "port {} of {service} has endpoints without a proxy, which are not called: outside of permissive mode the \
                 server's certificate decides, and they have none. Restart their pods in a namespace of the mesh",
                port.port
            );
            problems.warning(vec![service], "EndpointWithoutProxy", text);
        }
        let mut endpoints: BTreeMap<String, Endpoint> = targets.iter().map(|target| endpoint(view, target)).collect();
        endpoints.extend(locality::remote_endpoints(view, port, &self.reach, !targets.is_empty(), problems));
        let cluster = ClusterConfig {
            endpoints,
            connection_settings: upstream_setting::connections(view, &port.service, problems),
            retry_policy: retry::policy(view, &port.service, problems),
            load_balancing: warm_up::load_balancing(view, &port.service),
            service_identities: self.identities(port),
            ..ClusterConfig::default()
        };
        self.clusters.insert(name, cluster);
        places
    }

    fn may_be_called(&self, target: &Target<'_>) -> bool {
        match &self.reach {
            Reach::Everyone => true,
            reach @ Reach::Accounts(_) => target.has_proxy && reach.has(target.account),
        }
    }

    /// Who the servers may be: every account that may be called and whose pods are behind the service, ready or not, so that
    /// the list does not change with every pod that comes or goes.
    fn identities(&self, port: &MeshService) -> Vec<String> {
        let accounts = self.view.world.accounts_of(&port.service);
        accounts.iter().filter(|account| self.reach.has(Some(account))).map(Account::identity).collect()
    }
}

/// Adds the rules of a service: those of its splits, or any request to its own cluster.
fn add_http(
    view: &View<'_>,
    element: &mut OutboundTrafficMatch,
    port: &MeshService,
    rules: Option<Vec<RouteRule>>,
    problems: &mut Problems,
) {
    let own = || {
        let target_clusters = BTreeMap::from([(names::cluster(port), 100)]);
        vec![RouteRule { target_clusters, ..route::any_request() }]
    };
    let rules = OutboundRouteRules {
        route_rules: rules.unwrap_or_else(own),
        plugins: plugin::settings(view, &port.service, problems),
        ..OutboundRouteRules::default()
    };
    element.http_service_route_rules.entry(rule_set(port)).or_insert(rules);
}

fn rule_set(port: &MeshService) -> String {
    names::rule_set(&port.name(), port.namespace())
}

/// Whether a pod's address means that very pod, and so not the service as a whole.
fn is_known_by_pods(view: &View<'_>, port: &MeshService) -> bool {
    let ports = view.world.mesh_services_of(&port.service);
    port.host.is_none() && ports.iter().any(|other| other.host.is_some() && other.port == port.port)
}

/// Where a port is dialled.
struct Place {
    port: u16,
    ips: Vec<IpAddr>,
}

/// The addresses that stand for a service; of a headless one and of the names of its pods there are none.
fn virtual_ips(view: &View<'_>, port: &MeshService) -> BTreeSet<IpAddr> {
    if port.host.is_some() {
        return BTreeSet::new();
    }
    let mut addresses: BTreeSet<IpAddr> = match view.world.service(&port.service) {
        Some(service) => service.cluster_ips.iter().copied().collect(),
        None => BTreeSet::new(),
    };
    if let Some(import) = view.world.service_import(&port.service) {
        addresses.extend(import.spec.ips.iter().filter_map(|ip| ip.trim().parse::<IpAddr>().ok()));
    }
    addresses
}

/// An endpoint without a proxy is dialled in plaintext, which documents say with a gateway to go through: itself.
fn endpoint(view: &View<'_>, target: &Target<'_>) -> (String, Endpoint) {
    let address = SocketAddr::new(target.ip, target.port).to_string();
    let via_gateway = (view.mesh.mtls && !target.has_proxy).then(|| address.clone());
    (address, Endpoint { weight: 100, via_gateway, ..Endpoint::default() })
}
