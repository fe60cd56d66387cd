//! HTTPS by server name, and names with several addresses.

use super::{Inside, at, client_hello, ip};
use fsm_tests::{Application, DEADLINE, Gateway, Pod, TcpApplication};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ONE: &str = "203.0.113.1";
const DEEP: &str = "203.0.113.2";
const API: &str = "203.0.113.3";
const APEX: &str = "203.0.113.4";

fn https(hosts: &[&str]) -> (Value, Value) {
    let endpoints: serde_json::Map<_, _> =
        hosts.iter().map(|host| ((*host).to_owned(), json!({"Weight": 100}))).collect();
    (
        json!({"443": [{
            "DestinationIPRanges": null, "Port": 443, "Protocol": "https",
            "TcpServiceRouteRules": {"TargetClusters": {"443": 100}, "AllowedEgressTraffic": false},
        }]}),
        json!({"443": {"Endpoints": endpoints}}),
    )
}

fn banner(inside: &Inside, address: &str, says: &'static [u8]) -> (TcpApplication, Pod) {
    let pod = inside.mesh.pod_at("web", &[ip(address)]);
    (TcpApplication::banner(&pod, at(&format!("{address}:443")), says), pod)
}

#[tokio::test]
async fn every_name_below_a_wildcard_leads_to_its_own_address_and_no_other_name_leaves() {
    let hosts = [(ONE, "one.example.org"), (DEEP, "a.b.example.org"), (API, "api.example.org"), (APEX, "example.org")];
    let permitted = ["*.example.org:443", "api.example.org:443"];
    let Some(inside) = Inside::start(&hosts, |_| https(&permitted)).await else { return };
    let _web = [banner(&inside, ONE, b"one "), banner(&inside, DEEP, b"deep"), banner(&inside, API, b"api ")];
    let apex = banner(&inside, APEX, b"apex");
    // Where the application's own resolver led it does not matter.
    for (name, says) in [
        ("one.example.org", "one "),
        ("a.b.example.org", "deep"),
        ("api.example.org", "api "),
        ("ONE.example.org", "one "),
    ] {
        let mut wire = inside.dial("203.0.113.4:443").await;
        wire.send(client_hello(Some(name))).await;
        assert_eq!(wire.read_exact(4).await, says.as_bytes(), "{name}");
    }
    for name in [Some("example.org"), Some("evilexample.org"), Some("one.example.org.evil.test"), None] {
        let before = inside.refusals("unknown-server-name").await;
        let mut wire = inside.dial("203.0.113.4:443").await;
        wire.offer(client_hello(name)).await;
        assert_eq!(wire.rest().await.0, b"", "{name:?}");
        inside.has_refused("unknown-server-name", before + 1.0).await;
    }
    assert_eq!(apex.0.connections(), 0);
}

#[tokio::test]
async fn a_permitted_name_that_does_not_exist_is_refused_with_its_reason() {
    let Some(inside) = Inside::start(&[], |_| https(&["*.example.org:443"])).await else { return };
    let mut wire = inside.dial("203.0.113.4:443").await;
    wire.offer(client_hello(Some("nowhere.example.org"))).await;
    assert_eq!(wire.rest().await.0, b"");
    inside.has_refused("upstream-unresolved", 1.0).await;
}

#[tokio::test]
async fn a_name_below_a_wildcard_goes_through_the_gateway_by_its_name() {
    let Some(mut inside) = Inside::start(&[], |_| https(&["*.example.org:443"])).await else { return };
    let gate = inside.mesh.pod_at("gateway", &[ip("10.244.4.4")]);
    let gateway = Gateway::start(&gate, at("10.244.4.4:1080"), &[("one.example.org:443", at("203.0.113.1:443"))]);
    let (web, _pod) = banner(&inside, ONE, b"one ");
    let (matches, clusters) = https(&["*.example.org:443"]);
    let document = fsm_tests::Document::new(&inside.authority.leaf("batch.jobs"))
        .set("/Outbound", json!({"TrafficMatches": matches, "ClustersConfigs": clusters}))
        .set("/Forward", json!({
            "ForwardMatches": {"*": {"gate.egress": 100}},
            "EgressGateways": {"gate.egress": {"Endpoints": {"10.244.4.4:1080": {"Weight": 100}}, "Mode": "http2tunnel"}},
        }))
        .allow(&inside.pod);
    inside.sidecar.update(document.json()).await;
    let mut wire = inside.dial("203.0.113.4:443").await;
    wire.send(client_hello(Some("one.example.org"))).await;
    assert_eq!(wire.read_exact(4).await, b"one ");
    assert_eq!(gateway.targets(), ["one.example.org:443"], "the gateway resolves the name");
    assert_eq!(web.peers()[0].ip(), gate.ip());
    assert!(inside.sidecar.is_running());
}

#[tokio::test]
async fn an_address_that_is_silent_costs_a_moment_and_not_the_connection() {
    // Nobody has the first address; the kernel would look for it for seconds.
    let hosts = [("fd00:99::dead", "feeds.example.org"), ("203.0.113.9", "feeds.example.org")];
    let outbound = |_: &_| {
        let rules = json!({"RouteRules": [{"Path": ".*", "Type": "Regex", "TargetClusters": {"feeds": 100}}]});
        (
            json!({"80": [{
                "DestinationIPRanges": null, "Port": 80, "Protocol": "http",
                "HttpHostPort2Service": {"feeds.example.org": {"RuleName": "feeds"}},
                "HttpServiceRouteRules": {"feeds": rules},
            }]}),
            json!({"feeds": {
                "Endpoints": {"feeds.example.org:80": {"Weight": 100}},
                "ConnectionSettings": {"tcp": {"ConnectTimeout": 60}},
            }}),
        )
    };
    let Some(inside) = Inside::start(&hosts, outbound).await else { return };
    let pod = inside.mesh.pod_at("feeds", &[ip("203.0.113.9")]);
    let feeds = Application::start(&pod, &[at("203.0.113.9:80")]);
    let started = Instant::now();
    let reply = inside.dial("203.0.113.200:80").await.get("feeds.example.org", "/today").await;
    assert_eq!(reply.status(), 200, "{:?}", reply.reason());
    assert_eq!(feeds.requests().len(), 1);
    let took = started.elapsed();
    assert!(took < DEADLINE / 5, "took {took:?}; the second address was not tried beside the first");
    assert!(took >= Duration::from_millis(1));
}
