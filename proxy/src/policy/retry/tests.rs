#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::budget::BudgetSettings;
use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn config(retry_on: &str) -> fsm_api::config::RetryPolicy {
    fsm_api::config::RetryPolicy {
        retry_on: retry_on.into(),
        per_try_timeout: Some(1.0),
        num_retries: Some(5),
        retry_backoff_base_interval: Some(1.0),
    }
}

/// A policy of which everything is understood.
fn policy(retry_on: &str) -> RetryPolicy {
    let (policy, problems) = RetryPolicy::from_config(&config(retry_on));
    assert_eq!(problems, Vec::<String>::new());
    policy
}

fn attempt(outcome: AttemptOutcome) -> Attempt {
    Attempt {
        number: 1,
        safety: MethodSafety::Idempotent,
        grpc: false,
        body_replayable: true,
        bytes_downstream: false,
        outcome,
    }
}

fn decide(policy: &RetryPolicy, attempt: &Attempt) -> Verdict {
    let now = Instant::now();
    policy.decide(attempt, &RetryBudget::new(BudgetSettings::default(), now), now, u64::MAX)
}

fn retries(retry_on: &str, outcome: AttemptOutcome) -> bool {
    matches!(decide(&policy(retry_on), &attempt(outcome)), Verdict::Retry { .. })
}

use AttemptOutcome::{GrpcStatus, NotSent, Reset, Status, Timeout};

#[test]
fn the_demo_is_retried_five_times_and_then_given_up() {
    let (policy, now) = (policy("5xx"), Instant::now());
    let budget = RetryBudget::new(BudgetSettings::default(), now);
    let mut pauses = Vec::new();
    for number in 1.. {
        match policy.decide(&Attempt { number, ..attempt(Status(503)) }, &budget, now, u64::MAX) {
            Verdict::Retry { after, .. } => pauses.push(after.as_secs_f64().round() as u64),
            verdict => {
                assert!(matches!(verdict, Verdict::Exhausted));
                break;
            }
        }
    }
    assert_eq!(pauses, [1, 2, 4, 8, 10], "the longest pauses: doubled, at most ten times the base");
    assert!(matches!(decide(&policy, &attempt(Status(404))), Verdict::Return));
    assert_eq!(policy.per_try_timeout(), Some(SECOND));
}

#[test]
fn each_condition_means_what_its_name_says() {
    let refused = NotSent(Reason::UpstreamRefused);
    let unused = NotSent(Reason::UpstreamReset);
    let reset = Reset(Reason::UpstreamReset);
    for (retry_on, yes, no) in [
        ("5xx", vec![Status(500), Status(503), Status(599), refused, unused, reset, Timeout], vec![Status(499)]),
        ("", vec![Status(500)], vec![Status(404), GrpcStatus(14)]),
        (" , ", vec![Status(500)], vec![Status(404)]),
        (
            "gateway-error",
            vec![Status(502), Status(503), Status(504), refused, Timeout],
            vec![Status(500), Status(505)],
        ),
        ("connect-failure", vec![refused, NotSent(Reason::UpstreamTls)], vec![reset, Timeout, Status(503), unused]),
        ("refused-stream", vec![unused], vec![refused, reset, Status(503)]),
        ("reset", vec![reset, Timeout, unused, refused], vec![Status(503)]),
        ("retriable-4xx", vec![Status(409)], vec![Status(404), Status(429), Status(500)]),
        ("4xx", vec![Status(400), Status(499)], vec![Status(500), Status(399)]),
        ("retriable-status-codes, 429,503", vec![Status(429), Status(503)], vec![Status(500), refused]),
        ("502", vec![refused, reset, Status(502)], vec![Timeout]),
        ("cancelled", vec![GrpcStatus(1)], vec![GrpcStatus(4), Status(503)]),
        ("deadline-exceeded", vec![GrpcStatus(4)], vec![GrpcStatus(1)]),
        ("resource-exhausted", vec![GrpcStatus(8)], vec![GrpcStatus(14)]),
        ("internal", vec![GrpcStatus(13)], vec![GrpcStatus(14), GrpcStatus(255)]),
        ("unavailable", vec![GrpcStatus(14)], vec![GrpcStatus(13), refused]),
        (" 5XX , Gateway-Error,unavailable", vec![Status(500), GrpcStatus(14)], vec![Status(404)]),
    ] {
        for outcome in yes {
            assert!(retries(retry_on, outcome), "`{retry_on}` retries {outcome:?}");
        }
        for outcome in no {
            assert!(!retries(retry_on, outcome), "`{retry_on}` does not retry {outcome:?}");
        }
    }
}

