//! Page 4.2, "Egress Gateway Passthrough to Unknown Destinations".

use super::{Demo, answers, fails, inject};
use fsm_tests::{Document, Gateway, Pod, Process, Website, Wire, binary, curl, eventually, httpbin};
use serde_json::json;
use std::process::Command;

/// The proxy's own gateway mode in the gateway's pod: unlike FSM's it asks whoever comes for a certificate of the mesh.
pub(super) async fn own_gateway(demo: &Demo, pod: &Pod) -> Process {
    let document = demo.document("egress-gateway.fsm-system");
    let config = pod.directory().join("config.json");
    std::fs::write(&config, document.json().to_string()).unwrap();
    let mut command = Command::new(binary("fsm-proxy"));
    command.args(["--gateway-listen", &format!("{}:1080", pod.ip())]).arg("--config").arg(&config).env_clear();
    let process = Process::start(pod, command);
    eventually("the gateway is ready", async || {
        let Ok(stream) = pod.connect(([127, 0, 0, 1], 15000).into()).await else { return false };
        Wire::new(stream).get("localhost", "/ready").await.status() == 200
    })
    .await;
    process
}

/// What our controller adds to the documents of clients of such a gateway.
pub(super) fn with_own_gateway(document: Document, gateway: &Pod) -> Document {
    with_gateway(document, gateway).set(
        "/Forward/EgressGateways/global-egress-gateway.fsm-system/ServiceIdentities",
        json!(["egress-gateway.fsm-system"]),
    )
}

/// What an EgressGateway adds to every document.
pub(super) fn with_gateway(document: Document, gateway: &Pod) -> Document {
    document.set(
        "/Forward",
        json!({
            "ForwardMatches": {"*": {"global-egress-gateway.fsm-system": 100}},
            "EgressGateways": {"global-egress-gateway.fsm-system": {
                "Endpoints": {format!("{}:1080", gateway.ip()): {"Weight": 100}},
                "Mode": "http2tunnel",
            }},
        }),
    )
}

/// HTTP to httpbin.org works with mesh-wide egress and leaves from the gateway's pod; it fails with 7 without.
#[tokio::test]
async fn page_4_2_unknown_destinations_leave_through_the_gateway() {
    let Some(demo) = Demo::create() else { return };
    let outside = demo.pod("httpbin.org", &["54.91.118.50"]);
    let website = Website::start(&outside, "54.91.118.50:80", httpbin);
    let gateway_pod = demo.pod("fsm-egress-gateway", &["10.244.0.30"]);
    let gateway = Gateway::start(&gateway_pod, ([0, 0, 0, 0], 1080).into(), &[]);
    let pod = demo.pod("curl", &["10.244.0.7"]);
    pod.hosts(&[("54.91.118.50", "httpbin.org")]);

    let document = with_gateway(demo.isolated("curl.curl"), &gateway_pod);
    let sidecar = inject(&pod, "curl", &document.clone().egress(true)).await;
    answers(&curl(&pod, "-sI http://httpbin.org:80/get").await, 200);
    assert_eq!(website.asked()[0].remote.ip(), gateway_pod.ip(), "the traffic leaves from the gateway's pod");
    assert_eq!(gateway.targets(), ["54.91.118.50:80"]);

    sidecar.update(document.json()).await;
    let to = ([54, 91, 118, 50], 80).into();
    eventually("the outbound port is closed", async || pod.connect(to).await.is_err()).await;
    fails(&curl(&pod, "-sI http://httpbin.org:80/get").await, 7);
    assert_eq!(website.asked().len(), 1);
}

/// The same with the proxy's own gateway mode.
#[tokio::test]
async fn page_4_2_unknown_destinations_leave_through_our_own_gateway() {
    let Some(demo) = Demo::create() else { return };
    let outside = demo.pod("httpbin.org", &["54.91.118.50"]);
    let website = Website::start(&outside, "54.91.118.50:80", httpbin);
    let gateway_pod = demo.pod("fsm-egress-gateway", &["10.244.0.30"]);
    let gateway = own_gateway(&demo, &gateway_pod).await;
    let pod = demo.pod("curl", &["10.244.0.7"]);
    pod.hosts(&[("54.91.118.50", "httpbin.org")]);

    let document = with_own_gateway(demo.isolated("curl.curl"), &gateway_pod);
    let sidecar = inject(&pod, "curl", &document.clone().egress(true)).await;
    answers(&curl(&pod, "-sI http://httpbin.org:80/get").await, 200);
    assert_eq!(website.asked()[0].remote.ip(), gateway_pod.ip(), "the traffic leaves from the gateway's pod");
    gateway.says("curl.curl").await;

    sidecar.update(document.json()).await;
    let to = ([54, 91, 118, 50], 80).into();
    eventually("the outbound port is closed", async || pod.connect(to).await.is_err()).await;
    fails(&curl(&pod, "-sI http://httpbin.org:80/get").await, 7);
    assert_eq!(website.asked().len(), 1);
}
