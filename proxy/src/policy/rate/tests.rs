#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::policy::seeds::{Seeded, for_each_seed};
use fsm_api::config::NameValue;
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

/// FSM's primitive, told as FSM tells it: a timer that adds tokens and runs only while the bucket is not full.
struct Quota {
    limit: RateLimit,
    tokens: u64,
    timer: Option<Duration>,
}

impl Quota {
    fn new(limit: RateLimit) -> Self {
        Self { limit, tokens: limit.capacity.into(), timer: None }
    }

    fn take(&mut self, now: Duration) -> Decision {
        let RateLimit { amount, window, capacity } = self.limit;
        while let Some(tick) = self.timer.filter(|&tick| tick <= now) {
            self.tokens = (self.tokens + u64::from(amount)).min(capacity.into());
            self.timer = (self.tokens < capacity.into()).then_some(tick + window);
        }
        if self.tokens == 0 {
            return Decision::Limited { retry_after: self.timer.map(|tick| tick - now) };
        }
        self.tokens -= 1;
        if self.timer.is_none() && !window.is_zero() && amount > 0 {
            self.timer = Some(now + window);
        }
        Decision::Allowed
    }
}

fn limit(amount: u32, window: Duration, capacity: u32) -> RateLimit {
    RateLimit { amount, window, capacity }
}

fn allowed(limiter: &RateLimiter, now: Instant, attempts: usize) -> usize {
    (0..attempts).filter(|_| limiter.take(now) == Decision::Allowed).count()
}

#[test]
fn three_requests_a_minute_pass_and_seven_of_ten_are_refused() {
    let demo = HttpLocalRateLimit { requests: 3, stat_time_window: 60.0, ..Default::default() };
    let limiter = RateLimiter::new(RateLimit::from_http(&demo).unwrap());
    let start = Instant::now();
    // As fortio did it: ten requests over a second and a half.
    let decisions: Vec<_> = (0..10).map(|n| limiter.take(start + Duration::from_millis(150) * n)).collect();
    assert_eq!(decisions[..3], [Decision::Allowed; 3]);
    assert!(decisions[3..].iter().all(|decision| matches!(decision, Decision::Limited { .. })));
}

#[test]
fn one_connection_a_minute_refuses_the_second_and_a_burst_of_ten_lets_ten_pass() {
    let start = Instant::now();
    let demo = TcpLocalRateLimit { connections: 1, stat_time_window: 60.0, burst: None };
    let limiter = RateLimiter::new(RateLimit::from_tcp(&demo).unwrap());
    assert_eq!(limiter.take(start), Decision::Allowed);
    assert_eq!(limiter.take(start), Decision::Limited { retry_after: Some(MINUTE) });

    let limiter = RateLimiter::new(RateLimit::from_tcp(&TcpLocalRateLimit { burst: Some(10), ..demo }).unwrap());
    assert_eq!(allowed(&limiter, start, 11), 10);
    assert_eq!(allowed(&limiter, start + MINUTE, 5), 1, "a burst is the size of the bucket, not the rate");
}

#[test]
fn steady_requests_get_the_amount_in_the_first_minute_and_no_more() {
    let limiter = RateLimiter::new(limit(3, MINUTE, 3));
    let start = Instant::now();
    let each_second = |range: std::ops::Range<u32>| -> usize {
        range.map(|second| allowed(&limiter, start + Duration::from_secs(second.into()), 1)).sum()
    };
    assert_eq!(each_second(0..60), 3);
    assert_eq!(each_second(60..120), 3);
    assert_eq!(each_second(120..600), 24);
}

#[test]
fn a_window_starts_with_the_first_token_taken_from_a_full_bucket() {
    let limiter = RateLimiter::new(limit(3, MINUTE, 3));
    let start = Instant::now();
    assert_eq!(allowed(&limiter, start, 1), 1);
    // Full again at 60 s; the next window starts when it is used, at 119 s, and not at 120 s.
    assert_eq!(allowed(&limiter, start + Duration::from_secs(119), 9), 3);
    assert_eq!(allowed(&limiter, start + Duration::from_secs(178), 9), 0);
    assert_eq!(allowed(&limiter, start + Duration::from_secs(179), 9), 3);
}

