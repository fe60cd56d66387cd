#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

/// A cluster in simulated time.
struct Cluster {
    ejections: Ejections,
    endpoints: Vec<EndpointHealth>,
    membership: Membership,
    now: Instant,
}

impl Cluster {
    fn new(weighted: usize, failover: usize) -> Self {
        let now = Instant::now();
        Self {
            ejections: Ejections::new(EjectionSettings::default(), now),
            endpoints: (0..weighted + failover).map(|_| EndpointHealth::default()).collect(),
            membership: Membership { weighted, failover },
            now,
        }
    }

    fn record(&self, index: usize, failed: bool) -> Option<Ejection> {
        let peers = || self.endpoints.iter();
        self.ejections.record(&self.endpoints[index], failed, self.membership, peers, self.now, 0)
    }

    fn fail(&self, index: usize, times: usize) -> Option<Ejection> {
        (0..times).fold(None, |ejected, _| self.record(index, true).or(ejected))
    }

    fn fail_each(&self, times: usize) {
        for index in 0..self.endpoints.len() {
            self.fail(index, times);
        }
    }

    fn is_ejected(&self, index: usize) -> bool {
        self.ejections.is_ejected(&self.endpoints[index], self.now)
    }

    fn ejected(&self) -> usize {
        (0..self.endpoints.len()).filter(|&index| self.is_ejected(index)).count()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn five_failures_in_a_row_eject_an_endpoint_for_ten_seconds() {
    let mut cluster = Cluster::new(4, 0);
    assert_eq!(cluster.fail(0, 4), None);
    assert!(!cluster.is_ejected(0));
    assert_eq!(cluster.fail(0, 1), Some(Ejection { duration: Duration::from_secs(10), number: 1 }));
    assert!(cluster.is_ejected(0));
    cluster.pass(9);
    assert!(cluster.is_ejected(0));
    cluster.pass(1);
    assert!(!cluster.is_ejected(0));
    assert_eq!(cluster.ejections.total(), 1);
}

#[test]
fn a_success_clears_the_record() {
    let cluster = Cluster::new(4, 0);
    for _ in 0..10 {
        assert_eq!(cluster.fail(0, 4), None);
        cluster.record(0, false);
    }
    assert!(!cluster.is_ejected(0));
}

#[test]
fn after_its_return_one_failure_ejects_an_endpoint_again_and_for_longer() {
    let mut cluster = Cluster::new(4, 0);
    cluster.fail(0, 5);
    for number in 2..=40 {
        // Fails at the very moment of its return.
        let until = cluster.endpoints[0].ejected_until.load(Relaxed);
        cluster.now = cluster.ejections.epoch + Duration::from_millis(until);
        let ejection = cluster.fail(0, 1).expect("ejected again");
        let expected = Duration::from_secs((10 * number).min(300));
        assert_eq!((ejection.number, ejection.duration), (u32::try_from(number).unwrap(), expected));
    }
}

#[test]
fn a_success_after_the_return_ends_the_probation_and_time_forgives() {
    let mut cluster = Cluster::new(4, 0);
    cluster.fail(0, 5);
    cluster.pass(10);
    cluster.record(0, false);
    assert_eq!(cluster.fail(0, 4), None);
    assert_eq!(cluster.fail(0, 1).unwrap().number, 2);
    cluster.pass(20 + 10);
    assert_eq!(cluster.fail(0, 5).unwrap().number, 2, "one interval forgave one ejection");
    cluster.pass(3600);
    assert_eq!(cluster.fail(0, 5).unwrap().number, 1);
}

#[test]
fn answers_from_before_neither_prolong_nor_end_an_ejection() {
    let mut cluster = Cluster::new(4, 0);
    cluster.fail(0, 5);
    assert_eq!(cluster.fail(0, 20), None);
    cluster.record(0, false);
    assert!(cluster.is_ejected(0));
    cluster.pass(10);
    assert!(!cluster.is_ejected(0));
    assert_eq!(cluster.fail(0, 1).unwrap().number, 2);
}

#[test]
fn a_single_endpoint_is_never_ejected() {
    let cluster = Cluster::new(1, 0);
    assert_eq!(cluster.fail(0, 100), None);
    let failover_only = Cluster::new(0, 1);
    assert_eq!(failover_only.fail(0, 100), None);
}

#[test]
fn at_most_half_of_a_cluster_is_ejected_and_the_next_takes_a_freed_place() {
    for (endpoints, most) in [(2, 1), (3, 1), (4, 2), (5, 2), (10, 5)] {
        let mut cluster = Cluster::new(endpoints, 0);
        cluster.fail_each(10);
        assert_eq!(cluster.ejected(), most, "of {endpoints}");
        cluster.pass(10);
        assert!(cluster.fail(endpoints - 1, 1).is_some(), "the last one has failed long enough");
    }
}

#[test]
fn all_endpoints_with_a_weight_may_be_ejected_when_others_stand_in() {
    let cluster = Cluster::new(2, 2);
    cluster.fail_each(10);
    assert_eq!((0..4).map(|index| cluster.is_ejected(index)).collect::<Vec<_>>(), [true, true, true, false]);
    let cluster = Cluster::new(1, 1);
    cluster.fail_each(10);
    assert_eq!(cluster.ejected(), 1);
}

#[test]
fn ejected_endpoints_return_when_the_healthy_ones_go_away() {
    let mut cluster = Cluster::new(10, 0);
    for index in 0..5 {
        cluster.fail(index, 5);
        cluster.pass(1);
    }
    let left: Vec<&EndpointHealth> = cluster.endpoints[..6].iter().collect();
    let membership = Membership { weighted: 6, failover: 0 };
    assert_eq!(cluster.ejections.rebalance(membership, &left, cluster.now), 2);
    assert_eq!((0..6).filter(|&index| cluster.is_ejected(index)).collect::<Vec<_>>(), [2, 3, 4], "oldest first");
    assert_eq!(cluster.ejections.rebalance(membership, &left, cluster.now), 0);
}

#[test]
fn zero_failures_switch_ejection_off() {
    let mut cluster = Cluster::new(4, 0);
    let settings = EjectionSettings { consecutive_failures: 0, ..EjectionSettings::default() };
    cluster.ejections = Ejections::new(settings, cluster.now);
    assert_eq!(cluster.fail(0, 1_000), None);
}

#[test]
fn jitter_adds_a_tenth_at_most() {
    for random in [0, 1, u64::MAX / 2, u64::MAX] {
        let cluster = Cluster::new(4, 0);
        cluster.fail(0, 4);
        let peers = || cluster.endpoints.iter();
        let ejection =
            cluster.ejections.record(&cluster.endpoints[0], true, cluster.membership, peers, cluster.now, random);
        let duration = ejection.unwrap().duration;
        assert!((Duration::from_secs(10)..=Duration::from_secs(11)).contains(&duration), "{duration:?}");
    }
}

#[test]
fn workers_that_fail_together_never_eject_more_than_half() {
    for _ in 0..50 {
        let cluster = Cluster::new(6, 0);
        std::thread::scope(|scope| {
            for index in 0..6 {
                let cluster = &cluster;
                scope.spawn(move || cluster.fail(index, 50));
            }
        });
        assert!(cluster.ejected() <= 3);
    }
}

#[test]
fn only_what_an_endpoint_did_counts_against_it() {
    use AttemptOutcome::*;
    for outcome in [
        Status(500),
        Status(503),
        GrpcStatus(14),
        NotSent(Reason::UpstreamRefused),
        Reset(Reason::UpstreamReset),
        Timeout,
    ] {
        assert!(is_failure(outcome), "{outcome:?}");
    }
    for outcome in [Status(200), Status(404), Status(429), GrpcStatus(5), NotSent(Reason::NoEndpoint)] {
        assert!(!is_failure(outcome), "{outcome:?}");
    }
}

proptest! {
    #[test]
    fn whatever_happens_enough_endpoints_are_left_and_everyone_returns(
        weighted in 0_usize..6, failover in 0_usize..4,
        steps in prop::collection::vec((0_usize..10, any::<bool>(), 1_usize..8, 0_u64..40), 1..120)
    ) {
        let mut cluster = Cluster::new(weighted, failover);
        let count = weighted + failover;
        prop_assume!(count > 0);
        for (index, failed, times, pause) in steps {
            for _ in 0..times {
                if let Some(ejection) = cluster.record(index % count, failed) {
                    prop_assert!(ejection.duration <= Duration::from_secs(300));
                    prop_assert!(failed && cluster.is_ejected(index % count));
                }
            }
            prop_assert!(cluster.ejected() < count, "somebody is left");
            if failover == 0 {
                prop_assert!(cluster.ejected() * 2 <= count);
            }
            cluster.pass(pause);
        }
        cluster.pass(301);
        prop_assert_eq!(cluster.ejected(), 0);
    }
}
