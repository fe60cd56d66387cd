#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod demos;
mod simulation;

use super::*;
use fsm_api::config::CircuitBreaking;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const GOOD: Outcome = Outcome { failed: false, elapsed: Duration::ZERO };
const FAILED: Outcome = Outcome { failed: true, elapsed: Duration::ZERO };
const SLOW: Outcome = Outcome { failed: false, elapsed: Duration::from_secs(5) };

/// The demo's breaker without thresholds.
fn demo() -> CircuitBreaking {
    CircuitBreaking {
        stat_time_window: Some(60.0),
        min_request_amount: Some(200),
        slow_time_threshold: Some(0.2),
        degraded_time_window: Some(10.0),
        degraded_status_code: Some(503),
        degraded_response_content: Some("Service Unavailable!".into()),
        ..Default::default()
    }
}

fn breaker(wire: CircuitBreaking) -> Breaker {
    Breaker::new(BreakerSettings::from_config(&wire).unwrap().expect("a threshold"))
}

fn after_errors(amount: u32) -> Breaker {
    breaker(CircuitBreaking { error_amount_threshold: Some(amount), ..demo() })
}

fn pass(breaker: &Breaker, now: Instant) -> Ticket {
    match breaker.admit(now) {
        Admission::Closed(ticket) => ticket,
        other => panic!("expected to pass, not {other:?}"),
    }
}

fn probe(breaker: &Breaker, now: Instant) -> Ticket {
    match breaker.admit(now) {
        Admission::Probe(ticket) => ticket,
        other => panic!("expected to probe, not {other:?}"),
    }
}

fn refused(breaker: &Breaker, now: Instant) -> bool {
    matches!(breaker.admit(now), Admission::Refused { .. })
}

fn ask(breaker: &Breaker, now: Instant, outcome: Outcome) -> Option<Event> {
    let ticket = pass(breaker, now);
    breaker.record(ticket, now, outcome)
}

/// Opens a breaker of amount 1.
fn opened(now: Instant) -> Breaker {
    let breaker = after_errors(1);
    assert!(ask(&breaker, now, FAILED).is_some());
    breaker
}

#[test]
fn the_error_that_reaches_the_amount_opens_and_the_next_request_is_refused() {
    let (breaker, now) = (after_errors(100), Instant::now());
    for _ in 0..99 {
        assert_eq!(ask(&breaker, now, FAILED), None);
    }
    let counts = Counts { total: 100, slow: 0, error: 100 };
    assert_eq!(ask(&breaker, now, FAILED), Some(Event::Opened(counts)));
    assert_eq!((breaker.state(now), breaker.openings(), breaker.counts(now)), (State::Open, 1, counts));
    let Admission::Refused { status, body } = breaker.admit(now) else { panic!("request 101 passed") };
    assert_eq!((status.as_u16(), &body[..]), (503, &b"Service Unavailable!"[..]));
}

#[test]
fn amounts_do_not_ask_for_the_minimum_and_ratios_do() {
    let now = Instant::now();
    let by_amount = after_errors(2);
    assert_eq!((ask(&by_amount, now, FAILED), ask(&by_amount, now, FAILED).is_some()), (None, true));

    let by_ratio = breaker(CircuitBreaking { error_ratio_threshold: Some(0.5), ..demo() });
    for _ in 0..199 {
        assert_eq!(ask(&by_ratio, now, FAILED), None);
    }
    assert!(ask(&by_ratio, now, FAILED).is_some());
}

#[test]
fn a_ratio_is_reached_at_exactly_its_share() {
    let now = Instant::now();
    let by_ratio = breaker(CircuitBreaking { error_ratio_threshold: Some(0.1), ..demo() });
    for _ in 0..181 {
        assert_eq!(ask(&by_ratio, now, GOOD), None);
    }
    for _ in 0..18 {
        assert_eq!(ask(&by_ratio, now, FAILED), None);
    }
    // 19 of 200 are 9.5 %, 20 of 201 are 9.95 %, 21 of 202 are 10.4 %.
    assert_eq!((ask(&by_ratio, now, FAILED), ask(&by_ratio, now, FAILED)), (None, None));
    assert!(ask(&by_ratio, now, FAILED).is_some());

    let by_ratio = breaker(CircuitBreaking { error_ratio_threshold: Some(0.1), ..demo() });
    for request in 1..=200 {
        let outcome = if request > 180 { FAILED } else { GOOD };
        assert_eq!(ask(&by_ratio, now, outcome).is_some(), request == 200, "20 of 200 are 10 %");
    }
}

