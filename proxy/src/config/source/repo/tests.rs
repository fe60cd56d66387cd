#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use super::*;
use crate::config::cache::Cache;
use crate::config::store::Status;
use fake::{Fake, gzip, reply};
use flate2::Compression;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far above anything a healthy test needs; reached only by a failing one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Polls at once, and waits for a peer as long as a slow test machine may need.
const QUICK: Pace = Pace { interval: Duration::from_millis(5), deadline: PATIENCE };

fn document(version: &str) -> String {
    format!(r#"{{"Version":"{version}","Spec":{{"ServiceIdentity":"web.shop"}}}}"#)
}

fn new_store() -> Arc<Store> {
    Arc::new(Store::new(Arc::new(Telemetry::new())))
}

/// A follower that is polled by hand.
fn follower(url: &RepoUrl) -> Follower {
    Follower::new(url.clone(), new_store(), QUICK)
}

fn version(follower: &Follower) -> Option<String> {
    follower.store.snapshot().map(|snapshot| snapshot.version.clone())
}

/// A follower whose first document, version 1, is in force.
async fn settled(fake: &Fake) -> Follower {
    fake.publish("e1", &[("config.json.gz", reply(200, gzip(&document("1"))))]);
    let mut follower = follower(&fake.url);
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("1"));
    fake.forget();
    follower
}

#[tokio::test]
async fn compressed_document_is_asked_for_first() {
    let fake = Fake::start().await;
    fake.publish(
        "e1",
        &[("config.json.gz", reply(200, gzip(&document("1")))), ("config.json", reply(200, document("old")))],
    );
    let mut follower = follower(&fake.url);
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("1"));
    assert_eq!(fake.asked(), ["HEAD ", "GET config.json.gz"]);
    assert_eq!(follower.store.source(), format!("{}config.json.gz", fake.url));
}

#[tokio::test]
async fn plain_document_is_taken_when_there_is_no_compressed_one() {
    let fake = Fake::start().await;
    fake.publish("e1", &[("config.json", reply(200, document("1")))]);
    let mut follower = follower(&fake.url);
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("1"));
    assert_eq!(fake.asked(), ["HEAD ", "GET config.json.gz", "GET config.json"]);
}

#[tokio::test]
async fn nothing_is_fetched_while_the_codebase_stays() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    for _ in 0..3 {
        follower.poll().await.unwrap();
    }
    assert_eq!(fake.asked(), ["HEAD ", "HEAD ", "HEAD "]);
}

#[tokio::test]
async fn new_etag_or_new_date_fetches_again() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    fake.publish("e2", &[("config.json.gz", reply(200, gzip(&document("2"))))]);
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("2"));
    fake.forget();

    fake.set_date("Mon, 02 Mar 2026 09:15:00 GMT");
    follower.poll().await.unwrap();
    assert_eq!(fake.asked(), ["HEAD ", "GET config.json.gz"]);
    assert_eq!(follower.store.status().generation, 2, "the same document is not put in force again");
}

#[tokio::test]
async fn codebase_without_etag_and_date_is_fetched_at_every_poll() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    fake.anonymous();
    fake.set("config.json.gz", reply(200, gzip(&document("2"))));
    follower.poll().await.unwrap();
    fake.set("config.json.gz", reply(200, gzip(&document("3"))));
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("3"));
}

#[tokio::test]
async fn inherited_placeholder_is_never_a_document() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    fake.publish("e2", &[("config.json", reply(200, "{}"))]);
    for _ in 0..2 {
        let error = follower.poll().await.unwrap_err();
        assert!(matches!(error, PollError::Placeholder(_)), "{error}");
        assert_eq!(version(&follower).as_deref(), Some("1"));
    }
    // The same version, now complete: it is asked for at every poll until it is.
    fake.set("config.json.gz", reply(200, gzip(&document("2"))));
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("2"));
}

#[tokio::test]
async fn document_behind_a_compressed_placeholder_is_found() {
    let fake = Fake::start().await;
    fake.publish("e1", &[("config.json.gz", reply(200, gzip("{}"))), ("config.json", reply(200, document("1")))]);
    let mut follower = follower(&fake.url);
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("1"));
    assert_eq!(follower.store.status().rejected, None);
}

#[tokio::test]
async fn deleted_codebase_leaves_the_last_document_in_force() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    fake.delete();
    let error = follower.poll().await.unwrap_err();
    assert!(error.to_string().contains("404") && error.to_string().contains("does not know this pod"), "{error}");
    assert_eq!(version(&follower).as_deref(), Some("1"));

    // Derived anew, but not filled yet.
    fake.publish("e2", &[]);
    let error = follower.poll().await.unwrap_err();
    assert!(matches!(error, PollError::NoDocument(_)), "{error}");
    assert_eq!(version(&follower).as_deref(), Some("1"));

    fake.publish("e2", &[("config.json.gz", reply(200, gzip(&document("2"))))]);
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("2"));
}

