//! Startup, liveness and readiness probes of one start of a container.
//!
//! Pure: [`Probes::due`] says which looks to take now, [`Probes::learn`] takes their outcome. As in Kubernetes nothing
//! but the startup probe runs until it has succeeded. One difference: until a probe of readiness or startup has
//! succeeded once, it is repeated four times a second, because on one machine somebody waits for it. A startup probe's
//! patience stays `periodSeconds` times `failureThreshold` all the same.

use std::time::Duration;

/// How long at most a container that is not ready yet waits for the next look.
const EAGER_PERIOD: Duration = Duration::from_millis(250);

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Holds the others back until the application is up; its failure ends the container.
    Startup,
    /// Its failure ends the container.
    Liveness,
    /// Its failure takes the pod out of its Services.
    Readiness,
}

/// When to look and what counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From the start of the container to the first look.
    pub initial_delay: Duration,
    /// From one look to the next, at least 1 s.
    pub period: Duration,
    /// When a look that has not ended has failed, at least 1 s.
    pub timeout: Duration,
    /// So many successes in a row count as one; at least 1, and 1 but for readiness.
    pub success_threshold: u32,
    /// So many failures in a row count as one, at least 1.
    pub failure_threshold: u32,
}

/// What follows from an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    None,
    /// The container must be ended; the text says which probe failed and how.
    Restart(String),
}

/// The probes of one start of a container.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    watches: Vec<Watch>,
}

#[derive(Clone, Debug)]
struct Watch {
    kind: ProbeKind,
    schedule: Schedule,
    successes: u32,
    failures: u32,
    /// What the thresholds have made of it so far.
    verdict: bool,
    has_passed: bool,
    next: Duration,
    pending: Option<u64>,
    last_failure: Option<String>,
    /// When the last failure was counted.
    counted: Option<Duration>,
}

impl Probes {
    /// The probes of a container that has started at `now`.
    pub fn new(schedules: &[(ProbeKind, Schedule)], now: Duration) -> Self {
        let watch = |(kind, schedule): &(ProbeKind, Schedule)| Watch {
            kind: *kind,
            schedule: schedule.clone(),
            successes: 0,
            failures: 0,
            verdict: *kind == ProbeKind::Liveness,
            has_passed: false,
            next: now + schedule.initial_delay,
            pending: None,
            last_failure: None,
            counted: None,
        };
        Self { watches: schedules.iter().map(watch).collect() }
    }

    /// The looks to take now; each gets a ticket from `ticket`.
    pub fn due(&mut self, now: Duration, mut ticket: impl FnMut() -> u64) -> Vec<(ProbeKind, u64)> {
        let is_started = self.is_started();
        let is_due = |watch: &Watch| {
            watch.pending.is_none() && watch.next <= now && is_started != (watch.kind == ProbeKind::Startup)
        };
        let mut looks = Vec::new();
        for watch in self.watches.iter_mut().filter(|watch| is_due(watch)) {
            let number = ticket();
            watch.pending = Some(number);
            looks.push((watch.kind, number));
        }
        looks
    }

    /// When [`Probes::due`] will have something to say, if nothing else happens.
    pub fn next(&self) -> Option<Duration> {
        let is_started = self.is_started();
        let waits = |watch: &&Watch| watch.pending.is_none() && is_started != (watch.kind == ProbeKind::Startup);
        self.watches.iter().filter(waits).map(|watch| watch.next).min()
    }

    /// Takes an outcome. An unknown ticket is one of an earlier start and means nothing.
    pub fn learn(&mut self, ticket: u64, outcome: Result<(), String>, now: Duration) -> Consequence {
        let Some(watch) = self.watches.iter_mut().find(|watch| watch.pending == Some(ticket)) else {
            return Consequence::None;
        };
        watch.pending = None;
        match outcome {
            Ok(()) => {
                (watch.successes, watch.failures) = (watch.successes.saturating_add(1), 0);
                if watch.successes >= watch.schedule.success_threshold {
                    (watch.verdict, watch.has_passed, watch.last_failure) = (true, true, None);
                }
            }
            Err(why) => {
                // Eager looks must not use up a startup probe's patience sooner.
                let is_early = watch.counted.is_some_and(|at| now < at + watch.schedule.period);
                if watch.kind != ProbeKind::Startup || !is_early {
                    watch.failures = watch.failures.saturating_add(1);
                    watch.counted = Some(now);
                }
                (watch.successes, watch.last_failure) = (0, Some(why));
                if watch.failures >= watch.schedule.failure_threshold {
                    watch.verdict = false;
                }
            }
        }
        let is_eager = !watch.has_passed && watch.kind != ProbeKind::Liveness;
        let period = if is_eager { watch.schedule.period.min(EAGER_PERIOD) } else { watch.schedule.period };
        watch.next = now + period;
        let is_over = watch.failures >= watch.schedule.failure_threshold;
        let (kind, why) = (watch.kind, watch.last_failure.clone().unwrap_or_default());
        if kind == ProbeKind::Startup && watch.verdict {
            // The others begin now.
            for other in self.watches.iter_mut().filter(|other| other.kind != ProbeKind::Startup) {
                other.next = other.next.max(now);
            }
        }
        match kind {
            ProbeKind::Startup if is_over => Consequence::Restart(format!("startup probe failed: {why}")),
            ProbeKind::Liveness if is_over => Consequence::Restart(format!("liveness probe failed: {why}")),
            _ => Consequence::None,
        }
    }

    /// Whether there is no startup probe or it has succeeded.
    pub fn is_started(&self) -> bool {
        self.watches.iter().filter(|watch| watch.kind == ProbeKind::Startup).all(|watch| watch.verdict)
    }

    /// Whether the container is started and its readiness probe, if any, says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.is_started()
            && self.watches.iter().filter(|watch| watch.kind == ProbeKind::Readiness).all(|watch| watch.verdict)
    }

    /// Why the container is not ready, in a few words.
    pub fn why_not_ready(&self) -> Option<String> {
        let watch = self.watches.iter().find(|watch| watch.kind != ProbeKind::Liveness && !watch.verdict)?;
        let name = if watch.kind == ProbeKind::Startup { "startup" } else { "readiness" };
        Some(match &watch.last_failure {
            Some(why) => format!("{name} probe failed: {why}"),
            None => format!("{name} probe has not succeeded yet"),
        })
    }
}

#[cfg(test)]
mod tests;
