//! What one sidecar knows: its routes, clusters, endpoints, listeners and certificates.

use std::collections::BTreeMap;
use std::time::Duration;

use fsm_api::config::{Config, HostService, PathType, RouteRule};
use serde::Serialize;

use super::Row;
use super::pages::{Certificate, Cluster};
use crate::output::age;

/// One rule by which requests or connections are let in or sent out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// The port that was called.
    pub port: u16,
    /// `http`, `grpc`, `tcp`, …
    pub protocol: String,
    /// The rule set: a service; `*` are clients from outside the mesh.
    pub service: String,
    /// Host names that lead to the rule set.
    pub hosts: Vec<String>,
    /// Permitted methods; empty: all.
    pub methods: Vec<String>,
    /// What the path must be; `None` where connections are routed, not requests.
    pub path: Option<String>,
    /// Expressions that headers must match.
    pub headers: BTreeMap<String, String>,
    /// Callers that are let in; `None`: any member of the mesh (outbound: this pod).
    pub callers: Option<Vec<String>>,
    /// Where it leads, with weights.
    pub clusters: BTreeMap<String, u32>,
    /// What is limited.
    pub limited: bool,
}

/// The rules of a document, in the order in which they are tried.
#[must_use]
pub fn routes(config: &Config) -> Vec<Route> {
    let mut routes = inbound(config);
    routes.extend(outbound(config));
    routes
}

fn inbound(config: &Config) -> Vec<Route> {
    let mut routes = Vec::new();
    for (port, matched) in config.inbound.iter().flat_map(|inbound| &inbound.traffic_matches) {
        let base = Route::new("inbound", *port, &matched.protocol);
        for (service, rules) in &matched.http_service_route_rules {
            let limited = rules.rate_limit.is_some();
            let base = base.of(service, &matched.http_host_port2_service);
            routes.extend(rules.route_rules.iter().map(|rule| base.with(rule, limited)));
        }
        if let Some(tcp) = &matched.tcp_service_route_rules {
            routes.push(Route {
                callers: tcp.allowed_services.clone(),
                clusters: tcp.target_clusters.clone(),
                limited: matched.rate_limit.is_some(),
                ..base.clone()
            });
        }
    }
    routes
}

fn outbound(config: &Config) -> Vec<Route> {
    let mut routes = Vec::new();
    for (port, matches) in config.outbound.iter().flat_map(|outbound| &outbound.traffic_matches) {
        for matched in matches {
            let base = Route::new("outbound", *port, &matched.protocol);
            for (service, rules) in &matched.http_service_route_rules {
                let base = base.of(service, &matched.http_host_port2_service);
                routes.extend(rules.route_rules.iter().map(|rule| base.with(rule, false)));
            }
            if let Some(tcp) = &matched.tcp_service_route_rules {
                let ranges = matched.destination_ip_ranges.iter().flatten().map(|(range, _)| range.clone());
                let clusters = tcp.target_clusters.clone().unwrap_or_default();
                routes.push(Route { hosts: ranges.collect(), clusters, ..base.clone() });
            }
        }
    }
    routes
}

impl Route {
    fn new(direction: &'static str, port: u16, protocol: &str) -> Self {
        Self {
            direction,
            port,
            protocol: protocol.to_owned(),
            service: String::new(),
            hosts: Vec::new(),
            methods: Vec::new(),
            path: None,
            headers: BTreeMap::new(),
            callers: None,
            clusters: BTreeMap::new(),
            limited: false,
        }
    }

    fn of(&self, service: &str, hosts: &BTreeMap<String, HostService>) -> Self {
        let hosts = hosts.iter().filter(|(_, to)| to.rule_name == service).map(|(host, _)| host.clone());
        Self { service: service.to_owned(), hosts: hosts.collect(), ..self.clone() }
    }

    fn with(&self, rule: &RouteRule, limited: bool) -> Self {
        let path = match rule.path_type {
            PathType::Regex => rule.path.clone(),
            PathType::Exact => format!("={}", rule.path),
            PathType::Prefix => format!("{}…", rule.path),
        };
        Self {
            methods: rule.methods.clone().unwrap_or_default(),
            path: Some(path),
            headers: rule.headers.clone(),
            callers: rule.allowed_services.clone(),
            clusters: rule.target_clusters.clone(),
            limited: limited || rule.rate_limit.is_some(),
            ..self.clone()
        }
    }

    fn matched(&self) -> String {
        let Some(path) = &self.path else { return "any connection".to_owned() };
        let mut text = if self.methods.is_empty() { "*".to_owned() } else { self.methods.join(",") };
        text.push(' ');
        text.push_str(path);
        for (name, pattern) in &self.headers {
            text.push_str(&format!(" {name}~{pattern}"));
        }
        text
    }
}

