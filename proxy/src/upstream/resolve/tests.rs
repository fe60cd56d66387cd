#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use std::time::Duration;

fn known(age: Duration, address: &str) -> ResolvedNames {
    let since = Instant::now().checked_sub(age).expect("the machine has been up for longer");
    let addresses: Arc<[SocketAddr]> = Arc::new([address.parse().unwrap()]);
    ResolvedNames(Arc::new(Mutex::new(Known { addresses: Some((since, addresses)), refreshing: false })))
}

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

#[test]
fn families_take_turns_and_the_resolvers_favourite_begins() {
    let order = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 1));
        families_in_turn(addresses).iter().map(|address| address.ip().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(order(&["fd00::1", "fd00::2", "10.0.0.1", "10.0.0.2"]), ["fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2"]);
    assert_eq!(order(&["10.0.0.1", "10.0.0.1", "10.0.0.2", "fd00::1"]), ["10.0.0.1", "fd00::1", "10.0.0.2"]);
    assert_eq!(order(&["10.0.0.3"]), ["10.0.0.3"]);
    assert!(order(&[]).is_empty());
}

#[tokio::test]
async fn fresh_addresses_are_used_as_they_are() {
    let names = known(limits::RESOLVE_TTL / 2, "192.0.2.1:80");
    assert_eq!(*names.resolve(&target("localhost:80")).await.unwrap(), ["192.0.2.1:80".parse().unwrap()]);
    assert!(!names.0.lock().refreshing);
}

#[tokio::test]
async fn stale_addresses_serve_while_one_task_asks_again() {
    let names = known(limits::RESOLVE_TTL * 2, "192.0.2.1:80");
    let stale = ["192.0.2.1:80".parse().unwrap()];
    assert_eq!(*names.resolve(&target("localhost:80")).await.unwrap(), stale);
    let renewed = async {
        loop {
            let now = names.resolve(&target("localhost:80")).await.unwrap();
            if now[0].ip().is_loopback() {
                return;
            }
            assert_eq!(*now, stale);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed).await.expect("the refresh arrives");
    assert!(!names.0.lock().refreshing);
}

#[tokio::test]
async fn a_failed_refresh_leaves_the_addresses_and_may_be_tried_again() {
    let names = known(limits::RESOLVE_TTL * 2, "192.0.2.1:80");
    assert!(matches!(names.find(Instant::now()), Finding::Stale { ask: true, .. }));
    assert!(matches!(names.find(Instant::now()), Finding::Stale { ask: false, .. }), "one at a time");
    names.keep(None);
    assert!(matches!(names.find(Instant::now()), Finding::Stale { ask: true, .. }));
}

#[tokio::test]
async fn old_addresses_are_a_last_resort() {
    let names = known(limits::RESOLVE_STALE, "192.0.2.1:80");
    assert!(names.resolve(&target("localhost:80")).await.unwrap()[0].ip().is_loopback());
    let names = known(limits::RESOLVE_STALE, "192.0.2.1:80");
    // Not a name by RFC 1035 (a label of 64 bytes): refused without asking anybody.
    let nowhere = target(&format!("{}.invalid:80", "x".repeat(64)));
    assert_eq!(*names.resolve(&nowhere).await.unwrap(), ["192.0.2.1:80".parse().unwrap()]);
    let error = ResolvedNames::default().resolve(&nowhere).await.unwrap_err();
    assert_eq!(error.reason, Reason::UpstreamUnresolved);
}

#[tokio::test]
async fn a_wildcard_is_no_host() {
    let error = ResolvedNames::default().resolve(&target("*.example.org:443")).await.unwrap_err();
    assert_eq!(error.reason, Reason::UpstreamUnresolved);
}

#[test]
fn names_that_clients_choose_are_bounded() {
    let names = ChosenNames::default();
    for number in 0..limits::CHOSEN_NAMES * 2 {
        names.of(&ArcStr::from(format!("h{number}.example.org")));
    }
    assert!(names.0.lock().len() <= limits::CHOSEN_NAMES);
    let known = names.of(&ArcStr::from("kept.example.org"));
    known.keep(Some(Arc::new(["192.0.2.1:80".parse().unwrap()])));
    assert!(matches!(names.of(&ArcStr::from("kept.example.org")).find(Instant::now()), Finding::Fresh(_)));
}
