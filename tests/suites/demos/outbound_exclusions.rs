//! Page 1.1, "Outbound Traffic IP Range Exclusions".

use super::{Demo, answers, fails, inject, inject_with};
use fsm_tests::{Website, curl, httpbin};

/// Egress is off: curl gets "connection refused" (7) from httpbin.org's addresses. After the exclusion of one address
/// and a restart of the pod that address answers, and the others are still refused.
#[tokio::test]
async fn page_1_1_an_excluded_range_bypasses_the_sidecar() {
    let Some(demo) = Demo::create() else { return };
    let (excluded, other) = (demo.pod("httpbin.org", &["54.91.118.50"]), demo.pod("httpbin.org", &["34.199.75.4"]));
    let websites =
        [Website::start(&excluded, "54.91.118.50:80", httpbin), Website::start(&other, "34.199.75.4:80", httpbin)];
    let document = demo.isolated("curl.curl");

    let pod = demo.pod("curl", &["10.244.0.7"]);
    let _sidecar = inject(&pod, "curl", &document).await;
    fails(&curl(&pod, "-I http://54.91.118.50:80").await, 7);

    // The mesh's exclusion list reaches a pod through its init container, so the pod is restarted.
    let pod = demo.pod("curl", &["10.244.0.8"]);
    let _restarted = inject_with(&pod, "curl", &document, &["--outbound-exclude-cidr", "54.91.118.50/32"]).await;
    answers(&curl(&pod, "-I http://54.91.118.50:80").await, 200);
    fails(&curl(&pod, "-I http://34.199.75.4:80").await, 7);
    assert_eq!(websites.map(|website| website.asked().len()), [1, 0]);
}
