//! What goes wrong between the proxy and an endpoint.

use crate::reason::Reason;
use thiserror::Error;

/// A request or connection that an endpoint did not take, or did not answer.
#[derive(Debug, Error)]
#[error("{reason}: {detail}")]
pub struct UpstreamError {
    /// The stable code.
    pub reason: Reason,
    /// What happened, for the log: names the endpoint.
    pub detail: String,
    /// Whether the endpoint can have seen any of the request.
    pub sent: Sent,
}

/// Whether the endpoint can have seen any of a request: decides whether it may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Certainly nothing: always safe to send again.
    Nothing,
    /// Perhaps all of it: only safe for idempotent requests.
    Perhaps,
}

impl UpstreamError {
    /// The endpoint has certainly seen nothing.
    pub fn unsent(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), sent: Sent::Nothing }
    }

    /// The endpoint may have seen the request.
    pub fn sent(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), sent: Sent::Perhaps }
    }

    /// Classifies what hyper reports after a request was handed to a connection.
    pub fn from_exchange(error: &hyper::Error, endpoint: &str) -> Self {
        use std::error::Error as _;
        let cause = error.source().map(|cause| format!(" ({cause})")).unwrap_or_default();
        let detail = format!("endpoint {endpoint}: {error}{cause}");
        let reason = if error.is_parse() { Reason::UpstreamProtocol } else { Reason::UpstreamReset };
        if error.is_canceled() { Self::unsent(reason, detail) } else { Self::sent(reason, detail) }
    }
}
