#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config::{
    ClusterConfig, DestinationIpRange, Endpoint, HostService, InboundRouteRules, InboundTrafficMatch,
    OutboundRouteRules, OutboundTcpRouteRules, OutboundTrafficMatch, RouteRule, SourceIpRange,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

fn keys() -> impl Strategy<Value = String> {
    prop_oneof![Just("a/b|80"), Just("10.0.0.1/32"), Just("~1"), Just("web.shop:80"), Just("")].prop_map(str::to_owned)
}

fn ranges() -> impl Strategy<Value = String> {
    prop_oneof![Just("10.0.0.1/32"), Just("10.0.0.2/32"), Just("fd00::1/128")].prop_map(str::to_owned)
}

fn hosts() -> impl Strategy<Value = BTreeMap<String, HostService>> {
    let service = keys().prop_map(|rule_name| HostService { rule_name, service: None });
    btree_map(keys(), service, 0..4)
}

fn rules() -> impl Strategy<Value = Vec<RouteRule>> {
    vec(keys().prop_map(|path| RouteRule { path, ..RouteRule::default() }), 0..2)
}

fn inbound() -> impl Strategy<Value = Inbound> {
    let source = option::of(Just(SourceIpRange::refusing()));
    let set = rules().prop_map(|route_rules| InboundRouteRules { route_rules, ..InboundRouteRules::default() });
    let element = (1_u16..3, btree_map(ranges(), source, 0..3), hosts(), btree_map(keys(), set, 0..3)).prop_map(
        |(port, source_ip_ranges, http_host_port2_service, http_service_route_rules)| InboundTrafficMatch {
            port,
            protocol: "http".into(),
            source_ip_ranges,
            http_host_port2_service,
            http_service_route_rules,
            ..InboundTrafficMatch::default()
        },
    );
    let cluster = btree_map(keys(), 0_u32..3, 0..2);
    (btree_map(1_u16..3, element, 0..3), btree_map(keys(), cluster, 0..2))
        .prop_map(|(traffic_matches, clusters_configs)| Inbound { traffic_matches, clusters_configs })
}

fn outbound() -> impl Strategy<Value = Outbound> {
    let range = option::of(Just(DestinationIpRange::default()));
    let set = rules().prop_map(|route_rules| OutboundRouteRules { route_rules, ..OutboundRouteRules::default() });
    let tcp = option::of(Just(OutboundTcpRouteRules { allowed_egress_traffic: true, ..<_>::default() }));
    let element = (option::of(btree_map(ranges(), range, 1..3)), hosts(), btree_map(keys(), set, 0..3), tcp).prop_map(
        |(destination_ip_ranges, http_host_port2_service, http_service_route_rules, tcp_service_route_rules)| {
            OutboundTrafficMatch {
                destination_ip_ranges,
                port: 80,
                protocol: "http".into(),
                http_host_port2_service,
                http_service_route_rules,
                tcp_service_route_rules,
            }
        },
    );
    let endpoint = (0_u32..2).prop_map(|weight| Endpoint { weight, ..Endpoint::default() });
    let cluster = (btree_map(keys(), endpoint, 0..3), vec(keys(), 0..2)).prop_map(|(endpoints, service_identities)| {
        ClusterConfig { endpoints, service_identities, ..ClusterConfig::default() }
    });
    (btree_map(1_u16..3, vec(element, 0..3), 0..3), btree_map(keys(), cluster, 0..3))
        .prop_map(|(traffic_matches, clusters_configs)| Outbound { traffic_matches, clusters_configs })
}

fn config() -> impl Strategy<Value = Config> {
    (inbound(), outbound(), btree_map(keys(), keys(), 0..3)).prop_map(|(inbound, outbound, allowed_endpoints)| Config {
        inbound: Some(inbound),
        outbound: Some(outbound),
        allowed_endpoints,
        ..Config::default()
    })
}

/// The change as it arrives at the other end.
fn sent(change: &Change) -> Change {
    serde_json::from_str(&serde_json::to_string(change).unwrap()).unwrap()
}

fn changed(old: &Config, change: &Change) -> Result<(Config, Touched), ChangeError> {
    let (mut config, mut touched) = (old.clone(), Touched::default());
    change.apply(&mut config, &mut touched).map(|()| (config, touched))
}

