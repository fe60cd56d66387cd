//! Who wants to know of single requests, and what is done with what they get.
//!
//! [`Observe`] is compiled from the configuration; [`Observers`] lives as long as the process. Both are asked once for each
//! request, by comparisons and one atomic load.

use super::access_log::{AccessLog, Writer};
use super::export::Queue;
use super::export::remote_log::RemoteLog;
use super::families::Buckets;
use super::record::Draft;
use super::tap::Tap;
use super::trace::Tracing;
use super::trace::span::{Hop, Rules};
use super::{Direction, Telemetry};
use crate::runtime;
use std::sync::Arc;

/// What the configuration wants to be told of single requests.
#[derive(Debug, Default)]
pub struct Observe {
    /// When and how requests become part of traces; `None`: their headers pass as they are.
    pub trace: Option<Rules>,
    /// Where spans go.
    pub tracing: Option<Arc<Tracing>>,
    /// The access log.
    pub access_log: Option<Arc<AccessLog>>,
    /// FSM's remote log.
    pub remote_log: Option<Arc<RemoteLog>>,
    /// Buckets of the metrics page.
    pub buckets: Buckets,
    /// Pods are told apart in metrics, not only workloads.
    pub pods: bool,
}

/// Those who want to know of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants(u8);

impl Wants {
    /// A live view.
    pub const TAP: Self = Self(1);
    /// The access log.
    pub const LOG: Self = Self(2);
    /// FSM's remote log.
    pub const REMOTE: Self = Self(4);
    /// A trace.
    pub const SPAN: Self = Self(8);

    /// Whether nobody does.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether these do.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl Observe {
    /// Whether anything here depends on a request, at all.
    pub fn looks_at_requests(&self, telemetry: &Telemetry) -> bool {
        self.trace.is_some()
            || self.access_log.is_some()
            || self.remote_log.is_some()
            || telemetry.observers.tap.is_watched()
    }

    /// Who wants to know of the next request.
    pub fn wants(&self, telemetry: &Telemetry, direction: Direction, hop: &Hop) -> Wants {
        let mut wants = Wants::default();
        if telemetry.observers.tap.is_watched() {
            wants.add(Wants::TAP);
        }
        if self.tracing.is_some() {
            let sampled = hop.is_sampled();
            telemetry.direction(direction).traced.count(sampled);
            if sampled {
                wants.add(Wants::SPAN);
            }
        }
        if self.access_log.as_ref().is_some_and(|log| log.is_chosen()) {
            wants.add(Wants::LOG);
        }
        if let Some(log) = &self.remote_log {
            let sampled = falls_below(log.threshold);
            telemetry.direction(direction).logged.count(sampled);
            if sampled {
                wants.add(Wants::REMOTE);
            }
        }
        wants
    }
}

/// Whether a random choice with this threshold says yes.
pub(super) fn falls_below(threshold: Option<u64>) -> bool {
    threshold.is_none_or(|threshold| runtime::random() < threshold)
}

/// Where records go.
#[derive(Debug, Default)]
pub struct Observers {
    /// Live views.
    pub tap: Tap,
    /// The access log.
    pub access_log: Writer,
    /// FSM's remote log.
    pub remote_log: Queue,
    /// Spans.
    pub spans: Queue,
}

impl Observers {
    /// Takes a finished record.
    pub fn take(&self, draft: Draft) {
        let wants = draft.wants;
        let errors_only = draft.observe.access_log.as_ref().is_some_and(|log| log.errors_only);
        let logged = wants.contains(Wants::LOG) && (!errors_only || draft.is_error());
        if wants == Wants::LOG && !logged {
            return;
        }
        let draft = Arc::new(draft);
        if logged {
            self.access_log.offer(&draft);
        }
        if wants.contains(Wants::TAP) {
            self.tap.show(&draft);
        }
        if wants.contains(Wants::REMOTE) {
            self.remote_log.offer(&draft);
        }
        if wants.contains(Wants::SPAN) {
            self.spans.offer(&draft);
        }
    }
}
