//! Certificates of single ranges, and TCP that leaves by a rule of its own.

use super::{Inside, at, ip};
use fsm_tests::{Application, Authority, Gateway, LeafRequest, TcpApplication, TlsServer, Wire};
use serde_json::{Value, json};

const HOST: &str = "ledger.partner.test";
const LEDGER: &str = "203.0.113.30";

fn source_cert(partner: &Authority) -> Value {
    let mut certificate = partner.leaf("batch.jobs").json();
    certificate["FsmIssued"] = json!(false);
    json!({"SourceCert": certificate})
}

fn http(range: Value) -> (Value, Value) {
    let rules = json!({"RouteRules": [{"Path": ".*", "Type": "Regex", "TargetClusters": {"ledger": 100}}]});
    (
        json!({"8443": [{
            "DestinationIPRanges": {"203.0.113.0/24": range, "198.51.100.0/24": null},
            "Port": 8443, "Protocol": "http",
            "HttpHostPort2Service": {"ledger.partner.test:8443": {"RuleName": "ledger"}},
            "HttpServiceRouteRules": {"ledger": rules},
        }]}),
        json!({"ledger": {"Endpoints": {"ledger.partner.test:8443": {"Weight": 100}}}}),
    )
}

fn named(names: &[&str]) -> LeafRequest {
    let mut request = LeafRequest::new("ledger.partner");
    request.dns_names = names.iter().map(|&name| name.to_owned()).collect();
    request
}

const GET: &str = "GET /accounts HTTP/1.1\r\nhost: ledger.partner.test:8443\r\n\r\n";

async fn get(inside: &Inside, to: &str) -> fsm_tests::Message {
    let mut wire = inside.dial(to).await;
    wire.send(GET).await;
    wire.response("GET").await
}

#[tokio::test]
async fn requests_to_a_range_carry_its_certificate() {
    let partner = Authority::new("partner.test");
    let range = source_cert(&partner);
    let Some(inside) = Inside::start(&[(LEDGER, HOST)], |_| http(range)).await else { return };
    let pod = inside.mesh.pod_at("ledger", &[ip(LEDGER)]);
    // Accepts certificates of the partner's authority only.
    let tls = TlsServer::new(&partner.issue(&named(&[HOST])));
    let ledger = Application::start_tls(&pod, &[at("203.0.113.30:8443")], &tls);
    let reply = get(&inside, "203.0.113.30:8443").await;
    assert_eq!(reply.status(), 200, "{:?}", reply.reason());
    assert_eq!(ledger.last().remote.ip(), inside.pod.ip());
    let cluster = "sidecar_cluster_name=\"ledger@203.0.113.0/24\"";
    assert!(inside.sidecar.metric("sidecar_cluster_upstream_rq_total", &[cluster]).await >= 1.0);
    // The same host by the range without a certificate: plaintext, and none of the connections made with one.
    let reply = get(&inside, "198.51.100.1:8443").await;
    assert_ne!(reply.status(), 200);
    assert_eq!(ledger.requests().len(), 1);
}

#[tokio::test]
async fn a_server_of_the_range_must_have_the_right_name_and_authority() {
    let partner = Authority::new("partner.test");
    let range = source_cert(&partner);
    let Some(inside) = Inside::start(&[(LEDGER, HOST)], |_| http(range)).await else { return };
    let pod = inside.mesh.pod_at("ledger", &[ip(LEDGER)]);
    let listener = pod.listen(at("203.0.113.30:8443"));
    for (leaf, why) in [
        (partner.issue(&named(&["other.partner.test"])), "another name"),
        (inside.authority.issue(&named(&[HOST])), "a certificate of the mesh (S-6)"),
    ] {
        let tls = TlsServer::new(&leaf);
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = tls.accept(stream).await {
                assert!(Wire::new(stream).try_request().await.is_err(), "{why}: a request was sent");
            }
        };
        let (reply, ()) = tokio::join!(get(&inside, "203.0.113.30:8443"), serve);
        assert_eq!(reply.status(), 502, "{why}");
        assert!(matches!(reply.reason(), Some("upstream-tls" | "upstream-identity")), "{why}: {:?}", reply.reason());
    }
}

#[tokio::test]
async fn the_meshs_own_certificate_can_be_the_one_of_a_range() {
    let range = json!({"SourceCert": {"FsmIssued": true}});
    let Some(inside) = Inside::start(&[(LEDGER, HOST)], |_| http(range)).await else { return };
    let pod = inside.mesh.pod_at("ledger", &[ip(LEDGER)]);
    let tls = TlsServer::new(&inside.authority.leaf("ledger.bank"));
    let _ledger = Application::start_tls(&pod, &[at("203.0.113.30:8443")], &tls);
    let reply = get(&inside, "203.0.113.30:8443").await;
    assert_eq!(reply.status(), 200, "{:?}", reply.reason());
}

