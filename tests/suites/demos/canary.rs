//! Page 1.4, "Canary Rollouts using SMI Traffic Split".

use super::{Demo, inject, knows};
use fsm_tests::{Document, Pod, Service, Website, answered, curl};
use serde_json::{Value, json};

const RULES: &str = "/Outbound/TrafficMatches/8080/0/HttpServiceRouteRules/httpbin.httpbin/RouteRules";

/// All to v1 by default and with a split of 100; exactly one request in four to v2 with 75/25; with routes, `/test` is
/// split and `/demo` is not.
#[tokio::test]
async fn page_1_4_a_quarter_of_the_requests_reaches_the_canary() {
    let Some(demo) = Demo::create() else { return };
    let service = |name, address| Service::new(name, "httpbin", "http", 8080, 8080, &[address]);
    let apex = service("httpbin", "10.96.20.1");
    let leaves = [service("httpbin-v1", "10.96.20.2"), service("httpbin-v2", "10.96.20.3")];
    let pods = [demo.pod("httpbin-v1", &["10.244.0.11"]), demo.pod("httpbin-v2", &["10.244.0.12"])];
    let client = demo.pod("curl", &["10.244.0.7"]);
    knows(&client, &apex);
    let known = |document: Document| document.allow(&client).allow(&pods[0]).allow(&pods[1]);

    let mut sidecars = Vec::new();
    for ((pod, leaf), greeting) in pods.iter().zip(&leaves).zip(["Hi, I am v1!\n", "Hi, I am v2!\n"]) {
        Website::start(pod, "127.0.0.1:8080", move |_| answered(200, greeting));
        // The apex service and the leaf's own both select the pod.
        let document = known(demo.document("default.httpbin").serve(&apex).serve(leaf));
        sidecars.push(inject(pod, &leaf.name, &document).await);
    }

    // First there is only v1, and only the apex service.
    let alone = known(demo.document("curl.curl").call(&apex, &[pods[0].ip()]));
    let sidecar = inject(&client, "curl", &alone).await;
    assert_eq!(four(&client, "").await, [4, 0]);

    // Then both, and splits.
    let both = known(
        demo.document("curl.curl")
            .call(&apex, &[pods[0].ip(), pods[1].ip()])
            .call(&leaves[0], &[pods[0].ip()])
            .call(&leaves[1], &[pods[1].ip()]),
    );
    let v1 = json!({"httpbin/httpbin-v1|8080": 100});
    let split = json!({"httpbin/httpbin-v1|8080": 75, "httpbin/httpbin-v2|8080": 25});
    let rule = |path: &str, targets: &Value| json!({"Path": path, "Type": "Regex", "TargetClusters": targets});
    let get = |path: &str, targets: &Value| json!({"Path": path, "Type": "Regex", "Methods": ["GET"], "TargetClusters": targets});

    sidecar.update(both.clone().set(RULES, json!([rule(".*", &v1)])).json()).await;
    assert_eq!(four(&client, "").await, [4, 0]);

    sidecar.update(both.clone().set(RULES, json!([rule(".*", &split)])).json()).await;
    for round in 0..5 {
        assert_eq!(four(&client, "").await, [3, 1], "round {round}");
    }
    // The same on connections of their own.
    let mut seen = [0, 0];
    for _ in 0..4 {
        let reply = curl(&client, "-s httpbin.httpbin:8080").await.stdout;
        seen[usize::from(reply.contains("v2"))] += 1;
    }
    assert_eq!(seen, [3, 1]);

    sidecar.update(both.set(RULES, json!([get("/test", &split), get(".*", &v1)])).json()).await;
    for _ in 0..3 {
        assert_eq!(four(&client, "/test").await, [3, 1]);
        assert_eq!(four(&client, "/demo").await, [4, 0]);
    }
}

/// Four requests of one curl, and how many of them each version answered.
async fn four(pod: &Pod, path: &str) -> [usize; 2] {
    let outcome = curl(pod, &format!("-s {}", [format!("httpbin.httpbin:8080{path}").as_str(); 4].join(" "))).await;
    let counts = ["Hi, I am v1!", "Hi, I am v2!"].map(|greeting| outcome.stdout.matches(greeting).count());
    assert_eq!(counts[0] + counts[1], 4, "{outcome:?}");
    counts
}
