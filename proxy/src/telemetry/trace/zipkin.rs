//! Spans as Zipkin's API v2 wants them, with the tags that FSM's sidecars write.

use super::context::{TraceId, digits};
use crate::telemetry::Direction;
use crate::telemetry::export::Origin;
use crate::telemetry::record::texts::Text;
use crate::telemetry::record::{Draft, fields};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// FSM's path of a collector.
pub const ENDPOINT: &str = "/api/v2/spans";

/// A JSON array of spans.
pub fn body(batch: &[Arc<Draft>], origin: &Origin) -> String {
    let own = endpoint(origin.ip.parse().ok(), 0, Some(origin.service()));
    let spans: Vec<Span<'_>> = batch.iter().filter_map(|draft| span(draft, origin, own)).collect();
    // Nothing in it can fail to be worded.
    serde_json::to_string(&spans).unwrap_or_default()
}

/// A span as it is on the wire.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'a> {
    trace_id: Digits,
    id: Digits,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<Digits>,
    name: Cow<'a, str>,
    timestamp: u64,
    duration: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<bool>,
    local_endpoint: Endpoint<'a>,
    remote_endpoint: Endpoint<'a>,
    annotations: [(); 0],
    #[serde(serialize_with = "as_object")]
    tags: Vec<(&'static str, Cow<'a, str>)>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<Ipv6Addr>,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<&'a str>,
}

fn span<'a>(draft: &'a Draft, origin: &'a Origin, own: Endpoint<'a>) -> Option<Span<'a>> {
    let span = draft.span.as_ref()?;
    let began = draft.started_at().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or_default();
    let other_end = other_end(draft);
    Some(Span {
        trace_id: trace_id(span.context.trace),
        id: Digits::short(span.id.into()),
        parent_id: span.parent.map(|parent| Digits::short(parent.into())),
        name: host(draft),
        timestamp: microseconds(began),
        duration: microseconds(draft.outcome().duration).max(1),
        kind: if draft.direction == Direction::Inbound { "SERVER" } else { "CLIENT" },
        shared: span.shared.then_some(true),
        local_endpoint: own,
        remote_endpoint: endpoint(Some(other_end.ip()), other_end.port(), None),
        annotations: [],
        tags: tags(draft, origin, other_end),
    })
}

fn trace_id(trace: TraceId) -> Digits {
    if trace.short { Digits::short(trace.value) } else { Digits { all: digits(trace.value), shown: 32 } }
}

/// An identifier in hexadecimal digits.
struct Digits {
    all: [u8; 32],
    /// How many of them, from the end.
    shown: usize,
}

impl Digits {
    fn short(number: u128) -> Self {
        Self { all: digits(number), shown: 16 }
    }
}

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Digits are ASCII.
        serializer.serialize_str(std::str::from_utf8(&self.all[32 - self.shown..]).unwrap_or_default())
    }
}

fn endpoint(address: Option<IpAddr>, port: u16, service_name: Option<&str>) -> Endpoint<'_> {
    let (ipv4, ipv6) = match address {
        Some(IpAddr::V4(address)) => (Some(address), None),
        Some(IpAddr::V6(address)) => (None, Some(address)),
        None => (None, None),
    };
    Endpoint { ipv4, ipv6, port, service_name }
}

fn as_object<S: Serializer>(tags: &[(&'static str, Cow<'_, str>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(tags.iter().map(|(name, value)| (name, value)))
}

/// Who is at the other end of the hop.
pub fn other_end(draft: &Draft) -> SocketAddr {
    match draft.direction {
        Direction::Inbound => draft.session.ends.peer,
        Direction::Outbound => {
            let target = draft.outcome().endpoint.as_ref().and_then(|endpoint| endpoint.target.address());
            target.unwrap_or(draft.session.ends.destination)
        }
    }
}

fn host(draft: &Draft) -> Cow<'_, str> {
    fields::text_of(draft, Text::Host)
}

/// What is said of a span, under the names that FSM uses; also for OTLP.
pub fn tags<'a>(draft: &'a Draft, origin: &'a Origin, other_end: SocketAddr) -> Vec<(&'static str, Cow<'a, str>)> {
    let mut tags = Vec::with_capacity(17);
    tags.extend([
        ("component", "proxy".into()),
        ("http.url", ["http://", &host(draft), &fields::path_text(draft)].concat().into()),
        ("http.method", draft.method.as_str().into()),
        ("http.protocol", fields::protocol(draft.version).into()),
        ("http.status_code", draft.outcome().status.as_u16().to_string().into()),
        ("node_id", origin.uid.as_str().into()),
        ("guid:x-request-id", fields::text_of(draft, Text::RequestId)),
        ("user_agent", fields::text_of(draft, Text::UserAgent)),
        ("upstream_cluster", draft.cluster.as_deref().unwrap_or_default().into()),
        ("request_size", draft.request_bytes().to_string().into()),
        ("response_size", draft.outcome().response_bytes.to_string().into()),
        ("peer.address", other_end.to_string().into()),
    ]);
    if let Some(identity) = &draft.session.ends.identity {
        tags.push(("peer.identity", identity.as_str().into()));
    }
    if draft.outcome().attempts > 1 {
        tags.push(("attempts", draft.outcome().attempts.to_string().into()));
    }
    let upstream = draft.rare().upstream_reason.as_ref().map(fields::header_text);
    let reason = draft.outcome().reason.map(|reason| reason.code().into()).or(upstream);
    if let Some(reason) = &reason {
        tags.push(("fsm.reason", reason.clone()));
    }
    if let Some(status) = draft.outcome().grpc_status {
        tags.push(("rpc.grpc.status_code", status.number().to_string().into()));
    }
    if draft.is_failure() {
        let status = draft
            .outcome()
            .grpc_status
            .map_or_else(|| Cow::from(draft.outcome().status.as_str()), |status| Cow::from(status.name()));
        let broken = if draft.outcome().complete { status } else { "broken off".into() };
        tags.push(("error", reason.unwrap_or(broken)));
    }
    tags
}
