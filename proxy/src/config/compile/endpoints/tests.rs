#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config::compile::compile;
use crate::policy::seeds::for_each_seed;
use crate::tls::fixtures::Authority;
use fsm_api::config::{Endpoint, Touched};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn environment() -> Environment {
    Environment { mark: None, identity: Some(Arc::new(Authority::new().identity("web.shop"))) }
}

/// A document with mesh clusters `a`, `b` and `broken`, an external one `out`, and `ranged`, which has a variant.
fn document() -> Value {
    let endpoints = |addresses: &[&str]| -> Value {
        addresses
            .iter()
            .map(|address| ((*address).to_owned(), json!({"Weight": 100})))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let entry = |ranges: Value, cluster: &str| {
        json!({
            "Port": 5432, "Protocol": "tcp", "DestinationIPRanges": ranges,
            "TcpServiceRouteRules": {"TargetClusters": {cluster: 100}},
        })
    };
    json!({
        "Certificate": {"FsmIssued": true},
        "Outbound": {
            "TrafficMatches": {"5432": [
                entry(json!({"10.96.0.1/32": null}), "a"), entry(json!({"10.96.0.2/32": null}), "b"),
                entry(json!({"10.96.0.3/32": null}), "broken"), entry(json!({"10.96.0.4/32": null}), "out"),
                entry(json!({"10.96.0.5/32": {"SourceCert": {"FsmIssued": true}}}), "ranged"),
            ]},
            "ClustersConfigs": {
                "a": {"Endpoints": endpoints(&["10.0.0.1:1", "10.0.0.2:1"])}, "a-b": {"Endpoints": {}},
                "b": {"Endpoints": endpoints(&["10.0.1.1:1"])},
                "broken": {"Endpoints": endpoints(&["10.0.2.1:1", "nonsense"])},
                "out": {"Endpoints": endpoints(&["example.org:443"])},
                "ranged": {"Endpoints": endpoints(&["10.0.3.1:1"])},
            },
        },
    })
}

fn compiled(environment: &Environment) -> Snapshot {
    let (config, problems) = Config::read(document().to_string().as_bytes()).unwrap();
    compile(Arc::new(config), problems, None, environment.clone())
}

/// The document in force with other endpoints for one cluster.
fn changed(snapshot: &Snapshot, cluster: &str, endpoints: &[(&str, u32)]) -> Arc<Config> {
    let mut config = Config::clone(&snapshot.document);
    let endpoint =
        |(address, weight): &(&str, u32)| ((*address).to_owned(), Endpoint { weight: *weight, ..Endpoint::default() });
    let endpoints: BTreeMap<_, _> = endpoints.iter().map(endpoint).collect();
    config.outbound.as_mut().unwrap().clusters_configs.get_mut(cluster).unwrap().endpoints = endpoints;
    config.version = Some("next".into());
    Arc::new(config)
}

fn endpoints_of(clusters: &[&str]) -> Touched {
    Touched { endpoints: clusters.iter().map(|name| (*name).to_owned()).collect(), ..Touched::default() }
}

/// Address, weight, whether over TLS.
type Observed = (String, u32, bool);

/// Everything about the endpoints of a snapshot that traffic can notice.
fn observed(snapshot: &Snapshot) -> Vec<(String, Vec<Observed>)> {
    let members = |cluster: &Arc<Cluster>| {
        let members = cluster.load();
        let member = |member: &crate::upstream::cluster::Member| {
            (member.endpoint.target.to_string(), member.weight, member.endpoint.transport.tls.is_some())
        };
        members.members().iter().map(member).collect()
    };
    snapshot.clusters.iter().map(|cluster| (cluster.name.to_string(), members(cluster))).collect()
}

#[test]
fn replacing_endpoints_is_the_same_as_compiling_the_whole() {
    let environment = environment();
    for_each_seed(|seed| {
        let mut snapshot = compiled(&environment);
        for _ in 0..4 {
            let cluster = seed.pick(&["a", "b"]);
            let addresses: Vec<String> =
                (0..seed.below(4)).map(|_| format!("10.0.{}.{}:1", seed.below(2), seed.below(4))).collect();
            let endpoints: Vec<(&str, u32)> = addresses.iter().map(|address| (address.as_str(), 100)).collect();
            let document = changed(&snapshot, cluster, &endpoints);
            let whole = compile(Arc::clone(&document), Vec::new(), None, environment.clone());
            snapshot =
                with_other_endpoints(&document, &endpoints_of(&[cluster]), &snapshot, environment.clone()).unwrap();
            assert_eq!(observed(&snapshot), observed(&whole));
            assert_eq!((snapshot.version.as_str(), snapshot.problems.len()), ("next", whole.problems.len()));
            assert!(Arc::ptr_eq(&snapshot.document, &document));
        }
    });
}

#[test]
fn where_more_than_endpoints_would_change_nothing_is_replaced() {
    let environment = environment();
    let snapshot = compiled(&environment);
    let before = observed(&snapshot);
    for (cluster, endpoints, why) in [
        ("a", &[("example.org:1", 100)][..], "it becomes external, and is no mesh peer then"),
        ("out", &[("10.0.0.1:443", 100)], "it is no longer external"),
        ("a", &[("10.0.0.1:1", 100), ("10.0.0.2:1", 0)], "it gets a stand-in, and a retry with it"),
        ("a", &[("nonsense", 100)], "there would be a problem"),
        ("broken", &[("10.0.2.1:1", 100)], "there would be no problem any more"),
        ("ranged", &[("10.0.3.2:1", 100)], "it is there once more for its range"),
    ] {
        let document = changed(&snapshot, cluster, endpoints);
        let replaced = with_other_endpoints(&document, &endpoints_of(&["b", cluster]), &snapshot, environment.clone());
        assert!(replaced.is_none(), "{cluster}: {why}");
        assert_eq!(observed(&snapshot), before, "{cluster}: {why}");
    }
    let nobody = Environment::default();
    let (config, problems) = Config::read(document().to_string().as_bytes()).unwrap();
    let broken = compile(Arc::new(config), problems, None, nobody.clone());
    let document = changed(&broken, "a", &[("10.0.0.3:1", 100)]);
    assert!(with_other_endpoints(&document, &endpoints_of(&["a"]), &broken, nobody).is_none(), "there is no way to it");
}

#[test]
fn what_an_endpoint_has_learnt_stays() {
    let environment = environment();
    let snapshot = compiled(&environment);
    let cluster = Arc::clone(snapshot.cluster(Direction::Outbound, "a").unwrap());
    let kept = Arc::clone(&cluster.load().members()[1].endpoint);
    let document = changed(&snapshot, "a", &[("10.0.0.2:1", 7), ("10.0.0.9:1", 100)]);
    let after = with_other_endpoints(&document, &endpoints_of(&["a"]), &snapshot, environment).unwrap();
    assert!(Arc::ptr_eq(&cluster, after.cluster(Direction::Outbound, "a").unwrap()));
    let members = cluster.load();
    assert!(Arc::ptr_eq(&kept, &members.members()[0].endpoint) && members.members()[0].weight == 7);
    assert!(members.members()[1].endpoint.since.is_some(), "newcomers are warmed up");
}
