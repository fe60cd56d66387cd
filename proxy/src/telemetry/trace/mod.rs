//! Distributed traces: which requests are recorded, what is told to the next hop, and where spans go.
//!
//! [`context`] reads and writes headers, [`span`] decides, [`zipkin`] and [`otlp`] word what
//! [`export`](super::export) sends. A collector that is slow or away costs spans, never requests.

pub mod context;
pub mod otlp;
pub mod span;
pub mod zipkin;

use super::export::post::Collector;

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// The collector.
    pub collector: Collector,
    /// What it understands.
    pub protocol: Protocol,
}

/// What a collector understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Zipkin's API v2, JSON: FSM's.
    Zipkin,
    /// OTLP over HTTP, protobuf.
    Otlp,
}
