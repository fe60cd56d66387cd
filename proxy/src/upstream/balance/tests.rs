#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::fixtures::{Random, all, candidates};
use super::*;
use std::time::Duration;

#[test]
fn algorithms_have_our_names_and_those_of_the_ingress_and_service_export() {
    for (name, algorithm) in [
        ("", Algorithm::RoundRobin),
        ("round-robin", Algorithm::RoundRobin),
        ("RoundRobinLoadBalancer", Algorithm::RoundRobin),
        ("least-request", Algorithm::LeastRequest),
        ("least-work", Algorithm::LeastRequest),
        ("LeastWorkLoadBalancer", Algorithm::LeastRequest),
        ("hash", Algorithm::Hash),
        ("hashing", Algorithm::Hash),
        ("HashingLoadBalancer", Algorithm::Hash),
    ] {
        assert_eq!(name.parse(), Ok(algorithm), "{name}");
    }
    assert!("random".parse::<Algorithm>().unwrap_err().contains("`random`"));
}

#[test]
fn round_robin_gives_a_new_endpoint_a_tenth_of_its_share_and_all_of_it_when_warm() {
    let (mut candidates, now) = candidates(&[100; 4]);
    candidates[0].warming_since = Some(now);
    let warm_up = WarmUp::default();
    let view = View { warm_up: Some(&warm_up), ..all(&candidates) };
    let balancer = Balancer::new(Algorithm::RoundRobin, &candidates, &[100; 4], 0);
    let mut random = Random(2);
    let mut part = |age: u64| {
        let now = now + Duration::from_secs(age);
        (0..8_000).filter(|_| balancer.pick(&view, random.draw(now)) == Some(0)).count() as f64 / 8_000.0
    };
    // A tenth of 1, beside three with 1.
    assert!((part(0) - 0.1 / 3.1).abs() < 0.01);
    assert!((part(45) - 0.5 / 3.5).abs() < 0.02);
    assert_eq!(part(90), 0.25);
}

#[test]
fn a_cluster_of_new_endpoints_only_still_serves() {
    let (mut candidates, now) = candidates(&[100; 3]);
    candidates.iter_mut().for_each(|candidate| candidate.warming_since = Some(now));
    let warm_up = WarmUp::default();
    let view = View { warm_up: Some(&warm_up), ..all(&candidates) };
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::Hash] {
        let balancer = Balancer::new(algorithm, &candidates, &[100; 3], 0);
        let mut random = Random(2);
        let mut counts = [0_usize; 3];
        for _ in 0..3_000 {
            counts[balancer.pick(&view, random.draw(now)).expect("an endpoint")] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(1_000) < 300), "{algorithm:?}: {counts:?}");
    }
}
