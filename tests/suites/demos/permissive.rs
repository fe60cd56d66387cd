//! Page 6.1, "Permissive Traffic Policy Mode".

use super::{Demo, answers, fails, inject, knows, nothing_inbound};
use fsm_tests::{Service, Website, curl, httpbin};
use serde_json::{Value, json};

/// 200 in permissive mode; with permissive mode off, "empty reply from server" (52).
///
/// Egress passthrough is on by default in FSM's chart, so the caller's sidecar, which no longer knows the service,
/// passes the request through as it is. The server's sidecar wants mutual TLS and says nothing. (Here the server's pod
/// has the service's cluster IP too: kube-proxy's part.)
#[tokio::test]
async fn page_6_1_permissive_mode_connects_and_its_end_disconnects() {
    let Some(demo) = Demo::create() else { return };
    let service = Service::new("httpbin", "httpbin", "http", 14001, 14001, &["10.96.198.23"]);
    let server = demo.pod("httpbin", &["10.244.0.9", "10.96.198.23"]);
    let client = demo.pod("curl", &["10.244.0.7"]);
    let website = Website::start(&server, "127.0.0.1:14001", httpbin);
    knows(&client, &service);
    let served = demo.document("httpbin.httpbin").serve(&service).allow(&client).allow(&server).egress(true);
    let called =
        nothing_inbound(demo.document("curl.curl")).call(&service, &[server.ip()]).allow(&client).allow(&server);
    let called = called.egress(true);
    let server_sidecar = inject(&server, "httpbin", &served).await;
    let client_sidecar = inject(&client, "curl", &called).await;

    let outcome = curl(&client, "-I http://httpbin.httpbin:14001").await;
    answers(&outcome, 200);
    // For the caller's sidecar; applications do not see it.
    assert_eq!(outcome.header("fsm-stats"), None, "{outcome:?}");

    // No TrafficTarget: rule sets without rules, and nothing that may be called.
    let rules = "/Inbound/TrafficMatches/14001/HttpServiceRouteRules/httpbin.httpbin/RouteRules";
    server_sidecar.update(served.set(rules, json!([])).json()).await;
    client_sidecar.update(called.set("/Outbound", Value::Null).json()).await;
    fails(&curl(&client, "-I http://httpbin.httpbin:14001").await, 52);
    assert_eq!(website.asked().len(), 1);
}
