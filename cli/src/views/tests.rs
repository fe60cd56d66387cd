#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::time::Duration;

use fsm_api::config::Config;
use serde_json::json;

use super::connectivity::{Check, certified, known, probed};
use super::edges::{Member, edges};
use super::pages::{Certificate, Cluster, ConfigStatus, Proxy, Signals as Page};
use super::status::{Said, State, status};
use super::traffic::{Latency, Signals, came_in, percentile, was_sent};
use super::workload::Workload;
use super::*;
use crate::reach::PodName;

fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[test]
fn every_reason_of_the_pages_is_explained() {
    let all = explain::all();
    assert!(all.len() > 80, "{}", all.len());
    for known in &all {
        assert!(!known.cause.is_empty() && !known.reason.contains('`'), "{known:?}");
        assert_eq!(explain::find(&known.reason).unwrap().reason, known.reason);
    }
    let found = explain::find("NO_ROUTE").unwrap();
    assert_eq!(found.status.as_deref(), Some("403 / 7"));
    assert!(found.remedy.unwrap().contains("config_dump"));
    assert!(explain::find("MissingMatch").unwrap().cause.contains("does not exist"));
    assert!(explain::find("no-such-reason").is_none());
    assert!(explain::similar("no-rout").contains(&"no-route".to_owned()));
}

#[test]
fn percentiles_are_estimated_within_their_bucket() {
    let latency = |counts: &[u64]| Latency { bounds_ms: vec![10.0, 20.0], counts: counts.to_vec() };
    assert_eq!(percentile(&latency(&[0, 0, 0]), 0.5), None);
    assert_eq!(percentile(&latency(&[10, 0, 0]), 0.5), Some(5.0));
    assert_eq!(percentile(&latency(&[5, 5, 0]), 0.5), Some(10.0));
    assert_eq!(percentile(&latency(&[0, 10, 0]), 0.9), Some(19.0));
    // Above the last bound nothing is known but that bound.
    assert_eq!(percentile(&latency(&[1, 0, 9]), 0.9), Some(20.0));
}

fn page(requests: u64, failed: u64, refused: u64) -> Page {
    let edge = json!({
        "peer": {"namespace": "shop", "kind": "Deployment", "name": "web"}, "mtls": true, "requests": requests,
        "responses": {"200": requests - failed, "503": failed}, "latencyBuckets": [requests, 0], "latencySumMs": 1.0,
    });
    read(json!({
        "uptimeSeconds": 100.0, "latencyBoundsMs": [10.0],
        "inbound": [{"cluster": "shop/pay|80|local", "edges": [edge]}],
        "outbound": [{"cluster": "shop/db|5432", "edges": [edge]}],
        "refusals": [{"direction": "inbound", "reason": "no-route", "peer": {}, "count": refused},
                     {"direction": "outbound", "reason": "no-endpoint", "peer": {}, "count": 7}],
    }))
}

#[test]
fn what_happened_is_the_difference_of_two_readings() {
    let (first, second) = (page(100, 10, 3), page(300, 20, 5));
    let counted = came_in(&second).since(&came_in(&first));
    let workload = Workload { namespace: "shop".into(), name: "deploy/pay".into(), account: None };
    let signals = Signals::new(&workload, &counted, Duration::from_secs(2));
    assert_eq!((signals.requests, signals.requests_per_second), (200, 100.0));
    assert_eq!((signals.success, signals.refused_per_second), (Some(0.95), 1.0));
    assert_eq!(was_sent(&second)["shop/db|5432"].requests, 300);
    // A gRPC call that failed has status 200.
    let grpc = json!({"inbound": [{"cluster": "shop/pay|80|local", "edges": [
        {"peer": {}, "requests": 4, "responses": {"200": 4}, "grpcFailures": 1}]}]});
    assert_eq!((came_in(&read(grpc.clone())).requests, came_in(&read(grpc)).succeeded), (4, 3));
    // A sidecar that was started anew counts from zero.
    let anew = came_in(&page(5, 0, 0)).since(&came_in(&second));
    assert_eq!(anew.requests, 5);
    let row = signals.cells();
    assert_eq!(row[3..6], ["95.00%", "100.0", "5.0ms"]);
}

