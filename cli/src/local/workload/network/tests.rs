#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::{Value, json};

fn wanted(services: &[(&str, Value)]) -> Wanted {
    let mut wanted = Wanted::default();
    for (name, spec) in services {
        let object = json!({"metadata": {"namespace": "a", "name": name}, "spec": spec});
        wanted.apply("Service", ("a".to_owned(), (*name).to_owned()), &object).unwrap();
    }
    wanted
}

fn addresses() -> Addresses {
    Addresses::new("10.96.0.0/16".parse().unwrap(), "10.96.0.10".parse().unwrap())
}

fn key(name: &str) -> Key {
    ("a".to_owned(), name.to_owned())
}

#[test]
fn services_get_addresses_that_nobody_has_and_keep_them() {
    let mut addresses = addresses();
    let mut wanted = wanted(&[
        ("one", json!({})),
        ("two", json!({})),
        ("own", json!({"clusterIP": "10.96.0.101"})),
        ("headless", json!({"clusterIP": "None"})),
        ("outside", json!({"type": "ExternalName", "externalName": "example.com"})),
    ]);
    let one = addresses.missing(&key("one"), &wanted).unwrap();
    let two = addresses.missing(&key("two"), &wanted).unwrap();
    assert_ne!(one, two);
    assert!(one != Ipv4Addr::new(10, 96, 0, 101) && two != Ipv4Addr::new(10, 96, 0, 101));
    for name in ["own", "headless", "outside"] {
        assert_eq!(addresses.missing(&key(name), &wanted), None, "{name}");
    }
    assert_eq!(addresses.missing(&key("one"), &wanted), Some(one), "written again without it");
    addresses.release(&key("one"));
    wanted.remove("Service", &key("one"));
    assert_eq!(addresses.missing(&key("one"), &wanted), None);
}

#[test]
fn services_become_rules_and_names() {
    let wanted = wanted(&[
        ("web", json!({"clusterIP": "10.96.1.1", "selector": {"app": "x"}, "ports": [{"port": 80, "name": "http"}]})),
        ("odd", json!({"clusterIP": "192.0.2.1", "ports": [{"port": 80}]})),
        ("away", json!({"type": "ExternalName", "externalName": "example.com"})),
    ]);
    let addresses = addresses();
    let services = wanted.services.iter().map(|(key, service)| (key, service.as_ref()));
    let slices = |key: &Key, service: &Service| slices_of(&[], key, service);
    let (rules, names) = plan(services, slices, |address| addresses.contains(address), "cluster.local");
    let web =
        ServiceRule { vip: Ipv4Addr::new(10, 96, 1, 1), port: 80, protocol: Protocol::Tcp, endpoints: Vec::new() };
    assert_eq!(rules, [web], "an address outside of the range would make the node refuse all rules");
    assert!(names.contains(&NameRecord::alias("away.a.svc.cluster.local", "example.com")));
    assert!(names.contains(&NameRecord::addresses("web.a.svc.cluster.local", ["10.96.1.1".parse().unwrap()])));
    assert!(names.contains(&NameRecord::port("_http._tcp.web.a.svc.cluster.local", 80, "web.a.svc.cluster.local")));
}
