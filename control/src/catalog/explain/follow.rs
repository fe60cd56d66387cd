//! Follows a call through the documents of the sidecars that it meets, as they would.

use super::{Asked, Origin, Step, Verdict, document};
use crate::world::{Account, Pod, Service, ServicePort, World};
use fsm_api::config::{
    ClusterConfig, Config, InboundTrafficMatch, Outbound, OutboundTrafficMatch, PathType, RouteRule,
};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// A call on its way.
pub(super) struct Way<'a> {
    world: &'a World,
    origin: &'a Origin<'a>,
    service: &'a Service,
    port: &'a ServicePort,
    request: Option<&'a Asked>,
    host: String,
}

/// What became of it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) steps: Vec<Step>,
    /// The accounts whose sidecars were asked, with their answer.
    pub(super) servers: Vec<(Account, Answer)>,
    /// The call ended before it met a server's sidecar.
    pub(super) ended: Option<Answer>,
}

/// What a sidecar says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Allowed,
    /// Only requests that one of these rules describes.
    Some(Vec<String>),
    Denied(&'static str),
}

impl Found {
    pub(super) fn verdict(&self) -> Verdict {
        let mut answers = self.answers();
        let Some(first) = answers.next() else { return Verdict::Denied };
        let verdict = |answer: &Answer| match answer {
            Answer::Allowed => Verdict::Allowed,
            Answer::Some(_) => Verdict::Partly,
            Answer::Denied(_) => Verdict::Denied,
        };
        answers.fold(verdict(first), |all, answer| if verdict(answer) == all { all } else { Verdict::Partly })
    }

    pub(super) fn reason(&self) -> Option<&'static str> {
        self.answers().find_map(|answer| match answer {
            Answer::Denied(reason) => Some(*reason),
            Answer::Allowed | Answer::Some(_) => None,
        })
    }

    fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.ended.iter().chain(self.servers.iter().map(|(_, answer)| answer))
    }

    fn step(&mut self, passed: bool, text: String) {
        self.steps.push(Step { passed, text });
    }

    fn end(mut self, answer: Answer, text: String) -> Self {
        self.step(!matches!(answer, Answer::Denied(_)), text);
        self.ended = Some(answer);
        self
    }
}

impl<'a> Way<'a> {
    pub(super) fn new(
        world: &'a World,
        origin: &'a Origin<'a>,
        service: &'a Service,
        port: &'a ServicePort,
        request: Option<&'a Asked>,
    ) -> Self {
        let host = format!("{}.{}", service.key.name, service.key.namespace);
        Self { world, origin, service, port, request, host }
    }

    pub(super) fn walk(&self) -> Found {
        let mut found = Found::default();
        let Some(group) = self.origin.group else {
            found.step(true, "the caller has no sidecar: it calls in plaintext, and proves no identity".to_owned());
            return self.reach_pods(found, false);
        };
        let config = document(self.world, group);
        let caller = self.origin.identity();
        let mtls = config.certificate.is_some();
        let Some(outbound) = config.outbound.as_ref() else { return self.pass_through(found, &config) };
        let Some(matched) = self.outbound_match(outbound) else { return self.pass_through(found, &config) };
        let clusters = match self.outbound_clusters(matched) {
            Ok(clusters) => clusters,
            Err(reason) => {
                let text = format!("{caller}'s sidecar knows the address, but refuses the request ({reason})");
                return found.end(Answer::Denied(reason), text);
            }
        };
        let used: Vec<(&String, &u32)> = clusters.iter().filter(|(_, weight)| **weight > 0).collect();
        let named: Vec<String> = used.iter().map(|(name, weight)| share(name, **weight, &clusters)).collect();
        found.step(true, format!("{caller}'s sidecar sends it to {}", named.join(", ")));
        for (name, _) in used {
            match outbound.clusters_configs.get(name) {
                Some(cluster) => self.reach_cluster(&mut found, name, cluster, mtls),
                None => found.ended = Some(Answer::Denied("no-cluster")),
            }
        }
        found
    }

    /// The caller's sidecar knows nothing of the service.
    fn pass_through(&self, mut found: Found, config: &Config) -> Found {
        let caller = self.origin.identity();
        if !config.spec.traffic.enable_egress {
            let text = format!("{caller}'s sidecar knows no way to the service, and what it does not know it refuses");
            return found.end(Answer::Denied("unknown-destination"), text);
        }
        found.step(
            true,
            format!(
                "{caller}'s sidecar knows no way to the service; as egress is enabled, it passes the connection through in \
                 plaintext"
            ),
        );
        self.reach_pods(found, false)
    }

