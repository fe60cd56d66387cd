//! One proxy's stream over real TLS: what it gets, what it may not have, how it ends.

use super::harness::{Control, document, eventually, patiently, pod, publish};
use fsm_api::config::Config;
use fsm_api::stream::{Ack, ControlMessage, Hello, Nack, ProxyMessage};
use fsm_control::cert::Issuer as _;
use fsm_control::cert::rotation::ANNOUNCE;
use fsm_control::push::{PodKey, Settings};
use http::StatusCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_proxy_gets_its_document_then_what_changes() {
    let control = Control::start().await;
    let buyer = pod("buyer-0");
    let first = publish(document(3, "10.9.0.1:80"), None);
    control.place(&buyer, "buyer", &first);
    let credentials = control.credentials(&buyer, "buyer").await;
    let mut proxy = control.follow(&buyer, &credentials, None).await.unwrap();
    let Some(ControlMessage::Update(update)) = proxy.next().await else { panic!("no document") };
    assert_eq!(update.version, **first.version());
    assert_eq!(update.document.get().as_bytes(), &first.document()[..]);
    proxy.ack(&update.version).await;

    let second = publish(document(3, "10.9.0.2:80"), Some(&first));
    control.place(&buyer, "buyer", &second);
    let Some(ControlMessage::Delta(delta)) = proxy.next().await else { panic!("no delta") };
    assert_eq!((&*delta.base, &*delta.version), (&**first.version(), &**second.version()));
    assert_eq!(delta.changes.len(), 1);
    proxy.ack(&delta.version).await;

    let third = publish(Config { metrics: true, ..document(4, "10.9.0.2:80") }, Some(&second));
    control.place(&buyer, "buyer", &third);
    let Some(ControlMessage::Update(update)) = proxy.next().await else { panic!("no whole document") };
    assert_eq!(update.version, **third.version());
    let report = || control.push.roster.reports().remove(0);
    eventually("the second version is acknowledged", || {
        report().version_acknowledged.as_deref() == Some(second.version())
    })
    .await;
    assert_eq!(report().version_wanted.as_deref(), Some(&**third.version()));
    assert_eq!(control.push.roster.convergence().behind, 1);
    proxy.send(&ProxyMessage::Ack(Ack { version: update.version, problems: vec!["odd\u{1b}[2J".into()] })).await;
    eventually("the third version is acknowledged", || control.push.roster.convergence().behind == 0).await;
    assert_eq!(report().problems, ["odd [2J"], "no control characters");
    assert_eq!((&*report().pod, &*report().identity), ("bookstore/buyer-0", "buyer.bookstore"));
    let page = control.push.telemetry.page();
    // The first document was older than the stream.
    assert!(page.contains("fsm_proxy_config_update_time_count 2"), "{page}");
    assert!(page.contains("fsm_proxy_connect_count 1"), "{page}");
    drop(proxy);
    eventually("the proxy has left", || control.push.roster.is_empty()).await;
}

#[tokio::test]
async fn a_proxy_that_comes_back_with_the_newest_version_gets_no_document() {
    let control = Control::start().await;
    let buyer = pod("buyer-0");
    let first = publish(document(3, "10.9.0.1:80"), None);
    control.place(&buyer, "buyer", &first);
    let credentials = control.credentials(&buyer, "buyer").await;
    let mut proxy = control.follow(&buyer, &credentials, Some(first.version())).await.unwrap();
    let Some(ControlMessage::Current(current)) = proxy.next().await else { panic!("not current") };
    assert_eq!(current.version, **first.version());
    let second = publish(document(3, "10.9.0.2:80"), Some(&first));
    control.place(&buyer, "buyer", &second);
    assert!(matches!(proxy.next().await, Some(ControlMessage::Delta(_))), "it builds upon what the proxy has");
    // Gone before it answered, and back with what it had.
    drop(proxy);
    let mut proxy = control.follow(&buyer, &credentials, Some(first.version())).await.unwrap();
    assert!(matches!(proxy.next().await, Some(ControlMessage::Delta(_))));
    assert!(control.push.telemetry.page().contains("fsm_proxy_reconnect_count 2"));
}

#[tokio::test]
async fn refusals_are_kept_and_a_missing_base_gets_the_whole() {
    let control = Control::start().await;
    let buyer = pod("buyer-0");
    let first = publish(document(3, "10.9.0.1:80"), None);
    let second = publish(document(3, "10.9.0.2:80"), Some(&first));
    control.place(&buyer, "buyer", &second);
    let credentials = control.credentials(&buyer, "buyer").await;
    let mut proxy = control.follow(&buyer, &credentials, Some(first.version())).await.unwrap();
    let Some(ControlMessage::Delta(update)) = proxy.next().await else { panic!("no delta") };
    let nack = |wants_whole| {
        ProxyMessage::Nack(Nack { version: update.version.clone(), reason: "no such base".into(), wants_whole })
    };
    proxy.send(&nack(true)).await;
    assert!(matches!(proxy.next().await, Some(ControlMessage::Update(_))));
    assert_eq!(control.push.telemetry.nacks.get(), 0, "that is no defect");
    proxy.send(&nack(false)).await;
    eventually("the refusal is counted", || control.push.telemetry.nacks.get() == 1).await;
    let last = control.push.roster.reports().remove(0).last_nack.unwrap();
    assert_eq!((last.version.as_str(), last.reason.as_str()), (&**second.version(), "no such base"));
    // The next version is offered again.
    let third = publish(document(3, "10.9.0.3:80"), Some(&second));
    control.place(&buyer, "buyer", &third);
    proxy.reach(third.version()).await;
}

