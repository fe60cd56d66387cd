//! How gRPC calls end: their status comes after the body, in the trailers, or in the head of a response that is nothing else.
//!
//! The HTTP status of a gRPC response is 200 whatever became of the call, so counters that look at it alone see no failure.
//! Here the call's own status is counted on the edge that its response was counted on, once for each response with HTTP
//! status 200 to a gRPC request: what the head says, else what the trailers say, else how the body ended.
//!
//! A response that is no gRPC costs a comparison for each frame. One that is costs one reference to its edge besides.

use super::signals::Edge;
use http::{HeaderMap, HeaderName, StatusCode};
use std::sync::Arc;

/// Header and trailer with the status of a call.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Different statuses.
pub const STATUSES: usize = 17;

/// The status of a call, 0 to 16; any other number is [`GrpcStatus::UNKNOWN`], as it is to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrpcStatus(u8);

/// Name of each status, and whether it is the server's failure: those whose HTTP counterpart (`google.rpc.Code`) is 5xx, as
/// OpenTelemetry's conventions judge server spans. What the caller did wrong is none, like 4xx.
const TABLE: [(&str, bool); STATUSES] = [
    ("OK", false),
    ("CANCELLED", false),
    ("UNKNOWN", true),
    ("INVALID_ARGUMENT", false),
    ("DEADLINE_EXCEEDED", true),
    ("NOT_FOUND", false),
    ("ALREADY_EXISTS", false),
    ("PERMISSION_DENIED", false),
    ("RESOURCE_EXHAUSTED", false),
    ("FAILED_PRECONDITION", false),
    ("ABORTED", false),
    ("OUT_OF_RANGE", false),
    ("UNIMPLEMENTED", true),
    ("INTERNAL", true),
    ("UNAVAILABLE", true),
    ("DATA_LOSS", true),
    ("UNAUTHENTICATED", false),
];

impl GrpcStatus {
    /// The call went well.
    pub const OK: Self = Self(0);
    /// The caller gave it up.
    pub const CANCELLED: Self = Self(1);
    /// Nobody said how it went.
    pub const UNKNOWN: Self = Self(2);
    /// The server broke off.
    pub const UNAVAILABLE: Self = Self(14);

    /// What headers or trailers say; `None` if they say nothing.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(GRPC_STATUS)?;
        let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
        Some(number.filter(|number| usize::from(*number) < STATUSES).map_or(Self::UNKNOWN, Self))
    }

    /// Every status.
    pub fn all() -> impl Iterator<Item = Self> {
        (0_u8..).take(STATUSES).map(Self)
    }

    /// The number that is on the wire.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// gRPC's name of it.
    pub const fn name(self) -> &'static str {
        TABLE[self.0 as usize].0
    }

    /// Whether it counts as a failure of the server.
    pub const fn is_failure(self) -> bool {
        TABLE[self.0 as usize].1
    }
}

/// Waits for the end of a response, to count how the call ended.
#[derive(Debug, Default)]
pub struct Call(Option<Arc<Edge>>);

impl Call {
    /// Judges the head of a response to a gRPC request. What is given back has to follow the body; it does nothing if the
    /// call is over.
    pub fn judge(edge: Arc<Edge>, status: StatusCode, headers: &HeaderMap, over: bool) -> Self {
        if status != StatusCode::OK {
            // Counted by its HTTP status.
            return Self(None);
        }
        let call = Self(Some(edge));
        match GrpcStatus::of(headers) {
            Some(status) => call.ended(status),
            None if over => call.ended(GrpcStatus::UNKNOWN),
            None => call,
        }
    }

    /// Whether the call is still to end.
    pub const fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// The call ended like this.
    pub fn end(&mut self, status: GrpcStatus) {
        if let Some(edge) = self.0.take() {
            edge.grpc(status);
        }
    }

    fn ended(mut self, status: GrpcStatus) -> Self {
        self.end(status);
        self
    }
}

impl Drop for Call {
    /// The response was given up before its end.
    fn drop(&mut self) {
        self.end(GrpcStatus::CANCELLED);
    }
}

#[cfg(test)]
mod tests;
