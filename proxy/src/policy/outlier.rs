//! Endpoint ejection: an endpoint that fails again and again is left out for a while.
//!
//! After a number of consecutive failures (status 5xx, no connection, resets, timeouts) an endpoint is *ejected* for some
//! seconds; when it comes back, one more failure ejects it again, for longer. One success clears its record. Ejection
//! never makes a cluster smaller than it must be: at most half of the endpoints that have nobody to stand in for them
//! are ejected at a time (the panic threshold: if the whole service is ill, choosing among its healthy half would only
//! overload that), and a single endpoint never is.
//!
//! Recording a success or a failure is one or two atomic operations. Looking at the other endpoints happens only when
//! one is about to be ejected or when endpoints come and go. Ejections end by themselves, by the time passed in.

use super::retry::AttemptOutcome;
use crate::reason::Reason;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Relaxed, Release},
};
use std::time::{Duration, Instant};

/// When endpoints are ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EjectionSettings {
    /// So many failures in a row eject an endpoint; 0: none is ever ejected.
    pub consecutive_failures: u32,
    /// The first ejection lasts so long, the n-th in close succession n times as long …
    pub base: Duration,
    /// … and no ejection longer than this (and a tenth, see [`Ejections::record`]).
    pub longest: Duration,
    /// Percent of the endpoints that may be ejected at a time, 100 at most.
    pub most_percent: u32,
}

impl Default for EjectionSettings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            base: Duration::from_secs(10),
            longest: Duration::from_secs(300),
            most_percent: 50,
        }
    }
}

/// The ejections of one cluster. Kept over configuration updates that do not change its settings.
#[derive(Debug)]
pub struct Ejections {
    settings: EjectionSettings,
    epoch: Instant,
    /// Somebody is deciding on an ejection. Whoever finds it set leaves the decision to the next failure.
    deciding: AtomicBool,
    total: AtomicU64,
}

/// The record of one endpoint. Lives in the endpoint.
#[derive(Debug, Default)]
pub struct EndpointHealth {
    consecutive: AtomicU32,
    /// Ejections in close succession.
    ejections: AtomicU32,
    /// Milliseconds since the epoch; 0: never ejected.
    ejected_until: AtomicU64,
}

/// The endpoints that share the limit of [`EjectionSettings::most_percent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Endpoints with a weight.
    pub weighted: usize,
    /// Endpoints that take over when none of the others is available.
    pub failover: usize,
}

/// An endpoint has just been ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// For how long.
    pub duration: Duration,
    /// Which ejection in close succession it is, from 1.
    pub number: u32,
}

impl Ejections {
    /// No endpoint is ejected. `epoch` is any moment before the first record.
    pub fn new(settings: EjectionSettings, epoch: Instant) -> Self {
        Self { settings, epoch, deciding: AtomicBool::new(false), total: AtomicU64::new(0) }
    }

    /// The settings in force.
    pub const fn settings(&self) -> &EjectionSettings {
        &self.settings
    }

