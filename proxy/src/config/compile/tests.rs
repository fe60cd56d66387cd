#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config::snapshot::{Carries, Source};
use crate::route::table::Question;
use crate::upstream::cluster::Tried;
use crate::upstream::connect::Transport;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use std::time::Instant;

const PERMISSIVE: &str = include_str!("../../../../tests/fixtures/documents/permissive.json");
const SMI: &str = include_str!("../../../../tests/fixtures/documents/smi.json");
const EGRESS: &str = include_str!("../../../../tests/fixtures/documents/egress.json");
const POLICIES: &str = include_str!("../../../../tests/fixtures/documents/policies.json");
const PACKED: &str = include_str!("../../../../tests/fixtures/documents/packed.json");
const LEGACY: &str = include_str!("../../../../tests/fixtures/documents/legacy-1.3.0.json");

/// A document with real certificates in the place of its placeholders.
fn with_certificates(text: &str, mesh: &Pem) -> Value {
    let mut document: Value = serde_json::from_str(text).expect("fixture");
    fill(&mut document, mesh);
    document
}

fn fill(value: &mut Value, pem: &Pem) {
    match value {
        Value::Object(members) => {
            for (key, member) in members.iter_mut() {
                match (key.as_str(), member.as_str()) {
                    ("CertChain", Some(text)) if !text.is_empty() => *member = json!(pem.chain),
                    ("PrivateKey", Some(text)) if !text.is_empty() => *member = json!(pem.key),
                    ("IssuingCA", Some(text)) if !text.is_empty() => *member = json!(pem.roots),
                    _ => fill(member, pem),
                }
            }
        }
        Value::Array(members) => members.iter_mut().for_each(|member| fill(member, pem)),
        _ => {}
    }
}

struct Pem {
    chain: String,
    key: String,
    roots: String,
}

fn pem(common_name: &str) -> Pem {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![common_name.to_owned()]).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, common_name);
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    Pem { chain: leaf.pem(), key: key.serialize_pem(), roots: ca_certificate.pem() }
}

fn compile_value(document: &Value, previous: Option<&Snapshot>) -> Snapshot {
    let (config, problems) = Config::read(document.to_string().as_bytes()).expect("a document");
    compile(Arc::new(config), problems, previous, Environment::default())
}

fn errors(snapshot: &Snapshot) -> Vec<String> {
    let errors = snapshot.problems.iter().filter(|problem| problem.severity == fsm_api::config::Severity::Error);
    errors.map(ToString::to_string).collect()
}

fn asks<'a>(method: &'a Method, path: &'a str, caller: Option<&'a str>, headers: &'a HeaderMap) -> Question<'a> {
    Question { method, path, headers, caller }
}

fn transport(snapshot: &Snapshot, cluster: &str) -> Arc<Transport> {
    let cluster = snapshot.cluster(Direction::Outbound, cluster).expect("cluster");
    Arc::clone(&cluster.load().members()[0].endpoint.transport)
}

#[test]
fn the_documents_of_fsm_compile_without_errors() {
    let mesh = pem("web.shop.cluster.local");
    for (name, text) in
        [("permissive", PERMISSIVE), ("smi", SMI), ("egress", EGRESS), ("packed", PACKED), ("legacy", LEGACY)]
    {
        let snapshot = compile_value(&with_certificates(text, &mesh), None);
        assert_eq!(errors(&snapshot), Vec::<String>::new(), "{name}");
        assert!(snapshot.identity.is_some(), "{name}");
    }
    let policies = compile_value(&with_certificates(POLICIES, &mesh), None);
    let errors = errors(&policies);
    assert_eq!(errors.len(), 1, "only the plugin is not done: {errors:?}");
    assert!(errors[0].starts_with("Chains[\"inbound-http\"][2]: `plugins/header-stamp.js`"), "{errors:?}");
}

