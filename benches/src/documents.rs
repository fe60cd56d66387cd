//! Sidecar documents: the fixtures, and generated ones in the shape that FSM's controller gives them.

use fsm_api::config::{Certificate, Config};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Map, Value, json};

/// Names of the fixtures.
pub const FIXTURES: [&str; 6] = ["permissive", "smi", "policies", "egress", "packed", "legacy-1.3.0"];

/// Text of a fixture.
///
/// # Panics
/// When there is no fixture of this name.
pub fn fixture(name: &str) -> &'static str {
    match name {
        "permissive" => include_str!("../../tests/fixtures/documents/permissive.json"),
        "smi" => include_str!("../../tests/fixtures/documents/smi.json"),
        "policies" => include_str!("../../tests/fixtures/documents/policies.json"),
        "egress" => include_str!("../../tests/fixtures/documents/egress.json"),
        "packed" => include_str!("../../tests/fixtures/documents/packed.json"),
        "legacy-1.3.0" => include_str!("../../tests/fixtures/documents/legacy-1.3.0.json"),
        _ => unreachable!("no fixture is called {name}"),
    }
}

/// What the paths of generated rules are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// `Exact`.
    Exact,
    /// `Prefix`.
    Prefix,
    /// `Regex` that is a regular expression indeed.
    Regex,
}

/// An inbound document with one service, `orders.shop` on port 80, and `count` rules: `/api/0/…`, `/api/1/…` and so on,
/// each for one caller and two methods. [`Rules::Regex`] admits `/api/N/` and digits, the others `/api/N/orders`.
pub fn with_rules(count: usize, rules: Rules) -> String {
    let rule = |index: usize| {
        let (kind, path) = match rules {
            Rules::Exact => ("Exact", format!("/api/{index}/orders")),
            Rules::Prefix => ("Prefix", format!("/api/{index}/orders")),
            Rules::Regex => ("Regex", format!("/api/{index}/[0-9]+")),
        };
        json!({
            "Path": path, "Type": kind, "Methods": ["GET", "POST"],
            "TargetClusters": {"shop/orders|8080|local": 100}, "AllowedServices": ["web.shop"],
        })
    };
    let rules: Vec<Value> = (0..count).map(rule).collect();
    json!({
        "Version": "1", "Spec": {"ServiceIdentity": "orders.shop"},
        "Inbound": {
            "TrafficMatches": {"80": {
                "Port": 8080, "Protocol": "http",
                "HttpHostPort2Service": hosts("orders", "shop"),
                "HttpServiceRouteRules": {"orders.shop": {"RouteRules": rules}},
            }},
            "ClustersConfigs": {"shop/orders|8080|local": {"127.0.0.1:8080": 100}},
        },
    })
    .to_string()
}

/// An outbound document with so many services on port 80 (`service-0.shop` at 10.96.0.0 and so on), each with three
/// endpoints and ten spellings of its host, as a pod of a permissive mesh of this size gets it.
pub fn mesh(services: u16) -> String {
    let (mut all_hosts, mut rules, mut ranges, mut clusters) = (Map::new(), Map::new(), Map::new(), Map::new());
    for index in 0..services {
        let [high, low] = index.to_be_bytes();
        let service = format!("service-{index}");
        let cluster = format!("shop/{service}|8080");
        let endpoints: Map<String, Value> =
            (1..=3).map(|node| (format!("10.{node}.{high}.{low}:8080"), json!({"Weight": 100}))).collect();
        all_hosts.extend(hosts(&service, "shop"));
        ranges.insert(format!("10.96.{high}.{low}/32"), Value::Null);
        let target = json!({"Path": ".*", "Type": "Regex", "TargetClusters": {&*cluster: 100}});
        rules.insert(format!("{service}.shop"), json!({"RouteRules": [target]}));
        clusters.insert(cluster, json!({"Endpoints": endpoints}));
    }
    json!({
        "Version": "1", "Spec": {"ServiceIdentity": "web.shop"},
        "Outbound": {
            "TrafficMatches": {"80": [{
                "Port": 80, "Protocol": "http", "DestinationIPRanges": ranges,
                "HttpHostPort2Service": all_hosts, "HttpServiceRouteRules": rules,
            }]},
            "ClustersConfigs": clusters,
        },
    })
    .to_string()
}

fn hosts(service: &str, namespace: &str) -> Map<String, Value> {
    let mut hosts = Map::new();
    for suffix in ["", ".svc", ".svc.cluster", ".svc.cluster.local"] {
        for port in ["", ":80"] {
            hosts.insert(
                format!("{service}.{namespace}{suffix}{port}"),
                json!({"RuleName": format!("{service}.{namespace}")}),
            );
        }
    }
    for port in ["", ":80"] {
        hosts.insert(format!("{service}{port}"), json!({"RuleName": format!("{service}.{namespace}")}));
    }
    hosts
}

/// The document with a certificate that works; those of the fixtures are placeholders.
///
/// # Errors
/// When no certificate can be made.
pub fn with_identity(mut document: Config, identity: &str) -> Result<Config, rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let name = format!("{identity}.cluster.local");
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec![name.clone()])?.signed_by(&key, &authority)?;
    document.certificate = Some(Certificate {
        common_name: name,
        expiration: "2099-01-01 00:00:00".into(),
        cert_chain: leaf.pem(),
        private_key: key.serialize_pem(),
        issuing_ca: authority.pem(),
        ..Certificate::default()
    });
    Ok(document)
}
