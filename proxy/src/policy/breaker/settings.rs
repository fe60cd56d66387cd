//! What opens a breaker, for how long, and what is answered meanwhile.

use super::Counts;
use bytes::Bytes;
use fsm_api::config::CircuitBreaking;
use http::StatusCode;
use std::num::NonZeroU32;
use std::time::Duration;

/// Settings of a breaker that has at least one threshold. Defaults are FSM's; it takes 0 for unset everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerSettings {
    /// `StatTimeWindow`, 30 s: responses are counted over so long a time.
    pub window: Duration,
    /// `MinRequestAmount`, 100: ratios count only from so many requests in a window on. Amounts do not ask for it.
    pub min_requests: u32,
    /// `ErrorAmountThreshold` and `ErrorRatioThreshold`: how many failed responses open the breaker.
    pub errors: Trigger,
    /// `SlowAmountThreshold` and `SlowRatioThreshold`: how many slow responses open it.
    pub slow: Trigger,
    /// `SlowTimeThreshold`, 5 s: a response that takes so long, or longer, is slow.
    pub slow_threshold: Duration,
    /// `DegradedTimeWindow`, 30 s: how long the breaker refuses before it probes.
    pub degraded_window: Duration,
    /// `DegradedStatusCode`, 409.
    pub status: StatusCode,
    /// `DegradedResponseContent`, `Coming soon ...`.
    pub body: Bytes,
}

/// Thresholds of one kind of bad response. Either one is enough; without both, the kind is not counted at all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trigger {
    /// The bad response of this number, in a window, opens the breaker.
    pub amount: Option<NonZeroU32>,
    /// A bad response opens the breaker if such a share of the window's requests was bad, above 0 and at most 1.
    pub ratio: Option<f64>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The response was a 5xx, or there was none: refused, reset, timed out.
    pub failed: bool,
    /// From sending the request to the head of the response, or to the failure: of this attempt alone, without
    /// retries and their pauses.
    pub elapsed: Duration,
}

/// What counts against the upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) error: bool,
    pub(super) slow: bool,
}

impl Marks {
    pub(super) const fn any(self) -> bool {
        self.error || self.slow
    }
}

impl BreakerSettings {
    /// The settings that `wire` asks for, or `None` if it has no threshold and the breaker could never open.
    ///
    /// # Errors
    /// A window or threshold is no time, a ratio is not within 0 and 1, or the status is not within 200 and 599.
    pub fn from_config(wire: &CircuitBreaking) -> Result<Option<Self>, String> {
        let errors = Trigger::from_config("Error", wire.error_amount_threshold, wire.error_ratio_threshold)?;
        let slow = Trigger::from_config("Slow", wire.slow_amount_threshold, wire.slow_ratio_threshold)?;
        if !errors.is_set() && !slow.is_set() {
            return Ok(None);
        }
        let content = wire.degraded_response_content.as_deref().filter(|content| !content.is_empty());
        Ok(Some(Self {
            window: seconds("StatTimeWindow", wire.stat_time_window, 30)?,
            min_requests: wire.min_request_amount.filter(|&amount| amount > 0).unwrap_or(100),
            errors,
            slow,
            slow_threshold: seconds("SlowTimeThreshold", wire.slow_time_threshold, 5)?,
            degraded_window: seconds("DegradedTimeWindow", wire.degraded_time_window, 30)?,
            status: status(wire.degraded_status_code)?,
            body: Bytes::copy_from_slice(content.unwrap_or("Coming soon ...").as_bytes()),
        }))
    }

    pub(super) fn judge(&self, outcome: Outcome) -> Marks {
        Marks {
            error: outcome.failed && self.errors.is_set(),
            slow: outcome.elapsed >= self.slow_threshold && self.slow.is_set(),
        }
    }

    /// Whether a response with `marks`, the last in `counts`, opens the breaker. Only the kind that it adds to is
    /// looked at, so a good response never opens.
    pub(super) fn trips(&self, marks: Marks, counts: Counts) -> bool {
        let trips = |trigger: Trigger, bad| trigger.trips(bad, counts.total, self.min_requests);
        (marks.error && trips(self.errors, counts.error)) || (marks.slow && trips(self.slow, counts.slow))
    }
}

impl Trigger {
    fn from_config(kind: &str, amount: Option<u32>, ratio: Option<f64>) -> Result<Self, String> {
        if let Some(ratio) = ratio.filter(|ratio| !(0.0..=1.0).contains(ratio)) {
            return Err(format!("{kind}RatioThreshold of the circuit breaker is {ratio}; give a share from 0 to 1"));
        }
        Ok(Self { amount: amount.and_then(NonZeroU32::new), ratio: ratio.filter(|&ratio| ratio > 0.0) })
    }

    const fn is_set(&self) -> bool {
        self.amount.is_some() || self.ratio.is_some()
    }

    fn trips(self, bad: u64, total: u64, min_requests: u32) -> bool {
        let share = bad as f64 / total as f64;
        self.amount.is_some_and(|amount| bad >= amount.get().into())
            || self.ratio.is_some_and(|ratio| total >= min_requests.into() && share >= ratio)
    }
}

fn seconds(name: &str, value: Option<f64>, default: u64) -> Result<Duration, String> {
    let Some(value) = value.filter(|&value| value != 0.0) else {
        return Ok(Duration::from_secs(default));
    };
    Duration::try_from_secs_f64(value)
        .map_err(|error| format!("{name} of the circuit breaker is {value}, which is no time ({error}); give seconds"))
}

/// 1xx would never end the exchange.
fn status(value: Option<u16>) -> Result<StatusCode, String> {
    match value {
        None | Some(0) => Ok(StatusCode::CONFLICT),
        Some(value) => StatusCode::from_u16(value).ok().filter(|_| (200..600).contains(&value)).ok_or_else(|| {
            format!("DegradedStatusCode of the circuit breaker is {value}; give a status from 200 to 599")
        }),
    }
}
