//! The fields of a record: one table for JSON lines, text templates, the tap and the documentation.

use super::connection::ConnectionDraft;
use super::texts::Text;
use super::{Draft, redact};
use crate::telemetry::Direction;
use http::{HeaderValue, Version};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// A field: its name, what it says, and how it is read. `Null` is left out of JSON and a hyphen in text.
pub struct Field {
    /// Name in JSON and in templates.
    pub name: &'static str,
    /// What it says.
    pub meaning: &'static str,
    of_request: fn(&Draft) -> Value,
    of_connection: fn(&ConnectionDraft) -> Value,
}

/// What a line is about.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A request.
    Request(&'a Draft),
    /// A connection that carried no HTTP.
    Connection(&'a ConnectionDraft),
}

macro_rules! fields {
    ($($name:literal, $meaning:literal, $of_request:expr, $of_connection:expr;)+) => {
        /// Every field, in the order of a line.
        pub static FIELDS: &[Field] = &[$(Field {
            name: $name,
            meaning: $meaning,
            of_request: $of_request,
            of_connection: $of_connection,
        }),+];
    };
}

const fn nothing<T>(_: &T) -> Value {
    Value::Null
}

fields! {
    "time", "when the request's head, or the connection, arrived (RFC 3339, UTC)",
        |draft| time(draft.started_at()), |connection| time(connection.started);
    "direction", "`inbound` or `outbound`",
        |draft| draft.direction.name().into(), |connection| connection.direction.name().into();
    "method", "method", |draft| draft.method.as_str().into(), nothing;
    "host", "host as the client wrote it", |draft| said(draft, Text::Host), nothing;
    "path", "path and query; values of secret parameters are hidden", |draft| path(draft), nothing;
    "protocol", "version of HTTP towards the client; `TCP` for a connection that carried no HTTP",
        |draft| protocol(draft.version).into(), |_| "TCP".into();
    "status", "status of the response", |draft| draft.outcome().status.as_u16().into(), nothing;
    "grpcStatus", "status of the gRPC call, 0 to 16", |draft| {
        draft.outcome().grpc_status.map_or(Value::Null, |status| status.number().into())
    }, nothing;
    "reason", "why the proxy answered itself, or refused or ended the connection ([reasons](reasons.md))",
        |draft| draft.outcome().reason.map_or(Value::Null, |reason| reason.code().into()),
        |connection| connection.reason.map_or(Value::Null, |reason| reason.code().into());
    "upstreamReason", "why the proxy at the other end answered itself",
        |draft| header(draft.rare().upstream_reason.as_ref()), nothing;
    "detail", "the reason in words, with addresses", |draft| text(&draft.rare().detail), |connection| text(&connection.detail);
    "ended", "how a TCP connection ended: `closed` in order, `idle`, or broken off by `client` or `server`",
        nothing, |connection| connection.end.map_or(Value::Null, |end| end.name().into());
    "durationMs", "from the request's head to the last byte of the response; how long the connection lived",
        |draft| milliseconds(draft.outcome().duration), |connection| milliseconds(connection.duration);
    "headMs", "from the request's head to the response's head", |draft| milliseconds(draft.outcome().head), nothing;
    "attempts", "how often the request was sent", |draft| draft.outcome().attempts.into(), nothing;
    "complete", "`false`: client or server broke off", |draft| draft.outcome().complete.into(), nothing;
    "requestBytes", "bytes of the request's body; bytes of the connection from its client",
        |draft| draft.request_bytes().into(), |connection| connection.sent.into();
    "responseBytes", "bytes of the response's body; bytes of the connection to its client",
        |draft| draft.outcome().response_bytes.into(), |connection| connection.received.into();
    "service", "rule set that the host led to", |draft| {
        draft.service.as_ref().map_or(Value::Null, |service| Value::from(&*service.name))
    }, nothing;
    "cluster", "cluster that the route chose",
        |draft| draft.cluster.as_deref().map_or(Value::Null, Value::from),
        |connection| connection.cluster.as_deref().map_or(Value::Null, Value::from);
    "endpoint", "endpoint that answered, or was asked last",
        |draft| draft.outcome().endpoint.as_ref().map_or(Value::Null, |endpoint| endpoint.target.to_string().into()),
        |connection| connection.target.as_ref().map_or(Value::Null, |target| target.to_string().into());
    "peer", "address of the client",
        |draft| draft.session.ends.peer.to_string().into(), |connection| connection.ends.peer.to_string().into();
    "destination", "where the client was connecting to",
        |draft| draft.session.ends.destination.to_string().into(), |connection| connection.ends.destination.to_string().into();
    "serverName", "server that the client's TLS hello asks for (SNI)",
        |draft| name(draft.session.ends.server_name.as_deref()), |connection| name(connection.ends.server_name.as_deref());
    "identity", "who the client is according to its certificate",
        |draft| name(draft.session.ends.identity.as_deref()), |connection| name(connection.ends.identity.as_deref());
    "serverIdentity", "who the server of a TCP connection is according to its certificate",
        nothing, |connection| name(connection.server.as_deref());
    "mtls", "whether the client came over mTLS (inbound), the server was reached over it (outbound)",
        |draft| mtls(draft).into(), |connection| connection.mtls.into();
    "traceId", "trace",
        |draft| draft.span.as_ref().map_or(Value::Null, |span| span.context.trace.to_string().into()), nothing;
    "spanId", "span of this hop",
        |draft| draft.span.as_ref().map_or(Value::Null, |span| format!("{:016x}", span.id).into()), nothing;
    "sampled", "whether the trace is recorded",
        |draft| draft.span.as_ref().map_or(Value::Null, |span| span.context.sampled.into()), nothing;
    "requestId", "`x-request-id`", |draft| said(draft, Text::RequestId), nothing;
    "userAgent", "`user-agent`", |draft| said(draft, Text::UserAgent), nothing;
    "forwardedFor", "`x-forwarded-for`", |draft| said(draft, Text::ForwardedFor), nothing;
}

/// The field of this name.
pub fn field(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

/// A line as a JSON object, without fields that say nothing.
pub fn json(subject: Subject<'_>) -> Map<String, Value> {
    let fields = FIELDS.iter().map(|field| (field.name.to_owned(), field.read(subject)));
    fields.filter(|(_, value)| !value.is_null()).collect()
}

impl Field {
    fn read(&self, subject: Subject<'_>) -> Value {
        match subject {
            Subject::Request(draft) => (self.of_request)(draft),
            Subject::Connection(connection) => (self.of_connection)(connection),
        }
    }

    /// The field in a line of text: harmless, and in quotes where it holds spaces or quotes.
    pub fn write(&self, subject: Subject<'_>, line: &mut String) {
        match self.read(subject) {
            Value::Null => line.push('-'),
            Value::String(text) => {
                let text = redact::harmless(&text);
                if text.is_empty() || text.contains([' ', '"', '\\']) {
                    let _ = write!(line, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
                } else {
                    line.push_str(&text);
                }
            }
            value => drop(write!(line, "{value}")),
        }
    }
}

/// Whether the hop is mTLS.
pub fn mtls(draft: &Draft) -> bool {
    match draft.direction {
        Direction::Inbound => draft.session.ends.mtls,
        Direction::Outbound => draft.outcome().endpoint.as_ref().is_some_and(|endpoint| endpoint.is_of_sidecar()),
    }
}

/// Path and query, without what is secret.
pub fn path_text(draft: &Draft) -> Cow<'_, str> {
    harmless(redact::target(target(draft)))
}

/// Path and query as the client wrote them.
pub fn target(draft: &Draft) -> &str {
    draft.texts.get(Text::Target).and_then(|target| std::str::from_utf8(target).ok()).unwrap_or("/")
}

/// What the request says of itself, harmless; nothing if it does not.
pub fn text_of(draft: &Draft, text: Text) -> Cow<'_, str> {
    draft.texts.get(text).map(shown).unwrap_or_default()
}

/// A version as HTTP spells it.
pub fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// A header's value as text, harmless.
pub fn header_text(value: &HeaderValue) -> Cow<'_, str> {
    shown(value.as_bytes())
}

fn shown(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => redact::harmless(text),
        Err(_) => harmless(String::from_utf8_lossy(value)),
    }
}

fn harmless(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => redact::harmless(text),
        Cow::Owned(text) => redact::harmless(&text).into_owned().into(),
    }
}

fn path(draft: &Draft) -> Value {
    path_text(draft).into()
}

fn said(draft: &Draft, text: Text) -> Value {
    draft.texts.get(text).map_or(Value::Null, |value| shown(value).into())
}

fn header(value: Option<&HeaderValue>) -> Value {
    value.map_or(Value::Null, |value| header_text(value).into())
}

fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { redact::harmless(text).into() }
}

/// A name that a client or a certificate says.
fn name(name: Option<&str>) -> Value {
    name.map_or(Value::Null, |name| redact::harmless(name).into())
}

fn time(time: SystemTime) -> Value {
    let time = Timestamp::try_from(time).unwrap_or_default();
    format!("{time:.3}").into()
}

fn milliseconds(duration: Duration) -> Value {
    // Microseconds are as precise as a look at the clock is.
    let microseconds = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    (f64::from(microseconds) / 1_000.0).into()
}