#[test]
fn edges_tell_both_sides_and_those_without_a_sidecar() {
    let workload = |name: &str, account: &str| Workload {
        namespace: "shop".into(),
        name: format!("deploy/{name}"),
        account: Some(account.into()),
    };
    let peer = |name: &str| json!({"namespace": "shop", "kind": "Deployment", "name": name});
    let web: Page = read(json!({"outbound": [{"cluster": "shop/pay|80", "edges": [
        {"peer": peer("pay"), "mtls": true, "requests": 9, "responses": {"200": 8, "500": 1}}]},
        {"cluster": "old/legacy|80", "edges": [{"peer": {}, "mtls": false, "requests": 2, "responses": {"200": 2}}]},
        {"cluster": "shop/gone|80", "edges": [{"peer": {}, "mtls": false, "requests": 3, "responses": {"503": 3}}]}]}));
    let pay: Page = read(json!({"inbound": [{"cluster": "shop/pay|80|local", "edges": [
        {"peer": peer("web"), "mtls": true, "requests": 9, "responses": {}},
        {"peer": {}, "mtls": false, "requests": 4, "responses": {}}]}]}));
    let members = [
        Member { workload: workload("web", "web.shop"), signals: web },
        Member { workload: workload("pay", "pay.shop"), signals: pay },
    ];
    let rows: Vec<Vec<String>> = edges(&members).iter().map(|edge| edge.cells()[..9].to_vec()).collect();
    assert_eq!(
        rows,
        [
            ["-", "(without a sidecar)", "shop", "deploy/pay", "-", "-", "no", "4", "0"],
            ["shop", "deploy/web", "old", "svc/legacy", "-", "-", "no", "2", "0"],
            ["shop", "deploy/web", "shop", "deploy/pay", "web.shop", "pay.shop", "mTLS", "9", "1"],
        ]
    );
}

