#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::fixtures::{all, candidates};
use super::super::{WarmUp, key_of};
use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

const NO_BOUND: BoundedLoad = BoundedLoad { factor: f64::INFINITY, always: 0 };

fn draw(key: u64, now: Instant) -> Draw {
    Draw { key: Some(super::super::mix::scramble(key)), random: 0, now }
}

fn owners(ring: &Ring, view: &View<'_>, now: Instant, keys: u64) -> Vec<usize> {
    (0..keys).map(|key| ring.pick(view, draw(key, now)).expect("an endpoint")).collect()
}

fn part(owners: &[usize], index: usize) -> f64 {
    owners.iter().filter(|owner| **owner == index).count() as f64 / owners.len() as f64
}

#[test]
fn keys_do_not_depend_on_the_build() {
    // Proxies of different versions must agree on the endpoint of a session.
    assert_eq!(key_of(b"10.0.0.1"), 0x7fb1_b600_f0f5_c6d3);
    let (candidates, now) = candidates(&[1; 5]);
    let ring = Ring::new(&candidates, &[1; 5], NO_BOUND);
    assert_eq!(owners(&ring, &all(&candidates), now, 8), [1, 1, 4, 3, 1, 4, 4, 1]);
}

#[test]
fn keys_are_spread_by_share() {
    let (candidates, now) = candidates(&[1, 1, 2, 0]);
    let ring = Ring::new(&candidates, &[1, 1, 2, 0], NO_BOUND);
    let owners = owners(&ring, &all(&candidates), now, 20_000);
    for (index, expected) in [0.25, 0.25, 0.5, 0.0].into_iter().enumerate() {
        assert!((part(&owners, index) - expected).abs() < 0.06, "{index}: {}", part(&owners, index));
    }
}

#[test]
fn a_popular_key_spills_over_to_the_same_neighbour_and_nobody_is_overloaded() {
    let (candidates, now) = candidates(&[1; 4]);
    let ring = Ring::new(&candidates, &[1; 4], BoundedLoad::default());
    let mut held = Vec::new();
    for _ in 0..400 {
        let index = ring.pick(&all(&candidates), draw(1, now)).expect("an endpoint");
        held.push(candidates[index].load.begin(now));
    }
    for candidate in &candidates {
        assert!(candidate.load.in_flight() <= 126, "{}", candidate.load.in_flight());
    }
    held.clear();
    let first = ring.pick(&all(&candidates), draw(1, now)).unwrap();
    let _few: Vec<_> = (0..15).map(|_| candidates[first].load.begin(now)).collect();
    assert_eq!(ring.pick(&all(&candidates), draw(1, now)), Some(first), "few requests never leave their endpoint");
}

#[test]
fn without_a_key_any_endpoint_will_do() {
    let (candidates, now) = candidates(&[1; 3]);
    let ring = Ring::new(&candidates, &[1; 3], NO_BOUND);
    let mut random = super::super::fixtures::Random(3);
    let owners: Vec<usize> = (0..3_000).map(|_| ring.pick(&all(&candidates), random.draw(now)).unwrap()).collect();
    assert!((0..3).all(|index| part(&owners, index) > 0.25));
}

#[test]
fn keys_come_to_a_warming_endpoint_one_after_the_other_and_stay() {
    let (mut candidates, now) = candidates(&[1; 4]);
    candidates[3].warming_since = Some(now);
    let warm_up = WarmUp::default();
    let ring = Ring::new(&candidates, &[1; 4], NO_BOUND);
    let view = View { warm_up: Some(&warm_up), ..all(&candidates) };
    let mut before: Vec<usize> = Vec::new();
    for second in (0..=90).step_by(10) {
        let owners = owners(&ring, &view, now + Duration::from_secs(second), 2_000);
        assert!(before.iter().zip(&owners).all(|(old, new)| old == new || (*old != 3 && *new == 3)));
        before = owners;
    }
    assert!(part(&before, 3) > 0.15);
}

#[test]
fn a_ring_of_thousands_has_bounded_size_and_everybody_on_it() {
    let weights = vec![1; 3_000];
    let (candidates, _) = candidates(&weights);
    let ring = Ring::new(&candidates, &weights, NO_BOUND);
    assert!(ring.points.len() <= MOST_POINTS + weights.len());
    let on_it: std::collections::HashSet<usize> = ring.points.iter().map(|point| point.index).collect();
    assert_eq!(on_it.len(), 3_000);
}

proptest! {
    #[test]
    fn only_the_keys_of_an_endpoint_that_leaves_move(count in 2_usize..12, leaving in any::<prop::sample::Index>()) {
        let (candidates, now) = candidates(&vec![1; count]);
        let leaving = leaving.index(count);
        let ring = Ring::new(&candidates, &vec![1; count], NO_BOUND);
        let before = owners(&ring, &all(&candidates), now, 500);
        let view = View { available: &|index: usize| index != leaving, ..all(&candidates) };
        let ejected = owners(&ring, &view, now, 500);
        let mut rest = candidates.clone();
        rest.remove(leaving);
        let smaller = Ring::new(&rest, &vec![1; count - 1], NO_BOUND);
        let removed = owners(&smaller, &all(&rest), now, 500);
        for ((before, ejected), removed) in before.into_iter().zip(ejected).zip(removed) {
            prop_assert!(before == ejected || before == leaving);
            prop_assert_eq!(candidates[ejected].id, rest[removed].id, "away and gone are the same");
        }
    }

    #[test]
    fn extreme_shares_neither_panic_nor_lose_an_endpoint(
        shares in prop::collection::vec(any::<u32>(), 0..20), away in prop::collection::vec(any::<bool>(), 20), key: u64
    ) {
        let (candidates, now) = candidates(&shares);
        let ring = Ring::new(&candidates, &shares, BoundedLoad::default());
        let view = View { available: &|index: usize| !away[index], ..all(&candidates) };
        let usable = |index: usize| !away[index] && shares[index] > 0;
        match ring.pick(&view, draw(key, now)) {
            Some(index) => prop_assert!(usable(index)),
            None => prop_assert!(!(0..shares.len()).any(usable)),
        }
    }
}
