//! Clusters and their endpoints, continuing the previous snapshot's connections and counters.

use super::{Compiler, Own};
use crate::config::snapshot::{Settings, TlsKey, TransportKey};
use crate::limits;
use crate::policy::budget::{BudgetSettings, RetryBudget};
use crate::policy::retry::RetryPolicy;
use crate::telemetry::Direction;
use crate::tls::{Alpn, ClientTls, Expect, Identity, IdentityError, roots_from_pem};
use crate::upstream::affinity::Balancing;
use crate::upstream::balance::EndpointLoad;
use crate::upstream::cluster::{Cluster, ClusterSettings, ClusterState, Endpoints, Member};
use crate::upstream::connect::{Target, Transport, UpstreamTls};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::gate::GateLimits;
use fsm_api::config::{Certificate, ClusterConfig, Outbound};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Name under which passed-through connections are counted; no cluster of a document can have it.
pub(super) const PASSTHROUGH: &str = "egress-passthrough";

impl Compiler<'_> {
    /// Clusters of the application's own ports: plaintext, on this host.
    pub(super) fn local_clusters(&mut self, settings: &Settings) {
        let Some(inbound) = &self.document.inbound else {
            return;
        };
        let key = TransportKey { tls: TlsKey::None, connect_timeout: limits::CONNECT_TIMEOUT, via: None };
        let transport = self.transport(key, None, "Inbound");
        for (name, endpoints) in &inbound.clusters_configs {
            let path = format!("Inbound.ClustersConfigs[{name:?}]");
            let endpoints = endpoints.iter();
            let endpoints: Vec<Wanted<'_>> =
                endpoints.map(|(address, weight)| Wanted::local(address, *weight)).collect();
            let settings = plain_settings(settings);
            let cluster = self.cluster(name, Direction::Inbound, settings, &endpoints, transport.as_ref(), &path);
            self.local.insert(Arc::clone(&cluster.name), cluster);
        }
    }

    /// Clusters of other pods and of the world outside.
    pub(super) fn remote_clusters(&mut self, settings: &Settings, identity: Option<&Arc<Identity>>) {
        let document = self.document;
        let Some(outbound) = &document.outbound else {
            return;
        };
        let mesh = clusters_of_mesh_destinations(outbound);
        let gateways = forward_rules(outbound);
        for (name, config) in &outbound.clusters_configs {
            let path = format!("Outbound.ClustersConfigs[{name:?}]");
            let in_mesh = mesh.contains(name.as_str());
            let rule = gateways.get(name.as_str()).copied();
            let transport = self.remote_transport(config, in_mesh, rule, identity, &path);
            let cluster = self.remote_cluster(name, config, transport.as_ref(), settings, &path);
            if let Some(transport) = transport {
                self.carried.ways.insert(name.as_str().into(), transport);
            }
            self.remote.insert(Arc::clone(&cluster.name), cluster);
        }
    }

    /// One of them, with a transport that is already decided.
    pub(super) fn remote_cluster(
        &mut self,
        name: &str,
        config: &ClusterConfig,
        transport: Option<&Arc<Transport>>,
        settings: &Settings,
        path: &str,
    ) -> Arc<Cluster> {
        // Without a secure way to its endpoints a cluster has none; it never falls back to an insecure one.
        let usable = if transport.is_some() { config.endpoints.clone() } else { BTreeMap::new() };
        let endpoints: Vec<Wanted<'_>> =
            usable.iter().map(|(address, endpoint)| Wanted::remote(address, endpoint)).collect();
        let http = config.connection_settings.as_ref().and_then(|settings| settings.http.as_ref());
        let breaker = http.and_then(|http| http.circuit_breaking.as_ref());
        let breaker = breaker.and_then(|breaker| self.breaker(breaker, name, path));
        let settings = ClusterSettings {
            response_timeout: settings.response_timeout,
            breaker,
            limits: gate_limits(config),
            retry: self.retry(config, path),
            budget: self.budget(config, Direction::Outbound, name),
            balancing: self.balancing(config, name, path),
            requests_per_connection: http
                .and_then(|http| http.max_requests_per_connection)
                .filter(|&requests| requests > 0),
        };
        self.cluster(name, Direction::Outbound, settings, &endpoints, transport, path)
    }

    /// The cluster under which passed-through connections are counted; each goes to its own original destination.
    pub(super) fn passthrough_cluster(
        &mut self,
        settings: &Settings,
        identity: Option<&Arc<Identity>>,
    ) -> (Arc<Cluster>, Option<Arc<Transport>>) {
        let transport = self.plain_passthrough(None, identity);
        let cluster_settings = plain_settings(settings);
        let state = self.state(Direction::Outbound, PASSTHROUGH);
        let endpoints = Endpoints::new(&Balancing::default(), Vec::new(), 0, None);
        let cluster = Cluster::new(PASSTHROUGH.into(), Direction::Outbound, state, cluster_settings, endpoints);
        (Arc::new(cluster), transport)
    }

    /// How connections pass through in plaintext: through the gateways of a forward rule, if there is one.
    pub(super) fn plain_passthrough(
        &mut self,
        rule: Option<&str>,
        identity: Option<&Arc<Identity>>,
    ) -> Option<Arc<Transport>> {
        let via = self.forward_rule(rule);
        let key = TransportKey { tls: TlsKey::None, connect_timeout: limits::CONNECT_TIMEOUT, via };
        self.transport(key, identity, "Outbound")
    }

    fn remote_transport(
        &mut self,
        config: &ClusterConfig,
        in_mesh: bool,
        rule: Option<&str>,
        identity: Option<&Arc<Identity>>,
        path: &str,
    ) -> Option<Arc<Transport>> {
        let connect_timeout = connect_timeout(config);
        let mtls = self.document.certificate.is_some();
        let tls = match &config.source_cert {
            Some(certificate) => TlsKey::of_source(certificate, &config.service_identities),
            None if in_mesh && mtls => TlsKey::Mesh(config.service_identities.clone()),
            None => TlsKey::None,
        };
        let via = if !in_mesh && tls == TlsKey::None { self.forward_rule(rule) } else { None };
        self.transport(TransportKey { tls, connect_timeout, via }, identity, path)
    }

    /// A transport, the previous one if nothing about it changed. `None` (reported) when it cannot be made secure: its
    /// clusters then have no endpoint rather than an insecure one.
    pub(super) fn transport(
        &mut self,
        key: TransportKey,
        identity: Option<&Arc<Identity>>,
        path: &str,
    ) -> Option<Arc<Transport>> {
        if let Some(known) = self.carried.transports.get(&key) {
            return Some(Arc::clone(known));
        }
        if matches!(key.tls, TlsKey::Mesh(_)) && identity.is_none() && self.document.certificate.is_some() {
            // The certificate itself has been reported, and once for all clusters that there is no traffic.
            return None;
        }
        let transport = match self.previous_transport(&key, identity) {
            Some(transport) => transport,
            None => match self.new_transport(&key, identity, path) {
                Ok(transport) => Arc::new(transport),
                Err(error) => {
                    self.error(error.path().to_owned(), format!("{error}; {path} gets no traffic until it is mended"));
                    return None;
                }
            },
        };
        self.carried.transports.insert(key, Arc::clone(&transport));
        Some(transport)
    }

    fn previous_transport(&self, key: &TransportKey, identity: Option<&Arc<Identity>>) -> Option<Arc<Transport>> {
        let previous = self.previous?;
        let same_identity = match (&previous.identity, identity) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        let through = key.via.as_deref().is_some_and(|rule| self.gateways_know_us(rule));
        let depends_on_identity = through || matches!(key.tls, TlsKey::Mesh(_));
        (same_identity || !depends_on_identity).then(|| previous.carried.transports.get(key).cloned()).flatten()
    }

    fn new_transport(
        &self,
        key: &TransportKey,
        identity: Option<&Arc<Identity>>,
        path: &str,
    ) -> Result<Transport, IdentityError> {
        let tls = match &key.tls {
            TlsKey::None => None,
            TlsKey::Mesh(identities) => {
                let identity = identity.ok_or_else(|| IdentityError::Missing {
                    path: "Certificate".to_owned(),
                    expected: "CERTIFICATE",
                })?;
                let expect = Expect::of_mesh(identities);
                let client = |alpn| ClientTls::of_mesh(identity, expect.clone(), alpn);
                Some(UpstreamTls {
                    http1: client(Alpn::MESH_HTTP1)?,
                    http2: client(Alpn::MESH_H2)?,
                    tcp: client(Alpn::MESH_TCP)?,
                    send_server_name: false,
                })
            }
            TlsKey::Origination { chain, key, roots } => {
                let certificate = Certificate {
                    cert_chain: chain.clone(),
                    private_key: key.clone(),
                    issuing_ca: roots.clone(),
                    ..Certificate::default()
                };
                let path = format!("{path}.SourceCert");
                let own = Identity::from_config_at(&certificate, "", &path)?;
                let roots = roots_from_pem(roots, &format!("{path}.IssuingCA"))?;
                let client = |alpn| ClientTls::new(Some(&own), Arc::clone(&roots), Expect::HostName, alpn);
                Some(UpstreamTls {
                    http1: client(Alpn::HTTP1_ONLY)?,
                    http2: client(Alpn::H2_ONLY)?,
                    tcp: client(Alpn::ANY)?,
                    send_server_name: true,
                })
            }
        };
        let via = key.via.as_deref().map(|rule| self.gateways(rule, identity).map(Arc::new)).transpose()?;
        Ok(Transport { tls, connect_timeout: key.connect_timeout, via, mark: self.environment.mark })
    }

    fn cluster(
        &mut self,
        name: &str,
        direction: Direction,
        settings: ClusterSettings,
        endpoints: &[Wanted<'_>],
        transport: Option<&Arc<Transport>>,
        path: &str,
    ) -> Arc<Cluster> {
        let state = self.state(direction, name);
        let before = self.previous.and_then(|previous| previous.cluster(direction, name)).map(|cluster| cluster.load());
        let joined = before.is_some().then(Instant::now);
        let mut members = Vec::with_capacity(endpoints.len());
        for wanted in endpoints {
            let address = wanted.through.unwrap_or(wanted.address);
            let target: Target = match address.parse() {
                Ok(target) => target,
                Err(error) => {
                    self.error(format!("{path}[{:?}]", wanted.address), format!("{error}; the endpoint is left out"));
                    continue;
                }
            };
            // What leads through another cluster's ingress or gateway speaks to it in plaintext (FSM's rule).
            let transport = if wanted.is_plaintext() { self.plaintext(path) } else { transport.cloned() };
            let Some(transport) = transport else { continue };
            let known = before.iter().flat_map(|before| before.members()).find(|member| {
                let endpoint = &member.endpoint;
                endpoint.target == target
                    && endpoint.path_prefix.as_deref() == wanted.path_prefix
                    && Arc::ptr_eq(&endpoint.transport, &transport)
            });
            let endpoint = match known {
                Some(member) => Arc::clone(&member.endpoint),
                None => {
                    let load = Arc::new(EndpointLoad::new(Arc::clone(&state.load), state.since));
                    let prefix = wanted.path_prefix.map(Into::into);
                    Arc::new(Endpoint::new(target, transport, Arc::clone(&state.gate), load, prefix, joined))
                }
            };
            members.push(Member { endpoint, weight: wanted.weight, remote: wanted.remote });
        }
        let endpoints = Endpoints::new(&settings.balancing, members, self.start, before.as_deref());
        Arc::new(Cluster::new(name.into(), direction, state, settings, endpoints))
    }

    fn plaintext(&mut self, path: &str) -> Option<Arc<Transport>> {
        let key = TransportKey { tls: TlsKey::None, connect_timeout: limits::CONNECT_TIMEOUT, via: None };
        self.transport(key, None, path)
    }

    fn state(&self, direction: Direction, name: &str) -> Arc<ClusterState> {
        let before = self.previous.and_then(|previous| previous.cluster(direction, name));
        before.map_or_else(Arc::default, |cluster| Arc::clone(&cluster.state))
    }

    /// The retry budget of a cluster: the previous one if its settings are the same.
    fn budget(&self, config: &ClusterConfig, direction: Direction, name: &str) -> Arc<RetryBudget> {
        let http = config.connection_settings.as_ref().and_then(|settings| settings.http.as_ref());
        let most_at_a_time = http.and_then(|http| http.max_retries).filter(|&retries| retries > 0);
        let settings = BudgetSettings { most_at_a_time, ..BudgetSettings::default() };
        let before = self.previous.and_then(|previous| previous.cluster(direction, name));
        let before = before.map(|cluster| &cluster.settings.budget).filter(|budget| *budget.settings() == settings);
        before.map_or_else(|| Arc::new(RetryBudget::new(settings, Instant::now())), Arc::clone)
    }

    fn balancing(&mut self, config: &ClusterConfig, name: &str, path: &str) -> Balancing {
        let Some(wanted) = &config.load_balancing else { return Balancing::default() };
        let before = self.previous.and_then(|previous| previous.cluster(Direction::Outbound, name));
        let (balancing, problems) = Balancing::from_config(wanted, before.map(|before| &before.settings.balancing));
        for problem in problems {
            self.error(format!("{path}.LoadBalancing"), problem);
        }
        balancing
    }

    fn retry(&mut self, config: &ClusterConfig, path: &str) -> Option<Arc<RetryPolicy>> {
        let Some(retry) = &config.retry_policy else {
            // FSM: what fails at an endpoint is made once more at a failover endpoint, where there are any.
            return fails_over(config).then(|| Arc::new(RetryPolicy::for_failover()));
        };
        let (policy, problems) = RetryPolicy::from_config(retry);
        for problem in problems {
            self.error(format!("{path}.RetryPolicy"), problem);
        }
        policy.is_active().then(|| Arc::new(policy))
    }
}

