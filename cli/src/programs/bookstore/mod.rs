//! The bookstore demo: a buyer, a thief, two stores, a warehouse.
//!
//! The buyer asks the store for books twice a second, the thief does the same without being welcome, each store counts
//! what it sells and has the warehouse restock. All of them have a page on port 14001: `/` for people, `/json` for
//! programs, `/reset` to count anew. Paths and headers are those of FSM's samples, so that their SMI policies apply.

pub mod buyer;
pub mod store;
pub mod warehouse;

use super::serve::Reply;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

/// The port of everything in this demo.
const PORT: u16 = 14001;

/// Response header by which a store says which one it is.
const IDENTITY: &str = "identity";
/// Response header with the number of books that a store has sold.
const BOOKS_BOUGHT: &str = "booksbought";

/// Headers by which a mesh tells which trace a request belongs to. A program that calls others on behalf of a request has
/// to pass them on: its sidecar cannot know which call belongs to which request.
const TRACE_HEADERS: [&str; 9] = [
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "traceparent",
    "tracestate",
];

fn trace_headers(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    TRACE_HEADERS.iter().filter_map(|name| Some((*name, value(name)?))).collect()
}

fn page(title: &str, lines: &[(&str, u64)]) -> Reply {
    let rows: String = lines.iter().map(|(name, number)| format!("<p>{name}: <b>{number}</b></p>\n")).collect();
    let text = format!("<meta http-equiv=\"refresh\" content=\"2\">\n<h1>{title}</h1>\n{rows}");
    body("text/html; charset=utf-8", text)
}

fn json(value: &Value) -> Reply {
    body("application/json", format!("{value:#}\n"))
}

fn text(status: StatusCode, text: impl Into<String>) -> Reply {
    let mut reply = body("text/plain; charset=utf-8", text.into());
    *reply.status_mut() = status;
    reply
}

fn body(content_type: &'static str, text: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(text)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// `NAME` from the environment; `default` if it is not set or empty.
fn variable(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

#[cfg(test)]
mod tests;
