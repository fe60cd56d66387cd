#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

fn endpoint() -> (Arc<EndpointLoad>, Instant) {
    let epoch = Instant::now();
    (Arc::new(EndpointLoad::new(Arc::default(), epoch)), epoch)
}

fn milliseconds(load: &EndpointLoad, now: Instant) -> f64 {
    load.latency(now).expect("measured").as_secs_f64() * 1_000.0
}

#[test]
fn a_request_is_in_flight_until_it_is_dropped_whether_it_was_answered_or_not() {
    let (load, epoch) = endpoint();
    let first = load.begin(epoch);
    let second = load.begin(epoch);
    first.answered(Answer::Good, epoch);
    assert_eq!((load.in_flight(), load.cluster_in_flight()), (2, 2));
    drop(first);
    drop(second);
    assert_eq!((load.in_flight(), load.cluster_in_flight()), (0, 0));
}

#[test]
fn a_slow_answer_counts_at_once_and_fades() {
    let (load, epoch) = endpoint();
    assert_eq!(load.latency(epoch), None);
    load.begin(epoch).answered(Answer::Good, epoch + Duration::from_millis(5));
    let slow = epoch + Duration::from_millis(205);
    load.begin(epoch + Duration::from_millis(5)).answered(Answer::Good, slow);
    assert!((milliseconds(&load, slow) - 200.0).abs() < 0.1);
    let faded = milliseconds(&load, slow + LATENCY_DECAY);
    assert!((faded - 200.0 / std::f64::consts::E).abs() < 0.5, "{faded}");
}

#[test]
fn a_fast_failure_does_not_look_like_a_fast_endpoint() {
    let (load, epoch) = endpoint();
    load.begin(epoch).answered(Answer::Failed, epoch + Duration::from_millis(1));
    assert_eq!(load.latency(epoch + Duration::from_millis(1)), Some(FAILURE_LATENCY));
}

#[test]
fn a_clock_that_wraps_or_runs_a_little_behind_does_no_harm() {
    let (load, epoch) = endpoint();
    let before_wrap = epoch + Duration::from_millis(u64::from(u32::MAX) - 5);
    load.begin(before_wrap).answered(Answer::Good, before_wrap + Duration::from_millis(2));
    assert!((milliseconds(&load, before_wrap + Duration::from_millis(20)) - 2.0).abs() < 0.1);
    // A worker that took the time a moment earlier.
    assert!((milliseconds(&load, before_wrap) - 2.0).abs() < 0.1);
    assert!(load.latency(epoch - Duration::from_secs(1)).is_some());
}

#[test]
fn workers_lose_no_count() {
    let (load, epoch) = endpoint();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..2_000 {
                    let request = load.begin(epoch);
                    request.answered(Answer::Good, epoch + Duration::from_millis(turn % 7));
                }
            });
        }
    });
    assert_eq!((load.in_flight(), load.cluster_in_flight()), (0, 0));
}

proptest! {
    #[test]
    fn the_average_lies_between_the_last_answer_and_the_slowest(
        answers in prop::collection::vec((0_u64..20_000, 0_u64..5_000), 1..50)
    ) {
        let (load, epoch) = endpoint();
        let (mut now, mut slowest) = (epoch, 0);
        for (pause, took) in answers {
            let started = now + Duration::from_millis(pause);
            now = started + Duration::from_millis(took);
            load.begin(started).answered(Answer::Good, now);
            slowest = slowest.max(took);
            let average = milliseconds(&load, now);
            prop_assert!(average >= took as f64 * 0.999 && average <= slowest as f64 * 1.001 + 0.001);
        }
    }
}
