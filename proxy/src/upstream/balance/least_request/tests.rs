#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::fixtures::{Random, all, candidates};
use super::super::{Answer, WarmUp};
use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn counts(shares: &[u32], view: &View<'_>, now: Instant, picks: usize) -> Vec<usize> {
    let (balancer, mut random, mut counts) = (LeastRequest::new(shares), Random(7), vec![0; shares.len()]);
    for _ in 0..picks {
        counts[balancer.pick(view, random.draw(now)).expect("an endpoint")] += 1;
    }
    counts
}

#[test]
fn equal_endpoints_get_equal_parts() {
    let (candidates, now) = candidates(&[1; 5]);
    for count in counts(&[1; 5], &all(&candidates), now, 10_000) {
        assert!(count.abs_diff(2_000) < 200, "{count}");
    }
}

#[test]
fn the_one_with_fewer_requests_in_flight_is_chosen() {
    let (candidates, now) = candidates(&[1; 2]);
    let _busy = candidates[0].load.begin(now);
    assert_eq!(counts(&[1; 2], &all(&candidates), now, 100), [0, 100]);
}

#[test]
fn a_slow_endpoint_is_chosen_once_the_others_have_as_much_to_do_for_their_speed() {
    let (candidates, epoch) = candidates(&[1; 2]);
    let now = epoch + Duration::from_millis(200);
    candidates[0].load.begin(epoch).answered(Answer::Good, now);
    candidates[1].load.begin(epoch + Duration::from_millis(180)).answered(Answer::Good, now);
    assert_eq!(counts(&[1; 2], &all(&candidates), now, 100), [0, 100]);
    let _busy: Vec<_> = (0..11).map(|_| candidates[1].load.begin(now)).collect();
    assert_eq!(counts(&[1; 2], &all(&candidates), now, 100), [100, 0]);
}

#[test]
fn an_endpoint_that_fails_fast_attracts_nothing() {
    let (candidates, epoch) = candidates(&[1; 2]);
    let now = epoch + Duration::from_millis(50);
    candidates[0].load.begin(now).answered(Answer::Failed, now);
    candidates[1].load.begin(epoch).answered(Answer::Good, now);
    assert_eq!(counts(&[1; 2], &all(&candidates), now, 100), [0, 100]);
}

#[test]
fn an_unknown_endpoint_is_neither_avoided_nor_flooded() {
    let (candidates, epoch) = candidates(&[1; 2]);
    let now = epoch + Duration::from_millis(5);
    candidates[0].load.begin(epoch).answered(Answer::Good, now);
    let parts = counts(&[1; 2], &all(&candidates), now, 1_000);
    assert!(parts[1].abs_diff(500) < 100, "{parts:?}");
    let _trying = candidates[1].load.begin(now);
    assert_eq!(counts(&[1; 2], &all(&candidates), now, 100), [100, 0]);
}

#[test]
fn twice_the_share_bears_twice_the_load() {
    let (candidates, now) = candidates(&[2, 1]);
    let (balancer, mut random, mut held) = (LeastRequest::new(&[2, 1]), Random(1), Vec::new());
    for _ in 0..300 {
        let index = balancer.pick(&all(&candidates), random.draw(now)).expect("an endpoint");
        held.push(candidates[index].load.begin(now));
    }
    assert!(candidates[0].load.in_flight().abs_diff(200) <= 1, "{}", candidates[0].load.in_flight());
}

#[test]
fn a_new_endpoint_bears_little_at_first() {
    let (mut candidates, now) = candidates(&[1; 2]);
    candidates[1].warming_since = Some(now);
    let warm_up = WarmUp::default();
    let view = View { warm_up: Some(&warm_up), ..all(&candidates) };
    let (balancer, mut random, mut held) = (LeastRequest::new(&[1; 2]), Random(1), Vec::new());
    for _ in 0..110 {
        let index = balancer.pick(&view, random.draw(now)).expect("an endpoint");
        held.push(candidates[index].load.begin(now));
    }
    assert!(candidates[1].load.in_flight().abs_diff(10) <= 1, "{}", candidates[1].load.in_flight());
}

proptest! {
    #[test]
    fn an_available_endpoint_with_a_share_is_picked_whenever_there_is_one(
        members in prop::collection::vec((0_u32..3, any::<bool>()), 0..20), random: u64
    ) {
        let shares: Vec<u32> = members.iter().map(|(share, _)| *share).collect();
        let (candidates, now) = candidates(&shares);
        let view = View { available: &|index: usize| members[index].1, ..all(&candidates) };
        let usable = |index: usize| members[index].1 && shares[index] > 0;
        match LeastRequest::new(&shares).pick(&view, Draw { key: None, random, now }) {
            Some(index) => prop_assert!(usable(index)),
            None => prop_assert!(!(0..shares.len()).any(usable)),
        }
    }

    #[test]
    fn those_that_are_available_get_equal_parts(away in prop::collection::hash_set(0_usize..10, 0..9), seed: u64) {
        let (candidates, now) = candidates(&[1; 10]);
        let view = View { available: &|index: usize| !away.contains(&index), ..all(&candidates) };
        let (balancer, mut random, mut counts) = (LeastRequest::new(&[1; 10]), Random(seed), [0_usize; 10]);
        for _ in 0..4_000 {
            counts[balancer.pick(&view, random.draw(now)).expect("an endpoint")] += 1;
        }
        let fair = 4_000 / (10 - away.len());
        for (index, count) in counts.into_iter().enumerate() {
            let expected = if away.contains(&index) { 0 } else { fair };
            prop_assert!(count.abs_diff(expected) <= expected / 4, "{counts:?} without {away:?}");
        }
    }
}
