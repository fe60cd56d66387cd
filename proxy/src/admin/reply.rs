//! Answers: small whole ones, and lines that come as they happen.

use crate::telemetry::tap::Watch;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub(super) type Reply = Response<AnswerBody>;

/// The body of an answer.
pub(super) enum AnswerBody {
    /// All of it.
    Whole(Full<Bytes>),
    /// One line for each request, until the asker goes.
    Lines {
        watch: Watch,
        /// Lines still wanted; `None`: all.
        left: Option<u64>,
    },
}

impl AnswerBody {
    /// Whether it has no end of its own.
    pub(super) const fn is_endless(&self) -> bool {
        matches!(self, Self::Lines { .. })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Lines { left: Some(0), .. } => Poll::Ready(None),
            Self::Lines { watch, left } => {
                let Some(line) = ready!(watch.lines.poll_recv(cx)) else { return Poll::Ready(None) };
                let lost = match watch.lost() {
                    0 => String::new(),
                    lost => format!("{{\"lost\":{lost}}}\n"),
                };
                *left = left.map(|left| left - 1);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(lost + &line)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Lines { left, .. } => *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Lines { .. } => SizeHint::default(),
        }
    }
}

/// Lines as they happen, at most `limit`.
pub(super) fn lines(watch: Watch, limit: Option<u64>) -> Reply {
    let mut reply = reply(StatusCode::OK, "application/x-ndjson", Bytes::new());
    *reply.body_mut() = AnswerBody::Lines { watch, left: limit };
    reply
}

/// A request whose body has been swallowed.
pub(super) type Ask = Request<()>;

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain; charset=utf-8", body)
}

pub(super) fn json(value: &impl serde::Serialize) -> Reply {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            reply(StatusCode::OK, "application/json", body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("this cannot be shown as JSON: {error}\n")),
    }
}

pub(super) fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(AnswerBody::Whole(Full::new(body.into())));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// 405 unless the method is one of `allowed`; HEAD goes where GET goes (hyper leaves the body out).
pub(super) fn wrong_method(method: &Method, allowed: &'static [&'static str]) -> Option<Reply> {
    let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
    if allowed.contains(&asked) {
        return None;
    }
    let list = allowed.join(", ");
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, format!("use {list}\n"));
    if let Ok(list) = HeaderValue::from_str(&list) {
        reply.headers_mut().insert(ALLOW, list);
    }
    Some(reply)
}

/// The value of a query parameter, percent-decoded.
pub(super) fn query(ask: &Ask, name: &str) -> Option<String> {
    let pairs = ask.uri().query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
    let value = value.replace('+', " ");
    Some(percent_encoding::percent_decode_str(&value).decode_utf8_lossy().into_owned())
}
