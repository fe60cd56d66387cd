//! The only place that makes error responses.

use super::body::ResponseBody;
use super::grpc;
use super::sanitize;
use crate::reason::Reason;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response};

/// A refusal on its way to the client and the log.
#[derive(Debug)]
pub struct Refusal {
    /// The stable code.
    pub reason: Reason,
    /// What exactly happened, for the log only: it may name addresses that clients need not know.
    pub detail: String,
}

impl Refusal {
    /// A refusal that needs no further words.
    pub const fn new(reason: Reason) -> Self {
        Self { reason, detail: String::new() }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl From<crate::upstream::error::UpstreamError> for Refusal {
    fn from(error: crate::upstream::error::UpstreamError) -> Self {
        Self { reason: error.reason, detail: error.detail }
    }
}

/// The reply to a refused request: FSM's status and text, and the reason in `x-fsm-reason`. A gRPC client gets its
/// status in headers of a response without body ("trailers only"), as the gRPC protocol wants it.
pub fn refuse(reason: Reason, is_grpc: bool) -> Response<ResponseBody> {
    if is_grpc {
        return grpc::refuse(reason);
    }
    let mut response = Response::new(ResponseBody::full(reason.body()));
    *response.status_mut() = reason.status();
    let headers = response.headers_mut();
    headers.insert(sanitize::REASON, HeaderValue::from_static(reason.code()));
    if !reason.body().is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    response
}

/// Whether an HTTP/1 connection ends with this reply: after a request that could be read in two ways, what follows it
/// could be read in two ways as well.
pub const fn ends_connection(reason: Reason) -> bool {
    matches!(reason, Reason::BadRequest | Reason::BadPath | Reason::BadHost | Reason::ConnectRefused)
}

/// Whether a response was made by a proxy of the mesh, here or at the other end.
pub fn reason_of(headers: &HeaderMap<HeaderValue>) -> Option<&HeaderValue> {
    const NAME: HeaderName = sanitize::REASON;
    headers.get(NAME)
}