#[test]
fn tokens_come_back_at_the_end_of_the_window_and_not_a_nanosecond_earlier() {
    let limiter = RateLimiter::new(limit(2, Duration::from_secs(1), 2));
    let start = Instant::now();
    assert_eq!(allowed(&limiter, start, 3), 2);
    let instant = Duration::from_nanos(1);
    let before = start + Duration::from_secs(1) - instant;
    assert_eq!(limiter.take(before), Decision::Limited { retry_after: Some(instant) });
    assert_eq!(limiter.available(before), 0);
    assert_eq!(limiter.available(before + instant), 2);
    assert_eq!(allowed(&limiter, before + instant, 3), 2);
}

#[test]
fn a_window_of_zero_never_refills_and_an_amount_of_zero_blocks_all() {
    let start = Instant::now();
    let limiter = RateLimiter::new(limit(3, Duration::ZERO, 3));
    assert_eq!(allowed(&limiter, start, 10), 3);
    let much_later = start + Duration::from_secs(1_000_000_000);
    assert_eq!(limiter.take(much_later), Decision::Limited { retry_after: None });

    let none = TcpLocalRateLimit { connections: 0, stat_time_window: 60.0, burst: Some(10) };
    let limiter = RateLimiter::new(RateLimit::from_tcp(&none).unwrap());
    assert_eq!(limiter.take(start), Decision::Limited { retry_after: None });
    assert_eq!(limiter.take(much_later), Decision::Limited { retry_after: None });
}

#[test]
fn burst_is_the_capacity_and_zero_counts_as_unset() {
    let of = |burst| {
        let wire = HttpLocalRateLimit { requests: 5, stat_time_window: 1.0, burst, ..Default::default() };
        RateLimit::from_http(&wire).unwrap()
    };
    assert_eq!(of(None), limit(5, Duration::from_secs(1), 5));
    assert_eq!(of(Some(0)), limit(5, Duration::from_secs(1), 5));
    assert_eq!(of(Some(2)).capacity, 2);
    assert_eq!(of(Some(50)).capacity, 50);
}

#[test]
fn a_window_that_is_no_time_is_refused_with_the_remedy() {
    for window in [-1.0, f64::NAN, f64::INFINITY, 1e30] {
        let wire = HttpLocalRateLimit { requests: 5, stat_time_window: window, ..Default::default() };
        let problem = RateLimit::from_http(&wire).unwrap_err();
        assert!(problem.contains("StatTimeWindow in seconds"), "{problem}");
    }
}

#[test]
fn an_update_with_the_same_limit_keeps_the_tokens_and_another_limit_starts_full() {
    let first = RateLimiter::carry_over(limit(3, MINUTE, 3), None);
    let start = Instant::now();
    assert_eq!(allowed(&first, start, 2), 2);
    let second = RateLimiter::carry_over(limit(3, MINUTE, 3), Some(&first));
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(allowed(&second, start, 9), 1);
    let third = RateLimiter::carry_over(limit(3, MINUTE, 10), Some(&second));
    assert_eq!(third.available(start), 10);
}