impl Row for Route {
    const HEADINGS: &'static [&'static str] =
        &["DIRECTION", "PORT", "PROTOCOL", "SERVICE", "MATCH", "CALLERS", "CLUSTERS", "+LIMITED", "+HOSTS"];

    fn cells(&self) -> Vec<String> {
        let service = if self.service.is_empty() { "-".to_owned() } else { self.service.clone() };
        let callers = match &self.callers {
            None if self.direction == "outbound" => "-".to_owned(),
            None if self.service == "*" => "outside the mesh".to_owned(),
            None => "any of the mesh".to_owned(),
            Some(nobody) if nobody.is_empty() => "nobody".to_owned(),
            Some(callers) => callers.join(","),
        };
        let total: u32 = self.clusters.values().sum();
        let share = |(name, weight): (&String, &u32)| match self.clusters.len() {
            1 => name.clone(),
            _ => format!("{name} {}%", (weight * 100).checked_div(total).unwrap_or(0)),
        };
        let clusters: Vec<String> = self.clusters.iter().map(share).collect();
        let clusters = if clusters.is_empty() { "passed through".to_owned() } else { clusters.join(", ") };
        let limited = if self.limited { "yes" } else { "no" };
        vec![
            self.direction.to_owned(),
            self.port.to_string(),
            self.protocol.clone(),
            service,
            self.matched(),
            callers,
            clusters,
            limited.to_owned(),
            self.hosts.join(","),
        ]
    }
}

/// A cluster with what it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRow {
    /// Name.
    pub name: String,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// Endpoints that may be used.
    pub healthy: usize,
    /// Endpoints.
    pub endpoints: usize,
    /// Responses so far.
    pub requests: u64,
    /// Those with 5xx, and gRPC calls that the server failed at.
    pub failed: u64,
    /// Requests in flight.
    pub active: u64,
    /// Open connections.
    pub connections: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Requests sent again.
    pub retries: u64,
}

/// The clusters of a sidecar.
#[must_use]
pub fn clusters(page: &[Cluster]) -> Vec<ClusterRow> {
    let row = |cluster: &Cluster| ClusterRow {
        name: cluster.name.clone(),
        direction: cluster.direction.clone(),
        healthy: cluster.endpoints.iter().filter(|endpoint| endpoint.healthy).count(),
        endpoints: cluster.endpoints.len(),
        requests: cluster.requests,
        failed: cluster.responses[4] + cluster.grpc_failures,
        active: cluster.requests_active,
        connections: cluster.connections_active,
        connect_failures: cluster.connect_failures,
        retries: cluster.retries,
    };
    page.iter().map(row).collect()
}

impl Row for ClusterRow {
    const HEADINGS: &'static [&'static str] = &[
        "NAME",
        "DIRECTION",
        "ENDPOINTS",
        "REQUESTS",
        "FAILED",
        "ACTIVE",
        "CONNECTIONS",
        "+CONNECT-FAILURES",
        "+RETRIES",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.direction.clone(),
            format!("{}/{}", self.healthy, self.endpoints),
            self.requests.to_string(),
            self.failed.to_string(),
            self.active.to_string(),
            self.connections.to_string(),
            self.connect_failures.to_string(),
            self.retries.to_string(),
        ]
    }
}

/// `4.2ms`, `120ms`, `12s`; `-` where nothing was measured.
#[must_use]
pub fn milliseconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 10.0 => format!("{value:.1}ms"),
        Some(value) if value < 10_000.0 => format!("{value:.0}ms"),
        Some(value) => format!("{:.0}s", value / 1000.0),
    }
}

/// An endpoint of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRow {
    /// Its cluster.
    pub cluster: String,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// `host:port`.
    pub address: String,
    /// The pod with this address, where it is known.
    pub pod: Option<String>,
    /// Share of the traffic.
    pub weight: u32,
    /// Whether it is not ejected.
    pub healthy: bool,
    /// Open connections.
    pub connections: u64,
    /// Requests in flight.
    pub active: u64,
    /// `mutual-tls`, `tls`, `plaintext`; `unused` where no rule leads there.
    pub security: String,
    /// Whose certificate it must show.
    pub identities: Vec<String>,
}