#[test]
fn a_service_port_leads_to_the_container_port() {
    let snapshot = compile_value(&with_certificates(PERMISSIVE, &pem("web.shop.cluster.local")), None);
    let inbound = snapshot.inbound.as_ref().unwrap();
    let port = &inbound.ports[&80];
    assert_eq!(port.carries, Carries::Http);
    for host in ["web", "web.shop", "WEB.Shop.", "web.shop.svc.cluster.local:80", "web:8080"] {
        let service = port.hosts.find(host).unwrap_or_else(|| panic!("{host} is known"));
        let route = service.route(asks(&Method::PATCH, "/any", None, &HeaderMap::new())).unwrap();
        let cluster = route.split.pick().unwrap();
        assert_eq!(cluster.pick(Instant::now(), &Tried::new(), None).unwrap().target.to_string(), "127.0.0.1:8080");
    }
    assert!(port.hosts.find("cart").is_none());
    assert!(inbound.allows("10.244.1.21".parse().unwrap()));
    assert!(!inbound.allows("10.244.99.99".parse().unwrap()));
}

#[test]
fn mesh_clusters_get_mtls_and_external_ones_do_not() {
    let snapshot = compile_value(&with_certificates(PERMISSIVE, &pem("web.shop.cluster.local")), None);
    for cluster in ["shop/cart|9090", "bank/rates|50051", "shop/redis|6379"] {
        let transport = transport(&snapshot, cluster);
        assert!(transport.tls.as_ref().is_some_and(|tls| !tls.send_server_name), "{cluster}");
    }
    let egress = compile_value(&with_certificates(EGRESS, &pem("batch.jobs.cluster.local")), None);
    assert!(transport(&egress, "feeds.example.org:80").tls.is_none());
    assert!(transport(&egress, "443").tls.is_none());
    assert!(transport(&egress, "ledger.partner.test:8443").tls.as_ref().is_some_and(|tls| tls.send_server_name));
    assert_eq!(transport(&egress, "ledger.partner.test:8443").connect_timeout, Duration::from_secs(3));
}

#[test]
fn an_external_host_with_listed_addresses_is_no_mesh_peer() {
    let mut document = with_certificates(EGRESS, &pem("batch.jobs.cluster.local"));
    document["Outbound"]["TrafficMatches"]["80"][0]["DestinationIPRanges"] = json!({ "203.0.113.9/32": null });
    let snapshot = compile_value(&document, None);
    assert!(transport(&snapshot, "feeds.example.org:80").tls.is_none());
}

#[test]
fn smi_rules_admit_by_identity() {
    let snapshot = compile_value(&with_certificates(SMI, &pem("orders.shop.cluster.local")), None);
    let port = Arc::clone(&snapshot.inbound.as_ref().unwrap().ports[&80]);
    let service = port.hosts.find("orders.shop").unwrap();
    let headers = HeaderMap::new();
    let route = |method, path, caller| service.route(asks(method, path, caller, &headers)).map(|_| ());
    assert_eq!(route(&Method::GET, "/orders", Some("web.shop")), Ok(()));
    assert_eq!(route(&Method::GET, "/orders", Some("thief.shop")), Err(crate::reason::Reason::IdentityNotAllowed));
    assert_eq!(route(&Method::GET, "/orders", None), Err(crate::reason::Reason::IdentityNotAllowed));
    assert_eq!(route(&Method::DELETE, "/orders", Some("web.shop")), Err(crate::reason::Reason::NoRoute));
    assert_eq!(route(&Method::GET, "/x/orders", Some("web.shop")), Err(crate::reason::Reason::NoRoute));
    assert!(matches!(port.sources.find("10.244.9.5".parse().unwrap()), Some(Source::Plaintext)));
    assert!(matches!(port.sources.find("172.20.1.1".parse().unwrap()), Some(Source::Tls { principals: Some(_) })));
    assert!(port.hosts.any().is_some());
}

