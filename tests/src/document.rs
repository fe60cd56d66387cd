//! Sidecar documents in the shape that FSM's controller gives them.

use crate::certificates::TRUST_DOMAIN;
use crate::{Leaf, Pod};
use serde_json::{Map, Value, json};
use std::net::{IpAddr, SocketAddr};

/// A Kubernetes service of the test's mesh.
#[derive(Clone, Debug)]
pub struct Service {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// The port that clients use.
    pub port: u16,
    /// The port that the application listens on.
    pub target_port: u16,
    /// `http`, `grpc` or `tcp`.
    pub protocol: String,
    /// Addresses that stand for the service; nobody has them.
    pub cluster_ips: Vec<IpAddr>,
}

impl Service {
    /// A service `name.namespace` that answers `port` by `target_port` of its pods.
    pub fn new(name: &str, namespace: &str, protocol: &str, port: u16, target_port: u16, cluster_ips: &[&str]) -> Self {
        let cluster_ips = cluster_ips.iter();
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            port,
            target_port,
            protocol: protocol.to_owned(),
            cluster_ips: cluster_ips.map(|ip| ip.parse().expect("an address")).collect(),
        }
    }

    /// The host that clients use: `name.namespace`.
    pub fn host(&self) -> String {
        format!("{}.{}", self.name, self.namespace)
    }

    /// Where clients connect: the first cluster IP.
    pub fn address(&self) -> SocketAddr {
        let first = self.cluster_ips.first().expect("the service has a cluster IP");
        SocketAddr::new(*first, self.port)
    }

    /// Name of the cluster on the client's side.
    pub fn cluster(&self) -> String {
        format!("{}/{}|{}", self.namespace, self.name, self.target_port)
    }

    /// Name of the cluster on the server's side.
    pub fn local_cluster(&self) -> String {
        format!("{}|local", self.cluster())
    }

    fn is_http(&self) -> bool {
        matches!(self.protocol.as_str(), "http" | "grpc")
    }

    fn hosts(&self) -> Value {
        let hosts = hosts_of(&self.name, &self.namespace, self.port);
        let hosts = hosts.into_iter().map(|host| (host, json!({"RuleName": self.host()})));
        Value::Object(hosts.collect())
    }

    fn ranges(&self) -> Map<String, Value> {
        let ranges = self.cluster_ips.iter().map(|ip| match ip {
            IpAddr::V4(ip) => format!("{ip}/32"),
            IpAddr::V6(ip) => format!("{ip}/128"),
        });
        ranges.map(|range| (range, Value::Null)).collect()
    }
}

/// Every host name that FSM writes for a service, with and without port.
pub fn hosts_of(name: &str, namespace: &str, port: u16) -> Vec<String> {
    let mut names = vec![name.to_owned(), format!("{name}.{namespace}"), format!("{name}.{namespace}.svc")];
    let mut suffix = String::new();
    for label in TRUST_DOMAIN.split('.') {
        suffix = format!("{suffix}.{label}");
        names.push(format!("{name}.{namespace}.svc{suffix}"));
    }
    let with_port: Vec<_> = names.iter().map(|name| format!("{name}:{port}")).collect();
    names.extend(with_port);
    names
}

/// A sidecar's document.
#[derive(Clone, Debug)]
pub struct Document {
    json: Value,
}

impl Document {
    /// A pod that neither serves nor calls anything. Egress passthrough is off.
    pub fn new(leaf: &Leaf) -> Self {
        Self {
            json: json!({
                "Ts": "2026-03-02T09:14:07.512Z",
                "Version": null,
                "Metrics": true,
                "Spec": {
                    "ServiceIdentity": leaf.identity,
                    "SidecarLogLevel": "error",
                    "SidecarTimeout": 60,
                    "Traffic": {
                        "EnableEgress": false,
                        "HTTP1PerRequestLoadBalancing": false,
                        "HTTP2PerRequestLoadBalancing": true,
                    },
                    "FeatureFlags": {
                        "EnableSidecarActiveHealthChecks": false,
                        "EnableAutoDefaultRoute": false,
                    },
                    "Probes": {},
                    "Observability": {},
                },
                "Certificate": leaf.json(),
                "Inbound": {"TrafficMatches": {}, "ClustersConfigs": {}},
                "Outbound": {"TrafficMatches": {}, "ClustersConfigs": {}},
                "AllowedEndpoints": {},
                "Chains": chains(),
            }),
        }
    }

    /// Serves a service as in permissive mode: any mesh client, any path.
    pub fn serve(self, service: &Service) -> Self {
        let cluster = service.local_cluster();
        let rule = json!({"Path": ".*", "Type": "Regex", "TargetClusters": {cluster: 100}});
        self.serve_rules(service, vec![rule])
    }

