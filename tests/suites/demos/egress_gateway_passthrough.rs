//! Page 4.2, "Egress Gateway Passthrough to Unknown Destinations".

use super::{Demo, answers, fails, inject};
use fsm_tests::{Document, Gateway, Pod, Website, curl, eventually, httpbin};
use serde_json::json;

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