#[tokio::test]
async fn failing_download_is_repeated_at_the_next_poll() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    fake.publish("e2", &[("config.json.gz", reply(500, "")), ("config.json", reply(200, document("wrong")))]);
    let error = follower.poll().await.unwrap_err();
    assert!(error.to_string().contains("500"), "{error}");
    assert_eq!(version(&follower).as_deref(), Some("1"));
    fake.set("config.json.gz", reply(200, gzip(&document("2"))));
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("2"));
}

#[tokio::test]
async fn broken_document_is_recorded_and_not_fetched_again_until_it_changes() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    let mut broken = gzip(&document("2"));
    broken.truncate(broken.len() / 2);
    fake.publish("e2", &[("config.json.gz", reply(200, broken))]);
    follower.poll().await.unwrap();
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("1"));
    assert_eq!(follower.store.status().rejected.unwrap().count, 1);
    assert_eq!(fake.asked(), ["HEAD ", "GET config.json.gz", "HEAD "]);

    fake.publish("e3", &[("config.json.gz", reply(200, gzip(&document("3"))))]);
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("3"));
    assert_eq!(follower.store.status().rejected, None);
}

#[tokio::test]
async fn redirect_is_refused() {
    let target = Fake::start().await;
    target.publish("t1", &[("config.json.gz", reply(200, gzip(&document("evil"))))]);
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    for status in [301, 302, 307, 308] {
        let moved = reply(status, "").with("location", format!("{}config.json.gz", target.url));
        fake.publish(&format!("e{status}"), &[("config.json.gz", moved)]);
        let error = follower.poll().await.unwrap_err();
        assert!(error.to_string().contains("redirects are not followed"), "{error}");
    }
    fake.set("", reply(302, "").with("location", target.url.to_string()));
    follower.poll().await.unwrap_err();
    assert_eq!(target.asked(), Vec::<String>::new());
    assert_eq!(version(&follower).as_deref(), Some("1"));
}

#[tokio::test]
async fn endless_body_is_cut_off() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    follower.client.limit_bodies(1_000);
    fake.publish("e2", &[("config.json.gz", reply(200, vec![b' '; 1_001]))]);
    let error = follower.poll().await.unwrap_err();
    assert!(matches!(error, PollError::Fetch(FetchError::TooLarge(_, 1_000))), "{error}");
    fake.set("config.json.gz", reply(200, gzip(&document("2"))));
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("2"));
}

#[tokio::test]
async fn list_is_asked_for_with_get_where_head_is_not_known() {
    for status in [405, 501] {
        let fake = Fake::start().await;
        fake.publish("e1", &[("config.json.gz", reply(200, gzip(&document("1"))))]);
        fake.set_head(reply(status, ""));
        let mut follower = follower(&fake.url);
        follower.poll().await.unwrap();
        assert_eq!(version(&follower).as_deref(), Some("1"));
        assert_eq!(fake.asked(), ["HEAD ", "GET ", "GET config.json.gz"]);
    }
}

#[tokio::test]
async fn one_connection_serves_many_polls_and_is_replaced_when_it_died() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    for _ in 0..3 {
        follower.poll().await.unwrap();
    }
    assert_eq!(fake.connections(), 1);
    fake.hang_up().await;
    fake.publish("e2", &[("config.json.gz", reply(200, gzip(&document("2"))))]);
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("2"));
    assert_eq!(fake.connections(), 2);
}

#[tokio::test]
async fn server_that_closes_after_every_answer_is_followed() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    let close = |body: Vec<u8>| reply(200, body).with("connection", "close");
    fake.publish("e2", &[("config.json.gz", close(gzip(&document("2"))))]);
    follower.poll().await.unwrap();
    fake.publish("e3", &[("config.json.gz", close(gzip(&document("3"))))]);
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("3"));
}

#[tokio::test]
async fn silent_server_runs_into_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = fake::url(listener.local_addr().unwrap());
    let pace = Pace { deadline: Duration::from_millis(50), ..QUICK };
    let mut follower = Follower::new(url, new_store(), pace);
    let error = timeout(PATIENCE, follower.poll()).await.unwrap().unwrap_err();
    assert!(matches!(error, PollError::Fetch(FetchError::Timeout(..))), "{error}");
    assert!(error.to_string().contains("did not answer within 0.05 s"), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_an_error_that_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = fake::url(listener.local_addr().unwrap());
    drop(listener);
    let error = follower(&url).poll().await.unwrap_err();
    assert!(matches!(error, PollError::Fetch(FetchError::Connect(..))), "{error}");
    assert!(error.to_string().contains("check that the controller runs"), "{error}");
}

#[tokio::test]
async fn answers_that_are_no_http_or_break_off_are_errors() {
    let answers: [&[u8]; 5] = [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\ncontent-length: 20\r\n\r\n",
        b"HTTP/1.1 200 OK\r\netag: \"1\"",
        b"HTTP/9.9 200 OK\r\n\r\n",
    ];
    for answer in answers {
        let url = raw_server(answer).await;
        let error = timeout(PATIENCE, follower(&url).poll()).await.unwrap().unwrap_err();
        assert!(matches!(error, PollError::Fetch(FetchError::Http(..))), "{error}");
    }
}

