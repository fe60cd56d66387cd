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
        let reason = if is_refusal_of_our_certificate(error) {
            Reason::UpstreamTls
        } else if error.is_parse() {
            Reason::UpstreamProtocol
        } else {
            Reason::UpstreamReset
        };
        if error.is_canceled() { Self::unsent(reason, detail) } else { Self::sent(reason, detail) }
    }
}

/// In TLS 1.3 a server may refuse our certificate after our side of the handshake is over: it comes as an alert on the
/// first read.
fn is_refusal_of_our_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(current) = cause {
        let tls = current.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()?.downcast_ref::<rustls::Error>());
        if matches!(tls, Some(rustls::Error::AlertReceived(_))) {
            return true;
        }
        cause = current.source();
    }
    false
}