    /// All pods of the service, dialled without the caller's sidecar choosing one.
    fn reach_pods(&self, mut found: Found, mtls: bool) -> Found {
        let mut servers: BTreeMap<Option<&Account>, SocketAddr> = BTreeMap::new();
        for port in self.world.mesh_services_of(&self.service.key).iter().filter(|port| port.port == self.port.port) {
            for target in self.world.targets(port) {
                servers.entry(target.account).or_insert(SocketAddr::new(target.ip, target.port));
            }
        }
        if servers.is_empty() && self.world.mesh_services_of(&self.service.key).is_empty() {
            return found
                .end(Answer::Allowed, "the Service is not in the mesh: no sidecar of a server is asked".to_owned());
        }
        if servers.is_empty() {
            return found.end(Answer::Denied("no-endpoint"), "no pod is ready behind the Service".to_owned());
        }
        for address in servers.into_values() {
            self.reach_endpoint(&mut found, address, mtls);
        }
        found
    }

    fn reach_cluster(&self, found: &mut Found, name: &str, cluster: &ClusterConfig, mtls: bool) {
        if cluster.endpoints.is_empty() {
            found.step(false, format!("cluster {name} has no endpoint"));
            found.ended = Some(Answer::Denied("no-endpoint"));
            return;
        }
        let mut accounts: BTreeMap<Option<Account>, (SocketAddr, bool)> = BTreeMap::new();
        for (address, endpoint) in &cluster.endpoints {
            let Ok(address) = address.parse::<SocketAddr>() else { continue };
            let plaintext = endpoint.via_gateway.is_some();
            let account = self.pod_at(address.ip()).map(|pod| pod.account.clone());
            accounts.entry(account).or_insert((address, mtls && !plaintext));
        }
        for (address, mtls) in accounts.into_values() {
            self.reach_endpoint(found, address, mtls);
        }
    }

    fn reach_endpoint(&self, found: &mut Found, address: SocketAddr, mtls: bool) {
        let pod = self.pod_at(address.ip());
        let group = pod.and_then(|pod| self.world.group_of(&pod.key)).and_then(|group| self.world.group(group));
        let (Some(pod), Some(group)) = (pod, group) else {
            found.step(true, format!("the server at {address} has no sidecar: nobody asks who calls"));
            let account = pod.map_or_else(|| Account::new("", address.ip().to_string()), |pod| pod.account.clone());
            found.servers.push((account, Answer::Allowed));
            return;
        };
        let config = document(self.world, group);
        let answer = self.inbound(&config, address.port(), mtls);
        let server = pod.account.identity();
        let secured = if mtls { "over mutual TLS" } else { "in plaintext" };
        let text = match &answer {
            Answer::Allowed => format!("{server}'s sidecar lets it in ({secured})"),
            Answer::Some(rules) => {
                format!("{server}'s sidecar lets some requests in ({secured}): {}", rules.join("; "))
            }
            Answer::Denied(reason) => format!("{server}'s sidecar refuses it, {secured}: {reason}"),
        };
        found.step(!matches!(answer, Answer::Denied(_)), text);
        found.servers.push((pod.account.clone(), answer));
    }

