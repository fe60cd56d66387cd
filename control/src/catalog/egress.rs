//! Egress: what the group's pods may call outside of the mesh.
//!
//! Policies add up. A host of `https` leads to that very host (FSM took all hosts of a port in turn). Whatever cannot be used
//! closes what it would have opened: a policy whose certificate is missing does not send plaintext instead.

use super::access;
use super::egress_gateway;
use super::elements::{Elements, Kind};
use super::outside::parse_range;
use super::problems::{Problems, described};
use super::route;
use super::upstream_setting;
use super::view::View;
use fsm_api::config::{
    Certificate, ClusterConfig, ConnectionSettings, DestinationIpRange, Endpoint, HostService, OutboundRouteRules,
    OutboundTcpRouteRules, RouteRule,
};
use fsm_api::resources::policy::{Egress, EgressMtls};
use fsm_api::resources::{Kind as ObjectKind, ObjectKey};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) fn add(
    view: &View<'_>,
    elements: &mut Elements,
    clusters: &mut BTreeMap<String, ClusterConfig>,
    problems: &mut Problems,
) {
    let mut way_out = WayOut { view, elements, clusters, for_any: BTreeMap::new() };
    for policy in view.world.egress_of(&view.group.account) {
        let name = described(ObjectKind::Egress, &policy.metadata);
        if !view.mesh.features.egress_policy {
            problems.switched_off(name, view.mesh_config(), "enableEgressPolicy");
            continue;
        }
        if let Some(rule) = understand(view, policy, name, problems) {
            way_out.add(&rule, problems);
        }
    }
    way_out.settle(problems);
}

/// A policy as the group sees it.
#[derive(Clone)]
struct Rule<'a> {
    policy: &'a Egress,
    name: ObjectKey,
    certificate: Option<Certificate>,
    connection_settings: Option<ConnectionSettings>,
    /// HTTP rules without clusters; none: nothing is let through.
    routes: Vec<RouteRule>,
    /// Destination ranges; `None`: any destination.
    ranges: Option<Vec<IpNet>>,
}

/// `None`: the policy as a whole has no effect, and why has been said.
fn understand<'a>(view: &View<'_>, policy: &'a Egress, name: ObjectKey, problems: &mut Problems) -> Option<Rule<'a>> {
    let account = &view.group.account;
    let mut sources = policy.spec.sources.iter().filter(|source| {
        source.kind == "ServiceAccount" && source.name == account.name && source.namespace == account.namespace
    });
    let certificate = match sources.next().and_then(|source| source.mtls.as_ref()) {
        Some(mtls) => Some(certificate(view, mtls, &name, problems)?),
        None => None,
    };
    let connection_settings = setting(view, policy, &name, problems)?;
    let routes = routes(view, policy, &name, problems);
    let mut ranges = Vec::new();
    for text in &policy.spec.ip_addresses {
        match parse_range(text) {
            Some(range) => ranges.push(range),
            None => {
                let text = format!("`{text}` is no range like 192.0.2.0/24; it opens nothing (E2002)");
                problems.error(vec![name.clone()], "BadRange", text);
            }
        }
    }
    let ranges = (!policy.spec.ip_addresses.is_empty()).then_some(ranges);
    Some(Rule { policy, name, certificate, connection_settings, routes, ranges })
}

/// The certificate that the proxy presents.
fn certificate(view: &View<'_>, mtls: &EgressMtls, name: &ObjectKey, problems: &mut Problems) -> Option<Certificate> {
    if mtls.issuer.as_deref() == Some("fsm") {
        if !view.mesh.mtls {
            let text = "asks for the mesh's certificate, which does not exist while `spec.sidecar.sidecarDisabledMTLS` is set; \
                        the policy opens nothing";
            problems.error(vec![name.clone(), view.mesh_config()], "NoCertificates", text);
            return None;
        }
        return Some(Certificate { fsm_issued: Some(true), ..Certificate::default() });
    }
    let Some(wanted) = &mtls.cert else {
        let text = "`mtls` names no certificate; the policy opens nothing. Set `mtls.cert`, or `mtls.issuer: fsm`";
        problems.error(vec![name.clone()], "NoCertificate", text);
        return None;
    };
    let namespace = wanted.secret.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let namespace = namespace.unwrap_or(&name.namespace);
    let secret = wanted.secret.name.as_deref().unwrap_or_default();
    let Some(found) = view.world.tls_secret(namespace, secret) else {
        let missing = ObjectKey::new(ObjectKind::Secret, namespace, secret);
        let text = format!(
            "{missing} does not exist or lacks one of ca.crt, tls.crt and tls.key; the policy opens nothing, because its \
             traffic must not leave without that certificate"
        );
        problems.error(vec![name.clone(), missing], "MissingSecret", text);
        return None;
    };
    Some(Certificate {
        fsm_issued: Some(false),
        common_name: String::new(),
        subject_alt_names: wanted.subject_alt_names.clone(),
        expiration: wanted.expiration.clone(),
        cert_chain: found.certificate.clone(),
        private_key: found.key.clone(),
        issuing_ca: found.ca.clone(),
    })
}

