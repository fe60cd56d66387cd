//! Page 1.5, "Circuit breaking for destinations within the mesh".

use super::{Demo, inject, knows};
use fsm_tests::{Fortio, Load, Pod, Process, Service, Sidecar, curl};
use serde_json::{Value, json};
use std::time::Duration;

const ERRORS: &str = "echo?status=511:20";
const SLOW: &str = "echo?delay=200ms:20";
const CIRCUIT_BREAKING: &str = "/Outbound/ClustersConfigs/server~1fortio|8080/ConnectionSettings";

struct Breaker {
    fortio: Fortio,
    client: Pod,
    sidecar: Sidecar,
    _server: (Process, Sidecar),
}

/// The page's two pods; `policy` is the part of its UpstreamTrafficSetting that differs.
async fn start(policy: Option<Value>) -> Option<Breaker> {
    let fortio = Fortio::find()?;
    let demo = Demo::create()?;
    let service = Service::new("fortio", "server", "http", 8080, 8080, &["10.43.43.151"]);
    let (server, client) = (demo.pod("fortio", &["10.244.0.9"]), demo.pod("fortio-client", &["10.244.0.7"]));
    let application = fortio.serve(&server).await;
    knows(&client, &service);
    let served = demo.document("default.server").serve(&service).allow(&client).allow(&server);
    let mut called = demo.document("fortio-client.client").call(&service, &[server.ip()]).allow(&client).allow(&server);
    if let Some(policy) = policy {
        let mut settings = json!({
            "StatTimeWindow": 60,
            "MinRequestAmount": 200,
            "DegradedTimeWindow": 10,
            "DegradedStatusCode": 503,
            "DegradedResponseContent": "Service Unavailable!",
        });
        settings.as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
        called = called.set(CIRCUIT_BREAKING, json!({"http": {"CircuitBreaking": settings}}));
    }
    let server_sidecar = inject(&server, "fortio", &served).await;
    let sidecar = inject(&client, "fortio-client", &called).await;
    Some(Breaker { fortio, client, sidecar, _server: (application, server_sidecar) })
}

impl Breaker {
    /// The page's load: 10 connections, 1000 requests, 200 a second.
    async fn load(&self, target: &str) -> Load {
        let url = format!("http://fortio.server.svc.cluster.local:8080/{target}");
        let load = self.fortio.load(&self.client, &format!("-quiet -c 10 -n 1000 -qps 200 -p 99.99 {url}")).await;
        let total: u32 = load.results.values().sum();
        assert_eq!(total, 1000, "{:?}", load.counts());
        load
    }

    /// Total, slow and failed requests of the line that the sidecar logged when the breaker opened.
    fn opening(&self) -> [u32; 3] {
        let log = self.sidecar.log();
        let line = log.iter().find(|line| line.contains("[circuit_breaker] total/slowAmount/errorAmount (open)"));
        let line = line.unwrap_or_else(|| panic!("no opening in {log:#?}"));
        let (_, counts) = line.split_once("server/fortio|8080 ").unwrap_or_else(|| panic!("{line}"));
        let counts: Vec<u32> = counts.split_whitespace().take(3).map(|count| count.parse().unwrap()).collect();
        counts.try_into().unwrap()
    }

    /// What a client gets while the breaker is open.
    async fn assert_degraded(&self) {
        let url = "http://fortio.server.svc.cluster.local:8080/echo";
        let outcome = curl(&self.client, &format!("-si {url} {url} -w %{{num_connects}}")).await;
        super::answers(&outcome, 503);
        assert_eq!(outcome.stdout.matches("\r\n\r\nService Unavailable!").count(), 2, "{outcome:?}");
        assert_eq!(outcome.header("x-fsm-reason"), Some("circuit-open"));
        // The second answer came on the first one's connection.
        assert!(outcome.stdout.ends_with("Service Unavailable!0"), "{outcome:?}");
    }
}

/// Without a policy: 804 × 200 and 196 × 511 on the page, a fifth of 1000 up to chance (five standard deviations are
/// 63). fortio opens a new connection after each answer but 200, hence the page's 205 sockets.
#[tokio::test]
async fn page_1_5_without_a_policy_a_fifth_fails() {
    let Some(breaker) = start(None).await else { return };
    let load = breaker.load(ERRORS).await;
    assert!((137..=263).contains(&load.count("511")), "{:?}", load.counts());
    assert_eq!(load.count("200") + load.count("511"), 1000);
    assert!(load.sockets <= load.count("511") + 10, "{} sockets", load.sockets);
}

