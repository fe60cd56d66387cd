#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Pace, Root, State, moves, signer, trusted};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

const PACE: Pace = Pace { announce: Duration::from_secs(600), longest_validity: Duration::from_secs(86_400) };

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn root(name: &str, created: u64) -> Root {
    Root { name: name.into(), created: at(created), state: State::New, until: None }
}

fn write(roots: &mut [Root], now: SystemTime) -> bool {
    let moves = moves(roots, now, PACE);
    for one in &moves {
        let root = roots.iter_mut().find(|root| root.name == one.name).unwrap();
        (root.state, root.until) = (one.state, one.until);
    }
    !moves.is_empty()
}

fn states(roots: &[Root]) -> Vec<&'static str> {
    roots.iter().map(|root| root.state.as_str()).collect()
}

#[test]
fn one_takes_over_from_another_with_overlap() {
    let mut roots = vec![root("tresor", 0)];
    assert!(signer(&roots).is_none());
    assert!(write(&mut roots, at(1)) && !write(&mut roots, at(1)));
    assert_eq!((states(&roots), signer(&roots).unwrap().name.as_str()), (vec!["active"], "tresor"));
    roots.push(root("vault", 10));
    roots.push(root("third", 20));
    assert!(write(&mut roots, at(30)));
    assert_eq!(states(&roots), ["active", "validatingRollout", ""]);
    assert_eq!(signer(&roots).unwrap().name, "tresor");
    assert_eq!(trusted(&roots).len(), 2);
    assert!(!write(&mut roots, at(629)), "the third one waits for its turn");
    assert!(write(&mut roots, at(630)));
    assert_eq!(states(&roots), ["validatingRollback", "issuingRollout", ""]);
    let names: Vec<&str> = trusted(&roots).iter().map(|root| root.name.as_str()).collect();
    assert_eq!(names, ["vault", "tresor"]);
    assert!(!write(&mut roots, at(630 + 86_400 + 59)));
    assert!(write(&mut roots, at(630 + 86_400 + 60)));
    assert_eq!(states(&roots), ["inactive", "active", ""]);
    assert_eq!(trusted(&roots).len(), 1);
}

#[test]
fn whoever_was_to_take_over_may_be_deleted_on_the_way() {
    let mut roots = vec![root("tresor", 0), root("vault", 10)];
    while write(&mut roots, at(20)) {}
    assert_eq!(states(&roots), ["active", "validatingRollout"]);
    let mut left = vec![roots[0].clone()];
    assert!(!write(&mut left, at(5_000)) && signer(&left).unwrap().name == "tresor");
    while write(&mut roots, at(700)) {}
    assert_eq!(states(&roots), ["validatingRollback", "issuingRollout"]);
    let mut left = vec![roots[0].clone()];
    assert_eq!(signer(&left).unwrap().name, "tresor", "it signs again at once");
    assert!(write(&mut left, at(701)) && states(&left) == ["active"]);
}

#[test]
fn states_are_read_as_they_are_written() {
    for text in ["validatingRollout", "issuingRollout", "active", "validatingRollback", "inactive", "error"] {
        assert_eq!(State::read(text).as_str(), text);
    }
    assert_eq!(State::read("unheard of"), State::New);
}

proptest! {
    /// Whatever is created when: a certificate in use is signed by somebody who is trusted, and by somebody who was
    /// trusted for as long as an announcement lasts before.
    #[test]
    fn nobody_is_left_without_trust(steps in prop::collection::vec((1_u64..5_000, any::<bool>(), 60_u64..86_400), 1..120)) {
        let (mut now, mut made) = (0, 0);
        let mut roots = vec![root("first", 0)];
        let mut heard: std::collections::BTreeMap<String, u64> = Default::default();
        let mut leaves: Vec<(String, u64)> = Vec::new();
        for (wait, create, validity) in steps {
            now += wait;
            if create {
                made += 1;
                roots.push(root(&format!("root-{made}"), now));
            }
            while write(&mut roots, at(now)) {}
            for root in trusted(&roots) {
                heard.entry(root.name.clone()).or_insert(now);
            }
            let signer = signer(&roots).unwrap().name.clone();
            prop_assert!(signer == "first" || heard[&signer] + PACE.announce.as_secs() <= now);
            leaves.retain(|(_, end)| *end > now);
            leaves.push((signer, now + validity));
            for (name, _) in &leaves {
                prop_assert!(trusted(&roots).iter().any(|root| root.name == *name), "{name} {:?}", states(&roots));
            }
        }
    }
}
