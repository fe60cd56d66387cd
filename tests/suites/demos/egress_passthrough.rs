//! Page 4.1, "Egress Passthrough to Unknown Destinations".

use super::{Demo, answers, fails, inject, mount};
use fsm_tests::{Authority, Clients, LeafRequest, Website, curl, eventually, httpbin};

/// HTTPS to httpbin.org works with mesh-wide egress, over HTTP/2 as on the page, and fails with 7 without.
#[tokio::test]
async fn page_4_1_unknown_destinations_are_passed_through_while_egress_is_on() {
    let Some(demo) = Demo::create() else { return };
    let outside = demo.pod("httpbin.org", &["54.91.118.50"]);
    let leaf = Authority::new("public").issue(&LeafRequest::new("httpbin.org").hosts(&["httpbin.org"]));
    let website = Website::start_tls(&outside, "54.91.118.50:443", &leaf, Clients::Anyone, httpbin);
    let pod = demo.pod("curl", &["10.244.0.7"]);
    pod.hosts(&[("54.91.118.50", "httpbin.org")]);
    let [_, _, roots] = mount(&pod, &leaf);
    let ask = format!("-I https://httpbin.org:443 --cacert {}", roots.display());

    let document = demo.isolated("curl.curl");
    let sidecar = inject(&pod, "curl", &document.clone().egress(true)).await;
    let outcome = curl(&pod, &ask).await;
    answers(&outcome, 200);
    assert!(outcome.stdout.starts_with("HTTP/2 200"), "{outcome:?}");
    assert_eq!(website.asked()[0].remote.ip(), pod.ip());

    sidecar.update(document.json()).await;
    let to = ([54, 91, 118, 50], 443).into();
    eventually("the outbound port is closed", async || pod.connect(to).await.is_err()).await;
    fails(&curl(&pod, &ask).await, 7);
    assert_eq!(website.asked().len(), 1);
}
