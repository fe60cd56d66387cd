//! The circuit breaker of one cluster: it stops asking an upstream that fails or dawdles, and lets it recover.
//!
//! *Closed*, every request passes and is counted; a failed or slow response opens the breaker when its threshold is
//! reached. *Open*, every request gets the degraded answer for the degraded window. *Half-open*, one request at a time
//! probes the upstream: a good answer closes the breaker, a bad one opens it again.
//!
//! Counts are those of one window of fixed length that begins with its first request; they start over when it ends
//! (FSM's `StatTimeWindow`). A response counts in the window in which it arrives; if its request passed in an earlier
//! one, that request counts again in this one, so that there are never more failures than requests. Responses that
//! arrive after the breaker opened are not counted, also not once it is closed again: what they tell is old.
//!
//! Lock-free: the phase is one pointer, replaced by compare-and-swap; counts are atomics of the phase they belong to.
//! A closed breaker costs a request one atomic addition, and a good response none. Never reads a clock or waits. A
//! clock that steps back makes a phase last longer and does nothing else.

mod settings;

pub use settings::{BreakerSettings, Outcome, Trigger};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use http::StatusCode;
use settings::Marks;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What to do with a request.
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// It may pass. Give the ticket to [`Breaker::record`] with the outcome.
    Closed(Ticket),
    /// It may pass, and its outcome decides whether the breaker closes. A ticket that is dropped without an outcome
    /// (the client went away) frees the place of the probe.
    Probe(Ticket),
    /// The breaker is open: answer this, and do not close the client's connection.
    Refused {
        /// `DegradedStatusCode`.
        status: StatusCode,
        /// `DegradedResponseContent`.
        body: Bytes,
    },
}

/// Stands for a request that passed.
#[derive(Debug)]
#[must_use = "hand it to Breaker::record when the response or the failure is known"]
pub struct Ticket(Passed);

#[derive(Debug)]
enum Passed {
    Counted { closing: u64, window: u64 },
    Probe { opening: u64, _place: HeldPlace },
}

/// Where the breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Requests pass.
    Closed,
    /// Requests are refused.
    Open,
    /// One request at a time probes the upstream, the others are refused.
    HalfOpen,
}

impl State {
    /// The word for pages and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// Requests that passed in a window, and how many of them were slow or failed. A kind without a threshold stays 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests, also those still under way.
    pub total: u64,
    /// Slow responses.
    pub slow: u64,
    /// Failed responses.
    pub error: u64,
}

/// The breaker changed its state. Log it with [`Event::log_line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A threshold was reached; the counts are those that reached it.
    Opened(Counts),
    /// A probe failed; the counts are those of the probe.
    Reopened(Counts),
    /// A probe succeeded; the counts are those of the opening, as FSM logs them.
    Closed(Counts),
}

impl Event {
    /// FSM's line, to the letter: scripts and dashboards search for it.
    pub fn log_line(&self, cluster: &str) -> String {
        // FSM pads "(open)" to the width of "(close)".
        let (word, counts) = match self {
            Self::Opened(counts) | Self::Reopened(counts) => ("(open) ", counts),
            Self::Closed(counts) => ("(close)", counts),
        };
        let Counts { total, slow, error } = counts;
        format!("[circuit_breaker] total/slowAmount/errorAmount {word} {cluster} {total} {slow} {error}")
    }
}

