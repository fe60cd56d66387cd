#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

const ONE_IN_FIVE: BudgetSettings = BudgetSettings { percent: 20, minimum_per_second: 0, most_at_a_time: None };

fn granted(budget: &RetryBudget, now: Instant, asked: usize) -> usize {
    (0..asked).filter(|_| budget.withdraw(now).is_ok()).count()
}

#[test]
fn a_fifth_of_the_requests_may_be_retried() {
    let now = Instant::now();
    let budget = RetryBudget::new(ONE_IN_FIVE, now);
    assert_eq!(granted(&budget, now, 5), 0);
    (0..100).for_each(|_| budget.deposit(now));
    assert_eq!(granted(&budget, now, 100), 20);
    assert_eq!(budget.withdraw(now).unwrap_err(), Denied::NotEarned);
}

#[test]
fn what_was_earned_fades() {
    let start = Instant::now();
    let budget = RetryBudget::new(ONE_IN_FIVE, start);
    (0..1_000).for_each(|_| budget.deposit(start));
    // 200 × e⁻¹
    assert_eq!(granted(&budget, start + BUDGET_WINDOW, 1_000), 73);
    (0..1_000).for_each(|_| budget.deposit(start + BUDGET_WINDOW));
    assert_eq!(granted(&budget, start + BUDGET_WINDOW * 20, 1_000), 0);
}

#[test]
fn a_rarely_used_service_may_be_retried_ten_times_a_second() {
    let start = Instant::now();
    let budget = RetryBudget::new(BudgetSettings::default(), start);
    assert_eq!(granted(&budget, start, 1_000), 100, "ten seconds' worth is saved up");
    assert_eq!(granted(&budget, start + Duration::from_secs(1), 1_000), 10);
    assert_eq!(granted(&budget, start + Duration::from_secs(3600), 1_000), 100);
}

#[test]
fn retries_under_way_are_bounded_and_end_when_dropped() {
    let now = Instant::now();
    let budget = RetryBudget::new(BudgetSettings { most_at_a_time: Some(2), ..BudgetSettings::default() }, now);
    let first = budget.withdraw(now).expect("granted");
    let _second = budget.withdraw(now).expect("granted");
    assert_eq!(budget.withdraw(now).unwrap_err(), Denied::TooManyUnderWay);
    drop(first);
    assert_eq!(budget.under_way(), 1);
    assert!(budget.withdraw(now).is_ok());
}

#[test]
fn a_refused_retry_does_not_count_as_under_way() {
    let now = Instant::now();
    let budget = RetryBudget::new(BudgetSettings { most_at_a_time: Some(1), ..ONE_IN_FIVE }, now);
    assert_eq!(budget.withdraw(now).unwrap_err(), Denied::NotEarned);
    assert_eq!(budget.under_way(), 0);
}

#[test]
fn a_shared_allowance_is_never_exceeded_and_comes_back_whole() {
    let allowance = Arc::new(Allowance::new(100));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..2_000_u64 {
                    if let Some(mut share) = allowance.take(turn % 60) {
                        let grown = share.grow(30);
                        assert_eq!(share.amount(), turn % 60 + if grown { 30 } else { 0 });
                        assert!(allowance.used() <= 100);
                    }
                }
            });
        }
    });
    assert_eq!(allowance.used(), 0);
    assert!(allowance.take(101).is_none() && allowance.take(u64::MAX).is_none());
    let all = allowance.take(100).expect("everything");
    assert!(allowance.take(1).is_none());
    drop(all);
    assert_eq!(allowance.used(), 0);
}

#[test]
fn workers_together_get_what_was_earned_and_not_one_more() {
    let now = Instant::now();
    let budget = RetryBudget::new(ONE_IN_FIVE, now);
    let all_granted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    budget.deposit(now);
                    all_granted.fetch_add(granted(&budget, now, 1) as u64, Relaxed);
                }
            });
        }
    });
    all_granted.fetch_add(granted(&budget, now, 10_000) as u64, Relaxed);
    assert_eq!(all_granted.into_inner(), 800);
}

proptest! {
    #[test]
    fn no_stretch_of_time_sees_more_retries_than_requests_and_seconds_allow(
        percent in 0_u32..300, minimum in 0_u32..50,
        steps in prop::collection::vec((0_u64..3_000, 0_u32..40, 0_usize..60), 1..60)
    ) {
        let start = Instant::now();
        let settings = BudgetSettings { percent, minimum_per_second: minimum, most_at_a_time: None };
        let budget = RetryBudget::new(settings, start);
        let (mut elapsed, mut requests, mut retries) = (0, 0_u64, 0_u64);
        for (pause, arriving, failing) in steps {
            elapsed += pause;
            let now = start + Duration::from_millis(elapsed);
            (0..arriving).for_each(|_| budget.deposit(now));
            requests += u64::from(arriving);
            retries += granted(&budget, now, failing) as u64;
            let by_time = u64::from(minimum) * (10_000 + elapsed) / 1_000;
            prop_assert!(retries <= requests * u64::from(percent) / 100 + by_time);
        }
    }

    #[test]
    fn extreme_settings_and_times_neither_panic_nor_wrap(
        percent: u32, minimum: u32, seconds in prop::collection::vec(0_u64..10_000_000_000, 1..10)
    ) {
        let start = Instant::now();
        let settings = BudgetSettings { percent, minimum_per_second: minimum, most_at_a_time: None };
        let budget = RetryBudget::new(settings, start);
        for second in seconds {
            let now = start + Duration::from_secs(second);
            budget.deposit(now);
            let _ = budget.withdraw(now);
        }
    }
}