#[test]
fn the_canary_is_exact_and_failover_endpoints_stay_out() {
    let snapshot = compile_value(&with_certificates(SMI, &pem("orders.shop.cluster.local")), None);
    let port = &snapshot.outbound.ports[&80];
    let entry = port.ranged.find("10.96.50.1".parse().unwrap()).unwrap();
    let headers = HeaderMap::new();
    let route = entry.hosts.find("billing").unwrap().route(asks(&Method::GET, "/v2/x", None, &headers)).unwrap();
    let picks = (0..40).filter(|_| *route.split.pick().unwrap().name == *"shop/billing-v2|8080").count();
    assert_eq!(picks, 10);
    let cluster = snapshot.cluster(Direction::Outbound, "shop/billing-v1|8080").unwrap();
    for _ in 0..10 {
        assert_ne!(cluster.pick(Instant::now(), &Tried::new(), None).unwrap().target.to_string(), "192.0.2.80:8080");
    }
    assert!(port.ranged.find("10.96.50.9".parse().unwrap()).is_none());
    assert!(port.any_http.is_none() && port.any_tcp.is_none());
}

#[test]
fn an_unrelated_update_keeps_connections_counters_and_rounds() {
    let mesh = pem("web.shop.cluster.local");
    let mut document = with_certificates(PERMISSIVE, &mesh);
    let first = compile_value(&document, None);
    let cluster = |snapshot: &Snapshot| Arc::clone(snapshot.cluster(Direction::Outbound, "shop/cart|9090").unwrap());
    let before = cluster(&first);
    before.counters().retries.increment();
    let first_pick = before.pick(Instant::now(), &Tried::new(), None).unwrap();
    document["Version"] = json!("2");
    document["Outbound"]["ClustersConfigs"]["bank/rates|50051"]["Endpoints"] =
        json!({ "10.244.3.10:80": { "Weight": 100 } });
    let second = compile_value(&document, Some(&first));
    let after = cluster(&second);
    assert!(Arc::ptr_eq(first.identity.as_ref().unwrap(), second.identity.as_ref().unwrap()));
    assert_eq!(after.counters().retries.get(), 1);
    let same = |one: &Arc<Cluster>, other: &Arc<Cluster>| {
        let (one, other) = (one.load(), other.load());
        one.members().iter().zip(other.members()).all(|(one, other)| Arc::ptr_eq(&one.endpoint, &other.endpoint))
    };
    assert!(same(&before, &after), "endpoints keep their connections");
    assert!(!Arc::ptr_eq(&after.pick(Instant::now(), &Tried::new(), None).unwrap(), &first_pick), "the round goes on");
    let rates = second.cluster(Direction::Outbound, "bank/rates|50051").unwrap();
    assert_eq!(rates.pick(Instant::now(), &Tried::new(), None).unwrap().target.to_string(), "10.244.3.10:80");
}

#[test]
fn a_new_certificate_makes_new_connections_for_mesh_clusters_only() {
    let mut document = with_certificates(PERMISSIVE, &pem("web.shop.cluster.local"));
    let first = compile_value(&document, None);
    let renewed = pem("web.shop.cluster.local");
    document["Certificate"]["CertChain"] = json!(renewed.chain);
    document["Certificate"]["PrivateKey"] = json!(renewed.key);
    document["Certificate"]["IssuingCA"] = json!(renewed.roots);
    let second = compile_value(&document, Some(&first));
    assert!(!Arc::ptr_eq(&transport(&first, "shop/cart|9090"), &transport(&second, "shop/cart|9090")));
    let local = |snapshot: &Snapshot| {
        let cluster = snapshot.cluster(Direction::Inbound, "shop/web|8080|local").unwrap();
        Arc::clone(&cluster.load().members()[0].endpoint)
    };
    assert!(Arc::ptr_eq(&local(&first), &local(&second)));
}

