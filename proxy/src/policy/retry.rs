//! Retries: whether a failed attempt is made again, and when.
//!
//! A [`RetryPolicy`] is compiled once from the document (`docs/retries.md` is its page for users) and then asked after
//! every attempt. It never permits a second attempt after bytes of a response went downstream, never one whose body
//! cannot be sent again, and never one of a request that may have been carried out and must not be carried out twice.
//! Choosing another endpoint for the next attempt, waiting, and replaying the body are the caller's part.

mod conditions;

use super::budget::{Denied, RetryBudget, Share};
use crate::reason::Reason;
use crate::upstream::error::{Sent, UpstreamError};
use conditions::Conditions;
use http::Method;
use std::time::{Duration, Instant};

/// The first back-off when the document names none (Envoy's default).
pub const BACKOFF_BASE: Duration = Duration::from_millis(25);

/// Longer bases count as this, as in FSM.
pub const BACKOFF_BASE_LIMIT: Duration = Duration::from_secs(1);

/// The back-off grows to so many times its base and no further, as in FSM and Envoy.
pub const BACKOFF_GROWTH_LIMIT: u32 = 10;

/// More retries than this are never made: a request that has failed a hundred times will not succeed, it only holds a
/// connection of its client.
pub const MOST_RETRIES: u32 = 100;

/// What is retried, how often, and how fast.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    conditions: Conditions,
    retries: u32,
    per_try_timeout: Option<Duration>,
    backoff_base: Duration,
}

/// An attempt that has ended, or at least has the head of a response.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// 1 for the first attempt of a request.
    pub number: u32,
    /// Whether the request may be carried out twice.
    pub safety: MethodSafety,
    /// The request is a gRPC call: local failures count as their gRPC status too.
    pub grpc: bool,
    /// The whole body can be sent again: it is empty, kept for a replay, or not begun.
    pub body_replayable: bool,
    /// Anything of a response, interim ones included, was passed on.
    pub bytes_downstream: bool,
    /// How it ended.
    pub outcome: AttemptOutcome,
}

/// Whether a request may be carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodSafety {
    /// Twice is as good as once (RFC 9110 §9.2.2).
    Idempotent,
    /// POST, PATCH, and methods that nobody knows.
    NotIdempotent,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The head of a response with this status.
    Status(u16),
    /// The head of a gRPC response that is an error already (`grpc-status` among the headers).
    GrpcStatus(u8),
    /// The endpoint has certainly not seen the request: no connection, or a stream that it refused.
    NotSent(Reason),
    /// The endpoint may have seen the request, and there will be no response.
    Reset(Reason),
    /// No response within the time for this attempt.
    Timeout,
}

/// What to do after an attempt.
#[derive(Debug)]
pub enum Verdict {
    /// Pass on what there is: nothing to retry here.
    Return,
    /// Try again after this time. Keep the share until that attempt has ended.
    Retry {
        /// The back-off.
        after: Duration,
        /// Counts against `MaxRetries`.
        share: Share,
    },
    /// It should be retried, but every permitted retry was made. Counts as `…retry_limit_exceeded`.
    Exhausted,
    /// It should be retried, but the cluster gets too many retries. Counts as `…retry_overflow`.
    OverBudget(Denied),
    /// It should be retried, but that could do harm, or its body is gone.
    NotSafe,
}