/// The UpstreamTrafficSetting that the policy names. FSM: one that does not exist makes the policy ineffective.
fn setting(
    view: &View<'_>,
    policy: &Egress,
    name: &ObjectKey,
    problems: &mut Problems,
) -> Option<Option<ConnectionSettings>> {
    let mut named = policy.spec.matches.iter().filter(|found| found.kind == "UpstreamTrafficSetting");
    let Some(first) = named.next() else { return Some(None) };
    if named.next().is_some() {
        let text = format!("names several UpstreamTrafficSettings; `{}`, the first, holds", first.name);
        problems.error(vec![name.clone()], "SeveralSettings", text);
    }
    let Some(setting) = view.world.upstream_setting_named(&name.namespace, &first.name) else {
        let missing = ObjectKey::new(ObjectKind::UpstreamTrafficSetting, &name.namespace, &first.name);
        let text =
            format!("{missing} does not exist; the policy opens nothing until it does, or until it is no longer named");
        problems.error(vec![name.clone(), missing], "MissingSetting", text);
        return None;
    };
    Some(upstream_setting::connection_settings(setting, problems))
}

/// Any request, or those of the HTTPRouteGroups that the policy names.
fn routes(view: &View<'_>, policy: &Egress, name: &ObjectKey, problems: &mut Problems) -> Vec<RouteRule> {
    let named: Vec<_> = policy.spec.matches.iter().filter(|found| found.kind == "HTTPRouteGroup").collect();
    if named.is_empty() {
        return vec![route::any_request()];
    }
    let mut rules = Vec::new();
    for found in named {
        match view.world.route_group(&name.namespace, &found.name) {
            Some(group) => {
                access::check_patterns(group, problems);
                rules.extend(group.spec.matches.iter().map(access::request));
            }
            None => {
                let missing = ObjectKey::new(ObjectKind::HttpRouteGroup, &name.namespace, &found.name);
                let text = format!("{missing} does not exist; no request is let through by it (E2004)");
                problems.error(vec![name.clone(), missing], "MissingRoute", text);
            }
        }
    }
    rules
}

struct WayOut<'v, 'a> {
    view: &'v View<'a>,
    elements: &'v mut Elements,
    clusters: &'v mut BTreeMap<String, ClusterConfig>,
    /// The first policy of each element for any destination.
    for_any: BTreeMap<(u16, Kind), ObjectKey>,
}

impl WayOut<'_, '_> {
    fn add(&mut self, rule: &Rule<'_>, problems: &mut Problems) {
        for port in &rule.policy.spec.ports {
            match port.protocol.to_ascii_lowercase().as_str() {
                "http" => self.add_http(rule, port.number, problems),
                "https" if rule.policy.spec.hosts.is_empty() => self.add_tcp(rule, port.number, problems),
                "https" => self.add_tls(rule, port.number, problems),
                "tcp" | "tcp-server-first" => self.add_tcp(rule, port.number, problems),
                other => {
                    let text = format!(
                        "protocol `{other}` of port {} is none of http, https, tcp and tcp-server-first; the port stays closed",
                        port.number
                    );
                    problems.error(vec![rule.name.clone()], "BadProtocol", text);
                }
            }
        }
    }

    fn add_http(&mut self, rule: &Rule<'_>, port: u16, problems: &mut Problems) {
        if rule.policy.spec.hosts.is_empty() {
            let text = format!("port {port} is http and `hosts` is empty: nothing is let through. Name the hosts");
            problems.error(vec![rule.name.clone()], "NoHosts", text);
        }
        for host in hosts(rule) {
            if host.contains('*') {
                let text = format!(
                    "`{host}` stands for many hosts, which works for https only; the host stays closed on port {port}"
                );
                problems.error(vec![rule.name.clone()], "WildcardHost", text);
                continue;
            }
            let address = address(&host, port);
            self.add_cluster(&address, [(address.clone(), 100)].into(), rule, problems);
            let gateway = egress_gateway::rule(self.view);
            let element = self.elements.element(port, Kind::EgressHttp);
            for name in [host.clone(), address.clone()] {
                let service = HostService { rule_name: host.clone(), service: None };
                element.http_host_port2_service.insert(name, service);
            }
            let rules = element.http_service_route_rules.entry(host.clone()).or_insert_with(|| OutboundRouteRules {
                egress_forward_gateway: gateway,
                ..OutboundRouteRules::default()
            });
            let targets = BTreeMap::from([(address, 100)]);
            let routes =
                rule.routes.iter().map(|route| RouteRule { target_clusters: targets.clone(), ..route.clone() });
            let all = std::mem::take(&mut rules.route_rules).into_iter().chain(routes).collect();
            rules.route_rules = route::ordered(all);
        }
    }