#[test]
fn slow_is_from_the_threshold_on_and_counts_only_where_a_slow_threshold_is_set() {
    let now = Instant::now();
    let by_slow = breaker(CircuitBreaking { slow_amount_threshold: Some(1), ..demo() });
    let almost = Outcome { failed: true, elapsed: Duration::from_millis(199) };
    assert_eq!(ask(&by_slow, now, almost), None, "errors have no threshold here");
    assert_eq!(by_slow.counts(now), Counts { total: 1, slow: 0, error: 0 });
    let exactly = Outcome { failed: false, elapsed: Duration::from_millis(200) };
    assert_eq!(ask(&by_slow, now, exactly), Some(Event::Opened(Counts { total: 2, slow: 1, error: 0 })));
    let by_errors = after_errors(1);
    assert_eq!(ask(&by_errors, now, SLOW), None);
}

#[test]
fn a_window_starts_with_its_first_request_and_forgets_when_it_ends() {
    let (breaker, start) = (after_errors(2), Instant::now());
    assert_eq!(ask(&breaker, start, FAILED), None);
    let end = start + 60 * SECOND;
    assert_eq!(breaker.counts(end), Counts::default());
    assert_eq!(ask(&breaker, end, FAILED), None);
    // The second window began at 60 s: this is its last nanosecond.
    let last = end + 60 * SECOND - Duration::from_nanos(1);
    assert!(ask(&breaker, last, FAILED).is_some());
}

#[test]
fn a_response_counts_in_the_window_in_which_it_arrives_and_brings_its_request_along() {
    let wire = CircuitBreaking { slow_amount_threshold: Some(2), stat_time_window: Some(1.0), ..demo() };
    let (breaker, start) = (breaker(wire), Instant::now());
    let tickets = [pass(&breaker, start), pass(&breaker, start)];
    // Slower than the whole window: counted where they were sent, they would never count.
    let late = start + 5 * SECOND;
    let events = tickets.map(|ticket| breaker.record(ticket, late, SLOW));
    assert_eq!(events, [None, Some(Event::Opened(Counts { total: 2, slow: 2, error: 0 }))]);
}

#[test]
fn open_lasts_for_the_degraded_window_and_then_one_probe_goes() {
    let start = Instant::now();
    let breaker = opened(start);
    assert!(refused(&breaker, start + 10 * SECOND - Duration::from_nanos(1)));
    let end = start + 10 * SECOND;
    assert_eq!(breaker.state(end), State::HalfOpen);
    let ticket = probe(&breaker, end);
    assert!((0..100).all(|_| refused(&breaker, end)));
    assert_eq!(breaker.record(ticket, end, GOOD), Some(Event::Closed(Counts { total: 1, slow: 0, error: 1 })));
    assert_eq!((breaker.state(end), breaker.counts(end)), (State::Closed, Counts::default()));
    let _ = pass(&breaker, end);
}

#[test]
fn a_failed_probe_opens_for_another_degraded_window() {
    let start = Instant::now();
    let breaker = opened(start);
    let again = start + 12 * SECOND;
    let ticket = probe(&breaker, start + 10 * SECOND);
    let counts = Counts { total: 1, slow: 0, error: 1 };
    assert_eq!(breaker.record(ticket, again, FAILED), Some(Event::Reopened(counts)));
    assert_eq!(breaker.openings(), 2);
    assert!(refused(&breaker, again + 9 * SECOND));
    let _ticket = probe(&breaker, again + 10 * SECOND);
}

#[test]
fn a_probe_whose_client_went_away_frees_its_place_and_decides_nothing() {
    let start = Instant::now();
    let breaker = opened(start);
    let now = start + 10 * SECOND;
    for _ in 0..5 {
        let ticket = probe(&breaker, now);
        assert!(refused(&breaker, now));
        drop(ticket);
        assert_eq!(breaker.state(now), State::HalfOpen);
    }
}

#[test]
fn a_probe_that_hangs_gives_way_after_a_degraded_window_and_is_still_believed() {
    let start = Instant::now();
    let breaker = opened(start);
    let hanging = probe(&breaker, start + 10 * SECOND);
    assert!(refused(&breaker, start + 19 * SECOND));
    let second = probe(&breaker, start + 20 * SECOND);
    let now = start + 21 * SECOND;
    assert!(refused(&breaker, now));
    assert!(matches!(breaker.record(hanging, now, GOOD), Some(Event::Closed(_))));
    assert_eq!(breaker.record(second, now, FAILED), None, "the breaker is closed: an old probe says nothing new");
    assert_eq!(breaker.state(now), State::Closed);
}