#[test]
fn an_unusable_certificate_keeps_the_previous_one_or_closes_the_mesh() {
    let mesh = pem("web.shop.cluster.local");
    let good = compile_value(&with_certificates(PERMISSIVE, &mesh), None);
    let mut broken = with_certificates(PERMISSIVE, &mesh);
    broken["Certificate"]["PrivateKey"] = json!("no key");
    let kept = compile_value(&broken, Some(&good));
    assert!(Arc::ptr_eq(good.identity.as_ref().unwrap(), kept.identity.as_ref().unwrap()));
    assert!(
        errors(&kept).iter().any(|error| error.contains("the previous certificate stays in use")),
        "{:?}",
        errors(&kept)
    );
    let closed = compile_value(&broken, None);
    assert!(closed.identity.is_none());
    assert!(matches!(closed.inbound.as_ref().unwrap().mesh_tls, MeshTls::Broken));
    assert!(
        closed
            .cluster(Direction::Outbound, "shop/cart|9090")
            .unwrap()
            .pick(Instant::now(), &Tried::new(), None)
            .is_none(),
        "no plaintext instead"
    );
    assert!(errors(&closed).iter().any(|error| error.contains("Certificate.PrivateKey")), "{:?}", errors(&closed));
}

#[test]
fn a_broken_rule_denies_is_reported_and_leaves_the_others() {
    let mut document = with_certificates(SMI, &pem("orders.shop.cluster.local"));
    let rules =
        &mut document["Outbound"]["TrafficMatches"]["80"][0]["HttpServiceRouteRules"]["billing.shop"]["RouteRules"];
    rules[0]["Path"] = json!("/v2/(");
    rules[1]["TargetClusters"] = json!({ "shop/billing-v1|8080": 50, "shop/nowhere|1": 50 });
    let snapshot = compile_value(&document, None);
    let errors = errors(&snapshot);
    let at = "Outbound.TrafficMatches[\"80\"][0].HttpServiceRouteRules[\"billing.shop\"].RouteRules";
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with(&format!("{at}[0].Path: `/v2/(` is no regular expression")), "{errors:?}");
    assert!(errors[1].starts_with(&format!("{at}[1].TargetClusters[\"shop/nowhere|1\"]")), "{errors:?}");
    let entry = snapshot.outbound.ports[&80].ranged.find("10.96.50.1".parse().unwrap()).unwrap();
    let service = entry.hosts.find("billing").unwrap();
    let headers = HeaderMap::new();
    let route = service.route(asks(&Method::GET, "/v2/x", None, &headers)).unwrap();
    assert_eq!(*route.split.pick().unwrap().name, *"shop/billing-v1|8080");
}

#[test]
fn identities_of_a_cluster_are_expected_of_its_servers() {
    let mut document = with_certificates(PERMISSIVE, &pem("web.shop.cluster.local"));
    document["Outbound"]["ClustersConfigs"]["shop/cart|9090"]["ServiceIdentities"] = json!(["cart.shop"]);
    let snapshot = compile_value(&document, None);
    assert!(!Arc::ptr_eq(&transport(&snapshot, "shop/cart|9090"), &transport(&snapshot, "shop/redis|6379")));
    assert!(Arc::ptr_eq(&transport(&snapshot, "bank/rates|50051"), &transport(&snapshot, "shop/redis|6379")));
}

fn source_cert(pem: &Pem) -> Value {
    json!({ "FsmIssued": false, "CertChain": pem.chain, "PrivateKey": pem.key, "IssuingCA": pem.roots })
}

fn picked(entry: &crate::config::snapshot::OutboundEntry, host: &str) -> Arc<Cluster> {
    let headers = HeaderMap::new();
    let question = asks(&Method::GET, "/public/x", None, &headers);
    let route = entry.hosts.find(host).unwrap().route(question).unwrap();
    Arc::clone(route.split.pick().unwrap())
}