    fn pod_at(&self, ip: IpAddr) -> Option<&'a Pod> {
        self.world.pods().find(|pod| !pod.phase.is_over() && pod.ips.contains(&ip))
    }

    fn outbound_match<'c>(&self, outbound: &'c Outbound) -> Option<&'c OutboundTrafficMatch> {
        let matches = outbound.traffic_matches.get(&self.port.port)?;
        let mut addresses = self.service.cluster_ips.clone();
        addresses.extend(self.world.addresses_of(&self.service.key));
        let holds = |matched: &OutboundTrafficMatch| {
            let ranges = matched.destination_ip_ranges.iter().flat_map(BTreeMap::keys);
            let mut ranges = ranges.filter_map(|range| range.parse::<IpNet>().ok());
            ranges.any(|range| addresses.iter().any(|address| range.contains(address)))
        };
        matches.iter().find(|matched| holds(matched))
    }

    fn outbound_clusters(&self, matched: &OutboundTrafficMatch) -> Result<BTreeMap<String, u32>, &'static str> {
        if let Some(tcp) = &matched.tcp_service_route_rules {
            return tcp.target_clusters.clone().ok_or("no-cluster");
        }
        let rule_set = matched.http_host_port2_service.get(&self.host).ok_or("no-service")?;
        let rules = matched.http_service_route_rules.get(&rule_set.rule_name).ok_or("no-service")?;
        let mut rules = rules.route_rules.iter();
        let rule = match self.request {
            Some(request) => rules.find(|rule| fits(rule, request)),
            None => rules.next_back(),
        };
        rule.map(|rule| rule.target_clusters.clone()).ok_or("no-route")
    }

    /// What the server's sidecar says.
    fn inbound(&self, config: &Config, port: u16, mtls: bool) -> Answer {
        let matches = config.inbound.as_ref().map(|inbound| &inbound.traffic_matches);
        let Some(matched) = matches.and_then(|matches| matches.get(&port)) else {
            return Answer::Denied("unknown-port");
        };
        let source = self.source_range(matched);
        if source.is_none() && !self.is_allowed_address(config) {
            return Answer::Denied("source-not-allowed");
        }
        let proven = mtls.then(|| self.origin.identity());
        match source {
            None if config.certificate.is_some() && !mtls => return Answer::Denied("mtls-required"),
            Some(Some(how)) if how.mtls && !mtls => return Answer::Denied("mtls-required"),
            _ => {}
        }
        if let Some(tcp) = &matched.tcp_service_route_rules {
            let admitted =
                source.is_some() && proven.is_none() || admits(tcp.allowed_services.as_deref(), proven.as_deref());
            return if admitted { Answer::Allowed } else { Answer::Denied("identity-not-allowed") };
        }
        let outside = source.is_some() && proven.is_none();
        let host = if outside { "*" } else { self.host.as_str() };
        let rule_set = matched.http_host_port2_service.get(host);
        let Some(rules) = rule_set.and_then(|set| matched.http_service_route_rules.get(&set.rule_name)) else {
            return Answer::Denied("no-service");
        };
        self.rules(&rules.route_rules, proven.as_deref())
    }

    fn rules(&self, rules: &[RouteRule], caller: Option<&str>) -> Answer {
        let admitted: Vec<&RouteRule> =
            rules.iter().filter(|rule| admits(rule.allowed_services.as_deref(), caller)).collect();
        let Some(request) = self.request else {
            return match admitted.as_slice() {
                [] if rules.is_empty() => Answer::Denied("no-route"),
                [] => Answer::Denied("identity-not-allowed"),
                some if some.iter().any(|rule| is_any(rule)) => Answer::Allowed,
                some => Answer::Some(some.iter().map(|rule| described(rule)).collect()),
            };
        };
        if admitted.iter().any(|rule| fits(rule, request)) {
            return Answer::Allowed;
        }
        let but_for_headers: Vec<String> =
            admitted.iter().filter(|rule| fits_but_for_headers(rule, request)).map(|rule| described(rule)).collect();
        if !but_for_headers.is_empty() && request.headers.is_empty() {
            return Answer::Some(but_for_headers);
        }
        let known = rules.iter().any(|rule| fits(rule, request));
        Answer::Denied(if known { "identity-not-allowed" } else { "no-route" })
    }

    fn source_range<'c>(&self, matched: &'c InboundTrafficMatch) -> Option<Option<&'c fsm_api::config::SourceIpRange>> {
        let ranges = matched.source_ip_ranges.iter().filter_map(|(range, how)| {
            let net = range.parse::<IpNet>().or_else(|_| range.parse::<IpAddr>().map(IpNet::from)).ok()?;
            self.origin.addresses().iter().any(|address| net.contains(address)).then_some((net.prefix_len(), how))
        });
        ranges.max_by_key(|(length, _)| *length).map(|(_, how)| how.as_ref())
    }

    fn is_allowed_address(&self, config: &Config) -> bool {
        if config.certificate.is_some() && config.allowed_endpoints.is_empty() {
            return true;
        }
        self.origin.addresses().iter().any(|address| config.allowed_endpoints.contains_key(&address.to_string()))
    }
}

fn share(name: &str, weight: u32, clusters: &BTreeMap<String, u32>) -> String {
    let total: u64 = clusters.values().map(|weight| u64::from(*weight)).sum();
    match clusters.len() {
        1 => format!("cluster {name}"),
        _ => format!("cluster {name} ({} %)", (u64::from(weight) * 100).checked_div(total).unwrap_or(0)),
    }
}

fn admits(allowed: Option<&[String]>, caller: Option<&str>) -> bool {
    allowed.is_none_or(|allowed| caller.is_some_and(|caller| allowed.iter().any(|one| one == caller)))
}

fn is_any(rule: &RouteRule) -> bool {
    rule.path == ".*" && rule.methods.is_none() && rule.headers.is_empty()
}

pub(super) fn fits(rule: &RouteRule, request: &Asked) -> bool {
    let value = |name: &String| request.headers.get(name).map_or("", String::as_str);
    fits_but_for_headers(rule, request)
        && rule
            .headers
            .iter()
            .all(|(name, pattern)| whole(pattern).is_some_and(|pattern| pattern.is_match(value(name))))
}

pub(super) fn fits_but_for_headers(rule: &RouteRule, request: &Asked) -> bool {
    let method = rule.methods.as_ref().is_none_or(|all| all.iter().any(|one| one == "*" || *one == request.method));
    let path = match rule.path_type {
        PathType::Exact => rule.path == request.path,
        PathType::Prefix => {
            let prefix = rule.path.trim_end_matches('/');
            request.path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        PathType::Regex => whole(&rule.path).is_some_and(|pattern| pattern.is_match(&request.path)),
    };
    method && path
}

/// Expressions cover the whole, as proxies have it.
pub(super) fn whole(pattern: &str) -> Option<regex::Regex> {
    regex::Regex::new(&format!("^(?:{pattern})$")).ok()
}

/// A rule in words.
pub(super) fn described(rule: &RouteRule) -> String {
    let methods = rule.methods.as_ref().map_or_else(|| "any method".to_owned(), |methods| methods.join(","));
    let mut text = format!("{methods} {}", rule.path);
    for (name, pattern) in &rule.headers {
        text.push_str(&format!(" with {name}: {pattern}"));
    }
    text
}
