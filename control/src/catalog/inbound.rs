//! What may enter the group's pods, from whom, and which of the application's ports it goes to.

use super::names::{self, Asker};
use super::problems::{Problems, object};
use super::view::{Served, View};
use super::{access, outside, plugin, route, upstream_setting};
use crate::world::{AccessMode, Protocol, Service, ServiceKey};
use fsm_api::config::{
    HostService, Inbound, InboundRouteRules, InboundTcpRouteRules, InboundTrafficMatch, RouteRule, SourceIpRange,
};
use fsm_api::resources::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub(super) fn build(view: &View<'_>, problems: &mut Problems) -> Inbound {
    let served = view.served();
    let mut ports = Ports { view, inbound: Inbound::default(), owners: BTreeMap::new(), sources: BTreeMap::new() };
    for served in &served {
        ports.serve(*served, served.target, problems);
    }
    // For proxies that follow a document of FSM's controller: they dial the service port.
    for served in served.iter().filter(|served| served.port.port != served.target) {
        ports.serve(*served, served.port.port, problems);
    }
    for served in served {
        ports.let_in(served, problems);
    }
    ports.inbound
}

/// The protocol as documents spell it: what the server says first does not matter to the server's proxy.
pub(super) fn document_protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp | Protocol::TcpServerFirst => "tcp",
        Protocol::Http | Protocol::Grpc => protocol.as_str(),
    }
}

/// The name of the rule set for clients outside of the mesh, and the host under which the proxy looks for it.
const OUTSIDE: &str = "*";

struct Ports<'v, 'a> {
    view: &'v View<'a>,
    inbound: Inbound,
    /// Who came first on each port.
    owners: BTreeMap<u16, Served<'a>>,
    /// Who let each range in on each port.
    sources: BTreeMap<u16, outside::Sources>,
}

impl<'a> Ports<'_, 'a> {
    /// Serves one port of a service to connections whose original destination is port `key`.
    fn serve(&mut self, served: Served<'a>, key: u16, problems: &mut Problems) {
        let owner = *self.owners.entry(key).or_insert(served);
        if !self.fits(served, owner, key) {
            report_conflict(served, owner, key, problems);
            return;
        }
        let view = self.view;
        let service = &served.service.key;
        let http = served.port.protocol.is_http();
        let entry = self.inbound.traffic_matches.entry(key).or_insert_with(|| InboundTrafficMatch {
            port: served.target,
            protocol: document_protocol(served.port.protocol).into(),
            ..InboundTrafficMatch::default()
        });
        if entry.rate_limit.is_none() {
            entry.rate_limit = upstream_setting::connection_limit(view, service, problems);
        }
        if !http && entry.tcp_service_route_rules.is_some() {
            // The same port of the same application once more (a Service and its headless twin).
            return;
        }
        let cluster = names::local_cluster(service, served.target);
        let local = BTreeMap::from([(format!("127.0.0.1:{}", served.target), 100)]);
        self.inbound.clusters_configs.insert(cluster.clone(), local);
        if http {
            add_service(view, entry, served, &cluster, problems);
            add_roots(view, entry, served, &cluster, problems);
        } else {
            entry.tcp_service_route_rules = Some(InboundTcpRouteRules {
                target_clusters: BTreeMap::from([(cluster, 100)]),
                allowed_services: access::tcp_callers(view, served, problems),
                plugins: plugin::settings(view, service, problems),
            });
        }
    }

    /// Lets in whom policies let in from outside of the mesh; such clients come to the application's own port.
    fn let_in(&mut self, served: Served<'a>, problems: &mut Problems) {
        let sources = outside::sources(self.view, served, problems);
        let fits = self.owners.get(&served.target).is_some_and(|owner| self.fits(served, *owner, served.target));
        if sources.is_empty() || !fits {
            return;
        }
        let all = self.sources.entry(served.target).or_default();
        all.extend(sources, problems);
        let ranges: BTreeMap<String, Option<SourceIpRange>> = all.ranges();
        let Some(entry) = self.inbound.traffic_matches.get_mut(&served.target) else { return };
        entry.source_ip_ranges = ranges;
        if served.port.protocol.is_http() {
            let cluster = names::local_cluster(&served.service.key, served.target);
            let rule = RouteRule { target_clusters: BTreeMap::from([(cluster, 100)]), ..route::any_request() };
            let rules = InboundRouteRules { route_rules: vec![rule], ..InboundRouteRules::default() };
            entry.http_service_route_rules.entry(OUTSIDE.into()).or_insert(rules);
            add_hosts(&mut entry.http_host_port2_service, BTreeSet::from([OUTSIDE.to_owned()]), OUTSIDE);
        }
    }

    /// Whether a port of a service can share a key with the one that came first.
    fn fits(&self, served: Served<'_>, owner: Served<'_>, key: u16) -> bool {
        let http = served.port.protocol.is_http();
        if http != owner.port.protocol.is_http() {
            return false;
        }
        if http { !self.has_other_rules(served, key) } else { owner.target == served.target }
    }

    /// Whether the service's rule set on this port leads to another port of the application.
    fn has_other_rules(&self, served: Served<'_>, key: u16) -> bool {
        let cluster = names::local_cluster(&served.service.key, served.target);
        let name = names::rule_set(&served.service.key.name, &served.service.key.namespace);
        let entry = self.inbound.traffic_matches.get(&key);
        let rules = entry.and_then(|entry| entry.http_service_route_rules.get(&name));
        let mut targets = rules.into_iter().flat_map(|rules| &rules.route_rules);
        targets.any(|rule| !rule.target_clusters.contains_key(&cluster))
    }
}

