//! Spans as Zipkin's API v2 wants them, with the tags that FSM's sidecars write.

use crate::telemetry::Direction;
use crate::telemetry::export::Origin;
use crate::telemetry::record::{Draft, fields};
use serde_json::{Map, Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

/// FSM's path of a collector.
pub const ENDPOINT: &str = "/api/v2/spans";

/// A JSON array of spans.
pub fn body(batch: &[Arc<Draft>], origin: &Origin) -> String {
    Value::Array(batch.iter().filter_map(|draft| span(draft, origin)).collect()).to_string()
}

fn span(draft: &Draft, origin: &Origin) -> Option<Value> {
    let span = draft.span.as_ref()?;
    let began = draft.started_at().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let microseconds = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or_default();
    let mut shown = Map::new();
    let mut add = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    add("traceId", span.context.trace.to_string().into());
    add("id", format!("{:016x}", span.id).into());
    if let Some(parent) = span.parent {
        add("parentId", format!("{parent:016x}").into());
    }
    add("name", host(draft).into());
    add("timestamp", microseconds(began).into());
    add("duration", microseconds(draft.duration).max(1).into());
    add("kind", if draft.direction == Direction::Inbound { "SERVER" } else { "CLIENT" }.into());
    if span.shared {
        add("shared", true.into());
    }
    add("localEndpoint", local_endpoint(origin));
    add("remoteEndpoint", endpoint(other_end(draft)));
    add("annotations", json!([]));
    let tags = tags(draft, origin).into_iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
    add("tags", Value::Object(tags.collect()));
    Some(Value::Object(shown))
}

fn local_endpoint(origin: &Origin) -> Value {
    let mut shown = match origin.ip.parse() {
        Ok(address) => endpoint(SocketAddr::new(address, 0)),
        Err(_) => json!({}),
    };
    shown["port"] = 0.into();
    shown["serviceName"] = origin.service().into();
    shown
}

fn endpoint(address: SocketAddr) -> Value {
    let family = match address.ip() {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    };
    json!({ family: address.ip().to_string(), "port": address.port() })
}

/// Who is at the other end of the hop.
fn other_end(draft: &Draft) -> SocketAddr {
    match draft.direction {
        Direction::Inbound => draft.ends.peer,
        Direction::Outbound => {
            let target = draft.endpoint.as_ref().and_then(|endpoint| endpoint.target.to_string().parse().ok());
            target.unwrap_or(draft.ends.destination)
        }
    }
}

fn host(draft: &Draft) -> String {
    draft.host.as_ref().map(fields::header_text).unwrap_or_default()
}

/// What is said of a span, under the names that FSM uses; also for OTLP.
pub fn tags(draft: &Draft, origin: &Origin) -> Vec<(&'static str, String)> {
    let text = |value: &Option<http::HeaderValue>| value.as_ref().map(fields::header_text).unwrap_or_default();
    let mut tags = vec![
        ("component", "proxy".to_owned()),
        ("http.url", format!("http://{}{}", host(draft), fields::path_text(draft))),
        ("http.method", draft.method.as_str().to_owned()),
        ("http.protocol", fields::protocol(draft.version).to_owned()),
        ("http.status_code", draft.status.as_u16().to_string()),
        ("node_id", origin.uid.clone()),
        ("guid:x-request-id", text(&draft.request_id)),
        ("user_agent", text(&draft.user_agent)),
        ("upstream_cluster", draft.cluster.as_deref().unwrap_or_default().to_owned()),
        ("request_size", draft.request_bytes().to_string()),
        ("response_size", draft.response_bytes.to_string()),
        ("peer.address", other_end(draft).to_string()),
    ];
    if let Some(identity) = &draft.ends.identity {
        tags.push(("peer.identity", identity.to_string()));
    }
    if draft.attempts > 1 {
        tags.push(("attempts", draft.attempts.to_string()));
    }
    let upstream = draft.upstream_reason.as_ref().map(fields::header_text);
    let reason = draft.reason.map(|reason| reason.code().to_owned()).or(upstream);
    if let Some(reason) = &reason {
        tags.push(("fsm.reason", reason.clone()));
    }
    if let Some(status) = draft.grpc_status {
        tags.push(("rpc.grpc.status_code", status.number().to_string()));
    }
    if draft.is_failure() {
        let status =
            draft.grpc_status.map_or_else(|| draft.status.as_str().to_owned(), |status| status.name().to_owned());
        let broken = if draft.complete { status } else { "broken off".to_owned() };
        tags.push(("error", reason.unwrap_or(broken)));
    }
    tags
}
