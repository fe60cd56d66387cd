//! When collected changes are due.

use super::limits;
use std::time::Instant;

/// Changes that wait for being published.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Collect {
    /// Of the first and of the latest change.
    waiting: Option<(Instant, Instant)>,
}

impl Collect {
    /// A change came.
    pub(super) fn note(&mut self, now: Instant) {
        let first = self.waiting.map_or(now, |(first, _)| first);
        self.waiting = Some((first, now));
    }

    /// When the changes are to be published: after a moment of quiet, but not later than at the limit.
    pub(super) fn due(&self) -> Option<Instant> {
        let (first, latest) = self.waiting?;
        Some((latest + limits::QUIET).min(first + limits::COLLECT_AT_MOST))
    }

    /// Takes the changes: when the first of them came.
    pub(super) fn take(&mut self) -> Option<Instant> {
        self.waiting.take().map(|(first, _)| first)
    }
}
