//! Page 4.3, "Egress Policy".

use super::{Demo, answers, any_path, egress_http, fails, inject, mount};
use fsm_tests::{Authority, Clients, Document, LeafRequest, Pod, Sidecar, Website, curl, eventually, httpbin};
use serde_json::json;
use std::net::SocketAddr;

const HTTPBIN: &str = "54.91.118.50";
const FLOMESH: &str = "185.199.108.153";

/// The page's curl pod with egress passthrough off, and the two websites that it asks.
struct Outside {
    pod: Pod,
    document: Document,
    sidecar: Sidecar,
    plain: Website,
    secure: [Website; 2],
    /// `--cacert FILE`
    trust: String,
    _demo: Demo,
}

async fn start() -> Option<Outside> {
    let demo = Demo::create()?;
    let (httpbin_pod, flomesh_pod) = (demo.pod("httpbin.org", &[HTTPBIN]), demo.pod("flomesh.io", &[FLOMESH]));
    let leaf = Authority::new("public").issue(&LeafRequest::new("public.web").hosts(&["httpbin.org", "flomesh.io"]));
    let secure = [(&httpbin_pod, HTTPBIN), (&flomesh_pod, FLOMESH)]
        .map(|(pod, at)| Website::start_tls(pod, &format!("{at}:443"), &leaf, Clients::Anyone, httpbin));
    let plain = Website::start(&httpbin_pod, &format!("{HTTPBIN}:80"), httpbin);
    let pod = demo.pod("curl", &["10.244.0.7"]);
    pod.hosts(&[(HTTPBIN, "httpbin.org"), (FLOMESH, "flomesh.io")]);
    let [_, _, roots] = mount(&pod, &leaf);
    let document = demo.isolated("curl.curl");
    let sidecar = inject(&pod, "curl", &document).await;
    let trust = format!("--cacert {}", roots.display());
    Some(Outside { pod, document, sidecar, plain, secure, trust, _demo: demo })
}

impl Outside {
    async fn apply(&self, document: &Document) {
        self.sidecar.update(document.json()).await;
        let open = !document.json()["Outbound"].is_null();
        let to: SocketAddr = format!("{HTTPBIN}:1").parse().unwrap();
        let what = if open { "the outbound port is open" } else { "the outbound port is closed" };
        eventually(what, async || self.pod.connect(to).await.is_ok() == open).await;
    }

    async fn curl(&self, url: &str) -> fsm_tests::Outcome {
        curl(&self.pod, &format!("-sI {url} {}", self.trust)).await
    }
}

/// "HTTP Egress": 7 without the policy, 200 with it, 7 when it is removed.
#[tokio::test]
async fn page_4_3_http_egress_by_host_and_port() {
    let Some(outside) = start().await else { return };
    let url = "http://httpbin.org:80/get";
    fails(&outside.curl(url).await, 7);
    outside.apply(&egress_http(outside.document.clone(), "httpbin.org", 80, &[any_path()])).await;
    let outcome = outside.curl(url).await;
    answers(&outcome, 200);
    assert_eq!(outside.plain.asked()[0].remote.ip(), outside.pod.ip());
    outside.apply(&outside.document).await;
    fails(&outside.curl(url).await, 7);
    assert_eq!(outside.plain.asked().len(), 1);
}

/// "HTTPS Egress": the same by the server name of the TLS hello. A host that the policy does not list stays closed.
#[tokio::test]
async fn page_4_3_https_egress_by_server_name() {
    let Some(outside) = start().await else { return };
    let url = "https://httpbin.org:443/get";
    fails(&outside.curl(url).await, 7);
    let policy = json!({
        "TrafficMatches": {"443": [{
            "DestinationIPRanges": null,
            "Port": 443,
            "Protocol": "https",
            "TcpServiceRouteRules": {
                "TargetClusters": {"443": 100}, "AllowedEgressTraffic": false, "EgressForwardGateway": "*",
            },
        }]},
        "ClustersConfigs": {"443": {"Endpoints": {"httpbin.org:443": {"Weight": 100}}}},
    });
    outside.apply(&outside.document.clone().set("/Outbound", policy)).await;
    let outcome = outside.curl(url).await;
    answers(&outcome, 200);
    assert!(outcome.stdout.starts_with("HTTP/2 200"), "{outcome:?}");
    let other = outside.curl("https://flomesh.io:443").await;
    assert_ne!(other.code, 0, "{other:?}");
    outside.apply(&outside.document).await;
    fails(&outside.curl(url).await, 7);
    assert_eq!(outside.secure.each_ref().map(|website| website.asked().len()), [1, 0]);
}

/// "TCP Egress": port 443 of any host.
#[tokio::test]
async fn page_4_3_tcp_egress_by_port() {
    let Some(outside) = start().await else { return };
    let url = "https://flomesh.io:443";
    fails(&outside.curl(url).await, 7);
    let policy = json!({
        "TrafficMatches": {"443": [{
            "DestinationIPRanges": null,
            "Port": 443,
            "Protocol": "tcp",
            "TcpServiceRouteRules": {
                "TargetClusters": null, "AllowedEgressTraffic": true, "EgressForwardGateway": "*",
            },
        }]},
        "ClustersConfigs": null,
    });
    outside.apply(&outside.document.clone().set("/Outbound", policy)).await;
    let outcome = outside.curl(url).await;
    answers(&outcome, 200);
    assert!(outcome.stdout.starts_with("HTTP/2 200"), "{outcome:?}");
    answers(&outside.curl("https://httpbin.org:443").await, 200);
    // Another port is none of the policy's: closed, without the refusal that a closed outbound port gives.
    let other = outside.curl("http://httpbin.org:80/get").await;
    assert!(matches!(other.code, 52 | 56), "{other:?}");
    outside.apply(&outside.document).await;
    fails(&outside.curl(url).await, 7);
    assert!(outside.plain.asked().is_empty());
}

/// "HTTP Egress with SMI route matches": `/get` answers, `/status/200` is 403 with 13 bytes until the route group lists
/// `/status.*` too.
#[tokio::test]
async fn page_4_3_http_egress_by_route() {
    let Some(outside) = start().await else { return };
    let (get, status) = ("http://httpbin.org:80/get", "http://httpbin.org:80/status/200");
    fails(&outside.curl(get).await, 7);
    fails(&outside.curl(status).await, 7);
    let rule = |path: &str| json!({"Path": path, "Type": "Regex"});
    outside.apply(&egress_http(outside.document.clone(), "httpbin.org", 80, &[rule("/get")])).await;
    answers(&outside.curl(get).await, 200);
    let refused = outside.curl(status).await;
    answers(&refused, 403);
    assert!(refused.stdout.starts_with("HTTP/1.1 403 Forbidden"), "{refused:?}");
    assert_eq!(refused.header("content-length"), Some("13"), "{refused:?}");
    assert_eq!(refused.header("x-fsm-reason"), Some("no-route"));
    let both = [rule("/get"), rule("/status.*")];
    outside.apply(&egress_http(outside.document.clone(), "httpbin.org", 80, &both)).await;
    answers(&outside.curl(status).await, 200);
    answers(&outside.curl(get).await, 200);
}
