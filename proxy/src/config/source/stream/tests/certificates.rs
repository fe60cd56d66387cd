//! Certificates: renewed, refused, replaced together with their roots.

use super::*;
use fsm_api::stream::{IdentityNames, Trust};
use http::StatusCode;

#[tokio::test]
async fn a_certificate_is_renewed_in_place() {
    let authority = Arc::new(Authority::new());
    let mut control = Double::start(&authority).await;
    control.behaviour.lock().renew_after_seconds = 1;
    let proxy = Proxy::start(control.address, &authority);
    let mut stream = control.stream().await;
    control.asked().await;
    stream.publish("v1", &document("10.0.0.1:80")).await;
    let (snapshot, identity) = (proxy.store.snapshot().unwrap(), proxy.identity());
    let first = identity.certificates().0;

    control.asked().await;
    proxy.link(|status| status.certificate.is_some()).await;
    while identity.certificates().0 == first {
        tokio::task::yield_now().await;
    }

    assert!(Arc::ptr_eq(&snapshot, &proxy.store.snapshot().unwrap()), "nothing was compiled");
    assert!(Arc::ptr_eq(&identity, &proxy.identity()));
    assert!(proxy.telemetry.control.get().unwrap().renewals.get() >= 1);
    let answer = stream.publish("v2", &document("10.0.0.2:80")).await;
    assert!(matches!(answer, ProxyMessage::Ack(_)), "the stream has not noticed");
}

#[tokio::test]
async fn a_renewal_that_fails_keeps_the_old_certificate_and_is_tried_again() {
    let authority = Arc::new(Authority::new());
    let mut control = Double::start(&authority).await;
    control.behaviour.lock().renew_after_seconds = 1;
    let proxy = Proxy::start(control.address, &authority);
    let mut stream = control.stream().await;
    control.asked().await;
    stream.publish("v1", &document("10.0.0.1:80")).await;
    control.behaviour.lock().instead = Some((StatusCode::SERVICE_UNAVAILABLE, "the disk is full".into()));
    let identity = proxy.identity();
    let first = identity.certificates().0;

    control.asked().await;
    let status = proxy.link(|status| status.certificate_failure.is_some()).await;

    let failure = status.certificate_failure.unwrap().message;
    assert!(failure.contains("the disk is full") && failure.contains("the old certificate stays in use"), "{failure}");
    assert!(status.connected, "the stream goes on");
    assert_eq!(identity.certificates().0, first);
    assert_eq!(proxy.telemetry.control.get().unwrap().renewal_failures.get(), 1);
    control.behaviour.lock().instead = None;
    proxy.link(|status| status.certificate_failure.is_none()).await;
    while identity.certificates().0 == first {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_is_repeated_with_the_names_that_the_authority_wants_in_it() {
    let authority = Arc::new(Authority::new());
    let mut control = Double::start(&authority).await;
    let spiffe = "spiffe://cluster.local/ns/shop/sa/web";
    control.behaviour.lock().wants = Some(IdentityNames {
        common_name: "web.shop.cluster.local".into(),
        dns: vec!["web.shop.cluster.local".into()],
        uris: vec![spiffe.into()],
    });
    let _proxy = Proxy::start(control.address, &authority);
    let stream = control.stream().await;
    assert_eq!(stream.service, "web.shop");
    let behaviour = control.behaviour.lock();
    assert_eq!(behaviour.issued, 2);
    assert_eq!(behaviour.claimed, ["web.shop.cluster.local", "web.shop.cluster.local", spiffe]);
}

#[tokio::test]
async fn other_roots_are_trusted_at_once_and_a_new_certificate_follows() {
    let (old, mut control, proxy, mut stream) = connected().await;
    control.asked().await;
    stream.publish("v1", &document("10.0.0.1:80")).await;
    let (snapshot, identity) = (proxy.store.snapshot().unwrap(), proxy.identity());
    assert_eq!(identity.certificates().1.len(), 1);
    let first = identity.certificates().0;
    let new = Arc::new(Authority::new());
    {
        let mut behaviour = control.behaviour.lock();
        behaviour.bundle = old.pem().to_owned();
        behaviour.authority = Arc::clone(&new);
    }

    stream.send(&ControlMessage::Trust(Trust { trust_bundle: "no roots at all".into() }));
    stream.send(&ControlMessage::Trust(Trust { trust_bundle: format!("{}{}", old.pem(), new.pem()) }));
    assert!(matches!(stream.publish("v2", &document("10.0.0.2:80")).await, ProxyMessage::Ack(_)));

    assert_eq!(identity.certificates().1.len(), 2, "trusted before the next document");
    control.asked().await;
    while identity.certificates().0 == first {
        tokio::task::yield_now().await;
    }
    assert!(Arc::ptr_eq(snapshot.identity.as_ref().unwrap(), &proxy.identity()));
    let status = proxy.link(|status| status.connected).await;
    assert_eq!(status.streams, 1, "the stream has not noticed");
}

#[tokio::test]
async fn a_certificate_for_somebody_else_sets_everything_up_anew() {
    let (_, mut control, proxy, mut stream) = connected().await;
    control.asked().await;
    stream.publish("v1", &document("10.0.0.1:80")).await;
    let identity = proxy.identity();
    control.behaviour.lock().account = "admin.shop";

    stream.send(&ControlMessage::Trust(Trust { trust_bundle: control.behaviour.lock().authority.pem().to_owned() }));

    let stream = control.stream().await;
    assert_eq!(
        (stream.service.as_str(), stream.hello.version),
        ("admin.shop", None),
        "another group has another document"
    );
    assert!(!Arc::ptr_eq(&identity, &proxy.identity()));
    assert_eq!(proxy.identity().principal(), "admin.shop.cluster.local");
    assert_eq!(identity.principal(), "web.shop.cluster.local");
}

#[tokio::test]
async fn a_control_plane_that_lost_its_authority_is_asked_for_a_new_certificate() {
    let (old, control, proxy, mut stream) = connected().await;
    stream.publish("v1", &document("10.0.0.1:80")).await;
    let (address, identity) = (control.address, proxy.identity());
    let new = Arc::new(Authority::new());
    // The pod's file is a ConfigMap that changes with the authority.
    std::fs::write(&proxy.options.ca, format!("{}{}", old.pem(), new.pem())).unwrap();
    drop(stream);
    control.end().await;

    let mut control = Double::start_at(address, &new, NAME).await;
    let stream = control.stream().await;

    assert_eq!(stream.service, "web.shop");
    assert_eq!(stream.hello.version.as_deref(), Some("v1"));
    assert_eq!(control.behaviour.lock().issued, 1);
    assert!(Arc::ptr_eq(&identity, &proxy.identity()), "in place");
}