    /// Ejections so far.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Records how an attempt ended and ejects the endpoint if that was one failure too many. `peers` are the records
    /// of all endpoints of the cluster, this one included; they are looked at only then. `random` lengthens the
    /// ejection by up to a tenth, so that endpoints ejected together do not come back together.
    pub fn record<'a, P>(
        &self,
        health: &EndpointHealth,
        failed: bool,
        membership: Membership,
        peers: impl FnOnce() -> P,
        now: Instant,
        random: u64,
    ) -> Option<Ejection>
    where
        P: Iterator<Item = &'a EndpointHealth>,
    {
        if !failed {
            self.record_success(health, now);
            return None;
        }
        let failures = health.consecutive.fetch_update(Relaxed, Relaxed, |count| Some(count.saturating_add(1)));
        let failures = failures.unwrap_or_default().saturating_add(1);
        if self.settings.consecutive_failures == 0 || failures < self.settings.consecutive_failures {
            return None;
        }
        // What was in flight when the endpoint was ejected does not prolong the ejection.
        if self.is_ejected(health, now) || self.deciding.swap(true, AcqRel) {
            return None;
        }
        let ejected = peers().filter(|peer| self.is_ejected(peer, now)).count();
        let has_room = ejected < self.most(membership) && !self.is_ejected(health, now);
        let ejection = has_room.then(|| self.eject(health, now, random));
        self.deciding.store(false, Release);
        ejection
    }

    /// Whether the endpoint is left out at the moment.
    pub fn is_ejected(&self, health: &EndpointHealth, now: Instant) -> bool {
        health.ejected_until.load(Relaxed) > self.milliseconds(now)
    }

    /// Brings the ejections back within the limit after endpoints have come or gone: those closest to their return
    /// return at once. Gives the number of endpoints that returned. Call it on every change of endpoints.
    pub fn rebalance(&self, membership: Membership, peers: &[&EndpointHealth], now: Instant) -> usize {
        let mut ejected: Vec<&EndpointHealth> =
            peers.iter().copied().filter(|peer| self.is_ejected(peer, now)).collect();
        let surplus = ejected.len().saturating_sub(self.most(membership));
        ejected.sort_by_key(|health| health.ejected_until.load(Relaxed));
        for health in &ejected[..surplus] {
            health.ejected_until.store(self.milliseconds(now), Relaxed);
        }
        surplus
    }

    /// Endpoints that may be ejected at a time. Failover endpoints stand in for the others, which may then all be
    /// ejected; otherwise enough must be left. A single endpoint stays.
    fn most(&self, membership: Membership) -> usize {
        let percent = self.settings.most_percent.min(100) as usize;
        let part = |count: usize| (count * percent / 100).min(count.saturating_sub(1));
        match membership {
            Membership { weighted: 0, failover } => part(failover),
            Membership { weighted, failover: 0 } => part(weighted),
            Membership { weighted, failover } => weighted + part(failover),
        }
    }

    /// A success while ejected belongs to a request from before (or to the panic of others): it says little about an
    /// endpoint that fails half of the time, so the ejection and the probation after it stay.
    fn record_success(&self, health: &EndpointHealth, now: Instant) {
        if health.consecutive.load(Relaxed) > 0 && !self.is_ejected(health, now) {
            health.consecutive.store(0, Relaxed);
        }
    }

    fn eject(&self, health: &EndpointHealth, now: Instant, random: u64) -> Ejection {
        let now = self.milliseconds(now);
        let base = (self.settings.base.as_millis() as u64).max(1);
        // Every base interval without an ejection forgives one earlier ejection.
        let forgiven = now.saturating_sub(health.ejected_until.load(Relaxed)) / base;
        let before = u64::from(health.ejections.load(Relaxed)).saturating_sub(forgiven);
        let number = u32::try_from(before + 1).unwrap_or(u32::MAX);
        let longest = self.settings.longest.as_millis() as u64;
        let plain = base.saturating_mul(u64::from(number)).min(longest.max(base));
        let jitter = ((u128::from(plain / 10) * u128::from(random)) >> 64) as u64;
        let duration = plain.saturating_add(jitter);
        health.ejections.store(number, Relaxed);
        // On probation afterwards: the next failure is one too many already.
        health.consecutive.store(self.settings.consecutive_failures.saturating_sub(1), Relaxed);
        health.ejected_until.store(now.saturating_add(duration), Relaxed);
        self.total.fetch_add(1, Relaxed);
        Ejection { duration: Duration::from_millis(duration), number }
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_millis() as u64
    }
}

/// Whether an attempt says that its endpoint is ill: 5xx, gRPC errors that stand for them, and every attempt without a
/// response. What the proxy refuses by itself says nothing about an endpoint.
pub const fn is_failure(outcome: AttemptOutcome) -> bool {
    match outcome {
        AttemptOutcome::Status(status) => status >= 500,
        // unknown, deadline exceeded, internal, unavailable, data loss
        AttemptOutcome::GrpcStatus(status) => matches!(status, 2 | 4 | 13 | 14 | 15),
        AttemptOutcome::NotSent(reason) => !matches!(
            reason,
            Reason::NoEndpoint | Reason::NoCluster | Reason::Overloaded | Reason::CircuitOpen | Reason::ShuttingDown
        ),
        AttemptOutcome::Reset(_) | AttemptOutcome::Timeout => true,
    }
}

#[cfg(test)]
mod tests;
