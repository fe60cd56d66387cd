#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Election, Record, Step, Terms};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn election(name: &str) -> Election {
    Election::new(name.to_owned(), Terms::default())
}

fn lease(holder: &str, version: u32) -> Record {
    let lasts = if holder.is_empty() { SECOND } else { Terms::default().lasts };
    Record { holder: holder.into(), lasts, transitions: 3, version: version.to_string() }
}

fn written_by(step: Step) -> Record {
    match step {
        Step::Write(record) => record,
        Step::Wait => panic!("nothing is written"),
    }
}

#[test]
fn a_lease_that_nobody_holds_is_taken_at_once() {
    let now = Instant::now();
    assert_eq!(written_by(election("a").step(None, now)).transitions, 0);
    let taken = written_by(election("a").step(Some(&lease("", 1)), now));
    assert_eq!((taken.holder.as_str(), taken.transitions, taken.lasts), ("a", 4, 15 * SECOND));
}

#[test]
fn one_that_is_held_is_taken_when_it_was_seen_unchanged_for_its_time() {
    let start = Instant::now();
    let mut election = election("a");
    for second in 0..15 {
        assert_eq!(election.step(Some(&lease("b", 1)), start + second * SECOND), Step::Wait);
    }
    // Renewed: the time begins anew.
    for second in 15..30 {
        assert_eq!(election.step(Some(&lease("b", 2)), start + second * SECOND), Step::Wait);
    }
    let taken = written_by(election.step(Some(&lease("b", 2)), start + 30 * SECOND));
    assert_eq!((taken.holder.as_str(), taken.transitions), ("a", 4));
}

#[test]
fn the_holder_says_how_long_it_lasts_within_reason() {
    let start = Instant::now();
    for (said, taken_after) in [(5 * SECOND, 5), (Duration::ZERO, 15), (Duration::from_secs(1 << 31), 120)] {
        let mut election = election("a");
        let lease = Record { lasts: said, ..lease("b", 1) };
        assert_eq!(election.step(Some(&lease), start), Step::Wait);
        let before = start + taken_after * SECOND - Duration::from_millis(1);
        assert_eq!(election.step(Some(&lease), before), Step::Wait, "{said:?}");
        written_by(election.step(Some(&lease), start + taken_after * SECOND));
    }
}

#[test]
fn a_leader_renews_without_another_transition_and_leads_from_when_it_began_to() {
    let start = Instant::now();
    let mut election = election("a");
    assert_eq!(election.leads_until(), None);
    election.step(None, start);
    assert_eq!(election.leads_until(), None, "asking is not having");
    election.written(start);
    assert_eq!(election.leads_until(), Some(start + 10 * SECOND));
    let renewed = written_by(election.step(Some(&lease("a", 1)), start + 2 * SECOND));
    assert_eq!(renewed.transitions, 3);
    // The renewal did not succeed.
    assert_eq!(election.leads_until(), Some(start + 10 * SECOND));
}

#[test]
fn a_leader_that_sees_another_one_or_no_lease_stops_at_once() {
    let start = Instant::now();
    for seen in [Some(lease("b", 2)), Some(lease("", 2)), None] {
        let mut election = election("a");
        election.step(None, start);
        election.written(start);
        election.step(seen.as_ref(), start + SECOND);
        assert_eq!(election.leads_until(), None, "{seen:?}");
    }
}

#[test]
fn only_its_own_lease_is_given_back() {
    let election = election("a");
    assert_eq!(election.resignation(&lease("b", 1)), None);
    assert_eq!(election.resignation(&lease("a", 1)).unwrap().holder, "");
}

proptest! {
    /// Candidates that look at any time, are cut off for any time and whose clocks are their own: never two leaders.
    #[test]
    fn there_are_never_two_leaders(turns in prop::collection::vec((0_usize..3, 1_u64..4000, any::<bool>(), 0_u64..3000), 1..400)) {
        let start = Instant::now();
        let mut elections: Vec<Election> = ["a", "b", "c"].into_iter().map(election).collect();
        let mut stored: Option<Record> = None;
        let mut now = start;
        let mut version = 0_u32;
        for (who, later, arrives, slow) in turns {
            now += Duration::from_millis(later);
            let began = now;
            let step = elections[who].step(stored.as_ref(), began);
            // The answer takes its time; what was read may be outdated when it is written.
            now += Duration::from_millis(slow);
            if let Step::Write(next) = step && arrives {
                version += 1;
                stored = Some(Record { version: version.to_string(), ..next });
                elections[who].written(began);
            }
            let leaders = elections.iter().filter(|one| one.leads_until().is_some_and(|until| now < until)).count();
            prop_assert!(leaders <= 1, "{leaders} leaders");
        }
    }
}
