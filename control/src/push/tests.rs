#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Board, PodKey, Publication, Tenant};
use crate::cert::Identity;
use aws_lc_rs::digest::{SHA256, digest};
use fsm_api::config::{ClusterConfig, Config, Endpoint, Outbound, Touched};
use fsm_api::stream::frame::Frame;
use fsm_api::stream::{ControlMessage, Delta};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// A document with some clusters and their endpoints.
pub(super) fn config(clusters: &[(&str, &[&str])]) -> Config {
    let endpoints = |addresses: &[&str]| -> BTreeMap<String, Endpoint> {
        addresses.iter().map(|&address| (address.to_owned(), Endpoint { weight: 100, ..Endpoint::default() })).collect()
    };
    let cluster = |addresses| ClusterConfig { endpoints: endpoints(addresses), ..ClusterConfig::default() };
    let clusters_configs = clusters.iter().map(|&(name, addresses)| (name.to_owned(), cluster(addresses))).collect();
    Config { outbound: Some(Outbound { clusters_configs, ..Outbound::default() }), ..Config::default() }
}

pub(super) fn publish(config: Config, before: Option<&Publication>) -> Arc<Publication> {
    let made = Publication::make(config, before, Instant::now(), SystemTime::now()).unwrap();
    Arc::new(made.expect("another document"))
}

pub(super) fn message(frame: &[u8]) -> ControlMessage {
    let read = Frame::first(frame).unwrap().unwrap();
    assert_eq!(read.len(), frame.len());
    read.control_message().unwrap()
}

pub(super) fn tenant(account: &str, uid: &str) -> Tenant {
    let identity = Identity::new("bookstore", account).unwrap();
    Tenant { identity, uid: uid.to_owned(), proxy_uuid: String::new() }
}

#[test]
fn the_version_is_a_hash_of_what_the_document_says_and_of_nothing_else() {
    let one = publish(config(&[("a|80", &["10.0.0.1:80"])]), None);
    let mut dated = config(&[("a|80", &["10.0.0.1:80"])]);
    (dated.ts, dated.version) = (Some("2026-01-01T00:00:00Z".into()), Some("7".into()));
    assert_eq!(publish(dated.clone(), None).version(), one.version());
    assert!(Publication::make(dated, Some(&one), Instant::now(), SystemTime::now()).unwrap().is_none());
    let number: u64 = one.version().parse().unwrap();
    assert!(i64::try_from(number).is_ok(), "Pipy reads signed numbers");
    let other = publish(config(&[("a|80", &["10.0.0.2:80"])]), None);
    assert_ne!(other.version(), one.version());
}

#[test]
fn the_document_is_a_part_of_its_frame() {
    let published = publish(config(&[("a|80", &["10.0.0.1:80"]), ("b|80", &[])]), None);
    let ControlMessage::Update(update) = message(published.update()) else { panic!("no update") };
    assert_eq!(update.version, **published.version());
    assert_eq!(update.document.get().as_bytes(), &published.document()[..]);
    let range = published.update().as_ptr_range();
    assert!(range.contains(&published.document().as_ptr()), "one copy in memory");
    let (read, problems) = Config::read(published.document()).unwrap();
    assert_eq!(problems, []);
    assert_eq!(read.version.as_deref(), Some(&**published.version()));
    assert_eq!(read.outbound.unwrap().clusters_configs["a|80"].endpoints.len(), 1);
}

/// What a proxy makes of a delta.
fn apply(old: &Publication, frame: &[u8]) -> (Delta, Config) {
    let ControlMessage::Delta(delta) = message(frame) else { panic!("no delta") };
    let (mut config, problems) = Config::read(old.document()).unwrap();
    assert_eq!(problems, []);
    for change in &delta.changes {
        change.apply(&mut config, &mut Touched::default()).unwrap();
    }
    let text = config.stampless().unwrap();
    let digest: String = digest(&SHA256, &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, delta.digest);
    (delta, config)
}

fn endpoints(config: &Config, cluster: &str) -> Vec<String> {
    config.outbound.as_ref().unwrap().clusters_configs[cluster].endpoints.keys().cloned().collect()
}

#[test]
fn whoever_has_a_version_of_before_is_sent_what_changed_since() {
    let first = publish(config(&[("a|80", &["10.0.0.1:80"]), ("b|80", &["10.0.0.9:80"])]), None);
    let second = publish(config(&[("a|80", &["10.0.0.2:80"]), ("b|80", &["10.0.0.9:80"])]), Some(&first));
    let third = publish(config(&[("a|80", &["10.0.0.2:80"]), ("c|80", &[])]), Some(&second));
    let (delta, config) = apply(&first, &second.delta(first.version()).unwrap());
    assert_eq!((&*delta.base, &*delta.version), (&**first.version(), &**second.version()));
    assert_eq!(endpoints(&config, "a|80"), ["10.0.0.2:80"]);
    // Two versions back, both changes are in it.
    let (delta, config) = apply(&first, &third.delta(first.version()).unwrap());
    assert_eq!((&*delta.base, &*delta.version, delta.changes.len()), (&**first.version(), &**third.version(), 2));
    assert_eq!(endpoints(&config, "a|80"), ["10.0.0.2:80"]);
    assert!(endpoints(&config, "c|80").is_empty());
    assert!(!config.outbound.unwrap().clusters_configs.contains_key("b|80"));
    assert!(third.delta("unknown").is_none());
    assert!(third.delta(third.version()).is_none());
    // What was, and is again.
    let again = publish(self::config(&[("a|80", &["10.0.0.1:80"]), ("b|80", &["10.0.0.9:80"])]), Some(&third));
    assert_eq!(again.version(), first.version());
    assert!(again.delta(first.version()).is_none());
    apply(&third, &again.delta(third.version()).unwrap());
}