    /// Serves an HTTP service by these rules. A rule without `TargetClusters` gets the service's own cluster.
    pub fn serve_rules(mut self, service: &Service, rules: Vec<Value>) -> Self {
        let cluster = service.local_cluster();
        let inbound = &mut self.json["Inbound"];
        inbound["ClustersConfigs"][&cluster] = json!({format!("127.0.0.1:{}", service.target_port): 100});
        let found = &mut inbound["TrafficMatches"][service.port.to_string()];
        if found.is_null() {
            *found = json!({"Port": service.target_port, "Protocol": service.protocol});
        }
        if service.is_http() {
            merge(&mut found["HttpHostPort2Service"], service.hosts());
            let rules: Vec<_> = rules.into_iter().map(|rule| with_target(rule, &cluster)).collect();
            found["HttpServiceRouteRules"][service.host()] = json!({"RouteRules": rules});
        } else {
            found["TcpServiceRouteRules"] = json!({"TargetClusters": {cluster: 100}});
        }
        self
    }

    /// Calls a service at these endpoints.
    pub fn call(mut self, service: &Service, endpoints: &[IpAddr]) -> Self {
        let cluster = service.cluster();
        let endpoints =
            endpoints.iter().map(|&ip| (SocketAddr::new(ip, service.port).to_string(), json!({"Weight": 100})));
        let endpoints: Map<_, _> = endpoints.collect();
        let outbound = &mut self.json["Outbound"];
        outbound["ClustersConfigs"][&cluster] = json!({"Endpoints": endpoints});
        let matches = &mut outbound["TrafficMatches"][service.port.to_string()];
        if matches.is_null() {
            *matches = json!([]);
        }
        let matches = matches.as_array_mut().expect("made above");
        if !service.is_http() {
            matches.push(json!({
                "DestinationIPRanges": service.ranges(),
                "Port": service.port,
                "Protocol": service.protocol,
                "TcpServiceRouteRules": {
                    "TargetClusters": {cluster: 100},
                    "AllowedEgressTraffic": false,
                },
            }));
            return self;
        }
        // FSM puts all HTTP services of one port into one element.
        let shared = matches.iter().position(|found| found.get("HttpServiceRouteRules").is_some());
        let at = shared.unwrap_or_else(|| {
            matches.push(json!({
                "DestinationIPRanges": {},
                "Port": service.port,
                "Protocol": service.protocol,
                "HttpServiceRouteRules": {},
            }));
            matches.len() - 1
        });
        let found = &mut matches[at];
        merge(&mut found["DestinationIPRanges"], Value::Object(service.ranges()));
        merge(&mut found["HttpHostPort2Service"], service.hosts());
        found["HttpServiceRouteRules"][service.host()] = json!({
            "RouteRules": [{"Path": ".*", "Type": "Regex", "TargetClusters": {cluster: 100}}],
        });
        self
    }

    /// Names the identities that the servers of a called service may have (an additive field).
    pub fn identities(mut self, service: &Service, identities: &[&str]) -> Self {
        self.json["Outbound"]["ClustersConfigs"][service.cluster()]["ServiceIdentities"] = json!(identities);
        self
    }

    /// Lets a pod's addresses connect.
    pub fn allow(mut self, pod: &Pod) -> Self {
        for address in pod.addresses() {
            self.json["AllowedEndpoints"][address.to_string()] = json!(format!("test.{}", pod.name()));
        }
        self
    }

    /// Turns egress passthrough on or off.
    pub fn egress(mut self, on: bool) -> Self {
        self.json["Spec"]["Traffic"]["EnableEgress"] = json!(on);
        self
    }

    /// Sets any value by its JSON pointer, whose parents exist.
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
        let parent = self.json.pointer_mut(parent);
        parent.unwrap_or_else(|| panic!("the document has no {pointer}"))[unescaped(key)] = value;
        self
    }

    /// The document.
    pub fn json(&self) -> &Value {
        &self.json
    }
}

impl From<Document> for Value {
    fn from(document: Document) -> Self {
        document.json
    }
}

fn unescaped(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

fn with_target(mut rule: Value, cluster: &str) -> Value {
    if rule.get("TargetClusters").is_none() {
        rule["TargetClusters"] = json!({cluster: 100});
    }
    rule
}

fn merge(into: &mut Value, from: Value) {
    if into.is_null() {
        *into = from;
    } else if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn chains() -> Value {
    let stages = |names: &[&str]| -> Vec<String> { names.iter().map(|name| format!("modules/{name}.js")).collect() };
    json!({
        "inbound-http": stages(&[
            "inbound-tls-termination", "inbound-http-routing", "inbound-metrics-http",
            "inbound-tracing-http", "inbound-logging-http", "inbound-throttle-service",
            "inbound-throttle-route", "inbound-http-load-balancing", "inbound-http-default",
        ]),
        "inbound-tcp": stages(&[
            "inbound-tls-termination", "inbound-tcp-routing", "inbound-tcp-load-balancing",
            "inbound-tcp-default",
        ]),
        "outbound-http": stages(&[
            "outbound-http-routing", "outbound-metrics-http", "outbound-tracing-http",
            "outbound-logging-http", "outbound-circuit-breaker", "outbound-http-load-balancing",
            "outbound-http-default",
        ]),
        "outbound-tcp": stages(&[
            "outbound-tcp-routing", "outbound-tcp-load-balancing", "outbound-tcp-default",
        ]),
    })
}
