//! Page 1.6, "Local rate limiting of L4 connections".

use super::{Demo, inject, knows};
use fsm_tests::{Fortio, Load, Pod, Service};
use serde_json::json;

const LIMIT: &str = "/Inbound/TrafficMatches/8078/RateLimit";

/// No limit: ten calls. One connection a minute: three of ten calls succeed, on the one connection that got in, and
/// seven connections are reset and counted. With a burst of ten: ten calls.
#[tokio::test]
async fn page_1_6_one_connection_a_minute_and_a_burst_of_ten() {
    let Some(fortio) = Fortio::find() else { return };
    let Some(demo) = Demo::create() else { return };
    let service = Service::new("fortio", "demo", "tcp", 8078, 8078, &["10.96.83.254"]);
    let (server, client) = (demo.pod("fortio", &["10.244.1.18"]), demo.pod("fortio-client", &["10.244.1.19"]));
    let _application = fortio.serve(&server).await;
    knows(&client, &service);
    let served = demo.document("fortio.demo").serve(&service).allow(&client).allow(&server);
    let called = demo.document("fortio-client.demo").call(&service, &[server.ip()]).allow(&client).allow(&server);
    let sidecar = inject(&server, "fortio", &served).await;
    let _client_sidecar = inject(&client, "fortio-client", &called).await;

    assert_eq!(load(&fortio, &client).await.counts(), [("tcp OK", 10)]);
    assert_eq!(limited(&sidecar.stats().await), Vec::<String>::new(), "nothing to see without a limit");

    let one = json!({"Local": {"Connections": 1, "StatTimeWindow": 60}});
    sidecar.update(served.clone().set(LIMIT, one).json()).await;
    let load_limited = load(&fortio, &client).await;
    // fortio gives its three threads 3, 3 and 4 calls; the thread that got the connection keeps it.
    let good = load_limited.count("tcp OK");
    assert!((3..=4).contains(&good), "{load_limited:?}");
    assert_eq!(load_limited.count("tcp short read"), 10 - good, "{load_limited:?}");
    let ends = |how: &str| load_limited.outcome.stderr.matches(how).count();
    let resets = ends("connection reset by peer");
    assert!(resets > 0, "{load_limited:?}");
    // The caller's sidecar closes where its peer was faster with the reset than with the handshake.
    assert_eq!(resets + ends("Unable to read: EOF"), 10 - good as usize, "{load_limited:?}");
    let line = |count: u32| format!("local_rate_limit.inbound_demo/fortio_8078_tcp.rate_limited: {count}");
    assert_eq!(limited(&sidecar.stats().await), [line(10 - good)]);

    let burst = json!({"Local": {"Connections": 1, "StatTimeWindow": 60, "Burst": 10}});
    sidecar.update(served.set(LIMIT, burst).json()).await;
    assert_eq!(load(&fortio, &client).await.counts(), [("tcp OK", 10)]);
    // The page shows 0, because Pipy forgets its counters when it reloads; counters here only grow.
    assert_eq!(limited(&sidecar.stats().await), [line(10 - good)]);
}

async fn load(fortio: &Fortio, client: &Pod) -> Load {
    fortio.load(client, "-qps -1 -c 3 -n 10 tcp://fortio.demo.svc.cluster.local:8078").await
}

/// `grep 'fortio.*8078.*rate_limit'`
fn limited(stats: &str) -> Vec<String> {
    let found = |line: &&str| line.contains("fortio") && line.contains("8078") && line.contains("rate_limit");
    stats.lines().filter(found).map(str::to_owned).collect()
}
