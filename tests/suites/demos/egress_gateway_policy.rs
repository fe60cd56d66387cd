//! Page 4.4, "Egress Gateway Policy".

use super::egress_gateway_passthrough::{own_gateway, with_gateway, with_own_gateway};
use super::{Demo, answers, any_path, egress_http, fails, inject};
use fsm_tests::{Gateway, Website, curl, eventually, httpbin};

/// Without a policy httpbin.org fails with 7; with one, 200, from the gateway's pod.
#[tokio::test]
async fn page_4_4_a_host_of_an_egress_policy_is_reached_through_the_gateway() {
    let Some(demo) = Demo::create() else { return };
    let outside = demo.pod("httpbin.org", &["54.91.118.50"]);
    let website = Website::start(&outside, "54.91.118.50:80", httpbin);
    let gateway_pod = demo.pod("fsm-egress-gateway", &["10.244.0.30"]);
    let to = ([54, 91, 118, 50], 80).into();
    let gateway = Gateway::start(&gateway_pod, ([0, 0, 0, 0], 1080).into(), &[("httpbin.org:80", to)]);
    let pod = demo.pod("curl", &["10.244.0.7"]);
    pod.hosts(&[("54.91.118.50", "httpbin.org")]);

    let document = with_gateway(demo.isolated("curl.curl"), &gateway_pod);
    let sidecar = inject(&pod, "curl", &document).await;
    fails(&curl(&pod, "-sI http://httpbin.org:80/get").await, 7);

    sidecar.update(egress_http(document, "httpbin.org", 80, &[any_path()]).json()).await;
    eventually("the outbound port is open", async || pod.connect(to).await.is_ok()).await;
    answers(&curl(&pod, "-sI http://httpbin.org:80/get").await, 200);
    assert_eq!(website.asked()[0].remote.ip(), gateway_pod.ip(), "the traffic leaves from the gateway's pod");
    assert_eq!(gateway.targets(), ["httpbin.org:80"], "the gateway resolves the name");
}

/// The same with the proxy's own gateway mode.
#[tokio::test]
async fn page_4_4_a_host_of_an_egress_policy_is_reached_through_our_own_gateway() {
    let Some(demo) = Demo::create() else { return };
    let outside = demo.pod("httpbin.org", &["54.91.118.50"]);
    let website = Website::start(&outside, "54.91.118.50:80", httpbin);
    let gateway_pod = demo.pod("fsm-egress-gateway", &["10.244.0.30"]);
    gateway_pod.hosts(&[("54.91.118.50", "httpbin.org")]);
    let _gateway = own_gateway(&demo, &gateway_pod).await;
    let pod = demo.pod("curl", &["10.244.0.7"]);
    pod.hosts(&[("54.91.118.50", "httpbin.org")]);

    let document = with_own_gateway(demo.isolated("curl.curl"), &gateway_pod);
    let sidecar = inject(&pod, "curl", &document).await;
    fails(&curl(&pod, "-sI http://httpbin.org:80/get").await, 7);

    sidecar.update(egress_http(document, "httpbin.org", 80, &[any_path()]).json()).await;
    let to = ([54, 91, 118, 50], 80).into();
    eventually("the outbound port is open", async || pod.connect(to).await.is_ok()).await;
    answers(&curl(&pod, "-sI http://httpbin.org:80/get").await, 200);
    assert_eq!(website.asked()[0].remote.ip(), gateway_pod.ip(), "the traffic leaves from the gateway's pod");
}
