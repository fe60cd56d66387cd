#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::config::compile::{Environment, compile, with_other_endpoints};
use crate::config::snapshot::Snapshot;
use crate::policy::seeds::{Seeded, for_each_seed};
use crate::telemetry::Direction;
use fsm_api::config::{Change, Config, Touched};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// Services of the mesh, two of HTTP and one of TCP, on one port.
const SERVICES: [&str; 3] = ["web", "api", "db"];

fn pod(service: usize, pod: u64) -> String {
    format!("10.{service}.0.{pod}")
}

/// A document as fsm-control makes it, with these pods of each service.
fn document(pods: [&[u64]; 3]) -> Value {
    let mut elements: [(Map<String, Value>, Map<String, Value>); 2] = Default::default();
    let mut clusters = Map::new();
    let mut rules = Map::new();
    for (number, service) in SERVICES.into_iter().enumerate() {
        let (ranges, hosts) = &mut elements[number / 2];
        let virtual_ip = format!("10.96.0.{number}");
        let addresses = pods[number].iter().map(|one| pod(number, *one));
        for address in addresses.chain([virtual_ip]) {
            ranges.insert(format!("{address}/32"), Value::Null);
            hosts.insert(format!("{address}:80"), json!({"RuleName": service}));
        }
        hosts.insert(format!("{service}.shop:80"), json!({"RuleName": service}));
        let endpoints: Map<_, _> =
            pods[number].iter().map(|one| (format!("{}:8080", pod(number, *one)), json!({"Weight": 100}))).collect();
        clusters.insert(format!("shop/{service}|8080"), json!({"Endpoints": endpoints}));
        let rule = json!({"Path": ".*", "Type": "Regex", "TargetClusters": {format!("shop/{service}|8080"): 100}});
        rules.insert(service.to_owned(), json!({"RouteRules": [rule]}));
    }
    rules.remove("db");
    let [(http_ranges, http_hosts), (tcp_ranges, _)] = elements;
    json!({"Outbound": {"ClustersConfigs": clusters, "TrafficMatches": {"80": [
        {"Port": 80, "Protocol": "http", "DestinationIPRanges": http_ranges, "HttpHostPort2Service": http_hosts,
         "HttpServiceRouteRules": rules},
        {"Port": 80, "Protocol": "tcp", "DestinationIPRanges": tcp_ranges,
         "TcpServiceRouteRules": {"TargetClusters": {"shop/db|8080": 100}}},
    ]}}})
}

fn read(document: &Value) -> Config {
    let (config, problems) = Config::read(document.to_string().as_bytes()).unwrap();
    assert_eq!(problems, []);
    config
}

fn whole(config: &Arc<Config>) -> Snapshot {
    compile(Arc::clone(config), Vec::new(), None, Environment::default())
}

/// Everything about pods, services and names that traffic can notice.
fn observed(snapshot: &Snapshot) -> Vec<String> {
    let port = &snapshot.outbound.ports[&80];
    let mut seen = Vec::new();
    let addresses = (0..3).flat_map(|service| (0..6).map(move |one| pod(service, one)));
    let addresses: Vec<String> = addresses.chain((0..3).map(|number| format!("10.96.0.{number}"))).collect();
    for address in &addresses {
        let Some(entry) = port.ranged.find(address.parse::<IpAddr>().unwrap()) else { continue };
        let split = entry.tcp.as_ref().and_then(|tcp| tcp.split.as_ref());
        let targets = split.map(|split| split.targets().iter().map(|(cluster, _)| cluster.name.to_string()).collect());
        let targets: Vec<String> = targets.unwrap_or_default();
        let mut hosts: Vec<String> =
            entry.hosts.iter().map(|(host, service)| format!("{host} is {}", service.name)).collect();
        hosts.sort();
        let first = entry.hosts.first().map(|service| service.name.to_string());
        seen.push(format!("{address}: {:?} {targets:?} {hosts:?} {first:?}", entry.carries));
    }
    for service in SERVICES {
        let cluster = snapshot.cluster(Direction::Outbound, &format!("shop/{service}|8080")).unwrap().load();
        let members: Vec<String> = cluster.members().iter().map(|member| member.endpoint.target.to_string()).collect();
        seen.push(format!("{service}: {members:?}"));
    }
    seen
}

