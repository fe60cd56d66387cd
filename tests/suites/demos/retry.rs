//! Page 1.2, "Retry Policy".

use super::{Demo, answers, inject, knows};
use fsm_tests::{Service, Website, curl, httpbin};
use serde_json::json;

/// A 503 is retried `numRetries` times and then delivered, with the statistics of the page; a 404 is not retried.
///
/// The page prints four retries for `numRetries: 5` and says in words that they equal `numRetries`: five, see
/// `docs/retries.md`. The page's base of 1 s is 50 ms here, so that the test does not spend up to 25 s in pauses.
#[tokio::test]
async fn page_1_2_five_retries_of_a_503_and_none_of_a_404() {
    let Some(demo) = Demo::create() else { return };
    let service = Service::new("httpbin", "httpbin", "http", 14001, 14001, &["10.96.198.23"]);
    let (server, client) = (demo.pod("httpbin", &["10.244.0.9"]), demo.pod("curl", &["10.244.0.7"]));
    let website = Website::start(&server, "127.0.0.1:14001", httpbin);
    let served = demo.document("httpbin.httpbin").serve(&service).allow(&client).allow(&server);
    let policy = json!({"RetryOn": "5xx", "PerTryTimeout": 1, "NumRetries": 5, "RetryBackoffBaseInterval": 0.05});
    let called = demo
        .document("curl.curl")
        .call(&service, &[server.ip()])
        .set("/Outbound/ClustersConfigs/httpbin~1httpbin|14001/RetryPolicy", policy)
        .allow(&client)
        .allow(&server);
    knows(&client, &service);
    let _server_sidecar = inject(&server, "httpbin", &served).await;
    let sidecar = inject(&client, "curl", &called).await;

    let url = "httpbin.httpbin.svc.cluster.local:14001";
    answers(&curl(&client, &format!("-sI {url}/status/503")).await, 503);
    assert_eq!(website.asked().len(), 6, "one attempt and five retries");
    let expected = [
        ("", 5),
        ("_backoff_exponential", 5),
        ("_backoff_ratelimited", 0),
        ("_limit_exceeded", 1),
        ("_overflow", 0),
        ("_success", 0),
    ];
    let expected =
        expected.map(|(name, count)| format!("cluster.httpbin/httpbin|14001.upstream_rq_retry{name}: {count}"));
    assert_eq!(retry_lines(&sidecar.stats().await), expected);

    answers(&curl(&client, &format!("-sI {url}/status/404")).await, 404);
    assert_eq!(website.asked().len(), 7);
    assert_eq!(retry_lines(&sidecar.stats().await), expected, "a 404 changes nothing");
}

/// `grep upstream_rq_retry`, for the page's cluster. (Ours also tells of passthrough, and in another order.)
fn retry_lines(stats: &str) -> Vec<String> {
    let found = |line: &&str| line.contains("httpbin/httpbin|14001.upstream_rq_retry");
    let mut lines: Vec<String> = stats.lines().filter(found).map(str::to_owned).collect();
    lines.sort();
    lines
}