/// Names of the clusters whose servers are mesh peers: some rule with destination ranges leads there, and their
/// endpoints are addresses. FSM tells them by the ranges alone and so tries mesh mTLS with external hosts whose
/// addresses an egress policy lists (weakness C-2); those endpoints are names.
fn clusters_of_mesh_destinations(outbound: &Outbound) -> BTreeSet<&str> {
    let mut mesh = BTreeSet::new();
    for entry in outbound.traffic_matches.values().flatten() {
        if entry.destination_ip_ranges.as_ref().is_none_or(|ranges| ranges.is_empty()) {
            continue;
        }
        let rules = entry.http_service_route_rules.values().flat_map(|rules| &rules.route_rules);
        mesh.extend(rules.flat_map(|rule| rule.target_clusters.keys()).map(String::as_str));
        let tcp = entry.tcp_service_route_rules.iter().filter_map(|rules| rules.target_clusters.as_ref());
        mesh.extend(tcp.flat_map(|targets| targets.keys()).map(String::as_str));
    }
    mesh.retain(|name| !outbound.clusters_configs.get(*name).is_some_and(is_external));
    mesh
}

/// Whether some endpoint is a name of the outside world.
pub(super) fn is_external(config: &ClusterConfig) -> bool {
    let target = |address: &String| address.parse::<Target>();
    config.endpoints.keys().any(|address| target(address).is_ok_and(|target| target.host.is_external()))
}

