//! When to try again, and when to ask for a new certificate: pure, `now` and chance come from the caller.

use crate::limits::CONTROL_SUSPICIOUS_FAILURES;
use std::time::{Duration, Instant, SystemTime};

/// Exponential back-off. Each pause is drawn between the half and the whole of its step, so that proxies that lost the
/// same fsm-control do not return together.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    least: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// The first step is `least`; steps double up to `most`.
    pub(super) const fn between(least: Duration, most: Duration) -> Self {
        Self { least, most, failures: 0 }
    }

    /// Counts a failure; how long to pause after it.
    pub(super) fn next(&mut self, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX);
        let step = self.least.saturating_mul(factor).min(self.most);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(0.5 + fraction(random) / 2.0)
    }

    /// All went well: the next failure is the first one.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }
}

/// Streams that break without a word, again and again: our certificate may be the reason, or it is not.
///
/// A fleet must not ask for thousands of certificates because its control plane is ill: the suspicion is acted upon after several
/// failures, and not again before a pause that doubles each time.
#[derive(Debug)]
pub(super) struct Suspicion {
    failures: u32,
    /// Not before.
    next: Option<Instant>,
    pauses: Backoff,
    pauses_of: (Duration, Duration),
}

impl Suspicion {
    /// First and longest pause between two requests for a certificate that nothing but suspicion asks for.
    pub(super) const fn new(pauses: (Duration, Duration)) -> Self {
        Self { failures: 0, next: None, pauses: Backoff::between(pauses.0, pauses.1), pauses_of: pauses }
    }

    /// One more stream broke. Whether a certificate is to be asked for now.
    pub(super) fn raise(&mut self, now: Instant, random: u64) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < CONTROL_SUSPICIOUS_FAILURES || self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.failures = 0;
        self.next = now.checked_add(self.pauses.next(random));
        true
    }

    /// A message was heard: the certificate is good.
    pub(super) const fn lift(&mut self) {
        *self = Self::new(self.pauses_of);
    }
}

/// When to ask for the next certificate. Reckoned in wall-clock time, as validity is: a machine that was suspended has
/// aged too.
#[derive(Debug)]
pub(super) struct Renewal {
    due: SystemTime,
    expires: Option<SystemTime>,
    /// Without a valid certificate nothing works, so it is asked for in quick succession …
    urgent: Backoff,
    /// … and with one there is no hurry.
    calm: Backoff,
    pace: Pace,
}

/// The limits of a [`Renewal`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Back-off without a valid certificate.
    pub(super) urgent: (Duration, Duration),
    /// Back-off with one.
    pub(super) calm: (Duration, Duration),
    /// No certificate is renewed sooner.
    pub(super) at_least: Duration,
    /// What is wanted soon is asked for within this time …
    pub(super) haste: Duration,
    /// … and what is only suspected to help within this.
    pub(super) leisure: Duration,
}

impl Renewal {
    /// There is no certificate yet: one is asked for at once.
    pub(super) const fn new(now: SystemTime, pace: Pace) -> Self {
        Self {
            due: now,
            expires: None,
            urgent: Backoff::between(pace.urgent.0, pace.urgent.1),
            calm: Backoff::between(pace.calm.0, pace.calm.1),
            pace,
        }
    }

    /// When the next certificate is to be asked for.
    pub(super) const fn due(&self) -> SystemTime {
        self.due
    }

    /// A certificate was issued that should be renewed after `renew_after`. It is not renewed later than after nine tenths
    /// of what it has left, whatever was asked for.
    pub(super) fn issued(&mut self, now: SystemTime, renew_after: Duration, expires: SystemTime) {
        let left = expires.duration_since(now).unwrap_or_default();
        let pause = renew_after.min(left.mul_f64(0.9)).max(self.pace.at_least);
        self.due = now.checked_add(pause).unwrap_or(expires);
        self.expires = Some(expires);
        self.urgent.reset();
        self.calm.reset();
    }

    /// Asking failed: the old certificate stays, and is asked for again after a pause.
    pub(super) fn failed(&mut self, now: SystemTime, random: u64) -> Duration {
        let left = self.expires.and_then(|expires| expires.duration_since(now).ok()).unwrap_or_default();
        let pause = match left.is_zero() {
            true => self.urgent.next(random),
            // Towards the end of its validity a calm pause would be an outage.
            false => self.calm.next(random).min(left),
        };
        self.due = now.checked_add(pause).unwrap_or(now);
        pause
    }

    /// A new certificate is wanted soon. Does not shorten the pause after a failure.
    pub(super) fn wanted(&mut self, now: SystemTime, random: u64) {
        self.within(self.pace.haste, now, random);
    }

    /// A new certificate may help, and there is no hurry: it is asked for at some time that other proxies do not choose too.
    pub(super) fn suspected(&mut self, now: SystemTime, random: u64) {
        self.within(self.pace.leisure, now, random);
    }

    fn within(&mut self, time: Duration, now: SystemTime, random: u64) {
        if self.urgent.failures() == 0 && self.calm.failures() == 0 {
            let soon = now.checked_add(time.mul_f64(fraction(random))).unwrap_or(now);
            self.due = self.due.min(soon);
        }
    }
}

/// From 0 (included) to 1 (excluded).
fn fraction(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
