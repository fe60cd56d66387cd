#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::collect::Collect;
use crate::limits;
use std::time::{Duration, Instant};

#[test]
fn changes_are_collected_for_a_moment_of_quiet_and_no_longer_than_the_limit() {
    let start = Instant::now();
    let mut collect = Collect::default();
    assert_eq!((collect.due(), collect.take()), (None, None));
    collect.note(start);
    assert_eq!(collect.due(), Some(start + limits::QUIET));
    let second = start + limits::QUIET / 2;
    collect.note(second);
    assert_eq!(collect.due(), Some(second + limits::QUIET));
    let mut now = second;
    while now < start + limits::COLLECT_AT_MOST * 2 {
        now += Duration::from_millis(1);
        collect.note(now);
    }
    assert_eq!(collect.due(), Some(start + limits::COLLECT_AT_MOST));
    assert_eq!(collect.take(), Some(start));
    assert_eq!(collect.due(), None);
}

mod publishing;
