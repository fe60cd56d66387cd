//! Page 1.7, "Local rate limiting of HTTP requests".

use super::{Demo, inject, knows};
use fsm_tests::{Fortio, Pod, Service, Sidecar};
use serde_json::json;

const RULES: &str = "/Inbound/TrafficMatches/8080/HttpServiceRouteRules/fortio.demo";

/// No limit: ten times 200. Three a minute for the host: three times 200, seven times 429, and so in the statistics.
/// With a burst of ten: ten times 200. The limit at the route `.*`: three and seven again, 14 in the statistics.
#[tokio::test]
async fn page_1_7_three_requests_a_minute_a_burst_of_ten_and_the_same_by_route() {
    let Some(fortio) = Fortio::find() else { return };
    let Some(demo) = Demo::create() else { return };
    let service = Service::new("fortio", "demo", "http", 8080, 8080, &["10.96.189.159"]);
    let (server, client) = (demo.pod("fortio", &["10.244.1.18"]), demo.pod("fortio-client", &["10.244.1.19"]));
    let _application = fortio.serve(&server).await;
    knows(&client, &service);
    let served = demo.document("fortio.demo").serve(&service).allow(&client).allow(&server);
    let called = demo.document("fortio-client.demo").call(&service, &[server.ip()]).allow(&client).allow(&server);
    let sidecar = inject(&server, "fortio", &served).await;
    let _client_sidecar = inject(&client, "fortio-client", &called).await;

    assert_eq!(load(&fortio, &client).await, [("200".to_owned(), 10)]);

    let three = json!({"Local": {"Requests": 3, "StatTimeWindow": 60}});
    sidecar.update(served.clone().set(&format!("{RULES}/RateLimit"), three.clone()).json()).await;
    assert_limited(&sidecar, 0).await;
    assert_eq!(load(&fortio, &client).await, [("200".to_owned(), 3), ("429".to_owned(), 7)]);
    assert_limited(&sidecar, 7).await;

    let burst = json!({"Local": {"Requests": 3, "StatTimeWindow": 60, "Burst": 10}});
    sidecar.update(served.clone().set(&format!("{RULES}/RateLimit"), burst).json()).await;
    assert_eq!(load(&fortio, &client).await, [("200".to_owned(), 10)]);
    // "hasn't increased", says the page, and shows 0 here and 14 at its end. Counters here only grow.
    assert_limited(&sidecar, 7).await;

    sidecar.update(served.set(&format!("{RULES}/RouteRules/0/RateLimit"), three).json()).await;
    assert_eq!(load(&fortio, &client).await, [("200".to_owned(), 3), ("429".to_owned(), 7)]);
    assert_limited(&sidecar, 14).await;
}

/// The page's load, at 40 a second instead of fortio's default of 8.
async fn load(fortio: &Fortio, client: &Pod) -> Vec<(String, u32)> {
    let load = fortio.load(client, "-c 3 -n 10 -qps 40 http://fortio.demo.svc.cluster.local:8080").await;
    load.results.into_iter().collect()
}

async fn assert_limited(sidecar: &Sidecar, count: u32) {
    let stats = sidecar.stats().await;
    let line = format!("http_local_rate_limiter.http_local_rate_limit.rate_limited: {count}");
    assert!(stats.lines().any(|found| found == line), "{line} is not in\n{stats}");
}
