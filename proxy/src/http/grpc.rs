//! What the proxy must know of gRPC: how to recognise it and how to refuse it.

use super::body::ResponseBody;
use super::sanitize;
use crate::reason::Reason;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response};

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request is gRPC: content type `application/grpc`, alone or with a codec (`+proto`, `+json`). gRPC-Web is
/// not: it is ordinary HTTP to everybody in between.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    const PREFIX: &[u8] = b"application/grpc";
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let content_type = content_type.as_bytes();
    content_type.len() >= PREFIX.len()
        && content_type[..PREFIX.len()].eq_ignore_ascii_case(PREFIX)
        && matches!(content_type.get(PREFIX.len()), None | Some(b'+' | b';' | b' '))
}

/// A refusal as a gRPC client understands it: HTTP 200 and the status in the headers ("trailers only").
pub fn refuse(reason: Reason) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(&GRPC_STATUS, HeaderValue::from(u16::from(reason.grpc_status())));
    headers.insert(&GRPC_MESSAGE, HeaderValue::from_static(reason.code()));
    headers.insert(sanitize::REASON, HeaderValue::from_static(reason.code()));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type() {
        let is = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            is_grpc(&headers)
        };
        assert!(is("application/grpc"));
        assert!(is("application/grpc+proto"));
        assert!(is("Application/GRPC; charset=utf-8"));
        assert!(!is("application/grpc-web"));
        assert!(!is("application/grpc-web+proto"));
        assert!(!is("application/json"));
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
