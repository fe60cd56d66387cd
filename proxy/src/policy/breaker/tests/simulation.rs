//! Many clients, random latencies and outcomes, clients that leave: the breaker beside a model that keeps the whole
//! history and reads every count from it.

use super::*;
use crate::policy::seeds::{Seeded, for_each_seed};
use std::collections::HashSet;

/// What happened while the breaker was closed, in order.
enum Happened {
    Admitted { request: usize },
    Finished { request: usize, marks: Marks },
}

enum Mode {
    Closed {
        history: Vec<(Duration, Happened)>,
    },
    Open {
        since: Duration,
    },
    /// Probes of this opening: when the last one went, whether it is under way, and all that may still answer.
    HalfOpen {
        last: Duration,
        under_way: Option<usize>,
        probes: Vec<usize>,
    },
}

struct Model {
    settings: BreakerSettings,
    mode: Mode,
    opened: u64,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Pass,
    Probe,
    Refuse,
}

impl Model {
    fn admit(&mut self, request: usize, now: Duration) -> Verdict {
        let patience = self.settings.degraded_window;
        match &mut self.mode {
            Mode::Closed { history } => {
                history.push((now, Happened::Admitted { request }));
                Verdict::Pass
            }
            Mode::Open { since } if now - *since < patience => Verdict::Refuse,
            Mode::Open { .. } => {
                self.mode = Mode::HalfOpen { last: now, under_way: Some(request), probes: vec![request] };
                Verdict::Probe
            }
            Mode::HalfOpen { last, under_way, probes } => {
                if under_way.is_some() && now - *last < patience {
                    return Verdict::Refuse;
                }
                (*last, *under_way) = (now, Some(request));
                probes.push(request);
                Verdict::Probe
            }
        }
    }

    fn finish(&mut self, request: usize, now: Duration, marks: Marks) -> Option<Event> {
        match &mut self.mode {
            Mode::Closed { history } => {
                // A request that another closing let pass has no say.
                history.iter().find(|(_, what)| matches!(what, Happened::Admitted { request: r } if *r == request))?;
                history.push((now, Happened::Finished { request, marks }));
                let counts = self.counts(now);
                let (errors, slow) = (self.settings.errors, self.settings.slow);
                let reached = |trigger: Trigger, bad: u64| {
                    let share = trigger.ratio.filter(|_| counts.total >= self.settings.min_requests.into());
                    trigger.amount.is_some_and(|amount| bad >= u64::from(amount.get()))
                        || share.is_some_and(|ratio| bad as f64 >= ratio * counts.total as f64)
                };
                if (marks.error && reached(errors, counts.error)) || (marks.slow && reached(slow, counts.slow)) {
                    self.mode = Mode::Open { since: now };
                    self.opened += 1;
                    return Some(Event::Opened(counts));
                }
                None
            }
            Mode::HalfOpen { probes, .. } if probes.contains(&request) => {
                if marks.any() {
                    self.mode = Mode::Open { since: now };
                    self.opened += 1;
                    let (slow, error) = (marks.slow.into(), marks.error.into());
                    return Some(Event::Reopened(Counts { total: 1, slow, error }));
                }
                self.mode = Mode::Closed { history: Vec::new() };
                Some(Event::Closed(Counts::default()))
            }
            _ => None,
        }
    }

    fn leave(&mut self, request: usize) {
        if let Mode::HalfOpen { under_way, .. } = &mut self.mode {
            *under_way = under_way.filter(|&probe| probe != request);
        }
    }

    /// Counts of the window of `now`, from the history alone.
    fn counts(&self, now: Duration) -> Counts {
        let Mode::Closed { history } = &self.mode else { return Counts::default() };
        let (mut counts, mut start, mut here) = (Counts::default(), None, HashSet::new());
        let moments = history.iter().map(|(at, what)| (*at, Some(what))).chain([(now, None)]);
        for (at, what) in moments {
            if start.is_none_or(|start| at - start >= self.settings.window) {
                (start, counts) = (Some(at), Counts::default());
                here.clear();
            }
            match what {
                Some(Happened::Admitted { request }) => {
                    counts.total += 1;
                    here.insert(*request);
                }
                Some(Happened::Finished { request, marks }) => {
                    counts.total += u64::from(!here.contains(request));
                    counts.slow += u64::from(marks.slow);
                    counts.error += u64::from(marks.error);
                }
                None => {}
            }
        }
        counts
    }
}