fn some_pods(seed: &mut Seeded) -> Vec<u64> {
    (0..6).filter(|_| seed.chance(50)).collect()
}

/// What a delta makes of a snapshot, and what it touched.
fn changed(snapshot: &Snapshot, new: &Value) -> (Arc<Config>, Touched) {
    let (mut config, mut touched) = (Config::clone(&snapshot.document), Touched::default());
    Change::between(&config, &read(new)).unwrap().apply(&mut config, &mut touched).unwrap();
    (Arc::new(config), touched)
}

#[test]
fn pods_that_come_and_go_give_what_compiling_the_whole_gives() {
    for_each_seed(|seed| {
        let mut snapshot = whole(&Arc::new(read(&document([&[1], &[], &[2, 3]]))));
        for _ in 0..4 {
            let pods = [some_pods(seed), some_pods(seed), some_pods(seed)];
            let (config, touched) = changed(&snapshot, &document([&pods[0], &pods[1], &pods[2]]));
            let after = with_other_endpoints(&config, &touched, &snapshot, Environment::default()).unwrap();
            assert_eq!(observed(&after), observed(&whole(&config)));
            snapshot = after;
        }
    });
}

#[test]
fn services_keep_their_state_when_a_pod_comes() {
    let before = whole(&Arc::new(read(&document([&[1], &[1], &[1]]))));
    let (config, touched) = changed(&before, &document([&[1, 2], &[1], &[1]]));
    let after = with_other_endpoints(&config, &touched, &before, Environment::default()).unwrap();
    let service = |snapshot: &Snapshot| {
        let entry = snapshot.outbound.ports[&80].ranged.find("10.96.0.0".parse().unwrap()).unwrap();
        Arc::clone(entry.hosts.find("web.shop:80").unwrap())
    };
    assert!(Arc::ptr_eq(&service(&before), &service(&after)), "routes, positions of round robin, limits");
    let tcp = |snapshot: &Snapshot| {
        Arc::clone(snapshot.outbound.ports[&80].ranged.find("10.96.0.2".parse().unwrap()).unwrap())
    };
    assert!(Arc::ptr_eq(&tcp(&before), &tcp(&after)));
}

#[test]
fn where_addresses_are_not_all_the_whole_is_compiled() {
    let plain = document([&[1], &[1], &[1]]);
    let mut certified = plain.clone();
    certified["Outbound"]["TrafficMatches"]["80"][0]["DestinationIPRanges"]["10.0.0.1/32"] =
        json!({"SourceCert": {"FsmIssued": true}});
    let mut shared = plain.clone();
    shared["Outbound"]["TrafficMatches"]["80"][1]["DestinationIPRanges"] = json!({"10.0.0.1/32": null});
    let mut unknown = plain.clone();
    unknown["Outbound"]["TrafficMatches"]["80"][0]["HttpHostPort2Service"]["x:80"] = json!({"RuleName": "nobody"});
    for (why, before, after) in [
        ("a range has a certificate of its own", &certified, &plain),
        ("a range gets one", &plain, &certified),
        ("a range is another element's too", &shared, &plain),
        ("there would be a problem", &plain, &unknown),
        ("there would be no problem any more", &unknown, &plain),
    ] {
        let before = whole(&Arc::new(read(before)));
        let (config, touched) = changed(&before, after);
        assert!(!touched.elements.is_empty(), "{why}");
        assert!(with_other_endpoints(&config, &touched, &before, Environment::default()).is_none(), "{why}");
    }
}
