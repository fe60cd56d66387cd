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
    stream.send(&ControlMessage::Endpoints(endpoint_update("v1", "v2", "shop/api|80", &["10.0.0.2:80"])));
    stream.answer().await;
    // Ending the stream is one of the occasions on which endpoints are kept; the next hello comes after it.
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
    for (damaged, certificate, version) in
        [("config.json", true, None), ("endpoints.json", true, Some("v1")), ("identity.json", false, Some("v2"))]
    {
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
fn endpoints_are_merged_over_the_document_that_is_kept() {
    let parent = tempfile::tempdir().unwrap();
    let keepsake = Keepsake::new(Arc::new(Cache::open(&parent.path().join("cache"), "somebody").unwrap()));
    let ControlMessage::Update(whole) = update("v1", &document("10.0.0.1:80")) else { unreachable!() };
    keepsake.keep_document(&whole);
    keepsake.remember(&endpoint_update("v1", "v2", "a", &["10.0.0.2:80"]));
    keepsake.remember(&endpoint_update("v2", "v3", "b", &["10.0.0.3:80"]));
    keepsake.remember(&endpoint_update("v3", "v4", "a", &["10.0.0.4:80"]));
    assert!(keepsake.document().unwrap().endpoints.is_none(), "remembering costs no disk");
    keepsake.keep_document(&whole);
    for update in [
        endpoint_update("v1", "v2", "a", &["10.0.0.2:80"]),
        endpoint_update("v2", "v3", "b", &["10.0.0.3:80"]),
        endpoint_update("v3", "v4", "a", &["10.0.0.4:80"]),
    ] {
        keepsake.remember(&update);
    }
    assert!(keepsake.has_unsaved());
    keepsake.keep_endpoints();
    assert!(!keepsake.has_unsaved());
    let endpoints = keepsake.document().unwrap().endpoints.unwrap();
    assert_eq!((endpoints.base.as_str(), endpoints.version.as_str()), ("v1", "v4"));
    assert_eq!(endpoints.clusters.len(), 2);
    assert!(endpoints.clusters["a"].contains_key("10.0.0.4:80"));

    let ControlMessage::Update(whole) = update("v5", &document("10.0.0.5:80")) else { unreachable!() };
    keepsake.keep_document(&whole);
    assert!(keepsake.document().unwrap().endpoints.is_none(), "those were of another document");
}