fn settings(random: &mut Seeded) -> BreakerSettings {
    loop {
        let amount = |random: &mut Seeded| Some(random.pick(&[0, 0, 1, 5, 20]));
        let ratio = |random: &mut Seeded| Some(random.pick(&[0.0, 0.0, 0.25, 0.5, 1.0]));
        let wire = CircuitBreaking {
            stat_time_window: Some(random.pick(&[0.1, 1.0, 60.0])),
            min_request_amount: Some(random.pick(&[1, 10, 50])),
            degraded_time_window: Some(random.pick(&[0.05, 1.0, 10.0])),
            slow_time_threshold: Some(random.pick(&[0.05, 0.5, 5.0])),
            slow_amount_threshold: amount(random),
            slow_ratio_threshold: ratio(random),
            error_amount_threshold: amount(random),
            error_ratio_threshold: ratio(random),
            ..demo()
        };
        if let Some(settings) = BreakerSettings::from_config(&wire).unwrap() {
            return settings;
        }
    }
}

/// A request under way.
struct Exchange {
    request: usize,
    ticket: Ticket,
    sent: Duration,
    ends: Duration,
    failed: bool,
    client_leaves: bool,
}

#[test]
fn simulated_breakers_do_what_the_history_says() {
    let (mut openings, mut closings) = (0, 0);
    for_each_seed(|random| {
        let (opened, closed) = simulate(random);
        openings += opened;
        closings += closed;
    });
    if std::env::var_os("FSM_SEED").is_none() {
        assert!(openings > 1000 && closings > 200, "the simulation is idle: {openings} openings, {closings} closings");
    }
}

fn simulate(random: &mut Seeded) -> (u64, u64) {
    let settings = settings(random);
    let breaker = Breaker::new(settings.clone());
    let mut model = Model { settings, mode: Mode::Closed { history: Vec::new() }, opened: 0 };
    let start = Instant::now();
    let (mut now, mut closings, mut under_way) = (Duration::ZERO, 0, Vec::<Exchange>::new());
    let (mut percent_bad, mut slowest) = (0, 100);
    for request in 0..240 {
        if request % 40 == 0 {
            // The upstream changes its mood.
            percent_bad = random.pick(&[0, 5, 20, 50, 100]);
            slowest = random.pick(&[10, 100, 1000, 20_000]);
        }
        now += Duration::from_millis(random.pick(&[0, 0, 1, 10, 100]) * random.below(5));
        while let Some(index) = next_to_end(&under_way, now) {
            let exchange = under_way.swap_remove(index);
            let event = end(&breaker, &mut model, exchange, start);
            closings += u64::from(matches!(event, Some(Event::Closed(_))));
        }
        let verdict = model.admit(request, now);
        let ticket = match breaker.admit(start + now) {
            Admission::Closed(ticket) => (Verdict::Pass, Some(ticket)),
            Admission::Probe(ticket) => (Verdict::Probe, Some(ticket)),
            Admission::Refused { .. } => (Verdict::Refuse, None),
        };
        assert_eq!(ticket.0, verdict, "request {request} at {now:?}");
        if let Some(ticket) = ticket.1 {
            let ends = now + Duration::from_millis(random.below(slowest));
            let (failed, client_leaves) = (random.chance(percent_bad), random.chance(10));
            under_way.push(Exchange { request, ticket, sent: now, ends, failed, client_leaves });
        }
        check(&breaker, &model, start, now);
    }
    (breaker.openings(), closings)
}

fn next_to_end(under_way: &[Exchange], now: Duration) -> Option<usize> {
    let due = under_way.iter().enumerate().filter(|(_, exchange)| exchange.ends <= now);
    due.min_by_key(|(_, exchange)| exchange.ends).map(|(index, _)| index)
}

fn end(breaker: &Breaker, model: &mut Model, exchange: Exchange, start: Instant) -> Option<Event> {
    let Exchange { request, ticket, sent, ends, failed, client_leaves } = exchange;
    if client_leaves {
        drop(ticket);
        model.leave(request);
        return None;
    }
    let outcome = Outcome { failed, elapsed: ends - sent };
    let event = breaker.record(ticket, start + ends, outcome);
    let expected = model.finish(request, ends, model.settings.judge(outcome));
    // The counts of a closing are those of the opening before it, which the model does not keep.
    match (event, expected) {
        (Some(Event::Closed(_)), Some(Event::Closed(_))) => {}
        _ => assert_eq!(event, expected, "request {request} at {ends:?}"),
    }
    check(breaker, model, start, ends);
    event
}

fn check(breaker: &Breaker, model: &Model, start: Instant, now: Duration) {
    let patience = model.settings.degraded_window;
    let state = match &model.mode {
        Mode::Closed { .. } => State::Closed,
        Mode::Open { since } if now - *since < patience => State::Open,
        Mode::Open { .. } | Mode::HalfOpen { .. } => State::HalfOpen,
    };
    assert_eq!(breaker.state(start + now), state);
    assert_eq!(breaker.openings(), model.opened);
    let counts = breaker.counts(start + now);
    assert!(counts.slow <= counts.total && counts.error <= counts.total, "{counts:?}");
    if state == State::Closed {
        assert_eq!(counts, model.counts(now), "at {now:?}");
    }
}