#[test]
fn the_answer_is_429_or_what_was_configured() {
    let plain = HttpLocalRateLimit::default();
    assert_eq!(
        LimitedAnswer::from_http(&plain),
        (LimitedAnswer { status: StatusCode::TOO_MANY_REQUESTS, headers: HeaderMap::new() }, Vec::new())
    );
    let header = |name: &str, value: &str| NameValue { name: name.into(), value: value.into() };
    let configured = HttpLocalRateLimit {
        response_status_code: Some(509),
        response_headers_to_add: vec![
            header("X-Limited-By", "route"),
            header("content-length", "5"),
            header("Transfer-Encoding", "chunked"),
            header("bad name", "x"),
            header("x-split", "a\r\nb"),
            header("x-limited-by", "again"),
        ],
        ..plain
    };
    let (answer, problems) = LimitedAnswer::from_http(&configured);
    assert_eq!(answer.status.as_u16(), 509);
    assert_eq!(answer.headers.len(), 2);
    assert_eq!(answer.headers.get_all("x-limited-by").iter().collect::<Vec<_>>(), ["route", "again"]);
    assert_eq!(problems.len(), 4, "{problems:?}");

    let informational = HttpLocalRateLimit { response_status_code: Some(100), ..HttpLocalRateLimit::default() };
    let (answer, problems) = LimitedAnswer::from_http(&informational);
    assert_eq!((answer.status.as_u16(), problems.len()), (429, 1));
}

#[test]
fn a_clock_that_steps_back_yields_no_token() {
    let limiter = RateLimiter::new(limit(1, MINUTE, 1));
    let start = Instant::now() + MINUTE;
    assert_eq!(limiter.take(start), Decision::Allowed);
    for back in [1, 30, 60] {
        assert_eq!(allowed(&limiter, start - Duration::from_secs(back), 3), 0);
    }
    assert_eq!(allowed(&limiter, start + MINUTE, 3), 1);
}

#[test]
fn workers_share_the_bucket_to_the_token() {
    for capacity in [1, 7, 1000, 40_000] {
        let limiter = RateLimiter::new(limit(capacity, MINUTE, capacity));
        let start = Instant::now();
        for minute in 0..4 {
            // A bucket of 40,000 counts in ticks of 4 µs and may be late by one.
            let now = start + (MINUTE + Duration::from_micros(10)) * minute;
            let attempts = capacity as usize; // for each of four workers: four times what may pass
            let passed: usize = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| allowed(&limiter, now, attempts))).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).sum()
            });
            assert_eq!(passed, capacity as usize, "in minute {minute}");
        }
    }
}

