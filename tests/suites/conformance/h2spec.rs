//! RFC 9113 and RFC 7541 by h2spec, against every listener that speaks HTTP/2.
//!
//! h2spec has no client certificate, so it reaches the inbound listener in two ways: in plaintext from an address that
//! the document lets in without TLS, and through a forwarder in its own pod that adds mutual TLS with ALPN, as another
//! sidecar would come.

use fsm_tests::{Pair, Pod, Process, Scene, TlsClient, tool};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

const INSTALL: &str =
    "install it: GOBIN=$PWD/target/tools go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";

/// No application's user is the proxy's: that one's traffic is not redirected.
const APPLICATION_UID: u32 = 1000;

/// A run takes less than a second, and two more for each case that waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);

/// Cases of the generic, http2 and hpack suites, the strict one included; a report with fewer is not a whole one.
const CASES: usize = 146;

/// Cases that may fail: the suite with its RFC section, the case, and why the proxy does not pass it. One that passes
/// fails the test too, so that the table stays true.
type Exceptions = &'static [(&'static str, &'static str, &'static str)];

const PLAINTEXT: Exceptions = &[(
    "http2/3.5",
    "Sends invalid connection preface",
    "RFC 9113 §3.4: an invalid preface means that the peer does not speak HTTP/2. The listener serves HTTP/1 on the \
     same port, so what is no preface is a malformed HTTP/1 request: it is answered by 400 before the connection is \
     closed, and h2spec wants to see the close alone.",
)];

/// With ALPN there is no doubt about the version.
const AGREED_BY_ALPN: Exceptions = &[];

#[tokio::test]
async fn the_outbound_listener_conforms() {
    let Some((program, mut scene)) = start() else { return };
    // h2spec leaves the port out of the authority when it is 80.
    let host = json!({"RuleName": "api.shop"});
    scene.client_document =
        scene.client_document.clone().set("/Outbound/TrafficMatches/80/0/HttpHostPort2Service/10.96.0.1", host.clone());
    scene.server_document =
        scene.server_document.clone().set("/Inbound/TrafficMatches/80/HttpHostPort2Service/10.96.0.1", host);
    let pair = scene.start().await;
    let at = pair.scene.http.address();
    check(&pair, &program, &pair.scene.client, at, PLAINTEXT).await;
}

#[tokio::test]
async fn the_inbound_listener_conforms() {
    let Some((program, mut scene)) = start() else { return };
    let range = format!("{}/32", scene.stranger.ip());
    scene.server_document = scene
        .server_document
        .clone()
        .set("/Inbound/TrafficMatches/80/HttpHostPort2Service/*", json!({"RuleName": "api.shop"}))
        .set("/Inbound/TrafficMatches/80/SourceIPRanges", json!({range: null}));
    let pair = scene.start().await;
    let at = pair.inbound(&pair.scene.http);
    check(&pair, &program, &pair.scene.stranger, at, PLAINTEXT).await;
}

#[tokio::test]
async fn the_inbound_listener_conforms_behind_mutual_tls() {
    let Some((program, mut scene)) = start() else { return };
    let forwarder = SocketAddr::from(([127, 0, 0, 1], 80));
    scene.server_document = scene
        .server_document
        .clone()
        .set("/Inbound/TrafficMatches/80/HttpHostPort2Service/127.0.0.1", json!({"RuleName": "api.shop"}));
    let pair = scene.start().await;
    forward(&pair, forwarder);
    check(&pair, &program, &pair.scene.stranger, forwarder, AGREED_BY_ALPN).await;
}

fn start() -> Option<(std::path::PathBuf, Scene)> {
    let program = tool("h2spec", INSTALL)?;
    Some((program, Scene::new()?))
}