/// Whether some endpoints stand in for others.
pub(super) fn fails_over(config: &ClusterConfig) -> bool {
    config.endpoints.values().any(|endpoint| endpoint.weight == 0)
        && config.endpoints.values().any(|endpoint| endpoint.weight > 0)
}

/// Settings of clusters that have no policies: local ones and passed-through connections.
fn plain_settings(settings: &Settings) -> ClusterSettings {
    ClusterSettings {
        response_timeout: settings.response_timeout,
        requests_per_connection: None,
        limits: GateLimits::default(),
        breaker: None,
        retry: None,
        budget: Arc::new(RetryBudget::new(BudgetSettings::default(), Instant::now())),
        balancing: Balancing::default(),
    }
}

/// An endpoint as the document wants it.
struct Wanted<'a> {
    address: &'a str,
    weight: u32,
    remote: bool,
    path_prefix: Option<&'a str>,
    through: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn local(address: &'a str, weight: u32) -> Self {
        Self { address, weight, remote: false, path_prefix: None, through: None }
    }

    fn remote(address: &'a str, endpoint: &'a fsm_api::config::Endpoint) -> Self {
        let path_prefix =
            endpoint.path.as_deref().map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty());
        let through = endpoint.via_gateway.as_deref();
        Self { address, weight: endpoint.weight, remote: endpoint.key.is_some(), path_prefix, through }
    }

    const fn is_plaintext(&self) -> bool {
        self.path_prefix.is_some() || self.through.is_some()
    }
}