#[test]
fn a_grpc_call_that_was_not_sent_is_unavailable() {
    let call = Attempt { grpc: true, safety: MethodSafety::NotIdempotent, ..attempt(NotSent(Reason::UpstreamRefused)) };
    assert!(matches!(decide(&policy("unavailable"), &call), Verdict::Retry { .. }));
}

#[test]
fn what_the_proxy_refuses_by_itself_is_not_retried() {
    for reason in [Reason::NoEndpoint, Reason::CircuitOpen, Reason::Overloaded, Reason::Internal] {
        assert!(!retries("5xx,connect-failure,reset,refused-stream", NotSent(reason)), "{reason}");
    }
}

#[test]
fn a_post_is_repeated_only_if_it_was_answered_or_not_sent_or_reset_is_named() {
    let verdict = |retry_on: &str, outcome| {
        decide(&policy(retry_on), &Attempt { safety: MethodSafety::of(&Method::POST), ..attempt(outcome) })
    };
    assert!(matches!(verdict("5xx", Status(503)), Verdict::Retry { .. }));
    assert!(matches!(verdict("5xx", NotSent(Reason::UpstreamRefused)), Verdict::Retry { .. }));
    for outcome in [Reset(Reason::UpstreamReset), Timeout] {
        assert!(matches!(verdict("5xx", outcome), Verdict::NotSafe));
        assert!(matches!(verdict("5xx,reset", outcome), Verdict::Retry { .. }));
    }
}

#[test]
fn methods_are_safe_to_repeat_as_rfc_9110_9_2_2_says() {
    for (method, safety) in [
        ("GET", MethodSafety::Idempotent),
        ("HEAD", MethodSafety::Idempotent),
        ("OPTIONS", MethodSafety::Idempotent),
        ("TRACE", MethodSafety::Idempotent),
        ("PUT", MethodSafety::Idempotent),
        ("DELETE", MethodSafety::Idempotent),
        ("POST", MethodSafety::NotIdempotent),
        ("PATCH", MethodSafety::NotIdempotent),
        ("BREW", MethodSafety::NotIdempotent),
    ] {
        assert_eq!(MethodSafety::of(&method.parse().unwrap()), safety, "{method}");
    }
}

#[test]
fn outcomes_of_exchanges_keep_what_is_known_about_them() {
    let of = |error: UpstreamError| AttemptOutcome::from(&error);
    assert_eq!(of(UpstreamError::unsent(Reason::UpstreamReset, "")), NotSent(Reason::UpstreamReset));
    assert_eq!(of(UpstreamError::sent(Reason::UpstreamReset, "")), Reset(Reason::UpstreamReset));
    assert_eq!(of(UpstreamError::sent(Reason::UpstreamTimeout, "")), Timeout);
}

#[test]
fn what_is_not_understood_is_named_and_left_out() {
    let (policy, problems) = RetryPolicy::from_config(&config("5xx, on-full-moon,6xx,99,700,5x3"));
    assert!(policy.is_active());
    assert_eq!(problems.len(), 5, "{problems:?}");
    assert!(problems[0].contains("`on-full-moon`") && problems[0].contains("connect-failure"));
    let (policy, _) = RetryPolicy::from_config(&config("on-full-moon"));
    assert!(!policy.is_active(), "what was not asked for is not retried");
}

#[test]
fn unset_and_unusable_numbers_have_defaults() {
    let unset = fsm_api::config::RetryPolicy { num_retries: Some(1), ..Default::default() };
    let (policy, problems) = RetryPolicy::from_config(&unset);
    assert!(problems.is_empty());
    assert_eq!((policy.backoff(1, u64::MAX).as_millis(), policy.per_try_timeout()), (24, None), "just below 25 ms");
    for (retries, timeout, base, problems) in [
        (None, None, None, 1),
        (Some(0), Some(0.0), Some(0.0), 0),
        (Some(1_000), Some(f64::NAN), Some(-1.0), 3),
        (Some(3), Some(f64::INFINITY), Some(1e300), 2),
        (Some(3), None, Some(30.0), 1),
    ] {
        let config = fsm_api::config::RetryPolicy {
            retry_on: String::new(),
            per_try_timeout: timeout,
            num_retries: retries,
            retry_backoff_base_interval: base,
        };
        let (policy, found) = RetryPolicy::from_config(&config);
        assert_eq!(found.len(), problems, "{found:?}");
        assert_eq!(policy.is_active(), retries.is_some_and(|retries| retries > 0));
        assert_eq!(policy.per_try_timeout(), None);
        assert!(policy.backoff(1, u64::MAX) <= BACKOFF_BASE_LIMIT);
    }
}