/// The breaker of one cluster, shared by all workers and kept across updates with [`Breaker::carry_over`].
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    phase: ArcSwap<Phase>,
    /// Numbers windows, closings and openings, each once.
    serial: AtomicU64,
    openings: AtomicU64,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        let first = Phase::Closed(Window::new(0, 0, OnceLock::new()));
        Self { settings, phase: ArcSwap::from_pointee(first), serial: AtomicU64::new(1), openings: AtomicU64::new(0) }
    }

    /// The breaker for `settings` after an update: `previous` itself, open or closed and with its counts, if its
    /// settings are the same, else a new closed one.
    pub fn carry_over(settings: BreakerSettings, previous: Option<&Arc<Self>>) -> Arc<Self> {
        match previous {
            Some(previous) if previous.settings == settings => Arc::clone(previous),
            _ => Arc::new(Self::new(settings)),
        }
    }

    /// The settings that are kept.
    pub const fn settings(&self) -> &BreakerSettings {
        &self.settings
    }

    /// Whether a request may pass at `now`. Ask once for each attempt, just before it is sent.
    pub fn admit(&self, now: Instant) -> Admission {
        loop {
            let phase = self.current(now);
            let (opening, counts) = match &**phase {
                Phase::Closed(window) => {
                    window.started.get_or_init(|| now);
                    window.total.fetch_add(1, Ordering::AcqRel);
                    let passed = Passed::Counted { closing: window.closing, window: window.serial };
                    return Admission::Closed(Ticket(passed));
                }
                Phase::Open(open) if elapsed(open.since, now) >= self.settings.degraded_window => {
                    (self.next_serial(), open.counts)
                }
                Phase::HalfOpen(half) if half.probe_may_go(now, self.settings.degraded_window) => {
                    (half.opening, half.counts)
                }
                Phase::Open(_) | Phase::HalfOpen(_) => {
                    return Admission::Refused { status: self.settings.status, body: self.settings.body.clone() };
                }
            };
            if let Some(place) = self.start_probe(&phase, opening, now, counts) {
                return Admission::Probe(Ticket(Passed::Probe { opening, _place: place }));
            }
        }
    }

    /// Counts what became of a request. Exactly one response opens or closes the breaker and gets the event.
    pub fn record(&self, ticket: Ticket, now: Instant, outcome: Outcome) -> Option<Event> {
        let marks = self.settings.judge(outcome);
        match &ticket.0 {
            Passed::Counted { closing, window } => self.count(*closing, *window, now, marks),
            Passed::Probe { opening, .. } => self.conclude(*opening, now, marks),
        }
    }

    /// Where the breaker is at `now`.
    pub fn state(&self, now: Instant) -> State {
        match &**self.phase.load() {
            Phase::Closed(_) => State::Closed,
            Phase::Open(open) if elapsed(open.since, now) < self.settings.degraded_window => State::Open,
            Phase::Open(_) | Phase::HalfOpen(_) => State::HalfOpen,
        }
    }

    /// Closed: the counts of the window of `now`. Otherwise: those that opened the breaker last.
    pub fn counts(&self, now: Instant) -> Counts {
        match &**self.phase.load() {
            Phase::Closed(window) if window.is_over(now, self.settings.window) => Counts::default(),
            Phase::Closed(window) => window.counts(),
            Phase::Open(Open { counts, .. }) | Phase::HalfOpen(HalfOpen { counts, .. }) => *counts,
        }
    }

    /// How often the breaker opened or opened again since it exists.
    pub fn openings(&self) -> u64 {
        self.openings.load(Ordering::Relaxed)
    }

    /// The phase at `now`, with a new window if the old one is over.
    fn current(&self, now: Instant) -> Guard<Arc<Phase>> {
        loop {
            let phase = self.phase.load();
            match &**phase {
                Phase::Closed(window) if window.is_over(now, self.settings.window) => {
                    let next = Window::new(window.closing, self.next_serial(), OnceLock::from(now));
                    self.replace(&phase, Phase::Closed(next));
                }
                _ => return phase,
            }
        }
    }

    fn count(&self, closing: u64, admitted_in: u64, now: Instant, marks: Marks) -> Option<Event> {
        // Before it may start a new window: a response that does not count must not start one.
        self.phase.load().closed_since(closing)?;
        let phase = self.current(now);
        let window = phase.closed_since(closing)?;
        if window.serial != admitted_in {
            window.total.fetch_add(1, Ordering::AcqRel);
        }
        if !marks.any() {
            return None;
        }
        let counts = window.add(marks);
        if self.settings.trips(marks, counts) { self.open(closing, now, counts) } else { None }
    }

    /// Opens what was closed by `closing`, unless another response was quicker.
    fn open(&self, closing: u64, now: Instant, counts: Counts) -> Option<Event> {
        loop {
            let phase = self.phase.load();
            // Another window of the same closing: a worker whose clock runs ahead started it after our count.
            phase.closed_since(closing)?;
            if self.replace(&phase, Phase::Open(Open { since: now, counts })) {
                self.openings.fetch_add(1, Ordering::Relaxed);
                return Some(Event::Opened(counts));
            }
        }
    }

    /// The probe of `opening` has its answer. Any probe of the opening counts, also one that another has overtaken:
    /// an upstream that answers well, but slower than a degraded window, would otherwise never be believed.
    fn conclude(&self, opening: u64, now: Instant, marks: Marks) -> Option<Event> {
        loop {
            let phase = self.phase.load();
            let Phase::HalfOpen(half) = &**phase else { return None };
            if half.opening != opening {
                return None;
            }
            let (next, event) = if marks.any() {
                let probe = Counts { total: 1, slow: marks.slow.into(), error: marks.error.into() };
                (Phase::Open(Open { since: now, counts: probe }), Event::Reopened(probe))
            } else {
                let serial = self.next_serial();
                (Phase::Closed(Window::new(serial, serial, OnceLock::new())), Event::Closed(half.counts))
            };
            if self.replace(&phase, next) {
                self.openings.fetch_add(u64::from(marks.any()), Ordering::Relaxed);
                return Some(event);
            }
        }
    }

    /// Takes the place of the probe, unless another request was quicker.
    fn start_probe(&self, phase: &Guard<Arc<Phase>>, opening: u64, now: Instant, counts: Counts) -> Option<HeldPlace> {
        let place = Arc::new(AtomicBool::new(true));
        let half = HalfOpen { opening, probed: now, taken: Arc::clone(&place), counts };
        self.replace(phase, Phase::HalfOpen(half)).then_some(HeldPlace(place))
    }

    /// Whether `next` took the place of `phase`, which the caller has looked at.
    fn replace(&self, phase: &Guard<Arc<Phase>>, next: Phase) -> bool {
        let found = self.phase.compare_and_swap(&**phase, Arc::new(next));
        Arc::ptr_eq(&found, phase)
    }

    fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }
}