/// Carries connections of the stranger's pod to the server's sidecar through mutual TLS.
fn forward(pair: &Pair, at: SocketAddr) {
    let listener = pair.scene.stranger.listen(at);
    let tls = TlsClient::new(&pair.leaf("web.shop")).alpn(&["h2"]);
    let (pod, to) = (pair.scene.stranger.clone(), pair.inbound(&pair.scene.http));
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (tls, pod) = (tls.clone(), pod.clone());
            tokio::spawn(async move {
                let mut far = tls.connect(&pod, to).await?.into_stream();
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
}

async fn check(pair: &Pair, program: &std::path::Path, pod: &Pod, at: SocketAddr, exceptions: Exceptions) {
    let results = run(pod, program, at).await;
    let mut wrong = Vec::new();
    for ((suite, case), failure) in &results {
        let exception = exceptions.iter().find(|(section, name, _)| section == suite && name == case);
        match (failure, exception) {
            (Some(failure), None) => wrong.push(format!("{suite} {case:?} fails: {failure}")),
            (None, Some(_)) => wrong.push(format!("{suite} {case:?} passes: take it off the list of exceptions")),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    for (section, name, _) in exceptions {
        if !results.contains_key(&((*section).to_owned(), (*name).to_owned())) {
            wrong.push(format!("{section} {name:?} is excepted and was not run"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), results.len(), wrong.join("\n"));
    assert!(results.len() >= CASES, "only {:?} were run", results.keys());
    // The requests among them have passed both spines, not a local reply.
    assert!(pair.application.requests().len() > 30, "{}", pair.application.requests().len());
    pair.assert_healthy().await;
}

type Results = BTreeMap<(String, String), Option<String>>;

/// Runs all suites and reads the report: what each case of each suite failed with, if it did.
async fn run(pod: &Pod, program: &std::path::Path, at: SocketAddr) -> Results {
    let directory = pod.directory().join("h2spec");
    fs::create_dir_all(&directory).unwrap();
    std::os::unix::fs::chown(&directory, Some(APPLICATION_UID), Some(APPLICATION_UID)).unwrap();
    let report = directory.join("report.xml");
    let mut command = Command::new(program);
    command
        .args(["generic", "http2", "hpack", "--strict", "--host", &at.ip().to_string()])
        .args(["--port", &at.port().to_string(), "--junit-report"])
        .arg(&report)
        .uid(APPLICATION_UID)
        .gid(APPLICATION_UID);
    let mut process = Process::start(pod, command);
    let status = process.exit_within(PATIENCE).await;
    // 1 says that a case has failed; the report says which.
    assert!(matches!(status.code(), Some(0 | 1)), "h2spec: {status}\n{}", process.output().join("\n"));
    let report = fs::read_to_string(&report)
        .unwrap_or_else(|why| panic!("h2spec left no report: {why}\n{}", process.output().join("\n")));
    read_report(&report)
}

/// Reads JUnit XML as far as h2spec writes it: `<testcase package classname>`, empty or with a `<failure>` or `<error>`.
fn read_report(report: &str) -> Results {
    let mut results = Results::new();
    for case in report.split("<testcase ").skip(1) {
        let (head, rest) = case.split_once('>').expect("a tag ends");
        let body = rest.split("</testcase>").next().unwrap_or_default();
        let attribute = |name: &str| {
            let (_, value) = head.split_once(&format!("{name}=\""))?;
            value.split('"').next().map(unescaped)
        };
        let suite = attribute("package").unwrap_or_else(|| panic!("a case without its suite: {head}"));
        let name = attribute("classname").unwrap_or_else(|| panic!("a case without a name: {head}"));
        let failed = ["<failure", "<error", "<skipped"].iter().any(|tag| body.contains(tag));
        let found = results.insert((suite.clone(), name.clone()), failed.then(|| unescaped(body.trim())));
        assert!(found.is_none(), "{suite} {name:?} stands twice in the report");
    }
    results
}

fn unescaped(text: &str) -> String {
    let references = [
        ("&#34;", "\""),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#xA;", "\n"),
        ("&#x9;", "\t"),
        ("&amp;", "&"),
    ];
    references.iter().fold(text.to_owned(), |text, (reference, character)| text.replace(reference, character))
}

#[test]
fn a_report_tells_failures_from_successes() {
    let report = r#"<testsuites><testsuite name="3.5" package="http2/3.5" tests="2" failures="1">
        <testcase package="http2/3.5" classname="Sends &#34;a&#34;" time="0.1"></testcase>
        <testcase package="http2/3.5" classname="Sends b" time="0.2"><failure>a &lt; b</failure></testcase>
        <testcase package="http2/3.6" classname="Sends b" time="0.2"/>
        </testsuite></testsuites>"#;
    let results = read_report(report);
    let of = |suite: &str, name: &str| &results[&(suite.to_owned(), name.to_owned())];
    assert_eq!(results.len(), 3);
    assert_eq!(of("http2/3.5", "Sends \"a\""), &None);
    assert!(of("http2/3.5", "Sends b").as_ref().unwrap().contains("a < b"));
    assert_eq!(of("http2/3.6", "Sends b"), &None);
}
