//! The roots of an authority outside, as far as they are known: those of now, and those of before for as long as what
//! they signed may be valid. Pure.

use super::TrustBundle;
use std::time::{Duration, SystemTime};

/// Roots, the newest first.
#[derive(Clone, Debug)]
pub(super) struct KnownRoots {
    roots: Vec<KnownRoot>,
    since: SystemTime,
}

#[derive(Clone, Debug)]
struct KnownRoot {
    pem: String,
    /// When the authority last said that it is one of its own.
    said: SystemTime,
}

impl KnownRoots {
    /// Roots that were heard of first.
    pub(super) fn new(roots: &[String], now: SystemTime) -> Self {
        let mut known = Self { roots: Vec::new(), since: now };
        known.hear(roots, now, Duration::ZERO);
        known
    }

    /// Hears what the roots are now; those of before are kept for `keep` after they were last heard of. Whether anything
    /// changed.
    pub(super) fn hear(&mut self, roots: &[String], now: SystemTime, keep: Duration) -> bool {
        let before: Vec<String> = self.roots.iter().map(|known| known.pem.clone()).collect();
        let mut next: Vec<KnownRoot> = Vec::new();
        for pem in roots {
            if !next.iter().any(|known| known.pem == *pem) {
                next.push(KnownRoot { pem: pem.clone(), said: now });
            }
        }
        for known in std::mem::take(&mut self.roots) {
            if known.said + keep > now && !next.iter().any(|other| other.pem == known.pem) {
                next.push(known);
            }
        }
        self.roots = next;
        let changed = !self.roots.iter().map(|known| &known.pem).eq(before.iter());
        if changed {
            self.since = now;
        }
        changed
    }

    /// PEM of all.
    pub(super) fn bundle(&self) -> TrustBundle {
        TrustBundle { pem: self.roots.iter().map(|known| known.pem.as_str()).collect(), since: self.since }
    }
}

#[cfg(test)]
mod tests;