    fn add_tls(&mut self, rule: &Rule<'_>, port: u16, problems: &mut Problems) {
        if rule.certificate.is_some() {
            let text = format!(
                "`mtls` has no effect on port {port}, whose protocol is https: the application's own TLS passes through. \
                 Write http or tcp, and let the application speak plaintext"
            );
            problems.error(vec![rule.name.clone()], "CertificateUnused", text);
        }
        let (kind, cluster) = match &rule.ranges {
            None => (Kind::EgressTls, port.to_string()),
            Some(_) => {
                let name = format!("{}/{}", rule.name.namespace, rule.name.name);
                (Kind::EgressTlsInto(name.clone()), format!("{port}|{name}"))
            }
        };
        if rule.ranges.is_some() && !self.claim_ranges(rule, port, &kind, None, problems) {
            return;
        }
        let endpoints = hosts(rule).into_iter().map(|host| (address(&host, port), 100)).collect();
        self.add_cluster(&cluster, endpoints, &Rule { certificate: None, ..rule.clone() }, problems);
        let gateway = egress_gateway::rule(self.view);
        self.for_any.entry((port, kind.clone())).or_insert_with(|| rule.name.clone());
        self.elements.element(port, kind).tcp_service_route_rules = Some(OutboundTcpRouteRules {
            target_clusters: Some(BTreeMap::from([(cluster, 100)])),
            allowed_egress_traffic: false,
            egress_forward_gateway: gateway,
            plugins: BTreeMap::new(),
        });
    }

    /// To the original destination, whatever it is.
    fn add_tcp(&mut self, rule: &Rule<'_>, port: u16, problems: &mut Problems) {
        let kind = match (&rule.ranges, &rule.certificate) {
            (None, None) => Kind::EgressTcp,
            _ => Kind::EgressTcpInto,
        };
        if kind == Kind::EgressTcpInto && !self.claim_ranges(rule, port, &kind, rule.certificate.as_ref(), problems) {
            return;
        }
        let gateway = egress_gateway::rule(self.view);
        self.for_any.entry((port, kind.clone())).or_insert_with(|| rule.name.clone());
        self.elements.element(port, kind).tcp_service_route_rules = Some(OutboundTcpRouteRules {
            target_clusters: None,
            allowed_egress_traffic: true,
            egress_forward_gateway: gateway,
            plugins: BTreeMap::new(),
        });
    }

    /// Asks for the ranges of a policy, all addresses where it names none; `false`: it got none.
    fn claim_ranges(
        &mut self,
        rule: &Rule<'_>,
        port: u16,
        kind: &Kind,
        certificate: Option<&Certificate>,
        problems: &mut Problems,
    ) -> bool {
        let everywhere = || ["0.0.0.0/0", "::/0"].into_iter().filter_map(|range| range.parse().ok()).collect();
        let ranges: Vec<IpNet> = rule.ranges.clone().unwrap_or_else(everywhere);
        let mut any = false;
        for range in ranges {
            let how = certificate.map(|certificate| DestinationIpRange { source_cert: Some(certificate.clone()) });
            if self.elements.claim_outside(port, kind, range, how) {
                any = true;
                continue;
            }
            let text = format!(
                "another Egress of {} opens {range} on port {port} in another way, which holds; let both say the same, or \
                 give them different ranges",
                self.view.group.account
            );
            problems.error(vec![rule.name.clone()], "RangeConflict", text);
        }
        any
    }

    fn add_cluster(&mut self, name: &str, endpoints: BTreeMap<String, u32>, rule: &Rule<'_>, problems: &mut Problems) {
        let known = self.clusters.contains_key(name);
        let cluster = self.clusters.entry(name.to_owned()).or_insert_with(|| ClusterConfig {
            source_cert: rule.certificate.clone(),
            connection_settings: rule.connection_settings.clone(),
            ..ClusterConfig::default()
        });
        let endpoints = endpoints.into_iter();
        cluster
            .endpoints
            .extend(endpoints.map(|(address, weight)| (address, Endpoint { weight, ..Endpoint::default() })));
        let same = cluster.source_cert == rule.certificate && cluster.connection_settings == rule.connection_settings;
        if known && !same {
            let text = format!(
                "an older Egress of {} opens `{name}` with another certificate or other connection settings, which hold; \
                 let both say the same",
                self.view.group.account
            );
            problems.error(vec![rule.name.clone()], "HostConflict", text);
        }
    }

    /// A port that is open for TCP to anywhere is open for TLS to anywhere: the narrower policy would only be in the way.
    fn settle(self, problems: &mut Problems) {
        for ((port, kind), tls) in &self.for_any {
            let Some(tcp) = self.for_any.get(&(*port, Kind::EgressTcp)) else { continue };
            if *kind == Kind::EgressTls && self.elements.has(*port, kind) {
                self.elements.remove(*port, kind);
                self.clusters.remove(&port.to_string());
                let text = format!(
                    "{tcp} opens port {port} towards every destination; the hosts of this policy limit nothing there"
                );
                problems.warning(vec![tls.clone(), tcp.clone()], "WiderPolicy", text);
            }
        }
    }
}

/// Hosts in lower case.
fn hosts(rule: &Rule<'_>) -> Vec<String> {
    let hosts = rule.policy.spec.hosts.iter().map(|host| host.trim().trim_end_matches('.').to_ascii_lowercase());
    hosts.filter(|host| !host.is_empty()).collect()
}

fn address(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => std::net::SocketAddr::new(address, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}