fn gate_limits(config: &ClusterConfig) -> GateLimits {
    let mut limits = GateLimits::default();
    let count = |limit: Option<u32>| limit.filter(|&limit| limit > 0).and_then(|limit| usize::try_from(limit).ok());
    let Some(settings) = &config.connection_settings else { return limits };
    if let Some(tcp) = &settings.tcp {
        limits.connections = count(tcp.max_connections).unwrap_or(limits.connections);
        limits.patience = connect_timeout(config);
    }
    if let Some(http) = &settings.http {
        limits.requests = count(http.max_requests).unwrap_or(limits.requests);
        limits.pending = count(http.max_pending_requests).unwrap_or(limits.pending);
    }
    limits
}

pub(super) fn connect_timeout(config: &ClusterConfig) -> Duration {
    let tcp = config.connection_settings.as_ref().and_then(|settings| settings.tcp.as_ref());
    let configured = tcp.and_then(|tcp| tcp.connect_timeout).filter(|seconds| *seconds > 0.0);
    configured.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(limits::CONNECT_TIMEOUT)
}

/// The forward rule that each cluster's rule sets name.
fn forward_rules(outbound: &Outbound) -> BTreeMap<&str, &str> {
    let mut rules = BTreeMap::new();
    for entry in outbound.traffic_matches.values().flatten() {
        for service in entry.http_service_route_rules.values() {
            let Some(rule) = service.egress_forward_gateway.as_deref() else { continue };
            let clusters = service.route_rules.iter().flat_map(|route| route.target_clusters.keys());
            rules.extend(clusters.map(|cluster| (cluster.as_str(), rule)));
        }
        if let Some(tcp) = &entry.tcp_service_route_rules
            && let (Some(rule), Some(targets)) = (tcp.egress_forward_gateway.as_deref(), &tcp.target_clusters)
        {
            rules.extend(targets.keys().map(|cluster| (cluster.as_str(), rule)));
        }
    }
    rules
}

impl Own {
    /// Whether mesh peers are to be spoken to with TLS that we cannot offer.
    pub(super) const fn is_broken(&self) -> bool {
        matches!(self, Self::Broken)
    }
}