#[derive(Debug)]
enum Phase {
    Closed(Window),
    Open(Open),
    HalfOpen(HalfOpen),
}

impl Phase {
    fn closed_since(&self, closing: u64) -> Option<&Window> {
        match self {
            Self::Closed(window) if window.closing == closing => Some(window),
            _ => None,
        }
    }
}

/// One window of a closed breaker.
#[derive(Debug)]
struct Window {
    /// When the breaker was closed, as a number: tickets of an earlier time are not counted.
    closing: u64,
    serial: u64,
    /// Its first request.
    started: OnceLock<Instant>,
    total: AtomicU64,
    slow: AtomicU64,
    error: AtomicU64,
}

impl Window {
    const fn new(closing: u64, serial: u64, started: OnceLock<Instant>) -> Self {
        Self { closing, serial, started, total: AtomicU64::new(0), slow: AtomicU64::new(0), error: AtomicU64::new(0) }
    }

    fn is_over(&self, now: Instant, length: Duration) -> bool {
        self.started.get().is_some_and(|&started| elapsed(started, now) >= length)
    }

    /// Adds the marks and returns the counts, in which each kind that was added has the number of this addition.
    fn add(&self, marks: Marks) -> Counts {
        let add = |count: &AtomicU64, marked: bool| {
            if marked { count.fetch_add(1, Ordering::AcqRel) + 1 } else { count.load(Ordering::Acquire) }
        };
        let (slow, error) = (add(&self.slow, marks.slow), add(&self.error, marks.error));
        Counts { total: self.total.load(Ordering::Acquire), slow, error }
    }

    /// The total is read last: each failure was preceded by its request, so it is never below the others.
    fn counts(&self) -> Counts {
        self.add(Marks::default())
    }
}

#[derive(Debug)]
struct Open {
    since: Instant,
    counts: Counts,
}

/// The degraded window is over, and a request found that out.
#[derive(Debug)]
struct HalfOpen {
    opening: u64,
    /// When the last probe went.
    probed: Instant,
    /// Whether it is still under way.
    taken: Arc<AtomicBool>,
    counts: Counts,
}

impl HalfOpen {
    /// A probe that hangs keeps the others out for a degraded window and not for ever.
    fn probe_may_go(&self, now: Instant, patience: Duration) -> bool {
        !self.taken.load(Ordering::Acquire) || elapsed(self.probed, now) >= patience
    }
}

/// The place of the probe, free again when this is dropped.
#[derive(Debug)]
struct HeldPlace(Arc<AtomicBool>);

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn elapsed(since: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(since)
}

#[cfg(test)]
mod tests;