/// The endpoints of a sidecar's clusters. `pods` are known by address; `cluster` limits them to clusters with this in
/// their name, and outbound ones that no rule of `routes` leads to are `unused`.
#[must_use]
pub fn endpoints(
    page: &[Cluster],
    routes: &[Route],
    pods: &BTreeMap<String, String>,
    cluster: Option<&str>,
) -> Vec<EndpointRow> {
    let unused = |cluster: &Cluster| {
        let leads = |route: &Route| route.direction == "outbound" && route.clusters.contains_key(&cluster.name);
        cluster.direction == "outbound" && !routes.iter().any(leads)
    };
    let wanted = page.iter().filter(|each| cluster.is_none_or(|part| each.name.contains(part)));
    let rows = wanted.flat_map(|cluster| {
        let rows = cluster.endpoints.iter().map(|endpoint| EndpointRow {
            cluster: cluster.name.clone(),
            direction: cluster.direction.clone(),
            address: endpoint.address.clone(),
            pod: endpoint.address.rsplit_once(':').and_then(|(host, _)| pods.get(host)).cloned(),
            weight: endpoint.weight,
            healthy: endpoint.healthy,
            connections: endpoint.connections,
            active: endpoint.requests,
            security: if unused(cluster) { "unused".to_owned() } else { endpoint.security.clone() },
            identities: endpoint.identities.clone(),
        });
        let mut rows: Vec<EndpointRow> = rows.collect();
        // By what people know them by: addresses are given out as it comes.
        rows.sort_by(|one, other| (&one.pod, &one.address).cmp(&(&other.pod, &other.address)));
        rows
    });
    rows.collect()
}

impl Row for EndpointRow {
    const HEADINGS: &'static [&'static str] = &[
        "CLUSTER",
        "DIRECTION",
        "ADDRESS",
        "POD",
        "WEIGHT",
        "HEALTH",
        "ACTIVE",
        "CONNECTIONS",
        "SECURITY",
        "+IDENTITIES",
    ];

    fn cells(&self) -> Vec<String> {
        let health = if self.healthy { "healthy" } else { "ejected" };
        vec![
            self.cluster.clone(),
            self.direction.clone(),
            self.address.clone(),
            self.pod.clone().unwrap_or_else(|| "-".to_owned()),
            self.weight.to_string(),
            health.to_owned(),
            self.active.to_string(),
            self.connections.to_string(),
            self.security.clone(),
            if self.identities.is_empty() { "-".to_owned() } else { self.identities.join(",") },
        ]
    }
}

/// An open port of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// What it is.
    pub name: String,
    /// Where it is.
    pub address: String,
}

/// The ports of the page `/listeners`.
#[must_use]
pub fn listeners(page: &str) -> Vec<Listener> {
    let one = |line: &str| {
        let (name, address) = line.split_once("::")?;
        Some(Listener { name: name.to_owned(), address: address.to_owned() })
    };
    page.lines().filter_map(one).collect()
}

impl Row for Listener {
    const HEADINGS: &'static [&'static str] = &["NAME", "ADDRESS", "FOR"];

    fn cells(&self) -> Vec<String> {
        let purpose = match self.name.as_str() {
            "admin" => "operators",
            "outbound-listener" => "what the application sends, redirected",
            "inbound-listener" => "what comes for the application, redirected",
            "inbound-prometheus-listener" => "Prometheus",
            "dns-listener" => "names that the application asks for, redirected",
            "gateway-listener" => "what sidecars send out of the mesh",
            "probe" => "the kubelet's probes",
            _ => "-",
        };
        vec![self.name.clone(), self.address.clone(), purpose.to_owned()]
    }
}

/// A certificate of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRow {
    /// What it is for.
    pub role: String,
    /// Whose.
    pub subject: String,
    /// Alternative names.
    pub names: Vec<String>,
    /// RFC 3339.
    pub not_after: String,
    /// Until then; negative when it is over.
    pub seconds_left: Option<i64>,
    /// Serial number.
    pub serial: String,
    /// Who signed it.
    pub issuer: String,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// The certificates of the page `/certs`.
#[must_use]
pub fn certificates(page: &[Certificate]) -> Vec<CertificateRow> {
    let row = |certificate: &Certificate| CertificateRow {
        role: certificate.role.clone(),
        subject: certificate.subject.clone(),
        names: certificate.names.clone(),
        not_after: certificate.not_after.clone(),
        seconds_left: certificate.seconds_left,
        serial: certificate.serial.clone(),
        issuer: certificate.issuer.clone(),
        error: certificate.error.clone(),
    };
    page.iter().map(row).collect()
}

/// `23h`, `expired`, `-`.
#[must_use]
pub fn left(seconds: Option<i64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) => age::human(Duration::from_secs(seconds)),
            Err(_) => "expired".to_owned(),
        },
    }
}

impl Row for CertificateRow {
    const HEADINGS: &'static [&'static str] = &["ROLE", "SUBJECT", "EXPIRES", "LEFT", "NAMES", "+SERIAL", "+ISSUER"];

    fn cells(&self) -> Vec<String> {
        let subject = self.error.as_ref().map_or_else(|| self.subject.clone(), |error| format!("unreadable: {error}"));
        vec![
            self.role.clone(),
            subject,
            self.not_after.clone(),
            left(self.seconds_left),
            if self.names.is_empty() { "-".to_owned() } else { self.names.join(",") },
            self.serial.clone(),
            self.issuer.clone(),
        ]
    }
}
