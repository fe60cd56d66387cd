//! The span of one hop: whether it is recorded, whose child it is, and what the next hop is told.

use super::context::{self, Context, Forms, Incoming, TraceId};
use crate::runtime;
use crate::telemetry::Direction;
use crate::telemetry::noted::TraceHeaders;
use http::HeaderMap;

/// When spans are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Traces that begin here are recorded if the lower half of their id is below this; `None`: all.
    pub threshold: Option<u64>,
    /// A server's span is its client's, as Zipkin's B3 has it; else it is a child of it.
    pub shared: bool,
    /// `traceparent` counts before B3.
    pub w3c_first: bool,
    /// In which headers a trace that begins here is told.
    pub forms: Forms,
    /// Traces that are not recorded have identifiers all the same: somebody writes every request down.
    pub names_all: bool,
    /// Requests that are not recorded get a new span as well (FSM's `remoteLogging.level` 2).
    pub always_new: bool,
}

/// What a hop does about the trace of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hop {
    /// Nothing: its headers pass as they are.
    #[default]
    Untouched,
    /// A trace would begin here, and is not recorded: the next hop is told that and no more, where it is sent to
    /// (`upstream::endpoint::ForOthers`).
    Refused,
    /// It is one.
    Span(Span),
}

/// One hop of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// This hop's span.
    pub id: u64,
    /// Its parent.
    pub parent: Option<u64>,
    /// Whether the client's span has the same id.
    pub shared: bool,
    /// What the next hop is told.
    pub context: Context,
    forms: Forms,
    writes: bool,
}

impl Rules {
    /// The threshold of a fraction from 0 to 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is never negative
    pub fn threshold(fraction: Option<f64>) -> Option<u64> {
        fraction.filter(|fraction| *fraction < 1.0).map(|fraction| (fraction.max(0.0) * 2f64.powi(64)) as u64)
    }

    /// Whether a trace that nobody has decided about is recorded. Every proxy of the mesh decides alike.
    #[allow(clippy::cast_possible_truncation)] // the lower half is meant
    fn samples(&self, trace: TraceId) -> bool {
        self.samples_half(trace.value as u64)
    }

    fn samples_half(&self, half: u64) -> bool {
        self.threshold.is_none_or(|threshold| half < threshold)
    }
}

impl Hop {
    /// What is done about a request. `decided`: whoever sent it would have told if its trace was recorded.
    pub fn begin(rules: &Rules, direction: Direction, headers: &TraceHeaders<'_>, decided: bool) -> Self {
        let incoming = Incoming::read(headers, rules.w3c_first);
        let Some((trace, span)) = incoming.trace.zip(incoming.span) else {
            return Self::root(rules, &incoming, decided && incoming.forms.is_empty());
        };
        let sampled = incoming.sampled.unwrap_or_else(|| rules.samples(trace));
        let forms = incoming.forms;
        let keeps = !(sampled || rules.always_new && direction == Direction::Outbound);
        if keeps || rules.shared && direction == Direction::Inbound {
            let context = Context { trace, span, parent: incoming.parent, sampled };
            let (shared, writes) = (direction == Direction::Inbound, incoming.sampled.is_none());
            return Self::Span(Span { id: span, parent: incoming.parent, shared, context, forms, writes });
        }
        let id = new_id();
        let context = Context { trace, span: id, parent: Some(span), sampled };
        Self::Span(Span { id, parent: Some(span), shared: false, context, forms, writes: true })
    }

    /// The first hop of a trace. Its span's id is the lower half of the trace's, as Zipkin's tools expect. `refused`: the sender
    /// has decided against it.
    fn root(rules: &Rules, incoming: &Incoming, refused: bool) -> Self {
        if incoming.sampled == Some(false) && incoming.trace.is_none() && !rules.always_new {
            return Self::Untouched;
        }
        let id = new_id();
        let nameless = incoming.forms.is_empty() && !rules.names_all && !rules.forms.w3c;
        if nameless && (refused || !rules.samples_half(id)) {
            return Self::Refused;
        }
        let trace = incoming
            .trace
            .unwrap_or_else(|| TraceId { value: u128::from(new_id()) << 64 | u128::from(id), short: false });
        let sampled = incoming.sampled.unwrap_or_else(|| !refused && rules.samples(trace));
        let forms = if incoming.forms.is_empty() { rules.forms } else { incoming.forms };
        let context = Context { trace, span: id, parent: None, sampled };
        Self::Span(Span { id, parent: None, shared: false, context, forms, writes: true })
    }

    /// The span, if it is one.
    pub const fn span(&self) -> Option<&Span> {
        match self {
            Self::Span(span) => Some(span),
            Self::Untouched | Self::Refused => None,
        }
    }

    /// Whether the trace is recorded.
    pub const fn is_sampled(&self) -> bool {
        matches!(self, Self::Span(span) if span.context.sampled)
    }

    /// Tells the next hop.
    pub fn write(&self, headers: &mut HeaderMap) {
        match self {
            Self::Span(span) if span.writes => span.context.write(headers, span.forms),
            // An HTTP/2 connection's table of headers would keep each of them, and push out what comes with every request.
            Self::Span(_) => context::keep_out_of_tables(headers),
            Self::Untouched | Self::Refused => {}
        }
    }
}

impl Span {
    /// The trace that a request says it belongs to, for records only.
    pub fn as_told(headers: &TraceHeaders<'_>) -> Option<Self> {
        if !headers.any {
            return None;
        }
        let incoming = Incoming::read(headers, false);
        let (trace, span) = incoming.trace.zip(incoming.span)?;
        let sampled = incoming.sampled.unwrap_or_default();
        let context = Context { trace, span, parent: incoming.parent, sampled };
        let forms = incoming.forms;
        Some(Self { id: span, parent: incoming.parent, shared: true, context, forms, writes: false })
    }
}

/// An identifier; never zero, which means none.
fn new_id() -> u64 {
    runtime::random().max(1)
}

#[cfg(test)]
mod tests;