#[test]
fn without_a_policy_failover_tries_once_more_at_once() {
    let policy = RetryPolicy::for_failover();
    let Verdict::Retry { after, .. } = decide(&policy, &attempt(Status(500))) else { panic!("no failover") };
    assert_eq!(after, Duration::ZERO);
    assert!(matches!(decide(&policy, &Attempt { number: 2, ..attempt(Status(500)) }), Verdict::Exhausted));
    assert!(matches!(decide(&policy, &attempt(Status(404))), Verdict::Return));
}

#[test]
fn an_empty_budget_stops_retries() {
    let now = Instant::now();
    let settings = BudgetSettings { percent: 0, minimum_per_second: 0, most_at_a_time: None };
    let verdict = policy("5xx").decide(&attempt(Status(503)), &RetryBudget::new(settings, now), now, 0);
    assert!(matches!(verdict, Verdict::OverBudget(Denied::NotEarned)));
}

/// A service that fails altogether gets a fifth more requests and ten a second, not six times as many.
#[test]
fn a_dying_service_is_not_buried_under_retries() {
    let (policy, start) = (policy("5xx"), Instant::now());
    let budget = RetryBudget::new(BudgetSettings::default(), start);
    let (mut requests, mut attempts) = (0_u32, 0_u32);
    for tenth in 0..600_u64 {
        let now = start + Duration::from_millis(tenth * 100);
        for _ in 0..100 {
            requests += 1;
            budget.deposit(now);
            for number in 1.. {
                attempts += 1;
                let attempt = Attempt { number, ..attempt(Status(503)) };
                if !matches!(policy.decide(&attempt, &budget, now, 0), Verdict::Retry { .. }) {
                    break;
                }
            }
        }
    }
    let most = f64::from(requests) * 1.2 + 10.0 * 60.0 + 100.0;
    assert!(f64::from(attempts) <= most, "{attempts} attempts for {requests} requests");
    assert!(f64::from(attempts) >= f64::from(requests) * 1.19, "{attempts} attempts for {requests} requests");
}

fn any_outcome() -> impl Strategy<Value = AttemptOutcome> {
    let reason = || prop::sample::select(Reason::ALL);
    prop_oneof![
        any::<u16>().prop_map(Status),
        any::<u8>().prop_map(GrpcStatus),
        reason().prop_map(NotSent),
        reason().prop_map(Reset),
        Just(Timeout),
    ]
}

proptest! {
    #[test]
    fn no_retry_ever_does_harm(
        retry_on in prop::sample::select(vec!["5xx", "reset", "gateway-error,connect-failure", "4xx,unavailable", ""]),
        outcome in any_outcome(), number in 1_u32..20, idempotent: bool, grpc: bool, body_replayable: bool,
        bytes_downstream: bool, random: u64,
    ) {
        let safety = if idempotent { MethodSafety::Idempotent } else { MethodSafety::NotIdempotent };
        let attempt = Attempt { number, safety, grpc, body_replayable, bytes_downstream, outcome };
        let (policy, now) = (policy(retry_on), Instant::now());
        let budget = RetryBudget::new(BudgetSettings::default(), now);
        if let Verdict::Retry { after, share } = policy.decide(&attempt, &budget, now, random) {
            prop_assert!(number <= 5 && body_replayable && !bytes_downstream);
            prop_assert!(idempotent || retry_on == "reset" || !matches!(outcome, Reset(_) | Timeout));
            prop_assert!(!matches!(outcome, Status(200..=399)));
            prop_assert!(after <= SECOND * 10);
            prop_assert_eq!((share.amount(), budget.under_way()), (1, 1));
        }
        prop_assert_eq!(budget.under_way(), 0);
    }

    #[test]
    fn pauses_lie_between_nothing_and_the_exponential_bound(number: u32, random: u64, base in 0.0_f64..3.0) {
        let config = fsm_api::config::RetryPolicy { retry_backoff_base_interval: Some(base), ..config("5xx") };
        let (policy, _) = RetryPolicy::from_config(&config);
        let longest = Duration::from_secs_f64(base.min(1.0)) * 2_u32.saturating_pow(number.saturating_sub(1)).min(10);
        let pause = policy.backoff(number, random);
        prop_assert!(pause <= longest);
        let expected = longest.as_secs_f64() * (random as f64 / 2_f64.powi(64));
        prop_assert!((pause.as_secs_f64() - expected).abs() < 1e-6, "full jitter");
    }

    #[test]
    fn no_list_of_conditions_panics(list in "[a-z0-9x,\\- é]{0,60}") {
        let (policy, _) = RetryPolicy::from_config(&config(&list));
        let _ = decide(&policy, &attempt(Status(503)));
    }
}
