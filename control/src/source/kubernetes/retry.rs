//! Pauses between attempts, and what went wrong in words.

use kube::runtime::watcher;
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Pauses that double up to a limit, each of them somewhere between its half and its whole: a server that comes back is
/// not asked by everybody at the same moment.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Retry {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The pause before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        self.next_by(random())
    }

    /// An attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    fn next_by(&mut self, random: f64) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.longest);
        whole.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }
}

/// From 0 to 1; good enough for spreading load.
pub(super) fn random() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The kind is not there (any more).
    Missing,
    /// We may not.
    Forbidden,
    /// Whatever was listed is too old to go on from; a new list follows.
    Expired,
    /// Everything else: nothing but trying again helps.
    Other,
}

/// What kind of failure an error of a watch is.
pub(super) fn classify(error: &watcher::Error) -> Failure {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    let code = match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status)) => status.code,
        WatchError(status) => status.code,
        _ => return Failure::Other,
    };
    match code {
        404 => Failure::Missing,
        401 | 403 => Failure::Forbidden,
        410 => Failure::Expired,
        _ => Failure::Other,
    }
}

/// An error and its causes, each said once.
pub(crate) fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
