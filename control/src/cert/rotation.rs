//! When which root is trusted and which one signs: a pure machine.
//!
//! *Steady*: one root. *Announced*: a new root is trusted besides, and the old one still signs, until every pod can have
//! heard of the new one. *Overlapping*: the new root signs, and the old one is trusted until nothing that it signed is
//! valid any more. Then *steady* again. At no time is a certificate in use whose root a peer has not been told of.

use super::tresor::rfc3339;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{Duration, SystemTime};
use thiserror::Error;

/// A new root is trusted so long before it signs. Pods with a stream hear of it at once; the time is for those that are
/// being started with a bundle file of before, and for those whose stream is broken.
pub const ANNOUNCE: Duration = Duration::from_secs(600);

/// A root is replaced without being asked when less than this is left of its ten years.
pub const REPLACE_BEFORE_END: Duration = Duration::from_secs(365 * 24 * 3600);

/// Where a rotation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "camelCase")]
pub enum Phase {
    /// One root.
    #[default]
    Steady,
    /// The new root is trusted, the old one signs.
    Announced {
        /// When the new one takes over.
        until: SystemTime,
    },
    /// The new root signs, the old one is trusted.
    Overlapping {
        /// When the old one is dropped.
        until: SystemTime,
    },
}

/// What is to be done; the machine has moved on already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a root and trust it.
    Announce,
    /// Sign with the announced root.
    Switch,
    /// Trust the root of before as well: somebody put another one in its place.
    Overlap,
    /// Drop the root of before.
    Retire,
}

impl Step {
    /// What has happened, for the log.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Announce => "a new root of the mesh is announced; certificates are still signed with the old one",
            Self::Switch => "certificates are signed with the new root of the mesh; the old one is still trusted",
            Self::Overlap => {
                "somebody put another root of the mesh in place: it signs now, and the one of before is still trusted"
            }
            Self::Retire => "the old root of the mesh is not trusted any more",
        }
    }
}

/// What the machine does not keep itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// How long a root is trusted before it signs.
    pub announce: Duration,
    /// The longest validity that a certificate was ever given.
    pub longest_validity: Duration,
    /// End of the root that signs.
    pub root_not_after: SystemTime,
}

/// A rotation is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the roots are being rotated already ({0}); the next rotation can begin when this one has ended")]
pub struct Busy(pub Phase);

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady => f.write_str("steady"),
            Self::Announced { until } => write!(f, "announced until {}", rfc3339(*until)),
            Self::Overlapping { until } => write!(f, "overlapping until {}", rfc3339(*until)),
        }
    }
}

impl Phase {
    /// Begins a rotation.
    ///
    /// # Errors
    /// [`Busy`]: a third root would push out one that is in use.
    pub fn begin(&mut self, now: SystemTime, facts: &Facts) -> Result<Step, Busy> {
        if *self != Self::Steady {
            return Err(Busy(*self));
        }
        *self = Self::Announced { until: now + facts.announce };
        Ok(Step::Announce)
    }

    /// A root signs that was not announced: those of before stay trusted for as long as after a rotation.
    pub fn overlap(&mut self, now: SystemTime, facts: &Facts) -> Step {
        *self = Self::Overlapping { until: now + facts.longest_validity + super::CLOCK_SKEW };
        Step::Overlap
    }

    /// Goes one step on if it is time; to be called again until there is nothing to be done.
    pub fn advance(&mut self, now: SystemTime, facts: &Facts) -> Option<Step> {
        match *self {
            Self::Steady if now + REPLACE_BEFORE_END >= facts.root_not_after => self.begin(now, facts).ok(),
            Self::Announced { until } if now >= until => {
                *self = Self::Overlapping { until: now + facts.longest_validity + super::CLOCK_SKEW };
                Some(Step::Switch)
            }
            Self::Overlapping { until } if now >= until => {
                *self = Self::Steady;
                Some(Step::Retire)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