#[tokio::test]
async fn tcp_to_a_range_is_wrapped_in_tls_with_its_certificate() {
    let partner = Authority::new("partner.test");
    let range = source_cert(&partner);
    let outbound = |_: &_| {
        let element = json!({
            "DestinationIPRanges": {"203.0.113.0/24": range}, "Port": 5432, "Protocol": "tcp",
            "TcpServiceRouteRules": {"TargetClusters": null, "AllowedEgressTraffic": true},
        });
        (json!({"5432": [element]}), json!({}))
    };
    let Some(inside) = Inside::start(&[], outbound).await else { return };
    let pod = inside.mesh.pod_at("database", &[ip(LEDGER)]);
    let listener = pod.listen(at("203.0.113.30:5432"));
    for (names, admitted) in [(&[LEDGER][..], true), (&["203.0.113.31"], false)] {
        let tls = TlsServer::new(&partner.issue(&named(names)));
        let mut client = inside.dial("203.0.113.30:5432").await;
        client.offer("select").await;
        let (stream, _) = listener.accept().await.unwrap();
        if admitted {
            let mut server = Wire::new(tls.accept(stream).await.expect("a client with the partner's certificate"));
            assert_eq!(server.read_exact(6).await, b"select");
            server.send("1 row").await;
            assert_eq!(client.read_exact(5).await, b"1 row");
        } else {
            if let Ok(stream) = tls.accept(stream).await {
                assert_eq!(Wire::new(stream).rest().await.0, b"");
            }
            assert_eq!(client.rest().await.0, b"");
        }
    }
}

#[tokio::test]
async fn tcp_leaves_through_the_gateways_of_the_rule_that_it_names() {
    let rules =
        |rule: &str| json!({"TargetClusters": null, "AllowedEgressTraffic": true, "EgressForwardGateway": rule});
    let element = |port: u16, rule: &str| {
        json!([{
            "DestinationIPRanges": {"203.0.113.0/24": null}, "Port": port, "Protocol": "tcp",
            "TcpServiceRouteRules": rules(rule),
        }])
    };
    let matches =
        json!({"5432": element(5432, "jobs.db.0"), "5433": element(5433, "*"), "5434": element(5434, "none")});
    let Some(inside) = Inside::start(&[], |_| (matches.clone(), json!({}))).await else { return };
    let gateway =
        |address: &str| json!({"Endpoints": {format!("{address}:1080"): {"Weight": 100}}, "Mode": "http2tunnel"});
    let document = fsm_tests::Document::new(&inside.authority.leaf("batch.jobs"))
        .set("/Outbound", json!({"TrafficMatches": matches, "ClustersConfigs": {}}))
        .set(
            "/Forward",
            json!({
                "ForwardMatches": {"*": {"global.egress": 100}, "jobs.db.0": {"db.egress": 100}},
                "EgressGateways": {"global.egress": gateway("10.244.4.4"), "db.egress": gateway("10.244.4.5")},
            }),
        )
        .allow(&inside.pod);
    inside.sidecar.update(document.json()).await;
    let start = |address: &str| {
        let pod = inside.mesh.pod_at("gateway", &[ip(address)]);
        Gateway::start(&pod, at(&format!("{address}:1080")), &[])
    };
    let (global, own) = (start("10.244.4.4"), start("10.244.4.5"));
    let pod = inside.mesh.pod_at("database", &[ip(LEDGER)]);
    let databases = [5432, 5433, 5434].map(|port| TcpApplication::echo(&pod, (ip(LEDGER), port).into()));
    for port in [5432, 5433] {
        let mut wire = inside.dial(&format!("{LEDGER}:{port}")).await;
        wire.send("ping").await;
        assert_eq!(wire.read_exact(4).await, b"ping", "{port}");
    }
    assert_eq!(own.targets(), ["203.0.113.30:5432"]);
    assert_eq!(global.targets(), ["203.0.113.30:5433"]);
    // A rule without gateways: nothing leaves, least of all straight.
    let mut wire = inside.dial("203.0.113.30:5434").await;
    wire.offer("ping").await;
    assert_eq!(wire.rest().await.0, b"");
    assert_eq!(databases[2].connections(), 0);
}
