//! FSM's remote log: the entries that its collectors expect, without bodies.

use super::Origin;
use super::post::Collector;
use crate::telemetry::Direction;
use crate::telemetry::record::texts::Text;
use crate::telemetry::record::{Draft, fields, redact};
use http::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// FSM's path of a collector: ClickHouse's.
pub const ENDPOINT: &str = "/?query=insert%20into%20log(message)%20format%20JSONAsString";

/// Where entries go, and which.
#[derive(Debug)]
pub struct RemoteLog {
    /// Where they go.
    pub collector: Collector,
    /// `authorization`, if any.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Share of requests, as [`Rules::threshold`](crate::telemetry::trace::span::Rules::threshold) has it.
    pub threshold: Option<u64>,
}

/// A JSON array of entries.
pub fn body(batch: &[Arc<Draft>], origin: &Origin) -> String {
    Value::Array(batch.iter().map(|draft| entry(draft, origin)).collect()).to_string()
}

fn entry(draft: &Draft, origin: &Origin) -> Value {
    let began = draft.started_at().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at = |after: Duration| u64::try_from((began + after).as_millis()).unwrap_or_default();
    let (client, destination) = (draft.session.ends.peer, draft.session.ends.destination);
    // FSM's own way: the two ends are swapped on the outbound side.
    let (remote, local) = match draft.direction {
        Direction::Inbound => (client, destination),
        Direction::Outbound => (destination, client),
    };
    let ip = |address: SocketAddr| address.ip().to_string();
    json!({
        "reqTime": at(Duration::ZERO),
        "resTime": at(draft.outcome().head),
        "endTime": at(draft.outcome().duration),
        "meshName": origin.mesh,
        "remoteAddr": ip(remote),
        "remotePort": remote.port(),
        "localAddr": ip(local),
        "localPort": local.port(),
        "node": { "ip": origin.ip, "name": origin.host },
        "pod": { "ns": origin.workload.namespace, "ip": origin.ip, "name": origin.workload.pod },
        "trace": trace(draft),
        "req": request(draft),
        "res": {
            "protocol": fields::protocol(draft.version),
            "headers": draft.rare().response_headers.as_ref().map(redact::headers).unwrap_or_default(),
            "status": draft.outcome().status.as_u16(),
            "statusText": draft.outcome().status.canonical_reason().unwrap_or_default(),
            "resSize": draft.outcome().response_bytes,
            "body": "",
        },
        "service": {
            "name": draft.service.as_ref().map_or("anonymous", |service| &service.name),
            "target": draft.outcome().endpoint.as_ref().map(|endpoint| endpoint.target.to_string()).unwrap_or_default(),
            "ingressMode": draft.direction == Direction::Inbound && draft.session.ends.identity.is_none(),
            "egressMode": draft.direction == Direction::Outbound && !fields::mtls(draft),
        },
        "type": draft.direction.name(),
        "reason": draft.outcome().reason.map(|reason| reason.code()).unwrap_or_default(),
        "identity": draft.session.ends.identity.as_deref().unwrap_or_default(),
        "attempts": draft.outcome().attempts,
    })
}

fn trace(draft: &Draft) -> Value {
    let Some(span) = &draft.span else { return json!({ "id": "", "span": "", "parent": "", "sampled": "1" }) };
    let parent = span.parent.map(|parent| format!("{parent:016x}")).unwrap_or_default();
    json!({
        "id": span.context.trace.to_string(),
        "span": format!("{:016x}", span.id),
        "parent": parent,
        "sampled": if span.context.sampled { "1" } else { "0" },
    })
}

fn request(draft: &Draft) -> Value {
    json!({
        "reqSize": draft.request_bytes(),
        "body": "",
        "protocol": fields::protocol(draft.version),
        "headers": draft.rare().request_headers.as_ref().map(redact::headers).unwrap_or_default(),
        "method": draft.method.as_str(),
        "path": fields::path_text(draft),
        "authority": fields::text_of(draft, Text::Host),
    })
}
