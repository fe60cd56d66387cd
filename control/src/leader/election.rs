//! Whether to take a Lease, to renew it or to leave it alone: without a clock, without a network.
//!
//! A Lease that somebody else holds is taken when this side has *seen* it unchanged for as long as it lasts: only time
//! that passed here counts, never a time that somebody else wrote.

use std::time::{Duration, Instant};

/// A holder can ask for no longer: whoever may write the Lease must not be able to stop everybody for ever.
const LONGEST: Duration = Duration::from_secs(120);

/// How long everything lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A Lease that is not renewed may be taken after so long. Whole seconds.
    pub lasts: Duration,
    /// A leader counts as one for so long after the beginning of its last successful renewal. Less than `lasts`.
    pub leads: Duration,
    /// Pause between looks at the Lease.
    pub retry: Duration,
    /// For one look and what follows from it.
    pub call: Duration,
}

/// As controllers of Kubernetes do it.
impl Default for Terms {
    fn default() -> Self {
        Self {
            lasts: Duration::from_secs(15),
            leads: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            call: Duration::from_secs(5),
        }
    }
}

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Who holds it; empty: nobody.
    pub(super) holder: String,
    pub(super) lasts: Duration,
    /// How many holders there were before.
    pub(super) transitions: i32,
    /// Changes with every write.
    pub(super) version: String,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write this, if nobody else did in the meantime.
    Write(Record),
    /// Nothing.
    Wait,
}

/// One candidate's view.
#[derive(Clone, Debug)]
pub(super) struct Election {
    me: String,
    terms: Terms,
    /// The version that was last seen of somebody else's Lease, and since when it is that one.
    seen: Option<(String, Instant)>,
    /// When the last write that succeeded was begun.
    renewed: Option<Instant>,
}

impl Election {
    pub(super) fn new(me: String, terms: Terms) -> Self {
        Self { me, terms, seen: None, renewed: None }
    }

    /// What to do about a Lease (`None`: there is none) that is seen now.
    pub(super) fn step(&mut self, lease: Option<&Record>, now: Instant) -> Step {
        let Some(lease) = lease else {
            self.renewed = None;
            return Step::Write(self.mine(0));
        };
        if lease.holder == self.me {
            return Step::Write(self.mine(lease.transitions));
        }
        self.renewed = None;
        if lease.holder.is_empty() {
            return Step::Write(self.mine(lease.transitions.saturating_add(1)));
        }
        let since = match &self.seen {
            Some((version, since)) if *version == lease.version => *since,
            _ => {
                self.seen = Some((lease.version.clone(), now));
                now
            }
        };
        // A Lease that says no time, or that somebody else's program wrote, lasts as long as ours.
        let lasts = if lease.lasts.is_zero() { self.terms.lasts } else { lease.lasts.min(LONGEST) };
        match now.duration_since(since) >= lasts {
            true => Step::Write(self.mine(lease.transitions.saturating_add(1))),
            false => Step::Wait,
        }
    }

    /// What [`step`](Self::step) asked for was written; `began` is when the Lease was looked at for it.
    pub(super) fn written(&mut self, began: Instant) {
        self.renewed = Some(began);
        self.seen = None;
    }

    /// Until when this candidate leads, if nothing more happens.
    pub(super) fn leads_until(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.terms.leads)
    }

    /// What gives a Lease back; `None`: it is not ours.
    pub(super) fn resignation(&self, lease: &Record) -> Option<Record> {
        (lease.holder == self.me).then(|| Record {
            holder: String::new(),
            // client-go wants at least one second.
            lasts: Duration::from_secs(1),
            transitions: lease.transitions,
            version: String::new(),
        })
    }

    fn mine(&self, transitions: i32) -> Record {
        Record { holder: self.me.clone(), lasts: self.terms.lasts, transitions, version: String::new() }
    }
}

#[cfg(test)]
mod tests;