#[test]
fn a_delta_is_encoded_once_for_all() {
    let first = publish(config(&[("a|80", &["10.0.0.1:80"])]), None);
    let second = publish(config(&[("a|80", &["10.0.0.2:80"])]), Some(&first));
    let (one, other) = (second.delta(first.version()).unwrap(), second.delta(first.version()).unwrap());
    assert_eq!(one.as_ptr(), other.as_ptr());
}

#[test]
fn where_a_delta_cannot_say_it_or_would_be_large_the_whole_is_sent() {
    let first = publish(config(&[("a|80", &["10.0.0.1:80"])]), None);
    let more = Config { metrics: true, ..config(&[("a|80", &["10.0.0.2:80"])]) };
    let second = publish(more, Some(&first));
    assert!(second.delta(first.version()).is_none());
    // Nor does it help that the next difference is small.
    let more = Config { metrics: true, ..config(&[("a|80", &["10.0.0.3:80"])]) };
    let third = publish(more, Some(&second));
    assert!(third.delta(first.version()).is_none() && third.delta(second.version()).is_some());

    let names: Vec<String> = (0..1_000).map(|number| format!("service-{number}|80")).collect();
    let clusters: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let all = publish(config(&clusters), None);
    assert!(publish(config(&clusters[50..]), Some(&all)).delta(all.version()).is_some());
    assert!(publish(config(&clusters[900..]), Some(&all)).delta(all.version()).is_none());
}

#[test]
fn versions_that_are_long_past_are_forgotten() {
    let first = publish(config(&[("a|80", &["10.0.0.1:80"])]), None);
    let mut newest = first.clone();
    let mut last_with_it = 0;
    for round in 0..100_u32 {
        let address = format!("10.1.0.{round}:80");
        newest = publish(config(&[("a|80", &[address.as_str()])]), Some(&newest));
        if newest.delta(first.version()).is_some() {
            last_with_it = round;
        }
    }
    assert!((5..50).contains(&last_with_it), "{last_with_it}");
}

#[tokio::test]
async fn a_pod_can_be_waited_for_and_its_end_is_noticed() {
    let board = Arc::new(Board::default());
    let pod = PodKey::new("bookstore", "buyer-0");
    let waiting = tokio::spawn({
        let (board, pod) = (board.clone(), pod.clone());
        async move { board.await_seat(&pod).await }
    });
    tokio::task::yield_now().await;
    let (first, tenant) = (publish(config(&[]), None), tenant("buyer", "u-1"));
    board.publish(&PodKey::new("bookstore", "other"), &tenant, &first);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    board.publish(&pod, &tenant, &first);
    let mut seat = waiting.await.unwrap();
    assert_eq!(seat.publications.borrow_and_update().version(), first.version());

    board.publish(&pod, &tenant, &first);
    assert!(!seat.publications.has_changed().unwrap(), "the same version is no news");
    let second = publish(config(&[("a|80", &[])]), Some(&first));
    board.publish(&pod, &tenant, &second);
    assert_eq!(seat.publications.borrow_and_update().version(), second.version());
    board.remove(&pod);
    assert!(seat.publications.changed().await.is_err());
    assert!(board.seat(&pod).is_none());
}

#[tokio::test]
async fn another_tenant_under_the_same_name_is_another_pod() {
    let board = Board::default();
    let pod = PodKey::new("bookstore", "buyer-0");
    let published = publish(config(&[]), None);
    for other in [tenant("buyer", "u-2"), tenant("thief", "u-1")] {
        board.publish(&pod, &tenant("buyer", "u-1"), &published);
        let mut seat = board.seat(&pod).unwrap();
        seat.publications.borrow_and_update();
        board.publish(&pod, &other, &published);
        assert!(seat.publications.changed().await.is_err());
        assert_eq!(*board.seat(&pod).unwrap().tenant, other);
    }
}

#[test]
fn the_repository_finds_a_pod_by_its_uuid_as_long_as_it_is_there() {
    let board = Board::default();
    let published = publish(config(&[]), None);
    let with_uuid = |uid: &str, uuid: &str| Tenant { proxy_uuid: uuid.into(), ..tenant("buyer", uid) };
    let (one, other) = (PodKey::new("bookstore", "one"), PodKey::new("bookstore", "other"));
    board.publish(&one, &with_uuid("1", "aaa"), &published);
    board.publish(&other, &with_uuid("2", "bbb"), &published);
    assert_eq!(board.by_proxy_uuid("aaa").unwrap().0, one);
    // Recreated with another uuid.
    board.publish(&one, &with_uuid("3", "ccc"), &published);
    assert!(board.by_proxy_uuid("aaa").is_none());
    assert_eq!(board.by_proxy_uuid("ccc").unwrap().0, one);
    board.remove(&other);
    assert!(board.by_proxy_uuid("bbb").is_none());
    assert!(board.by_proxy_uuid("").is_none());
    assert_eq!(board.len(), 1);
}
