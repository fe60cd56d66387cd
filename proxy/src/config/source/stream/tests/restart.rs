//! What the cache is for, and what it must never do.

use super::*;
use crate::config::source::stream::keepsake::Keepsake;
use crate::tls::fixtures::Leaf;
use std::time::{Duration, SystemTime};

/// A proxy that has got a document and other endpoints and has ended, and the fsm-control too.
async fn before(directory: &Path) -> (Arc<Authority>, ControlOptions, Arc<TempDir>) {
    let authority = Arc::new(Authority::new());
    let mut control = Double::start(&authority).await;
    let (options, files) = options(control.address, &authority);
    let proxy = Proxy::start_with(options.clone(), Arc::clone(&files), Some(directory));
    let mut stream = control.stream().await;
    stream.publish("v1", &document("10.0.0.1:80")).await;
    let (first, second) = (document("10.0.0.1:80"), document("10.0.0.2:80"));
    stream.send(&ControlMessage::Delta(delta("v1", &first, "v2", &second)));
    stream.answer().await;
    // Ending the stream is one of the occasions on which what deltas made is kept; the next hello comes after it.
    drop(stream);
    let stream = control.stream().await;
    assert_eq!(stream.hello.version.as_deref(), Some("v2"));
    drop((proxy, stream));
    control.end().await;
    (authority, options, files)
}

#[tokio::test]
async fn a_proxy_that_is_restarted_while_control_is_away_serves_at_once() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    let (authority, options, files) = before(&directory).await;

    let proxy = Proxy::start_with(options.clone(), files, Some(&directory));
    proxy.version("v2").await;

    assert_eq!(proxy.identity().principal(), "web.shop.cluster.local");
    assert_eq!(
        addresses(&proxy.cluster("shop/api|80")),
        ["10.0.0.2:80"],
        "the endpoints of the end, not of the beginning"
    );
    assert!(proxy.store.source().starts_with("cache "), "{}", proxy.store.source());
    let status = proxy.link(|status| status.last_failure.is_some()).await;
    assert!(!status.connected && status.version.as_deref() == Some("v2"));
    assert_eq!(proxy.telemetry.control.get().unwrap().renewal_failures.get(), 0, "there is a certificate");

    let address = SocketAddr::new(options.address.host.parse().unwrap(), options.address.port);
    let mut control = Double::start_at(address, &authority, NAME).await;
    let stream = control.stream().await;
    assert_eq!(stream.hello.version.as_deref(), Some("v2"));
    assert_eq!(control.behaviour.lock().issued, 0, "the certificate in the cache is good for the stream");
    stream.send(&ControlMessage::Current(Current { version: "v2".into() }));
    proxy.link(|status| status.connected).await;
}

#[tokio::test]
async fn the_cache_of_another_pod_is_never_used() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    let (_, options, files) = before(&directory).await;
    let pods = [
        Pod { name: "web-1".into(), ..options.pod.clone() },
        Pod { uid: "u-2".into(), ..options.pod.clone() },
        Pod { namespace: "bank".into(), ..options.pod.clone() },
    ];
    for pod in pods {
        let other = ControlOptions { pod, ..options.clone() };
        let proxy = Proxy::start_with(other, Arc::clone(&files), Some(&directory));
        let status = proxy.link(|status| status.certificate_failure.is_some()).await;
        assert!(status.certificate.is_none() && status.version.is_none());
        assert!(proxy.store.snapshot().is_none());
    }
}

#[tokio::test]
async fn a_damaged_cache_is_passed_over() {
    for (damaged, certificate, version) in [("config.json", true, None), ("identity.json", false, Some("v2"))] {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("cache");
        let (_, options, files) = before(&directory).await;
        std::fs::write(directory.join(damaged), b"{\"version\": \"v9\", \"docu").unwrap();

        let proxy = Proxy::start_with(options, files, Some(&directory));

        let status = proxy.link(|status| status.last_failure.is_some() || status.certificate_failure.is_some()).await;
        assert_eq!(status.certificate.is_some(), certificate, "{damaged}");
        assert_eq!(status.version.as_deref(), version, "{damaged}");
        assert_eq!(proxy.store.snapshot().is_some(), version.is_some(), "{damaged}");
    }
}

#[tokio::test]
async fn a_certificate_that_expired_in_the_cache_is_not_used_and_a_new_one_is_asked_for() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    let (authority, options, files) = before(&directory).await;
    let mut leaf = Leaf::fsm("web.shop", &[]);
    leaf.not_after = time::OffsetDateTime::now_utc() - time::Duration::minutes(1);
    let keepsake = Keepsake::new(Arc::new(Cache::open(&directory, &options.cache_owner()).unwrap()));
    keepsake.keep_identity(&authority.issue(&leaf), SystemTime::now() + Duration::from_secs(3600));

    let proxy = Proxy::start_with(options.clone(), files, Some(&directory));
    proxy.version("v2").await;

    let snapshot = proxy.store.snapshot().unwrap();
    assert!(snapshot.identity.is_none(), "so the pod is not ready");
    let problems: Vec<&str> = snapshot.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(problems, ["Certificate", "Outbound"], "said once, not for every cluster");
    assert!(addresses(&proxy.cluster("shop/api|80")).is_empty(), "never in plaintext");
    let address = SocketAddr::new(options.address.host.parse().unwrap(), options.address.port);
    let mut control = Double::start_at(address, &authority, NAME).await;
    let stream = control.stream().await;
    assert_eq!(stream.hello.version.as_deref(), Some("v2"));
    assert_eq!(control.behaviour.lock().issued, 1);
    assert_eq!(proxy.identity().principal(), "web.shop.cluster.local");
    assert_eq!(addresses(&proxy.cluster("shop/api|80")), ["10.0.0.2:80"]);
    assert!(proxy.store.snapshot().unwrap().problems.is_empty());
}

#[test]
fn what_deltas_made_is_kept_when_it_is_time() {
    let parent = tempfile::tempdir().unwrap();
    let keepsake = Keepsake::new(Arc::new(Cache::open(&parent.path().join("cache"), "somebody").unwrap()));
    let kept = || keepsake.document().unwrap().update;
    let ControlMessage::Update(whole) = update("v1", &document("10.0.0.1:80")) else { unreachable!() };
    keepsake.keep_document(&whole);
    assert_eq!((kept().version.as_str(), kept().document.get()), ("v1", whole.document.get()));
    keepsake.note_change();
    assert!(keepsake.has_unsaved() && kept().version == "v1", "noting costs no disk");
    assert!(keepsake.take_unsaved() && !keepsake.take_unsaved());
    let (mut config, _) = Config::read(document("10.0.0.2:80").to_string().as_bytes()).unwrap();
    config.version = Some("v2".into());
    keepsake.keep_change(&config);
    let (read, problems) = Config::read(kept().document.get().as_bytes()).unwrap();
    assert_eq!((kept().version.as_str(), read, problems), ("v2", config, Vec::new()));
    keepsake.note_change();
    keepsake.keep_document(&whole);
    assert!(!keepsake.has_unsaved(), "that was another document");
}
