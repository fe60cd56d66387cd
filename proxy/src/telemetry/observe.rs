//! Who wants to know of single requests, and what is done with what they get.
//!
//! [`Observe`] is compiled from the configuration; [`Observers`] lives as long as the process. Both are asked once for each
//! request, by comparisons and one atomic load.

use super::Telemetry;
use super::families::Buckets;
use super::record::Draft;
use super::tap::Tap;
use super::trace::span::{Rules, Span};
use std::sync::Arc;

/// What the configuration wants to be told of single requests.
#[derive(Debug, Default)]
pub struct Observe {
    /// When and how requests become part of traces; `None`: their headers pass as they are.
    pub trace: Option<Rules>,
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
    /// Who wants to know of the next request.
    pub fn wants(&self, telemetry: &Telemetry, span: Option<&Span>) -> Wants {
        let mut wants = Wants::default();
        if span.is_some_and(|span| span.context.sampled) {
            wants.add(Wants::SPAN);
        }
        if telemetry.observers.tap.is_watched() {
            wants.add(Wants::TAP);
        }
        wants
    }
}

/// Where records go.
#[derive(Debug, Default)]
pub struct Observers {
    /// Live views.
    pub tap: Tap,
}

impl Observers {
    /// Takes a finished record.
    pub fn take(&self, draft: Box<Draft>) {
        let wants = draft.wants;
        let draft: Arc<Draft> = Arc::from(draft);
        if wants.contains(Wants::TAP) {
            self.tap.show(&draft);
        }
    }
}