fn report_conflict(served: Served<'_>, owner: Served<'_>, key: u16, problems: &mut Problems) {
    let objects = vec![object(Kind::Service, &served.service.key), object(Kind::Service, &owner.service.key)];
    if key != served.target {
        let text = format!(
            "port {} leads to port {} of the pods, whose port {key} belongs to {}; proxies of an older control plane, \
             which dial service ports, do not reach it. Give the Service a port that no other Service of these pods \
             uses",
            served.port.port, served.target, objects[1]
        );
        problems.warning(objects, "PortShadowed", text);
        return;
    }
    let text = format!(
        "port {key} of the same pods is {} here and {} in {}; the latter holds. Give both the same appProtocol",
        served.port.protocol, owner.port.protocol, objects[1]
    );
    problems.error(objects, "ProtocolConflict", text);
}

fn add_service(
    view: &View<'_>,
    entry: &mut InboundTrafficMatch,
    served: Served<'_>,
    cluster: &str,
    problems: &mut Problems,
) {
    let ports = BTreeSet::from([served.port.port, served.target]);
    add_rule_set(view, entry, served.service, &ports, cluster, problems);
}

/// Traffic that a TrafficSplit sends here is addressed to the split's root: its hosts are served like the service's own.
fn add_roots(
    view: &View<'_>,
    entry: &mut InboundTrafficMatch,
    served: Served<'_>,
    cluster: &str,
    problems: &mut Problems,
) {
    for split in view.world.splits_of_backend(&served.service.key) {
        let root = view.world.split_root(split);
        let is_shared = view.world.mesh_services_of(&root).iter().any(|port| port.port == served.port.port);
        if let Some(service) = view.world.service(&root).filter(|_| is_shared) {
            let ports = BTreeSet::from([served.port.port, served.target]);
            add_rule_set(view, entry, service, &ports, cluster, problems);
        }
    }
}

/// Adds the rules of a service, unless they are there, and its hosts.
fn add_rule_set(
    view: &View<'_>,
    entry: &mut InboundTrafficMatch,
    service: &Service,
    ports: &BTreeSet<u16>,
    cluster: &str,
    problems: &mut Problems,
) {
    let key = &service.key;
    let name = names::rule_set(&key.name, &key.namespace);
    if !entry.http_service_route_rules.contains_key(&name) {
        let mut rules = access::http_rules(view, problems);
        upstream_setting::limit_routes(view, key, &mut rules, problems);
        for rule in &mut rules {
            rule.target_clusters = BTreeMap::from([(cluster.to_owned(), 100)]);
        }
        let rules = InboundRouteRules {
            route_rules: route::ordered(rules),
            rate_limit: upstream_setting::request_limit(view, key, problems),
            plugins: plugin::settings(view, key, problems),
            ..InboundRouteRules::default()
        };
        entry.http_service_route_rules.insert(name.clone(), rules);
    }
    let addresses = addresses(view, service);
    for own in own_names(view, service) {
        let hosts = names::authorities(view.mesh, &own, &key.namespace, Asker::Anyone, ports, &addresses);
        add_hosts(&mut entry.http_host_port2_service, hosts, &name);
    }
}

/// `<service>`, and `<host>.<service>` where the pod has a name of its own below a headless service.
fn own_names(view: &View<'_>, service: &Service) -> Vec<String> {
    let is_own = |key: &ServiceKey| service.headless && view.group.services.contains(key);
    let host = view.group.host.as_ref().filter(|_| is_own(&service.key));
    let name = &service.key.name;
    std::iter::once(name.clone()).chain(host.map(|host| format!("{host}.{name}"))).collect()
}

/// Addresses under which the service may be asked for. The document is the same for all pods of the group, and so holds the
/// addresses of all pods of the service.
fn addresses(view: &View<'_>, service: &Service) -> BTreeSet<IpAddr> {
    if view.mesh.access_mode == AccessMode::Domain {
        return BTreeSet::new();
    }
    let mut addresses: BTreeSet<IpAddr> = service.cluster_ips.iter().copied().collect();
    addresses.extend(view.world.addresses_of(&service.key));
    addresses
}

/// Adds hosts; of two rule sets that claim one, FSM's rule decides.
pub(super) fn add_hosts(hosts: &mut BTreeMap<String, HostService>, added: BTreeSet<String>, rule_set: &str) {
    for host in added {
        let entry = hosts.entry(host).or_insert_with(|| HostService { rule_name: rule_set.to_owned(), service: None });
        if names::wins(rule_set, &entry.rule_name) {
            entry.rule_name = rule_set.to_owned();
        }
    }
}