#[tokio::test]
async fn nobody_gets_the_document_of_another_account() {
    let control = Control::start().await;
    let (buyer, thief) = (pod("buyer-0"), pod("thief-0"));
    let other = PodKey::new("bank", "vault-0");
    let published = publish(document(3, "10.9.0.1:80"), None);
    control.place(&buyer, "buyer", &published);
    control.place(&thief, "thief", &published);
    control.place(&other, "buyer", &published);
    let credentials = control.credentials(&thief, "thief").await;
    let refused = control.follow(&buyer, &credentials, None).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.reason.contains("thief.bookstore") && refused.reason.contains("bookstore/buyer-0"), "{refused:?}");
    // In another namespace not even the existence is told.
    let refused = control.follow(&other, &credentials, None).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    // Its own it gets, and those of its account.
    control.follow(&thief, &credentials, None).await.unwrap();
    let second = pod("thief-1");
    control.place(&second, "thief", &published);
    control.follow(&second, &credentials, None).await.unwrap();
    assert!(control.push.telemetry.page().contains("fsm_proxy_refused_count{kind=\"other-account\"} 1"));
}

#[tokio::test]
async fn a_stream_needs_a_certificate_and_a_hello() {
    let control = Control::start().await;
    let buyer = pod("buyer-0");
    control.place(&buyer, "buyer", &publish(document(1, "10.9.0.1:80"), None));
    let hello = |uid: &str| {
        ProxyMessage::Hello(Hello {
            namespace: buyer.namespace.clone(),
            pod: buyer.name.clone(),
            uid: uid.to_owned(),
            proxy_version: String::new(),
            version: None,
            deltas: true,
        })
    };
    let status = async |credentials, message: &ProxyMessage| {
        control.open(&buyer, credentials, message, None).await.map(|_| ()).unwrap_err().status
    };
    assert_eq!(status(None, &hello("")).await, StatusCode::UNAUTHORIZED);
    let credentials = control.credentials(&buyer, "buyer").await;
    let ack = ProxyMessage::Ack(Ack { version: "1".into(), problems: Vec::new() });
    assert_eq!(status(Some(&credentials), &ack).await, StatusCode::BAD_REQUEST);
    assert_eq!(status(Some(&credentials), &hello("of-another-pod")).await, StatusCode::FORBIDDEN);
    control.open(&buyer, Some(&credentials), &hello(""), None).await.unwrap();
    // Control's own certificate is no workload's.
    let (code, _) = control.post("/v1/stream", None, b"\0\0\0\0\xff".to_vec(), Some(&credentials)).await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "a message of no known kind is no Hello");
    let (code, _) = control.post("/v1/stream", None, b"\xff\xff\xff\xff\x01".to_vec(), Some(&credentials)).await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "nor is one that never ends");
    let (code, _) = control.post("/v1/nothing", None, Vec::new(), Some(&credentials)).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_pod_that_comes_a_little_later_is_waited_for() {
    let control = Arc::new(Control::start().await);
    let buyer = pod("buyer-0");
    let credentials = control.credentials(&buyer, "buyer").await;
    let following = tokio::spawn({
        let (control, buyer) = (control.clone(), buyer.clone());
        async move { control.follow(&buyer, &credentials, None).await }
    });
    control.place(&pod("another"), "buyer", &publish(document(1, "10.9.0.1:80"), None));
    let published = publish(document(1, "10.9.0.2:80"), None);
    control.place(&buyer, "buyer", &published);
    let mut proxy = patiently(following).await.unwrap().unwrap();
    proxy.reach(published.version()).await;
}

#[tokio::test]
async fn the_stream_ends_with_the_pod_and_with_a_newer_stream() {
    let control = Control::start().await;
    let buyer = pod("buyer-0");
    let published = publish(document(1, "10.9.0.1:80"), None);
    control.place(&buyer, "buyer", &published);
    let credentials = control.credentials(&buyer, "buyer").await;
    let mut old = control.follow(&buyer, &credentials, None).await.unwrap();
    old.reach(published.version()).await;
    let mut new = control.follow(&buyer, &credentials, Some(published.version())).await.unwrap();
    assert!(old.next().await.is_none(), "taken over");
    assert!(matches!(new.next().await, Some(ControlMessage::Current(_))));
    assert_eq!(control.push.roster.len(), 1);
    control.push.board.remove(&buyer);
    assert!(new.next().await.is_none());
    eventually("nobody is left", || control.push.roster.is_empty()).await;
}