#[tokio::test]
async fn cut_off_document_is_no_document() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = fake::url(listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let answer: &[u8] = match request[..read].starts_with(b"HEAD") {
                true => b"HTTP/1.1 200 OK\r\netag: \"1\"\r\nconnection: close\r\n\r\n",
                false => b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{\"Version\":\"1\"}",
            };
            stream.write_all(answer).await.unwrap();
        }
    });
    let mut follower = follower(&url);
    let error = timeout(PATIENCE, follower.poll()).await.unwrap().unwrap_err();
    assert!(matches!(error, PollError::Fetch(_)), "{error}");
    assert_eq!(version(&follower), None);
    assert_eq!(follower.seen, None, "it is fetched again at the next poll");
    server.abort();
}

/// Answers every connection with the same bytes once it was asked something, and closes it.
async fn raw_server(answer: &'static [u8]) -> RepoUrl {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = fake::url(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            drop(stream.read(&mut request).await);
            drop(stream.write_all(answer).await);
        }
    });
    url
}

#[tokio::test]
async fn status_is_posted_after_a_poll() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    follower.report().await;
    let posts = fake.posts();
    let report: status::Report = serde_json::from_slice(&posts[0]).unwrap();
    assert_eq!(report.version, "e1", "the codebase's version without quotes");
    assert_eq!(report.uuid.len(), 36);
    assert!(report.since > 0 && report.timestamp >= report.since);
    assert!(report.modules.is_empty() && report.logs.is_empty());
    assert_eq!(fake.asked(), ["POST "]);
}

#[tokio::test]
async fn refused_status_report_disturbs_nothing() {
    let fake = Fake::start().await;
    let mut follower = settled(&fake).await;
    fake.set_post(reply(500, "no"));
    follower.report().await;
    fake.publish("e2", &[("config.json.gz", reply(200, gzip(&document("2"))))]);
    follower.poll().await.unwrap();
    assert_eq!(version(&follower).as_deref(), Some("2"));
    assert_eq!(follower.store.status().source_failure, None);
}

/// Runs a whole source until its store satisfies a condition.
async fn run_until(store: Arc<Store>, url: &RepoUrl, condition: impl Fn(&Status) -> bool) {
    let run = Follower::new(url.clone(), store.clone(), QUICK).run();
    let reached = async {
        while !condition(&store.status()) {
            tokio::task::yield_now().await;
        }
    };
    let outcome = timeout(PATIENCE, async {
        tokio::select! { () = run => {}, () = reached => {} }
    })
    .await;
    assert!(outcome.is_ok(), "the status stays {:?}", store.status());
}

#[tokio::test]
async fn repository_that_comes_up_late_is_found() {
    let fake = Fake::start().await;
    fake.delete();
    let store = new_store();
    run_until(store.clone(), &fake.url, |status| status.source_failure.as_ref().is_some_and(|f| f.count > 2)).await;
    assert!(store.failure().unwrap().contains("not ready until there is one"), "{:?}", store.failure());
    fake.publish("e1", &[("config.json.gz", reply(200, gzip(&document("1"))))]);
    run_until(store.clone(), &fake.url, |status| status.generation == 1 && status.source_failure.is_none()).await;
}

#[tokio::test]
async fn cached_document_bridges_an_outage_of_the_controller() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    let fake = Fake::start().await;
    fake.publish("e1", &[("config.json.gz", reply(200, gzip(&document("1"))))]);
    let cached = || {
        let cache = Cache::open(&directory, &fake.url.to_string()).unwrap();
        Arc::new(Store::new(Arc::new(Telemetry::new())).with_cache(cache))
    };
    // The report follows when all is done with the document, the cache included.
    run_until(cached(), &fake.url, |_| !fake.posts().is_empty()).await;
    fake.delete();

    let restarted = cached();
    run_until(restarted.clone(), &fake.url, |status| status.source_failure.is_some()).await;
    assert_eq!(restarted.snapshot().unwrap().version, "1");
    assert!(restarted.source().starts_with("cache "), "{}", restarted.source());

    fake.publish("e2", &[("config.json.gz", reply(200, gzip(&document("2"))))]);
    run_until(restarted.clone(), &fake.url, |status| status.version == "2").await;
    assert_eq!(restarted.source(), format!("{}config.json.gz", fake.url));
}

#[tokio::test]
async fn source_ends_when_it_is_told_to() {
    let fake = Fake::start().await;
    let stop = CancellationToken::new();
    let source = super::super::Source::Repo(fake.url.clone());
    let run = tokio::spawn(super::super::run(source, new_store(), Arc::default(), None, stop.clone()));
    stop.cancel();
    timeout(PATIENCE, run).await.unwrap().unwrap();
}

#[test]
fn polls_of_many_proxies_spread() {
    let pace = Pace::default();
    let pauses: Vec<Duration> = (0..100).map(|_| pace.next()).collect();
    assert!(pauses.iter().all(|pause| *pause >= pace.interval.mul_f64(0.9) && *pause <= pace.interval.mul_f64(1.1)));
    assert!(pauses.iter().max() > pauses.iter().min());
}
