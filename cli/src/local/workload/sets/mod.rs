//! How many pods a workload has, which ones, and in which order they come and go.
//!
//! One function for each kind, all of them pure: members in, [`Plan`] out. They look at what exists now and never
//! remember, so that they can be asked again after every change; a plan that is carried out in part is continued by
//! the next. Semantics: Kubernetes' controllers of the same kinds.

mod batch;
mod ordered;
mod replicas;

pub use batch::{Job, JobState, job};
pub use ordered::{Ordered, ordered};
pub use replicas::{Daemon, Rolling, daemon, replicas, rolling};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::time::Duration;

/// What a controller sees of one of its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of the pod.
    pub name: String,
    /// Which revision of the template it was made from.
    pub revision: String,
    /// Since when it has been ready, on the cluster's clock; `None`: it is not.
    pub ready_since: Option<Duration>,
    /// Whether it has been told to end.
    pub is_terminating: bool,
    /// When it was made, on the cluster's clock.
    pub created: Duration,
    /// Whether it has ended, and how.
    pub ended: Option<Ended>,
}

/// How a pod has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Phase Succeeded, at this time.
    Succeeded(Duration),
    /// Phase Failed, at this time.
    Failed(Duration),
}

/// What a controller wants changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Pods to make.
    pub create: Vec<Create>,
    /// Pods to end, with grace.
    pub delete: Vec<String>,
    /// When to ask again although nothing changes, on the cluster's clock.
    pub again: Option<Duration>,
}

/// A pod to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Create {
    /// With a random end of its name.
    Any,
    /// With this ordinal as the end of its name.
    Ordinal(u32),
}

impl Member {
    fn is_active(&self) -> bool {
        !self.is_terminating && self.ended.is_none()
    }

    /// Kubernetes' "available": ready for at least `minReadySeconds`.
    fn is_available(&self, min_ready: Duration, now: Duration) -> bool {
        self.is_active() && self.ready_since.is_some_and(|since| now >= since + min_ready)
    }
}

impl Plan {
    /// Nothing to change.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty()
    }

    fn ask_again(&mut self, at: Duration) {
        self.again = Some(self.again.map_or(at, |earlier| earlier.min(at)));
    }
}

/// A number of pods given as such or as a share of the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many pods.
    Pods(u32),
    /// So many hundredths of the replicas.
    Percent(u32),
}

impl Share {
    /// Reads `2` or `25%`; anything else is `None`.
    pub fn parse(value: &IntOrString) -> Option<Self> {
        match value {
            IntOrString::Int(pods) => u32::try_from(*pods).ok().map(Share::Pods),
            IntOrString::String(text) => text.strip_suffix('%')?.parse().ok().map(Share::Percent),
        }
    }

    fn rounded_up(self, replicas: u32) -> u32 {
        match self {
            Share::Pods(pods) => pods,
            Share::Percent(percent) => u64::from(replicas).saturating_mul(percent.into()).div_ceil(100) as u32,
        }
    }

    fn rounded_down(self, replicas: u32) -> u32 {
        match self {
            Share::Pods(pods) => pods,
            Share::Percent(percent) => (u64::from(replicas).saturating_mul(percent.into()) / 100) as u32,
        }
    }
}

#[cfg(test)]
mod tests;
