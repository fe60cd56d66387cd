//! What may enter the group's pods, from whom, and which of the application's ports it goes to.

use super::names::{self, Asker};
use super::problems::{Problems, object};
use super::view::{Served, View};
use super::{access, upstream_setting};
use crate::world::{AccessMode, Protocol};
use fsm_api::config::{HostService, Inbound, InboundRouteRules, InboundTcpRouteRules, InboundTrafficMatch, RouteRule};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub(super) fn build(view: &View<'_>, problems: &mut Problems) -> Inbound {
    let served = view.served();
    let mut ports = Ports { view, inbound: Inbound::default(), owners: BTreeMap::new() };
    for served in &served {
        ports.serve(*served, served.target, problems);
    }
    // For proxies that follow a document of FSM's controller: they dial the service port.
    for served in served.iter().filter(|served| served.port.port != served.target) {
        ports.serve(*served, served.port.port, problems);
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

/// Any request.
pub(super) fn any_request() -> RouteRule {
    RouteRule { path: ".*".into(), ..RouteRule::default() }
}

struct Ports<'v, 'a> {
    view: &'v View<'a>,
    inbound: Inbound,
    /// Who came first on each port.
    owners: BTreeMap<u16, Served<'a>>,
}

impl<'a> Ports<'_, 'a> {
    /// Serves one port of a service to connections whose original destination is port `key`.
    fn serve(&mut self, served: Served<'a>, key: u16, problems: &mut Problems) {
        let owner = *self.owners.entry(key).or_insert(served);
        let (http, owner_http) = (served.port.protocol.is_http(), owner.port.protocol.is_http());
        let same = owner.target == served.target;
        if http != owner_http || (!http && !same) || (http && key != served.target && self.has_other_rules(served, key))
        {
            report_conflict(served, owner, key, problems);
            return;
        }
        let cluster = names::local_cluster(&served.service.key, served.target);
        if !self.inbound.traffic_matches.contains_key(&key) {
            let rate_limit = upstream_setting::connection_limit(self.view, &served.service.key, problems);
            let entry = InboundTrafficMatch {
                port: served.target,
                protocol: document_protocol(served.port.protocol).into(),
                rate_limit,
                ..InboundTrafficMatch::default()
            };
            self.inbound.traffic_matches.insert(key, entry);
        } else if !http {
            // The same port of the same application once more (a Service and its headless twin).
            return;
        }
        let local = BTreeMap::from([(format!("127.0.0.1:{}", served.target), 100)]);
        self.inbound.clusters_configs.insert(cluster.clone(), local);
        let view = self.view;
        let Some(entry) = self.inbound.traffic_matches.get_mut(&key) else { return };
        if http {
            add_service(view, entry, served, &cluster, problems);
        } else {
            entry.tcp_service_route_rules = Some(InboundTcpRouteRules {
                target_clusters: BTreeMap::from([(cluster, 100)]),
                allowed_services: access::tcp_callers(view, served, problems),
                plugins: BTreeMap::new(),
            });
        }
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
    let objects = vec![object("Service", &served.service.key), object("Service", &owner.service.key)];
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
    let service = &served.service.key;
    let name = names::rule_set(&service.name, &service.namespace);
    if !entry.http_service_route_rules.contains_key(&name) {
        let mut rules = access::http_rules(view, problems);
        upstream_setting::limit_routes(view, service, &mut rules, problems);
        for rule in &mut rules {
            rule.target_clusters = BTreeMap::from([(cluster.to_owned(), 100)]);
        }
        let rules = InboundRouteRules {
            route_rules: super::route::ordered(rules),
            rate_limit: upstream_setting::request_limit(view, service, problems),
            ..InboundRouteRules::default()
        };
        entry.http_service_route_rules.insert(name.clone(), rules);
    }
    let ports = BTreeSet::from([served.port.port, served.target]);
    for own in own_names(view, served) {
        let addresses = addresses(view, served);
        let hosts = names::authorities(view.mesh, &own, &service.namespace, Asker::Anyone, &ports, &addresses);
        add_hosts(&mut entry.http_host_port2_service, hosts, &name);
    }
}

/// `<service>`, and `<host>.<service>` where the pod has a name of its own below a headless service.
fn own_names(view: &View<'_>, served: Served<'_>) -> Vec<String> {
    let service = &served.service.key.name;
    let host = view.group.host.as_ref().filter(|_| served.service.headless);
    std::iter::once(service.clone()).chain(host.map(|host| format!("{host}.{service}"))).collect()
}

/// Addresses under which the service may be asked for. The pods' own are all those of the group's pods, whoever of them it
/// is: their document is the same.
fn addresses(view: &View<'_>, served: Served<'_>) -> BTreeSet<IpAddr> {
    if view.mesh.access_mode == AccessMode::Domain {
        return BTreeSet::new();
    }
    let mut addresses: BTreeSet<IpAddr> = served.service.cluster_ips.iter().copied().collect();
    addresses.extend(view.world.addresses_of(&served.service.key));
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