#[test]
fn workers_racing_across_the_ends_of_windows_never_get_more_than_the_windows_gave() {
    let limiter = RateLimiter::new(limit(5, Duration::from_nanos(100), 8));
    let start = Instant::now();
    let _ = limiter.take(start);
    let steps = 20_000_u32;
    let passed: usize = std::thread::scope(|scope| {
        let work = |skew: u32| {
            let limiter = &limiter;
            let at = move |step: u32| start + Duration::from_nanos((step + skew).into());
            move || (0..steps).map(|step| allowed(limiter, at(step), 2)).sum::<usize>()
        };
        let workers: Vec<_> = (0..3).map(|worker| scope.spawn(work(worker * 10))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    let windows = (steps as usize + 20) / 100;
    assert!(passed < 8 + 5 * windows, "{passed} passed, with the one before 8 + 5 × {windows} may");
    // A worker alone sees each window and would get all but the last.
    assert!(passed > 5 * (windows - 2), "{passed} passed of 5 × {windows}");
}

#[test]
fn simulated_buckets_decide_as_fsm_does() {
    for_each_seed(|random| {
        let window = random.pick(&[1, 1000, 1_000_000_000, 60_000_000_000, 3_600_000_000_000]);
        // Up to 15 tokens a tick is a nanosecond, so that the model needs no rounding.
        let capacity = 1 + random.below(15) as u32;
        let limit = limit(random.below(20) as u32, Duration::from_nanos(window), capacity);
        simulate(random, limit);
    });
}

fn simulate(random: &mut Seeded, limit: RateLimit) {
    let (limiter, mut model) = (RateLimiter::new(limit), Quota::new(limit));
    let start = Instant::now();
    let mut elapsed = Duration::ZERO;
    let mut passed = 0_u64;
    let window = u64::try_from(limit.window.as_nanos()).unwrap();
    for step in 0..2000 {
        let decision = limiter.take(start + elapsed);
        assert_eq!(decision, model.take(elapsed), "step {step} at {elapsed:?} of {limit:?}");
        assert_eq!(u64::from(limiter.available(start + elapsed)), model.tokens);
        passed += u64::from(decision == Decision::Allowed);
        let windows = elapsed.as_nanos() / u128::from(window);
        let most = u128::from(limit.capacity) + u128::from(limit.amount) * windows;
        assert!(u128::from(passed) <= most, "{passed} passed in {windows} windows of {limit:?}");
        // Mostly bursts, sometimes the very end of a window, sometimes a long rest.
        elapsed += match random.below(10) {
            0..=5 => Duration::ZERO,
            6 => Duration::from_nanos(random.below(window + 1)),
            7 => match decision {
                Decision::Limited { retry_after: Some(wait) } => wait,
                _ => Duration::from_nanos(1),
            },
            8 => Duration::from_nanos(window),
            _ => Duration::from_nanos(random.below(window * 20)),
        };
    }
}

proptest! {
    #[test]
    fn no_limit_panics_gives_early_or_gives_too_much(
        (amount, capacity, nanoseconds) in (any::<u32>(), any::<u32>(), prop_oneof![0..10_u64, any::<u64>()]),
        moves in prop::collection::vec((any::<u64>(), any::<bool>()), 1..60),
    ) {
        let limit = limit(amount, Duration::from_nanos(nanoseconds), capacity);
        let limiter = RateLimiter::new(limit);
        let start = Instant::now();
        let (mut elapsed, mut passed) = (Duration::ZERO, 0_u128);
        for (step, wait) in moves {
            let decision = limiter.take(start + elapsed);
            passed += u128::from(decision == Decision::Allowed);
            let windows = elapsed.as_nanos().checked_div(nanoseconds.into()).unwrap_or(0);
            prop_assert!(passed <= u128::from(capacity) + u128::from(amount) * windows);
            prop_assert!(limiter.available(start + elapsed) <= capacity);
            match decision {
                Decision::Limited { retry_after: Some(after) } if wait => {
                    elapsed += after.min(Duration::from_secs(1 << 33));
                }
                _ => elapsed += Duration::from_nanos(step % 1_000_000_000),
            }
        }
    }

    #[test]
    fn a_bucket_of_any_size_is_refilled_on_time_and_never_early(
        capacity in prop_oneof![1_u32..5000, 1_u32..],
        window in 1_u64..10_000_000_000,
        rest in 0_u64..1_000_000_000_000,
    ) {
        let length = Duration::from_nanos(window);
        let limiter = RateLimiter::new(limit(capacity, length, capacity));
        let start = Instant::now();
        let tick = Duration::from_nanos(1 << limiter.layout.tick_shift);
        prop_assert_eq!(limiter.take(start), Decision::Allowed);
        let taken = start + length + 3 * tick + Duration::from_nanos(rest);
        prop_assert_eq!(limiter.available(taken), capacity);
        prop_assert_eq!(limiter.take(taken), Decision::Allowed);
        prop_assert_eq!(limiter.available(taken + length - Duration::from_nanos(1)), capacity - 1);
        prop_assert_eq!(limiter.available(taken + length + 3 * tick), capacity);
    }

    #[test]
    fn after_the_wait_that_a_refusal_names_the_next_one_passes(
        amount in 1_u32.., capacity in 1..200_u32, seconds in 1..4000_u64, early in 0..1000_u64,
    ) {
        let limiter = RateLimiter::new(limit(amount, Duration::from_secs(seconds), capacity));
        let start = Instant::now();
        prop_assert_eq!(allowed(&limiter, start, capacity as usize), capacity as usize);
        let now = start + Duration::from_millis(early.min(seconds * 1000 - 1));
        let Decision::Limited { retry_after: Some(wait) } = limiter.take(now) else { panic!("the bucket is empty") };
        prop_assert_eq!(limiter.take(now + wait), Decision::Allowed);
        // Larger buckets count time in coarser ticks, but never in ones that anybody could notice.
        let end = start + Duration::from_secs(seconds);
        prop_assert!(now + wait >= end && now + wait < end + Duration::from_micros(1));
    }
}