/// The hundredth bad response opens the breaker. Each other worker may have counted one more before anyone has opened it, and be
/// the first to do so.
fn assert_hundredth(count: u32) {
    let workers = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap());
    assert!((100..100 + workers).contains(&count), "opened by response {count}");
}

/// `errorAmountThreshold: 100`: 430 × 200, 470 × 503 and exactly 100 × 511 on the page; it opened at request 530.
///
/// Exactly 100 errors open the breaker. Up to nine more requests are under way at that moment (fortio has ten
/// connections), and some of those may fail too.
#[tokio::test]
async fn page_1_5_a_hundred_errors_open_the_breaker_which_recovers_after_ten_seconds() {
    let Some(breaker) = start(Some(json!({"ErrorAmountThreshold": 100}))).await else { return };
    let load = breaker.load(ERRORS).await;
    let [total, slow, errors] = breaker.opening();
    assert_eq!(slow, 0);
    assert_hundredth(errors);
    assert!((350..=700).contains(&total), "the hundredth error at a rate of 1/5 came at request {total}");
    assert!((100..=109).contains(&load.count("511")), "{:?}", load.counts());
    assert!(load.count("200") + load.count("511") >= total - 9, "{:?}", load.counts());
    assert!(load.count("200") + load.count("511") <= total + 9, "{:?}", load.counts());
    breaker.assert_degraded().await;

    let recovered = tokio::time::timeout(Duration::from_secs(20), async {
        while curl(&breaker.client, "-si http://fortio.server.svc.cluster.local:8080/echo").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(recovered.await.is_ok(), "the breaker is still open after 20 s");
    breaker.sidecar.logs("[circuit_breaker] total/slowAmount/errorAmount (close)").await;
}

/// `errorRatioThreshold: 0.10`: 164 × 200, 800 × 503, 36 × 511 on the page; it opened at request 200, the minimum.
#[tokio::test]
async fn page_1_5_a_share_of_errors_opens_the_breaker_at_the_minimum() {
    let Some(breaker) = start(Some(json!({"ErrorRatioThreshold": 0.10}))).await else { return };
    let load = breaker.load(ERRORS).await;
    let [total, slow, errors] = breaker.opening();
    // The first failed response from the 200th request on; ten good ones in a row have a chance of one tenth.
    assert!((200..=250).contains(&total), "opened at request {total}");
    assert_eq!(slow, 0);
    assert!((15..=75).contains(&errors), "{errors} errors");
    assert!((750..=809).contains(&load.count("503")), "{:?}", load.counts());
    assert!(load.count("511") <= errors + 9, "{:?}", load.counts());
    breaker.assert_degraded().await;
}

/// `slowAmountThreshold: 100` of 200 ms: 504 × 200 and 496 × 503 on the page; it opened at request 504. Without a
/// policy, all 1000 are 200.
#[tokio::test]
async fn page_1_5_a_hundred_slow_calls_open_the_breaker() {
    let Some(breaker) = start(Some(json!({"SlowTimeThreshold": 0.2, "SlowAmountThreshold": 100}))).await else {
        return;
    };
    let load = breaker.load(SLOW).await;
    let [total, slow, errors] = breaker.opening();
    assert_eq!(errors, 0);
    assert_hundredth(slow);
    assert!((350..=700).contains(&total), "the hundredth slow call at a rate of 1/5 came at request {total}");
    assert_eq!(load.counts().len(), 2, "{:?}", load.counts());
    assert!(load.count("200").abs_diff(total) <= 9, "{:?}", load.counts());
    breaker.assert_degraded().await;
}

/// `slowRatioThreshold: 0.1`: 202 × 200 and 798 × 503 on the page; it opened at request 202.
#[tokio::test]
async fn page_1_5_a_share_of_slow_calls_opens_the_breaker() {
    let Some(breaker) = start(Some(json!({"SlowTimeThreshold": 0.2, "SlowRatioThreshold": 0.1}))).await else {
        return;
    };
    let load = breaker.load(SLOW).await;
    let [total, slow, errors] = breaker.opening();
    assert!((200..=250).contains(&total), "opened at request {total}");
    assert!((15..=75).contains(&slow), "{slow} slow calls");
    assert_eq!(errors, 0);
    assert!(load.count("200").abs_diff(total) <= 9, "{:?}", load.counts());
    breaker.assert_degraded().await;
}
