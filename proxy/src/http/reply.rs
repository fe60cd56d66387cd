//! The only place that makes error responses.

use super::body::ResponseBody;
use super::grpc;
use super::sanitize;
use crate::reason::Reason;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

/// A refusal on its way to the client and the log.
#[derive(Debug)]
pub struct Refusal {
    /// The stable code.
    pub reason: Reason,
    /// What exactly happened, for the log only: it may name addresses that clients need not know.
    pub detail: String,
    /// The answer that the configuration wants instead of the reason's own.
    pub answer: Option<Box<Answer>>,
}

/// An answer that the configuration words.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers to add.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Refusal {
    /// A refusal that needs no further words.
    pub const fn new(reason: Reason) -> Self {
        Self { reason, detail: String::new(), answer: None }
    }

    /// A refusal with words for the log.
    pub fn explained(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), answer: None }
    }

    /// Status of the reply.
    pub fn status(&self) -> StatusCode {
        self.answer.as_ref().map_or_else(|| self.reason.status(), |answer| answer.status)
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl From<crate::upstream::error::UpstreamError> for Refusal {
    fn from(error: crate::upstream::error::UpstreamError) -> Self {
        Self { reason: error.reason, detail: error.detail, answer: None }
    }
}

/// The reply to a refused request: FSM's status and text, or those of the configuration, and the reason in
/// `x-fsm-reason`. A gRPC client gets its status in headers of a response without body ("trailers only"), as the gRPC
/// protocol wants it.
pub fn refuse(refusal: Refusal, is_grpc: bool) -> Response<ResponseBody> {
    let reason = refusal.reason;
    if is_grpc {
        return grpc::refuse(reason);
    }
    let (status, added, body) = match refusal.answer {
        Some(answer) => (answer.status, answer.headers, answer.body),
        None => (reason.status(), HeaderMap::new(), Bytes::from_static(reason.body().as_bytes())),
    };
    let text = !body.is_empty();
    let mut response = Response::new(ResponseBody::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if text {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    headers.extend(added);
    headers.insert(sanitize::REASON, HeaderValue::from_static(reason.code()));
    response
}

/// Makes a local reply one to HEAD: its length, not its text (RFC 9110 §9.3.2). Responses of upstreams have no body then.
pub fn keep_head_only(response: &mut Response<ResponseBody>) {
    if let ResponseBody::Full(Some(text)) = response.body() {
        let length = text.len();
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        *response.body_mut() = ResponseBody::Empty;
    }
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
