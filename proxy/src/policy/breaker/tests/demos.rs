//! The pages "Circuit breaking for destinations within the mesh", played with the pages' own numbers.

use super::*;
use std::collections::BTreeMap;

/// How many answers of each status 1000 requests at 200 a second get, and what the breaker logs, if the responses
/// that are not degraded are those of `outcome(number of the response)`.
fn play(wire: CircuitBreaking, outcome: impl Fn(u32) -> Outcome) -> (BTreeMap<u16, u32>, Vec<String>) {
    let (breaker, start) = (breaker(wire), Instant::now());
    let (mut codes, mut log, mut responses) = (BTreeMap::new(), Vec::new(), 0);
    for request in 0..1000 {
        let now = start + Duration::from_millis(5) * request;
        let status = match breaker.admit(now) {
            Admission::Closed(ticket) | Admission::Probe(ticket) => {
                responses += 1;
                let outcome = outcome(responses);
                log.extend(breaker.record(ticket, now, outcome).map(|event| event.log_line("server/fortio|8080")));
                if outcome.failed { 511 } else { 200 }
            }
            Admission::Refused { status, body } => {
                assert_eq!(&body[..], b"Service Unavailable!");
                status.as_u16()
            }
        };
        *codes.entry(status).or_default() += 1;
    }
    (codes, log)
}

/// Spreads `bad` bad responses evenly over the first `of`, the last of which is bad; later ones are good.
fn spread(bad: u32, of: u32, kind: Outcome) -> impl Fn(u32) -> Outcome {
    move |response| if response <= of && response * bad / of > (response - 1) * bad / of { kind } else { GOOD }
}

fn lines(counts: &str) -> Vec<String> {
    vec![format!("[circuit_breaker] total/slowAmount/errorAmount (open)  server/fortio|8080 {counts}")]
}

const DAWDLING: Outcome = Outcome { failed: false, elapsed: Duration::from_millis(200) };

#[test]
fn error_request_count_triggers_circuit_breaker() {
    let wire = CircuitBreaking { error_amount_threshold: Some(100), ..demo() };
    let (codes, log) = play(wire, spread(100, 530, FAILED));
    assert_eq!(codes, BTreeMap::from([(200, 430), (503, 470), (511, 100)]));
    assert_eq!(log, lines("530 0 100"));
}

#[test]
fn error_rate_triggers_circuit_breaker() {
    let wire = CircuitBreaking { error_ratio_threshold: Some(0.10), ..demo() };
    let (codes, log) = play(wire, spread(36, 200, FAILED));
    assert_eq!(codes, BTreeMap::from([(200, 164), (503, 800), (511, 36)]));
    assert_eq!(log, lines("200 0 36"));
}

#[test]
fn slow_call_request_count_triggers_circuit_breaker() {
    let wire = CircuitBreaking { slow_amount_threshold: Some(100), ..demo() };
    let (codes, log) = play(wire, spread(100, 504, DAWDLING));
    assert_eq!(codes, BTreeMap::from([(200, 504), (503, 496)]));
    assert_eq!(log, lines("504 100 0"));
}

#[test]
fn slow_call_rate_triggers_circuit_breaking() {
    let wire = CircuitBreaking { slow_ratio_threshold: Some(0.1), ..demo() };
    // Requests 200 and 201 were quick: a good response never opens, though the share was reached.
    let slow = |response: u32| if response == 202 || (response < 190 && response % 7 == 1) { DAWDLING } else { GOOD };
    let (codes, log) = play(wire, slow);
    assert_eq!(codes, BTreeMap::from([(200, 202), (503, 798)]));
    assert_eq!(log, lines("202 28 0"));
}

#[test]
fn ten_seconds_later_requests_pass_again() {
    let wire = CircuitBreaking { error_ratio_threshold: Some(0.10), ..demo() };
    let (breaker, start) = (breaker(wire), Instant::now());
    for _ in 0..200 {
        let _ = ask(&breaker, start, FAILED);
    }
    assert!(refused(&breaker, start + 9 * SECOND));
    let later = start + 10 * SECOND;
    let ticket = probe(&breaker, later);
    let closed = breaker.record(ticket, later, GOOD).expect("closed");
    let line = "[circuit_breaker] total/slowAmount/errorAmount (close) server/fortio|8080 200 0 200";
    assert_eq!(closed.log_line("server/fortio|8080"), line);
    let _ = pass(&breaker, later);
}
