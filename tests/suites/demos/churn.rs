//! Endpoints come and go ten times a second under load, and no request notices.

use super::{Demo, inject, knows};
use fsm_tests::{Application, Document, Fortio, Service, TlsServer};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// 500 requests a second for 10 s, or as many seconds as `FSM_TEST_CHURN_SECONDS` says, while each document names two
/// other endpoints of four.
#[tokio::test]
async fn endpoints_replaced_ten_times_a_second_fail_no_request() {
    let Some(fortio) = Fortio::find() else { return };
    let Some(demo) = Demo::create() else { return };
    let seconds = std::env::var("FSM_TEST_CHURN_SECONDS").ok().and_then(|text| text.parse::<u32>().ok()).unwrap_or(10);
    let service = Service::new("api", "shop", "http", 8080, 8080, &["10.96.0.1"]);
    let tls = TlsServer::new(&demo.authority.leaf("api.shop"));
    let addresses: [IpAddr; 4] = [1, 2, 3, 4].map(|number| ([10, 244, 2, number]).into());
    let mut pods = Vec::new();
    let mut applications = Vec::new();
    for address in addresses {
        let pod = demo.mesh.pod_at("api", &[address]);
        applications.push(Application::start_tls(&pod, &[SocketAddr::new(address, 8080)], &tls));
        pods.push(pod);
    }
    let client = demo.pod("web", &["10.244.1.1"]);
    knows(&client, &service);
    let document = |round: usize| -> Document {
        let two = [addresses[round % 4], addresses[(round + 1) % 4]];
        demo.document("web.shop").call(&service, &two).identities(&service, &["api.shop"]).allow(&client)
    };
    let documents: Vec<Document> = (0..4).map(document).collect();
    let sidecar = inject(&client, "web", &documents[0]).await;

    let arguments = format!("-quiet -c 16 -qps 500 -t {seconds}s http://api.shop:8080/status/200");
    let load = fortio.load(&client, &arguments);
    let mut rounds = 0_u32;
    let churn = async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            rounds += 1;
            let mut next = documents[rounds as usize % 4].json().clone();
            next["Version"] = (5_000_000 + rounds).to_string().into();
            sidecar.replace(&serde_json::to_vec(&next).unwrap());
        }
    };
    let load = tokio::select! {
        load = load => load,
        () = churn => unreachable!("it goes on until the load ends"),
    };
    assert_eq!(load.results.keys().collect::<Vec<_>>(), ["200"], "{:?}", load.outcome);
    let done = load.count("200");
    assert!(done >= 250 * seconds, "{done} requests in {seconds} s: the machine is too slow for this to mean anything");
    assert!(rounds >= 5 * seconds, "{rounds} documents in {seconds} s");
    for application in &applications {
        assert!(!application.requests().is_empty(), "an endpoint was never used");
    }
    let replaced = sidecar.log().iter().filter(|line| line.contains("configuration")).count();
    assert!(replaced > 0, "the sidecar has noticed");
}