#[test]
fn a_pod_belongs_to_the_deployment_of_its_replica_set() {
    let pod = json!({"metadata": {"namespace": "a", "name": "web-5d4-x", "labels": {"pod-template-hash": "5d4"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4", "controller": true}]},
        "spec": {"serviceAccountName": "web"}});
    let workload = Workload::of(&pod);
    assert_eq!((workload.name.as_str(), workload.account.as_deref()), ("deploy/web", Some("web.a")));
    let alone = json!({"metadata": {"namespace": "a", "name": "x"}});
    assert_eq!(Workload::of(&alone).name, "pod/x");
    assert_eq!(Workload::of(&alone).account.as_deref(), Some("default.a"));
}

#[test]
fn the_state_of_a_sidecar_is_told_from_both_sides() {
    let pod = PodName::new("a", "b");
    let now = "2026-03-01T00:00:00Z".parse().unwrap();
    let config: ConfigStatus = read(json!({
        "version": "7", "ageSeconds": 90, "problems": 0, "errors": 0, "notReady": [],
        "control": {"connected": true, "version": "7",
            "certificate": {"principal": "x.a.cluster.local", "expires": "2026-03-01T01:00:00Z"}},
    }));
    let said = Said { config, version: read(json!({"version": "1.2.3"})) };
    let entry = |wanted: &str, has: &str, nack: serde_json::Value| -> Proxy {
        read(
            json!({"pod": "a/b", "identity": "x.a", "versionWanted": wanted, "versionAcknowledged": has, "lastNack": nack}),
        )
    };
    let nothing = serde_json::Value::Null;
    let synced = status(&pod, Ok(&said), Some(&entry("7", "7", nothing.clone())), now);
    assert_eq!((synced.state, synced.certificate_seconds_left, synced.why.as_str()), (State::Synced, Some(3600), ""));
    assert_eq!(synced.cells()[2..7], ["Synced", "7", "90s", "60m", "1.2.3"]);
    let behind = status(&pod, Ok(&said), Some(&entry("8", "7", nothing.clone())), now);
    assert_eq!((behind.state, behind.wanted.as_deref()), (State::Behind, Some("8")));
    let nack = json!({"version": "8", "reason": "too large"});
    let refused = status(&pod, Ok(&said), Some(&entry("8", "7", nack)), now);
    assert_eq!((refused.state, refused.why.as_str()), (State::Refused, "too large"));
    assert_eq!(
        (refused.config.as_deref(), refused.wanted.as_deref()),
        (Some("7"), Some("8")),
        "the last good one stays"
    );
    let of_before = entry("9", "7", json!({"version": "8", "reason": "too large"}));
    assert_eq!(status(&pod, Ok(&said), Some(&of_before), now).state, State::Behind, "it may take the next one");
    let mut rejected = said.clone();
    rejected.config.rejected = Some(read(json!({"message": "no document"})));
    assert_eq!(status(&pod, Ok(&rejected), Some(&entry("7", "7", nothing.clone())), now).state, State::Synced);
    let alone_says = status(&pod, Ok(&rejected), None, now);
    assert_eq!((alone_says.state, alone_says.why.as_str()), (State::Refused, "no document"));
    let silent = status(&pod, Err("nothing answers"), Some(&entry("7", "7", nothing)), now);
    assert_eq!((silent.state, silent.why.as_str()), (State::Silent, "nothing answers"));
    let mut alone = said.clone();
    alone.config.control = None;
    assert_eq!(status(&pod, Ok(&alone), None, now).state, State::Alone);
    let mut cut = said.clone();
    cut.config.control.as_mut().unwrap().connected = false;
    assert_eq!(status(&pod, Ok(&cut), None, now).state, State::Disconnected);
}

#[test]
fn every_port_of_a_sidecar_has_a_purpose() {
    let page = "admin::127.0.0.1:15000\ndns-listener::[::1]:5300\ngateway-listener::0.0.0.0:1080\n\
        inbound-listener::0.0.0.0:15003\ninbound-prometheus-listener::[::]:15010\noutbound-listener::0.0.0.0:7\n\
        probe::0.0.0.0:15901\n";
    let ports = proxy::listeners(page);
    assert_eq!(ports.len(), 7, "{ports:?}");
    for port in ports {
        assert_ne!(port.cells()[2], "-", "{port:?}");
    }
}

#[test]
fn documents_differ_where_they_say_something_else() {
    let wanted = json!({"Ts": "1", "Version": "2", "Spec": {"a": 1, "b": null}, "List": [1, 2], "x/y": {"k": true}});
    let actual = json!({"Ts": "9", "Version": "8", "Spec": {"a": 1}, "List": [1, 3, 4]});
    let found = diff::documents(&wanted, &actual);
    let paths: Vec<&str> = found.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["/List/1", "/List/2", "/x~1y"]);
    assert_eq!(found[1].cells(), ["/List/2", "-", "4"]);
    assert!(diff::documents(&wanted, &wanted).is_empty());
}

#[test]
fn routes_show_callers_and_shares() {
    let document = json!({
        "Inbound": {"TrafficMatches": {"80": {"Port": 80, "Protocol": "http",
            "HttpHostPort2Service": {"pay.shop": {"RuleName": "pay"}},
            "HttpServiceRouteRules": {"pay": {"RouteRules": [{"Path": "/a.*", "Type": "Regex", "Methods": ["GET"],
                "TargetClusters": {"local": 100}, "AllowedServices": ["web.shop"]}]}}}},
            "ClustersConfigs": {"local": {"127.0.0.1:80": 100}}},
        "Outbound": {"TrafficMatches": {"5432": [{"DestinationIPRanges": {"10.0.0.1/32": null}, "Port": 5432, "Protocol": "tcp",
            "TcpServiceRouteRules": {"TargetClusters": {"db1": 25, "db2": 75}}}]}, "ClustersConfigs": {}},
    });
    let (config, _) = Config::read(document.to_string().as_bytes()).unwrap();
    let rows: Vec<Vec<String>> = proxy::routes(&config).iter().map(|route| route.cells()[..7].to_vec()).collect();
    assert_eq!(
        rows,
        [
            ["inbound", "80", "http", "pay", "GET /a.*", "web.shop", "local"],
            ["outbound", "5432", "tcp", "-", "any connection", "-", "db1 25%, db2 75%"],
        ]
    );
}

#[test]
fn an_endpoint_of_a_cluster_that_no_rule_leads_to_is_unused() {
    let page: Vec<Cluster> = read(json!([{"name": "a/b|1", "direction": "outbound",
        "endpoints": [{"address": "10.0.0.1:1", "weight": 100, "healthy": true, "security": "plaintext"}]}]));
    let rows = proxy::endpoints(&page, &[], &std::collections::BTreeMap::new(), None);
    assert_eq!(rows[0].security, "unused");
    assert!(proxy::endpoints(&page, &[], &std::collections::BTreeMap::new(), Some("zzz")).is_empty());
}

#[test]
fn a_tapped_request_is_one_line_whatever_its_sender_wrote() {
    let request = json!({"time": "2026-03-01T10:11:12.345Z", "direction": "inbound", "method": "GET", "host": "pay.shop",
        "path": "/a\u{1b}[2J", "status": 403, "durationMs": 1.25, "identity": "web.shop", "mtls": true,
        "reason": "no-route", "complete": true});
    let line = tap::line("pay-1", &request);
    assert_eq!(line, "10:11:12.345 pay-1 in  GET pay.shop/a?[2J 403 1.2ms from web.shop mTLS reason: no-route");
    assert!(tap::line("pay-1", &json!({"lost": 3})).contains("3 requests of pay-1"));
    assert_eq!(
        tap::path(&[("method", Some("GET")), ("path", None), ("to", Some("a|b&c"))]),
        "/tap?method=GET&to=a%7Cb%26c"
    );
}

#[test]
fn what_keeps_a_pod_from_another_is_found() {
    let clusters: Vec<Cluster> = read(json!([{"name": "shop/pay|80", "direction": "outbound",
        "endpoints": [{"address": "10.0.0.1:8080", "healthy": true}, {"address": "10.0.0.2:8080", "healthy": false}]}]));
    let holds = |check: Check| check.holds;
    assert_eq!(holds(known(&clusters, &["10.0.0.1".to_owned()])), Some(true));
    assert_eq!(holds(known(&clusters, &["10.0.0.2".to_owned()])), Some(false));
    assert_eq!(holds(known(&clusters, &["10.0.0.3".to_owned()])), Some(false));
    let page = |left: i64, root: &str| -> Vec<Certificate> {
        read(
            json!([{"role": "mesh-chain", "notAfter": "x", "secondsLeft": left}, {"role": "mesh-root", "serial": root}]),
        )
    };
    let all = |one: &[Certificate], other: &[Certificate]| -> Vec<Option<bool>> {
        certified(one, other).into_iter().map(holds).collect()
    };
    assert_eq!(all(&page(5, "a"), &page(5, "a")), [Some(true); 3]);
    assert_eq!(all(&page(-1, "a"), &page(5, "b")), [Some(false), Some(true), Some(false)]);
    assert_eq!(holds(probed("u", 0, "200 ")), Some(true));
    assert_eq!(holds(probed("u", 0, "403 no-route")), Some(false));
    assert_eq!(holds(probed("u", 56, "000 ")), Some(false));
    assert_eq!(holds(probed("u", 127, "")), None);
}
