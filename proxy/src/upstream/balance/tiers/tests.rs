#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::fixtures::{Random, candidates};
use super::super::{EndpointId, SESSION_TTL};
use super::*;
use proptest::prelude::*;

const ROUND_ROBIN: Settings = Settings { algorithm: Algorithm::RoundRobin, warm_up: None };

fn of(weights: &[u32], remote: &[usize]) -> (Tiers, std::time::Instant) {
    let (mut candidates, now) = candidates(weights);
    remote.iter().for_each(|&index| candidates[index].remote = true);
    (Tiers::new(ROUND_ROBIN, candidates, 0, None), now)
}

fn picks(tiers: &Tiers, now: std::time::Instant, count: usize, available: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut random = Random(5);
    (0..count).map(|_| tiers.pick(random.draw(now), &available).expect("an endpoint")).collect()
}

#[test]
fn failover_endpoints_are_used_only_when_no_other_is_available() {
    let (tiers, now) = of(&[100, 100, 0, 0], &[2, 3]);
    assert!(picks(&tiers, now, 50, |_| true).iter().all(|index| *index < 2));
    assert_eq!(picks(&tiers, now, 10, |index| index != 0), [1; 10]);
    let mut failed_over = picks(&tiers, now, 4, |index| index > 1);
    failed_over.sort_unstable();
    assert_eq!(failed_over, [2, 2, 3, 3], "the other clusters share it");
    assert_eq!(tiers.counts(), (2, 2));
}

#[test]
fn another_cluster_of_the_fleet_is_the_last_resort() {
    let (tiers, now) = of(&[100, 0, 0], &[1]);
    assert_eq!(picks(&tiers, now, 4, |index| index != 0), [2; 4]);
    assert_eq!(picks(&tiers, now, 4, |index| index == 1), [1; 4]);
}

#[test]
fn active_active_shares_by_weight_wherever_the_endpoints_are() {
    let (tiers, now) = of(&[75, 25], &[1]);
    assert_eq!(picks(&tiers, now, 4, |_| true).iter().sum::<usize>(), 1);
}

#[test]
fn what_failed_goes_to_a_failover_endpoint_if_there_is_one() {
    let (tiers, now) = of(&[100, 100, 0], &[2]);
    assert_eq!(tiers.pick_failover(Random(1).draw(now), |_| true), Some(2));
    assert_eq!(tiers.pick_failover(Random(1).draw(now), |index| index != 2), None);
    assert_eq!(of(&[100, 100], &[]).0.pick_failover(Random(1).draw(now), |_| true), None);
    assert_eq!(of(&[0, 0], &[]).0.pick_failover(Random(1).draw(now), |_| true), None);
    assert_eq!(of(&[], &[]).0.pick_failover(Random(1).draw(now), |_| true), None);
}

#[test]
fn nobody_available_is_none_and_so_is_an_empty_cluster() {
    let (tiers, now) = of(&[1, 0], &[]);
    assert_eq!(tiers.pick(Random(1).draw(now), |_| false), None);
    let (empty, now) = of(&[], &[]);
    assert_eq!(empty.pick(Random(1).draw(now), |_| true), None);
}

#[test]
fn an_update_with_the_same_weights_continues_the_round() {
    let (first, now) = of(&[1, 1, 1], &[]);
    assert_eq!(picks(&first, now, 2, |_| true), [0, 1]);
    let (candidates, now) = candidates(&[1, 1, 1]);
    let second = Tiers::new(ROUND_ROBIN, candidates, 0, Some(&first));
    assert_eq!(picks(&second, now, 2, |_| true), [2, 0]);
}

#[test]
fn a_session_stays_when_endpoints_come_and_moves_when_its_own_goes() {
    let (tiers, now) = of(&[1, 1], &[]);
    let sessions = SessionTable::new(100, SESSION_TTL, now);
    let mut random = Random(9);
    let first = tiers.pick_for_session(&sessions, 42, random.draw(now), |_| true).unwrap();
    let (mut larger, _) = candidates(&[1; 6]);
    larger.reverse();
    let id: EndpointId = tiers.candidates()[first].id;
    let tiers = Tiers::new(ROUND_ROBIN, larger, 0, None);
    let again = |available: &dyn Fn(usize) -> bool, random: &mut Random| {
        tiers.pick_for_session(&sessions, 42, random.draw(now), available).unwrap()
    };
    for _ in 0..10 {
        assert_eq!(tiers.candidates()[again(&|_| true, &mut random)].id, id);
    }
    let old = again(&|_| true, &mut random);
    let new = again(&|index| index != old, &mut random);
    assert_ne!(new, old);
    assert_eq!(again(&|_| true, &mut random), new, "the session does not return");
}

proptest! {
    #[test]
    fn the_first_tier_with_an_available_endpoint_is_used(
        members in prop::collection::vec((0_u32..3, any::<bool>(), any::<bool>()), 0..16),
        algorithm in prop::sample::select(vec![Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::Hash]),
        warm: bool,
        random: u64,
    ) {
        let weights: Vec<u32> = members.iter().map(|(weight, ..)| *weight).collect();
        let (mut candidates, now) = candidates(&weights);
        for (candidate, (_, remote, _)) in candidates.iter_mut().zip(&members) {
            candidate.remote = *remote;
            candidate.warming_since = Some(now);
        }
        let settings = Settings { algorithm, warm_up: warm.then(WarmUp::default) };
        let tiers = Tiers::new(settings, candidates, 0, None);
        let rank = |index: usize| match members[index] {
            (1.., ..) => 0,
            (0, false, _) => 1,
            (0, true, _) => 2,
        };
        let best = (0..members.len()).filter(|&index| members[index].2).map(rank).min();
        let pick = tiers.pick(Draw { key: None, random, now }, |index| members[index].2);
        prop_assert_eq!(pick.map(rank), best);
        prop_assert!(pick.is_none_or(|index| members[index].2));
    }
}