#[tokio::test]
async fn more_proxies_than_the_mesh_admits_are_told_to_come_later() {
    let control = Control::start().await;
    control.push.settings.store(Arc::new(Settings { max_proxies: 1, ..Settings::default() }));
    let published = publish(document(1, "10.9.0.1:80"), None);
    let (one, two) = (pod("buyer-0"), pod("buyer-1"));
    control.place(&one, "buyer", &published);
    control.place(&two, "buyer", &published);
    let credentials = control.credentials(&one, "buyer").await;
    let first = control.follow(&one, &credentials, None).await.unwrap();
    let refused = control.follow(&two, &credentials, None).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.reason.contains("maxDataPlaneConnections"), "{refused:?}");
    // The pod that is in may come back although all places are taken.
    control.follow(&one, &credentials, None).await.unwrap();
    drop(first);
}

/// A proxy that does not read holds nobody up and keeps one document alive, not all of them.
#[tokio::test]
async fn a_slow_reader_skips_versions_and_delays_nobody() {
    let control = Control::start().await;
    let (slow_pod, quick_pod) = (pod("buyer-0"), pod("buyer-1"));
    let mut newest = publish(document(1_000, "10.9.0.0:80"), None);
    assert!(newest.document().len() > 200_000, "more than a window");
    control.place(&slow_pod, "buyer", &newest);
    control.place(&quick_pod, "buyer", &newest);
    let credentials = control.credentials(&slow_pod, "buyer").await;
    let mut slow = control.follow(&slow_pod, &credentials, None).await.unwrap();
    let mut quick = control.follow(&quick_pod, &credentials, None).await.unwrap();
    quick.reach(newest.version()).await;
    let mut published = vec![Arc::downgrade(&newest)];
    for round in 1..=200 {
        // Every version differs in more than a delta can say, so that each is a whole document.
        let mut config = document(1_000, "10.9.0.0:80");
        config.chains.insert("round".into(), vec![round.to_string()]);
        newest = publish(config, Some(&newest));
        published.push(Arc::downgrade(&newest));
        control.place(&slow_pod, "buyer", &newest);
        control.place(&quick_pod, "buyer", &newest);
        quick.reach(newest.version()).await;
    }
    let alive = published.iter().filter(|publication| publication.strong_count() > 0).count();
    assert!(alive <= 2, "{alive} documents are kept for one slow proxy");
    let Some(ControlMessage::Update(first)) = slow.next().await else { panic!("no document") };
    slow.ack(&first.version).await;
    let Some(ControlMessage::Update(second)) = slow.next().await else { panic!("no document") };
    assert_eq!(second.version, **newest.version(), "everything in between is skipped");
}

#[tokio::test]
async fn a_change_of_roots_reaches_connected_proxies_and_those_that_missed_it() {
    let control = Control::start().await;
    let (here, away) = (pod("buyer-0"), pod("buyer-1"));
    let published = publish(document(1, "10.9.0.1:80"), None);
    control.place(&here, "buyer", &published);
    control.place(&away, "buyer", &published);
    let old = control.credentials(&here, "buyer").await;
    let mut proxy = control.follow(&here, &old, None).await.unwrap();
    proxy.reach(published.version()).await;

    // Certificates tell the time in seconds: the roots change a while after the certificate was made.
    control.later(Duration::from_secs(10));
    control.tresor.rotate().await.unwrap();
    let both = control.tresor.trust_bundle().pem.clone();
    let Some(ControlMessage::Trust(trust)) = proxy.next().await else { panic!("no roots") };
    assert_eq!(trust.trust_bundle, both);
    assert_eq!(both.matches("BEGIN CERTIFICATE").count(), 2);

    // Who was away during the change gets the roots before the document.
    let mut late = control.follow(&away, &old, None).await.unwrap();
    let Some(ControlMessage::Trust(trust)) = late.next().await else { panic!("no roots") };
    assert_eq!(trust.trust_bundle, both);
    late.reach(published.version()).await;
    // Whoever has a newer certificate knows them.
    control.later(Duration::from_secs(10));
    let new = control.credentials(&away, "buyer").await;
    assert_eq!(new.issued.trust_bundle, both);
    let mut late = control.follow(&away, &new, None).await.unwrap();
    assert!(matches!(late.next().await, Some(ControlMessage::Update(_))));

    control.later(ANNOUNCE);
    control.tresor.tick().await.unwrap();
    assert!(matches!(proxy.next().await, Some(ControlMessage::Trust(_))), "time for a new certificate");
}

#[tokio::test]
async fn a_stream_ends_with_its_certificate() {
    let control = Control::start().await;
    let settings = Settings { leaf_validity: Duration::from_secs(3), ..Settings::default() };
    control.push.settings.store(Arc::new(settings));
    let buyer = pod("buyer-0");
    let published = publish(document(1, "10.9.0.1:80"), None);
    control.place(&buyer, "buyer", &published);
    let begun = Instant::now();
    let credentials = control.credentials(&buyer, "buyer").await;
    assert!((1..=2).contains(&credentials.issued.renew_after_seconds));
    let mut proxy = control.follow(&buyer, &credentials, None).await.unwrap();
    proxy.reach(published.version()).await;
    assert!(proxy.next().await.is_none());
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
}