#[test]
fn responses_after_the_opening_do_not_count_then_or_later() {
    let (breaker, start) = (after_errors(2), Instant::now());
    let old: Vec<_> = (0..10).map(|_| pass(&breaker, start)).collect();
    let (mut before, after) = (old, start + 10 * SECOND);
    let after_closing = before.split_off(5);
    assert_eq!(breaker.record(before.remove(0), start, FAILED), None);
    assert!(breaker.record(before.remove(0), start, FAILED).is_some());
    let counts = breaker.counts(start);
    assert!(before.into_iter().all(|ticket| breaker.record(ticket, start, FAILED).is_none()));
    assert_eq!(breaker.counts(start), counts);
    let ticket = probe(&breaker, after);
    assert!(breaker.record(ticket, after, GOOD).is_some());
    assert!(after_closing.into_iter().all(|ticket| breaker.record(ticket, after, FAILED).is_none()));
    assert_eq!((breaker.state(after), breaker.counts(after)), (State::Closed, Counts::default()));
}

#[test]
fn a_dropped_ticket_leaves_a_request_without_a_verdict() {
    let (breaker, now) = (after_errors(1), Instant::now());
    drop(pass(&breaker, now));
    assert_eq!(breaker.counts(now), Counts { total: 1, slow: 0, error: 0 });
    assert_eq!(breaker.state(now), State::Closed);
}

#[test]
fn an_update_with_the_same_settings_keeps_an_open_breaker_open() {
    let now = Instant::now();
    let settings = |wire| BreakerSettings::from_config(&wire).unwrap().unwrap();
    let of = |amount| settings(CircuitBreaking { error_amount_threshold: Some(amount), ..demo() });
    let first = Breaker::carry_over(of(1), None);
    assert!(ask(&first, now, FAILED).is_some());
    let second = Breaker::carry_over(of(1), Some(&first));
    assert!(Arc::ptr_eq(&first, &second) && refused(&second, now));
    let third = Breaker::carry_over(of(2), Some(&second));
    assert_eq!(third.state(now), State::Closed);
}

#[test]
fn the_log_line_is_fsms() {
    let counts = Counts { total: 530, slow: 0, error: 100 };
    let prefix = "[circuit_breaker] total/slowAmount/errorAmount";
    for event in [Event::Opened(counts), Event::Reopened(counts)] {
        assert_eq!(event.log_line("server/fortio|8080"), format!("{prefix} (open)  server/fortio|8080 530 0 100"));
    }
    let closed = Event::Closed(counts).log_line("server/fortio|8080");
    assert_eq!(closed, format!("{prefix} (close) server/fortio|8080 530 0 100"));
}

#[test]
fn unset_and_zero_take_fsms_defaults() {
    let zero = Some(0.0);
    let zeros = CircuitBreaking {
        stat_time_window: zero,
        min_request_amount: Some(0),
        degraded_time_window: zero,
        slow_time_threshold: zero,
        error_amount_threshold: Some(7),
        error_ratio_threshold: zero,
        degraded_status_code: Some(0),
        degraded_response_content: Some(String::new()),
        ..Default::default()
    };
    let unset = CircuitBreaking { error_amount_threshold: Some(7), ..Default::default() };
    let settings = BreakerSettings::from_config(&unset).unwrap().unwrap();
    assert_eq!(BreakerSettings::from_config(&zeros).unwrap().as_ref(), Some(&settings));
    assert_eq!((settings.window, settings.degraded_window), (30 * SECOND, 30 * SECOND));
    assert_eq!((settings.min_requests, settings.slow_threshold), (100, 5 * SECOND));
    assert_eq!((settings.status.as_u16(), &settings.body[..]), (409, &b"Coming soon ..."[..]));
}

#[test]
fn without_a_threshold_there_is_no_breaker() {
    assert_eq!(BreakerSettings::from_config(&demo()), Ok(None));
    let off = CircuitBreaking { error_amount_threshold: Some(0), slow_ratio_threshold: Some(0.0), ..demo() };
    assert_eq!(BreakerSettings::from_config(&off), Ok(None));
}