fn first_transport(cluster: &Cluster) -> Arc<Transport> {
    Arc::clone(&cluster.load().members()[0].endpoint.transport)
}

#[test]
fn a_range_with_a_certificate_has_its_own_connections() {
    let mesh = pem("batch.jobs.cluster.local");
    let (one, other) = (pem("one.partner.test"), pem("other.partner.test"));
    let mut document = with_certificates(EGRESS, &mesh);
    let element = &mut document["Outbound"]["TrafficMatches"]["80"][0];
    element["DestinationIPRanges"] = json!({
        "203.0.113.0/28": { "SourceCert": source_cert(&one) },
        "203.0.113.16/28": { "SourceCert": source_cert(&other) },
        "203.0.113.32/28": { "SourceCert": source_cert(&one) },
        "203.0.113.48/28": null,
        "203.0.113.64/28": { "SourceCert": { "FsmIssued": true } },
    });
    let first = compile_value(&document, None);
    assert_eq!(errors(&first), Vec::<String>::new());
    let at = |snapshot: &Snapshot, address: &str| {
        let entry = snapshot.outbound.ports[&80].ranged.find(address.parse().unwrap()).unwrap();
        picked(entry, "feeds.example.org")
    };
    let [a, b, c, plain, own] =
        ["203.0.113.1", "203.0.113.17", "203.0.113.33", "203.0.113.49", "203.0.113.65"].map(|ip| at(&first, ip));
    assert!(Arc::ptr_eq(&a, &c), "one certificate, one set of connections");
    assert_eq!((&*a.name, &*plain.name), ("feeds.example.org:80@203.0.113.0/28", "feeds.example.org:80"));
    assert!(!Arc::ptr_eq(&first_transport(&a), &first_transport(&b)));
    for certified in [&a, &b] {
        let transport = first_transport(certified);
        assert!(transport.tls.as_ref().is_some_and(|tls| tls.send_server_name) && transport.via.is_none());
    }
    assert!(first_transport(&plain).tls.is_none() && first_transport(&plain).via.is_some());
    assert!(first_transport(&own).tls.as_ref().is_some_and(|tls| !tls.send_server_name), "the mesh's certificate");
    assert!(first.cluster(Direction::Outbound, &a.name).is_some(), "it is counted");

    a.counters().retries.increment();
    document["Version"] = json!("2");
    let second = compile_value(&document, Some(&first));
    let after = at(&second, "203.0.113.1");
    assert!(Arc::ptr_eq(&after.load().members()[0].endpoint, &a.load().members()[0].endpoint), "connections stay");
    assert_eq!(after.counters().retries.get(), 1);
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_its_range_without_a_way_out() {
    let mut document = with_certificates(EGRESS, &pem("batch.jobs.cluster.local"));
    let element = &mut document["Outbound"]["TrafficMatches"]["80"][0];
    let broken = json!({ "SourceCert": { "FsmIssued": false, "CertChain": "x", "PrivateKey": "y", "IssuingCA": "z" } });
    element["DestinationIPRanges"] = json!({ "203.0.113.1/32": broken, "203.0.113.0/24": null });
    document["Outbound"]["TrafficMatches"]["5432"][0]["DestinationIPRanges"] = json!({ "198.51.100.0/24": broken });
    let snapshot = compile_value(&document, None);
    let errors = errors(&snapshot);
    assert!(errors.iter().any(|error| error.contains("[\"203.0.113.1/32\"].SourceCert")), "{errors:?}");
    let entry = snapshot.outbound.ports[&80].ranged.find("203.0.113.1".parse().unwrap()).unwrap();
    assert!(picked(entry, "feeds.example.org").load().members().is_empty());
    let entry = snapshot.outbound.ports[&80].ranged.find("203.0.113.2".parse().unwrap()).unwrap();
    assert!(!picked(entry, "feeds.example.org").load().members().is_empty());
    let entry = snapshot.outbound.ports[&5432].ranged.find("198.51.100.1".parse().unwrap()).unwrap();
    assert!(entry.tcp.as_ref().unwrap().passthrough.is_none());
}

#[test]
fn passing_through_goes_by_the_rule_that_the_entry_names() {
    let mut document = with_certificates(EGRESS, &pem("batch.jobs.cluster.local"));
    document["Forward"]["ForwardMatches"]["jobs.db.0"] = json!({ "db-egress.gw": 100 });
    document["Forward"]["EgressGateways"]["db-egress.gw"] =
        json!({ "Endpoints": { "10.244.4.9:1080": { "Weight": 100 } }, "Mode": "http2tunnel" });
    let passthrough = |document: &Value| {
        let snapshot = compile_value(document, None);
        let entry = snapshot.outbound.ports[&5432].ranged.find("198.51.100.1".parse().unwrap()).unwrap();
        let transport = entry.tcp.as_ref().unwrap().passthrough.clone().expect("a way out");
        let gateway = transport
            .via
            .as_ref()
            .map(|via| via.pick(&"192.0.2.1:1".parse().unwrap()).map(|gateway| gateway.target.to_string()));
        (gateway, errors(&snapshot))
    };
    let rule = "/Outbound/TrafficMatches/5432/0/TcpServiceRouteRules/EgressForwardGateway";
    *document.pointer_mut(rule).unwrap() = json!("jobs.db.0");
    let (gateway, found) = passthrough(&document);
    assert_eq!((gateway.unwrap().unwrap().as_str(), found), ("10.244.4.9:1080", vec![]));
    *document.pointer_mut(rule).unwrap() = json!("nobody");
    let (gateway, found) = passthrough(&document);
    assert!(gateway.unwrap().is_err(), "what must leave through a gateway does not leave without one");
    assert!(found[0].contains("no rule `nobody` is defined"), "{found:?}");
    document["Forward"] = Value::Null;
    assert!(passthrough(&document).0.unwrap().is_err());
    *document.pointer_mut(rule).unwrap() = json!("*");
    assert!(passthrough(&document).0.is_none(), "FSM writes `*` whether or not there are gateways");
}

#[test]
fn a_tls_host_leads_to_itself_or_to_the_nearest_wildcard() {
    let mut document = with_certificates(EGRESS, &pem("batch.jobs.cluster.local"));
    let weight = json!({ "Weight": 100 });
    document["Outbound"]["ClustersConfigs"]["443"]["Endpoints"] = json!({
        "*.example.org:443": weight, "*.eu.example.org:443": weight, "api.example.org:443": weight,
    });
    let snapshot = compile_value(&document, None);
    assert_eq!(errors(&snapshot), Vec::<String>::new());
    let cluster = snapshot.cluster(Direction::Outbound, "443").unwrap();
    assert!(cluster.is_external());
    let named = |name: &str| cluster.named(name).map(|endpoint| endpoint.target.to_string());
    let found = |text: &str| Some(text.to_owned());
    assert_eq!(named("api.example.org"), found("api.example.org:443"));
    assert_eq!(named("cdn.example.org"), found("*.example.org:443"));
    assert_eq!(named("a.b.example.org"), found("*.example.org:443"));
    assert_eq!(named("x.eu.example.org"), found("*.eu.example.org:443"));
    assert_eq!(named("eu.example.org"), found("*.example.org:443"));
    for refused in ["example.org", ".example.org", "evilexample.org", "example.org.evil.test", "*.example.com"] {
        assert_eq!(named(refused), None, "{refused}");
    }
}

#[test]
fn private_keys_never_show_in_debug_output() {
    let mesh = pem("web.shop.cluster.local");
    let snapshot = compile_value(&with_certificates(EGRESS, &mesh), None);
    let secret = mesh.key.lines().nth(1).unwrap();
    assert!(!format!("{snapshot:?}").contains(secret));
}