proptest! {
    #[test]
    fn what_a_change_makes_of_the_old_document_is_the_new_one(old in config(), new in config()) {
        let change = sent(&Change::between(&old, &new).unwrap());
        let (result, touched) = changed(&old, &change).unwrap();
        prop_assert_eq!(&result, &new);
        // What is not said to be touched is as it was.
        let (mut old, mut new) = (old, new);
        if !touched.more {
            for config in [&mut old, &mut new] {
                let outbound = config.outbound.as_mut().unwrap();
                for name in &touched.endpoints {
                    outbound.clusters_configs.get_mut(name).unwrap().endpoints.clear();
                }
                for (port, indexes) in &touched.elements {
                    for index in indexes {
                        let element = &mut outbound.traffic_matches.get_mut(port).unwrap()[*index];
                        element.http_host_port2_service.clear();
                        element.destination_ip_ranges = None;
                    }
                }
            }
            prop_assert_eq!(old, new);
        }
    }

    /// A change for another document is refused or makes another document; it never panics.
    #[test]
    fn a_change_for_another_document_does_no_harm(old in config(), new in config(), other in config()) {
        let change = Change::between(&old, &new).unwrap();
        let _ = changed(&other, &change);
    }
}

fn mesh(pods: usize) -> Config {
    let addresses = || (0..pods).map(|pod| format!("10.1.{}.{}", pod / 250, pod % 250));
    let host = || HostService { rule_name: "web.shop".into(), service: None };
    let element = OutboundTrafficMatch {
        destination_ip_ranges: Some(addresses().map(|address| (format!("{address}/32"), None)).collect()),
        port: 80,
        protocol: "http".into(),
        http_host_port2_service: addresses().map(|address| (format!("{address}:80"), host())).collect(),
        ..OutboundTrafficMatch::default()
    };
    let endpoints = addresses().map(|address| (format!("{address}:8080"), Endpoint { weight: 100, ..<_>::default() }));
    let cluster = ClusterConfig { endpoints: endpoints.collect(), ..ClusterConfig::default() };
    Config {
        outbound: Some(Outbound {
            traffic_matches: BTreeMap::from([(80, vec![element])]),
            clusters_configs: BTreeMap::from([("shop/web|8080".to_owned(), cluster)]),
        }),
        ..Config::default()
    }
}

#[test]
fn a_pod_that_comes_or_goes_is_a_change_of_some_hundred_bytes() {
    let (small, large) = (mesh(1_000), mesh(1_001));
    let comes = sent(&Change::between(&small, &large).unwrap());
    let goes = sent(&Change::between(&large, &small).unwrap());
    assert!(serde_json::to_string(&comes).unwrap().len() < 500, "{comes:?}");
    assert_eq!(
        goes.removed,
        [
            "/Outbound/TrafficMatches/80/0/DestinationIPRanges/10.1.4.0~132",
            "/Outbound/TrafficMatches/80/0/HttpHostPort2Service/10.1.4.0:80",
            "/Outbound/ClustersConfigs/shop~1web|8080/Endpoints/10.1.4.0:8080",
        ]
    );
    for (old, new, change) in [(&small, &large, &comes), (&large, &small, &goes)] {
        let (result, touched) = changed(old, change).unwrap();
        assert_eq!(result, *new);
        assert!(!touched.more);
        assert_eq!(touched.endpoints, ["shop/web|8080".to_owned()].into());
        assert_eq!(touched.elements, [(80, [0].into())].into());
    }
}

#[test]
fn what_a_change_cannot_say_makes_none() {
    let old = mesh(2);
    let differing: [fn(&mut Config); 4] = [
        |config| config.metrics = true,
        |config| config.spec.sidecar_timeout = 1,
        |config| config.outbound = None,
        |config| config.certificate = Some(crate::config::Certificate::default()),
    ];
    for differ in differing {
        let mut new = old.clone();
        differ(&mut new);
        assert!(Change::between(&old, &new).is_none());
    }
    let mut stamped = old.clone();
    (stamped.ts, stamped.version) = (Some("now".into()), Some("1".into()));
    let nothing = Change::between(&old, &stamped).unwrap();
    assert!(nothing.removed.is_empty() && nothing.put.is_none());
    assert_eq!(stamped.stampless().unwrap(), old.clone().stampless().unwrap());
}

#[test]
fn a_change_that_does_not_fit_names_what_is_wrong() {
    let raw = |text: &str| Some(RawValue::from_string(text.to_owned()).unwrap());
    let of = |removed: &str| Change { removed: vec![removed.to_owned()], put: None };
    let missing = of("/Outbound/ClustersConfigs/unheard");
    let nowhere = of("/Spec/SidecarTimeout");
    let broken = Change { removed: Vec::new(), put: raw(r#"{"Outbound": {"ClustersConfigs": []}}"#) };
    let longer = r#"{"Outbound": {"TrafficMatches": {"80": [{"Protocol": "http"}, {"Protocol": "http"}]}}}"#;
    let longer = Change { removed: Vec::new(), put: raw(longer) };
    for (change, said) in [
        (missing, "/Outbound/ClustersConfigs/unheard is not in the document"),
        (nowhere, "/Spec/SidecarTimeout is no entry"),
        (broken, "Outbound.ClustersConfigs"),
        (longer, "Outbound.TrafficMatches[\"80\"]"),
    ] {
        let error = changed(&mesh(2), &change).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