#[test]
fn settings_that_mean_nothing_are_refused_by_name() {
    let on = || CircuitBreaking { error_amount_threshold: Some(1), ..demo() };
    let wrong = [
        (CircuitBreaking { error_ratio_threshold: Some(1.5), ..on() }, "ErrorRatioThreshold"),
        (CircuitBreaking { slow_ratio_threshold: Some(f64::NAN), ..on() }, "SlowRatioThreshold"),
        (CircuitBreaking { stat_time_window: Some(-1.0), ..on() }, "StatTimeWindow"),
        (CircuitBreaking { degraded_time_window: Some(f64::INFINITY), ..on() }, "DegradedTimeWindow"),
        (CircuitBreaking { slow_time_threshold: Some(f64::NAN), ..on() }, "SlowTimeThreshold"),
        (CircuitBreaking { degraded_status_code: Some(101), ..on() }, "DegradedStatusCode"),
    ];
    for (wire, name) in wrong {
        let problem = BreakerSettings::from_config(&wire).unwrap_err();
        assert!(problem.contains(name), "{problem}");
    }
}

#[test]
fn of_many_workers_one_opens_one_probes_and_one_closes() {
    let start = Instant::now();
    for _ in 0..200 {
        let breaker = after_errors(50);
        let events: Vec<Event> = on_four_workers(|| {
            (0..40)
                .filter_map(|_| match breaker.admit(start) {
                    Admission::Closed(ticket) => breaker.record(ticket, start, FAILED),
                    Admission::Probe(_) => panic!("too early for a probe"),
                    Admission::Refused { .. } => None,
                })
                .collect()
        });
        let [Event::Opened(counts)] = events[..] else { panic!("{events:?}") };
        assert!(counts.error >= 50 && counts.total >= counts.error, "{counts:?}");

        let now = start + 10 * SECOND;
        let probes = on_four_workers(|| match breaker.admit(now) {
            Admission::Probe(ticket) => vec![ticket],
            Admission::Refused { .. } => vec![],
            Admission::Closed(_) => panic!("nothing has closed it"),
        });
        let [ticket] = <[Ticket; 1]>::try_from(probes).expect("one probe");
        assert!(matches!(breaker.record(ticket, now, GOOD), Some(Event::Closed(_))));
    }
}

#[test]
fn racing_workers_lose_no_count_within_a_window() {
    let (breaker, now) = (after_errors(u32::MAX), Instant::now());
    let _: Vec<()> = on_four_workers(|| {
        for _ in 0..5000 {
            assert_eq!(ask(&breaker, now, FAILED), None);
            let counts = breaker.counts(now);
            assert!(counts.error <= counts.total);
        }
        vec![]
    });
    assert_eq!(breaker.counts(now), Counts { total: 20_000, slow: 0, error: 20_000 });
}

#[test]
fn racing_across_windows_never_counts_more_failures_than_requests() {
    let wire = CircuitBreaking {
        error_amount_threshold: Some(u32::MAX),
        slow_amount_threshold: Some(u32::MAX),
        stat_time_window: Some(1e-6),
        ..demo()
    };
    let (breaker, start) = (breaker(wire), Instant::now());
    let _: Vec<()> = on_four_workers(|| {
        for step in 0..5000 {
            let now = start + Duration::from_nanos(step * 100);
            let tickets = [pass(&breaker, now), pass(&breaker, now)];
            for ticket in tickets {
                let both = Outcome { failed: true, elapsed: SECOND };
                let _ = breaker.record(ticket, now + Duration::from_nanos(step % 1500), both);
                let counts = breaker.counts(now);
                assert!(counts.error <= counts.total && counts.slow <= counts.total, "{counts:?}");
            }
        }
        vec![]
    });
}

fn on_four_workers<T: Send>(work: impl Fn() -> Vec<T> + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(&work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

proptest! {
    #[test]
    fn an_amount_lets_exactly_so_many_failures_pass(
        amount in 1_u32..300, failures in prop::collection::vec(any::<bool>(), 0..600),
    ) {
        let (breaker, now) = (after_errors(amount), Instant::now());
        let mut failed = 0;
        for failure in failures {
            match breaker.admit(now) {
                Admission::Closed(ticket) => {
                    failed += u32::from(failure);
                    let event = breaker.record(ticket, now, if failure { FAILED } else { GOOD });
                    prop_assert_eq!(event.is_some(), failure && failed == amount);
                }
                Admission::Probe(_) => prop_assert!(false, "no time has passed"),
                Admission::Refused { .. } => prop_assert_eq!(failed, amount),
            }
        }
        prop_assert!(failed <= amount);
    }
}
