#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::CLOCK_SKEW;
use super::{Facts, Phase, Step};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);
const YEARS: Duration = Duration::from_secs(3650 * 24 * 3600);

fn facts(now: SystemTime) -> Facts {
    Facts { announce: HOUR, longest_validity: 24 * HOUR, root_not_after: now + YEARS }
}

#[test]
fn the_three_steps_come_in_order_and_in_time() {
    let start = SystemTime::UNIX_EPOCH + YEARS;
    let facts = facts(start);
    let mut phase = Phase::Steady;
    assert_eq!(phase.advance(start, &facts), None);
    assert_eq!(phase.begin(start, &facts), Ok(Step::Announce));
    assert!(phase.begin(start, &facts).is_err(), "a third root would come in");
    let just_before = Duration::from_nanos(1);
    assert_eq!(phase.advance(start + HOUR - just_before, &facts), None);
    let switched = start + HOUR;
    assert_eq!(phase.advance(switched, &facts), Some(Step::Switch));
    assert_eq!(phase.advance(switched, &facts), None);
    let end = switched + 24 * HOUR + CLOCK_SKEW;
    assert_eq!(phase.advance(end - just_before, &facts), None);
    assert_eq!(phase.advance(end, &facts), Some(Step::Retire));
    assert_eq!(phase, Phase::Steady);
}

#[test]
fn a_root_near_its_end_is_replaced_without_being_asked() {
    let now = SystemTime::UNIX_EPOCH + YEARS;
    let mut phase = Phase::Steady;
    let mut facts = facts(now);
    facts.root_not_after = now + super::REPLACE_BEFORE_END + HOUR;
    assert_eq!(phase.advance(now, &facts), None);
    assert_eq!(phase.advance(now + HOUR, &facts), Some(Step::Announce));
}

proptest! {
    /// Whatever the times between looks, rotations and validities: the root of every certificate in use is trusted, and
    /// a root signs only when it has been trusted for the time of announcement.
    #[test]
    fn no_certificate_in_use_is_without_its_root(
        steps in proptest::collection::vec((0_u64..20_000, any::<bool>(), 1_u64..40_000), 1..200),
        announce in 0_u64..10_000,
    ) {
        let mut now = SystemTime::UNIX_EPOCH + YEARS;
        let mut phase = Phase::Steady;
        let mut longest = Duration::ZERO;
        // Roots in use: (name, trusted since). The first one signs.
        let mut roots = vec![(0_u32, SystemTime::UNIX_EPOCH)];
        let mut made = 0;
        let mut leaves: Vec<(u32, SystemTime)> = Vec::new();
        for (wait, rotate, validity) in steps {
            now += Duration::from_secs(wait);
            let facts = Facts { announce: Duration::from_secs(announce), longest_validity: longest, root_not_after: now + YEARS };
            let begun = rotate.then(|| phase.begin(now, &facts).ok()).flatten();
            let mut due = begun.or_else(|| phase.advance(now, &facts));
            while let Some(step) = due {
                match step {
                    Step::Announce => { made += 1; roots.push((made, now)); }
                    Step::Switch => {
                        roots.rotate_left(1);
                        prop_assert!(roots[0].1 + Duration::from_secs(announce) <= now);
                    }
                    Step::Overlap => prop_assert!(false, "nobody puts a root in place here"),
                    Step::Retire => roots.truncate(1),
                }
                due = phase.advance(now, &facts);
            }
            prop_assert!((1..=2).contains(&roots.len()));
            leaves.retain(|(_, expires)| *expires > now);
            for (root, _) in &leaves {
                prop_assert!(roots.iter().any(|(name, _)| name == root));
            }
            let validity = Duration::from_secs(validity);
            longest = longest.max(validity);
            leaves.push((roots[0].0, now + validity));
        }
    }
}
