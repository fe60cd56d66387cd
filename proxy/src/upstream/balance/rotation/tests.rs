#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

fn counts(rotation: &Rotation, picks: usize, targets: usize) -> Vec<usize> {
    let mut counts = vec![0; targets];
    for _ in 0..picks {
        counts[rotation.next().expect("a weight above 0")] += 1;
    }
    counts
}

#[test]
fn seventy_five_to_twenty_five_is_exact_over_any_four_picks() {
    for start in 0..7 {
        let rotation = Rotation::new(&[75, 25], start);
        for _ in 0..10 {
            assert_eq!(counts(&rotation, 4, 2), [3, 1]);
        }
    }
}

#[test]
fn weight_zero_is_never_chosen() {
    let rotation = Rotation::new(&[0, 5, 0, 5], 3);
    assert_eq!(counts(&rotation, 100, 4), [0, 50, 0, 50]);
    assert_eq!(Rotation::new(&[0, 0], 0).next(), None);
    assert_eq!(Rotation::new(&[], 0).next(), None);
}

#[test]
fn an_update_with_the_same_weights_continues_the_round() {
    let first = Rotation::new(&[1, 1, 1], 0);
    assert_eq!([first.next(), first.next()], [Some(0), Some(1)]);
    let second = Rotation::new(&[2, 2, 2], 0).continuing(&first);
    assert_eq!(second.next(), Some(2));
    let third = Rotation::new(&[1, 2, 1], 0).continuing(&second);
    assert_ne!(third.order, second.order);
}

#[test]
fn a_member_that_is_away_costs_the_others_nothing_but_its_share() {
    // 4:2:1:1 without the first: 2:1:1 of any four.
    let rotation = Rotation::new(&[4, 2, 1, 1], 0);
    let mut counts = [0; 4];
    for _ in 0..400 {
        counts[rotation.pick(|index| index != 0).expect("others are available")] += 1;
    }
    assert_eq!(counts, [0, 200, 100, 100]);
}

#[test]
fn a_heavy_member_that_is_away_does_not_make_picks_slow_or_uneven() {
    let rotation = Rotation::new(&[4_000, 3, 1], 0);
    let asked = std::cell::Cell::new(0);
    let mut counts = [0_u32; 3];
    for _ in 0..4_000 {
        let pick = rotation.pick(|index| {
            asked.set(asked.get() + 1);
            index != 0
        });
        counts[pick.expect("others are available")] += 1;
    }
    assert_eq!(counts[0], 0);
    assert!(counts[1].abs_diff(3_000) < 30, "{counts:?}");
    assert!(asked.get() < 4_000 * 20, "{} questions", asked.get());
}

#[test]
fn nobody_available_is_none() {
    assert_eq!(Rotation::new(&[1, 2, 3], 0).pick(|_| false), None);
    assert_eq!(Rotation::new(&[1], 0).pick(|_| false), None);
    assert_eq!(Rotation::new(&[0, 1], 0).pick(|index| index == 0), None);
    assert_eq!(Rotation::new(&[], 0).pick(|_| true), None);
}

#[test]
fn shares_are_exact_with_many_workers() {
    let rotation = Rotation::new(&[3, 1], 0);
    let first = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    if rotation.pick(|_| true) == Some(0) {
                        first.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(first.into_inner(), 3_000);
}

proptest! {
    #[test]
    fn picking_is_next_while_all_are_available(weights in prop::collection::vec(0_u32..200, 0..12), start: usize) {
        let (picking, next) = (Rotation::new(&weights, start), Rotation::new(&weights, start));
        for _ in 0..100 {
            prop_assert_eq!(picking.pick(|_| true), next.next());
        }
    }

    #[test]
    fn only_available_members_are_picked_and_each_gets_its_share(
        members in prop::collection::vec((0_u32..50, any::<bool>()), 1..12), start: usize
    ) {
        let weights: Vec<u32> = members.iter().map(|(weight, _)| *weight).collect();
        let rotation = Rotation::new(&weights, start);
        let total: u32 = members.iter().filter(|(_, available)| *available).map(|(weight, _)| weight).sum();
        let mut counts = vec![0_u32; weights.len()];
        for _ in 0..2_000 {
            match rotation.pick(|index| members[index].1) {
                Some(index) => counts[index] += 1,
                None => prop_assert_eq!(total, 0),
            }
        }
        for (count, (weight, available)) in counts.iter().zip(&members) {
            let fair = if *available && total > 0 { 2_000.0 * f64::from(*weight) / f64::from(total) } else { 0.0 };
            // A round may have been begun and not finished, and detours begin anywhere.
            prop_assert!((f64::from(*count) - fair).abs() <= 2.0 + f64::from(*weight) + fair * 0.02, "{counts:?}");
        }
    }

    #[test]
    fn every_round_gives_every_target_its_share(weights in prop::collection::vec(0_u32..200, 1..12), start: usize) {
        let rotation = Rotation::new(&weights, start);
        let round = rotation.order.len();
        prop_assume!(round > 0);
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let counts = counts(&rotation, round, weights.len());
        for (count, &weight) in counts.iter().zip(&weights) {
            // start may wrap the counter inside a round; a full round is exact all the same
            prop_assert_eq!(*count as u64 * total, u64::from(weight) * round as u64);
        }
    }

    #[test]
    fn extreme_weights_neither_panic_nor_starve_the_least(weights in prop::collection::vec(any::<u32>(), 1..40)) {
        let rotation = Rotation::new(&weights, 0);
        for (index, &weight) in weights.iter().enumerate() {
            prop_assert_eq!(rotation.order.contains(&u16::try_from(index).unwrap()), weight > 0);
        }
        prop_assert!(rotation.order.len() <= 4096 + weights.len());
    }
}
