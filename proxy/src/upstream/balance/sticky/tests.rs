#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::mix::scramble;
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn endpoint(number: u64) -> EndpointId {
    EndpointId::of(&format!("10.0.0.{number}:80"))
}

#[test]
fn a_session_is_found_until_it_was_unused_for_its_time_to_live() {
    let epoch = Instant::now();
    let at = |seconds| epoch + Duration::from_secs(seconds);
    let table = SessionTable::new(100, Duration::from_secs(60), epoch);
    assert_eq!(table.find(1, at(0)), None);
    table.remember(1, endpoint(1), at(0));
    assert_eq!(table.find(1, at(60)), Some(endpoint(1).into()));
    assert_eq!(table.find(1, at(120)), Some(endpoint(1).into()), "use prolongs a session");
    assert_eq!(table.find(1, at(181)), None);
    assert_eq!(table.len(at(181)), 0);
}

#[test]
fn a_flood_of_sessions_never_takes_more_than_the_capacity() {
    let epoch = Instant::now();
    let table = SessionTable::new(SESSION_CAPACITY, SESSION_TTL, epoch);
    for key in 0..100_000 {
        table.remember(scramble(key), endpoint(1), epoch);
    }
    assert!(table.len(epoch) <= SESSION_CAPACITY);
    assert!(table.len(epoch) > SESSION_CAPACITY * 9 / 10);
}

#[test]
fn a_session_in_use_survives_a_flood_of_idle_ones() {
    let epoch = Instant::now();
    let table = SessionTable::new(64, SESSION_TTL, epoch);
    table.remember(1, endpoint(1), epoch);
    for second in 1..2_000 {
        let now = epoch + Duration::from_secs(second);
        table.remember(scramble(second + 1_000), endpoint(2), now);
        assert_eq!(table.find(1, now), Some(endpoint(1).into()), "second {second}");
    }
}

#[test]
fn torn_writes_are_unknown_sessions_and_never_wrong_ones() {
    let epoch = Instant::now();
    let table = SessionTable::new(8, SESSION_TTL, epoch);
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let table = &table;
            scope.spawn(move || {
                for turn in 0..20_000_u64 {
                    // Session k belongs to endpoint k, whoever writes it; there are more sessions than places.
                    let key = scramble((turn + worker) % 16);
                    table.remember(key, endpoint((turn + worker) % 16), epoch);
                    let other = (turn * 7 + worker) % 16;
                    if let Some(found) = table.find(scramble(other), epoch) {
                        assert_eq!(found, ShortId::from(endpoint(other)));
                    }
                }
            });
        }
    });
}

proptest! {
    #[test]
    fn what_is_found_is_what_was_remembered_last_and_not_over(
        steps in prop::collection::vec((0_u64..40, 0_u64..5, 0_u64..30, any::<bool>()), 1..200)
    ) {
        let epoch = Instant::now();
        let table = SessionTable::new(32, Duration::from_secs(60), epoch);
        let (mut model, mut seconds) = (HashMap::new(), 0);
        for (key, target, pause, writes) in steps {
            seconds += pause;
            let now = epoch + Duration::from_secs(seconds);
            if writes {
                table.remember(scramble(key), endpoint(target), now);
                model.insert(key, (target, seconds));
            } else if let Some(found) = table.find(scramble(key), now) {
                let (target, used) = model[&key];
                prop_assert_eq!(found, ShortId::from(endpoint(target)));
                prop_assert!(seconds - used <= 60);
                model.insert(key, (target, seconds));
            }
            prop_assert!(table.len(now) <= 32);
        }
    }
}