impl RetryPolicy {
    /// Reads the document's policy. It is total: whatever cannot be used is left out and named in the problems.
    ///
    /// A policy without `NumRetries` retries nothing, as in FSM.
    pub fn from_config(config: &fsm_api::config::RetryPolicy) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let conditions = Conditions::parse(&config.retry_on, &mut problems);
        let mut retries = config.num_retries.unwrap_or(0);
        if config.num_retries.is_none() {
            problems.push("`NumRetries` is not set, so nothing is retried; set it to the number of retries".into());
        }
        if retries > MOST_RETRIES {
            problems.push(format!("`NumRetries` {retries} counts as {MOST_RETRIES}, the most that is ever retried"));
            retries = MOST_RETRIES;
        }
        let per_try_timeout = seconds("PerTryTimeout", config.per_try_timeout, &mut problems);
        let base = seconds("RetryBackoffBaseInterval", config.retry_backoff_base_interval, &mut problems);
        let mut backoff_base = base.unwrap_or(BACKOFF_BASE);
        if backoff_base > BACKOFF_BASE_LIMIT {
            problems.push(format!("`RetryBackoffBaseInterval` {backoff_base:?} counts as {BACKOFF_BASE_LIMIT:?}"));
            backoff_base = BACKOFF_BASE_LIMIT;
        }
        let per_try_timeout = per_try_timeout.filter(|timeout| !timeout.is_zero());
        (Self { conditions, retries, per_try_timeout, backoff_base }, problems)
    }

    /// The policy of a cluster that has failover endpoints and no policy of its own, as in FSM: what fails with 5xx, or
    /// without a response, is made once more and at once. The caller sends it to a failover endpoint.
    pub fn for_failover() -> Self {
        let conditions = Conditions::parse("5xx", &mut Vec::new());
        Self { conditions, retries: 1, per_try_timeout: None, backoff_base: Duration::ZERO }
    }

    /// Whether anything is ever retried. If not, nothing has to be kept for a replay.
    pub fn is_active(&self) -> bool {
        self.retries > 0 && !self.conditions.is_empty()
    }

    /// The time that each attempt has until the head of its response; `None`: only the request's own timeout.
    pub const fn per_try_timeout(&self) -> Option<Duration> {
        self.per_try_timeout
    }

    /// What to do after `attempt`. `random`: a number of which every bit is random.
    pub fn decide(&self, attempt: &Attempt, budget: &RetryBudget, now: Instant, random: u64) -> Verdict {
        if !self.is_active() || !self.conditions.match_outcome(attempt.outcome, attempt.grpc) {
            return Verdict::Return;
        }
        if attempt.bytes_downstream || !attempt.body_replayable || !self.may_repeat(attempt) {
            return Verdict::NotSafe;
        }
        if attempt.number > self.retries {
            return Verdict::Exhausted;
        }
        match budget.withdraw(now) {
            Ok(share) => Verdict::Retry { after: self.backoff(attempt.number, random), share },
            Err(denied) => Verdict::OverBudget(denied),
        }
    }

    /// The pause before retry `number` (1 is the first): anything between nothing and base × 2^(number-1), at most ten
    /// times the base. *Full jitter*: clients that failed together do not come back together.
    pub fn backoff(&self, number: u32, random: u64) -> Duration {
        let growth = 1_u32
            .checked_shl(number.saturating_sub(1))
            .map_or(BACKOFF_GROWTH_LIMIT, |growth| growth.clamp(1, BACKOFF_GROWTH_LIMIT));
        let longest = self.backoff_base * growth;
        // At most ten seconds, so the product fits: 10^10 ns × 2^64 < 2^128.
        let nanoseconds = (longest.as_nanos() * u128::from(random)) >> 64;
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)).min(longest)
    }

    /// An endpoint's own response says that the request was handled and failed: whoever asks for retries of that status
    /// gets them for every method, as in FSM and Envoy. A connection that breaks says nothing, and the request may have
    /// been carried out.
    fn may_repeat(&self, attempt: &Attempt) -> bool {
        match attempt.outcome {
            AttemptOutcome::Status(_) | AttemptOutcome::GrpcStatus(_) | AttemptOutcome::NotSent(_) => true,
            AttemptOutcome::Reset(_) | AttemptOutcome::Timeout => {
                attempt.safety == MethodSafety::Idempotent || self.conditions.names_reset()
            }
        }
    }
}

impl MethodSafety {
    /// Of a request with this method. A gRPC call is a POST.
    pub fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE => {
                Self::Idempotent
            }
            _ => Self::NotIdempotent,
        }
    }
}

impl From<&UpstreamError> for AttemptOutcome {
    fn from(error: &UpstreamError) -> Self {
        match (error.sent, error.reason) {
            (Sent::Nothing, reason) => Self::NotSent(reason),
            (Sent::Perhaps, Reason::UpstreamTimeout) => Self::Timeout,
            (Sent::Perhaps, reason) => Self::Reset(reason),
        }
    }
}

fn seconds(name: &str, value: Option<f64>, problems: &mut Vec<String>) -> Option<Duration> {
    let value = value?;
    let duration = Duration::try_from_secs_f64(value).ok();
    if duration.is_none() {
        problems.push(format!("`{name}` {value} is no duration in seconds and counts as unset"));
    }
    duration
}

#[cfg(test)]
mod tests;
