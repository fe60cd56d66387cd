//! Spans as OpenTelemetry's collectors take them: OTLP over HTTP, protobuf, by the exporter of the `opentelemetry` crates.
//!
//! Their processors and queues are not used: records wait in our own queue, which also serves Zipkin, and the exporter is
//! only asked to word and send what is there.

use crate::telemetry::Direction;
use crate::telemetry::export::Origin;
use crate::telemetry::export::post::{self, Collector, PostError};
use crate::telemetry::record::texts::Text;
use crate::telemetry::record::{Draft, fields};
use crate::telemetry::trace::zipkin;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// OTLP's path of a collector.
pub const ENDPOINT: &str = "/v1/traces";

/// Sends a batch.
///
/// # Errors
/// [`PostError`].
pub async fn send(collector: &Collector, batch: &[Arc<Draft>], origin: &Origin) -> Result<(), PostError> {
    let other = |error: &dyn std::fmt::Display| PostError::Other(collector.authority(), error.to_string());
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client { collector: collector.clone(), mark: origin.mark })
        .with_endpoint(collector.url())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(crate::limits::EXPORT_TIMEOUT)
        .build();
    let mut exporter = exporter.map_err(|error| other(&error))?;
    exporter.set_resource(&resource(origin));
    let spans = batch.iter().filter_map(|draft| span(draft, origin)).collect();
    exporter.export(spans).await.map_err(|error| other(&error))
}

/// What all spans of this proxy have in common.
fn resource(origin: &Origin) -> Resource {
    let workload = &origin.workload;
    let known = [
        ("k8s.namespace.name", &workload.namespace),
        ("k8s.pod.name", &workload.pod),
        ("k8s.pod.uid", &origin.uid),
        ("k8s.pod.ip", &origin.ip),
        ("service.namespace", &workload.namespace),
        ("fsm.mesh", &origin.mesh),
    ];
    let known = known.into_iter().filter(|(_, value)| !value.is_empty());
    let attributes = known.map(|(name, value)| KeyValue::new(name, value.clone()));
    Resource::builder_empty().with_service_name(origin.service().to_owned()).with_attributes(attributes).build()
}

fn span(draft: &Draft, origin: &Origin) -> Option<SpanData> {
    let span = draft.span.as_ref()?;
    let flags = if span.context.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, id) = (TraceId::from(span.context.trace.value), SpanId::from(span.id));
    let start_time = draft.started_at();
    let failed = draft.is_failure();
    let tags = zipkin::tags(draft, origin, zipkin::other_end(draft));
    let attributes = tags.into_iter().map(|(name, value)| KeyValue::new(name, value.into_owned()));
    Some(SpanData {
        span_context: SpanContext::new(trace, id, flags, false, TraceState::default()),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: span.parent.is_some(),
        span_kind: if draft.direction == Direction::Inbound { SpanKind::Server } else { SpanKind::Client },
        name: format!("{} {}", draft.method, fields::text_of(draft, Text::Host)).into(),
        start_time,
        end_time: start_time + draft.outcome().duration,
        attributes: attributes.filter(|attribute| !attribute.value.as_str().is_empty()).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if failed { Status::error(draft.rare().detail.clone()) } else { Status::Unset },
        instrumentation_scope: InstrumentationScope::builder("fsm-proxy").build(),
    })
}

/// Lends the exporter our own way to a collector: the mark of our own sockets, no further client library.
#[derive(Debug)]
struct Client {
    collector: Collector,
    mark: Option<u32>,
}

impl HttpClient for Client {
    fn send_bytes<'client, 'answer>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'answer>>
    where
        'client: 'answer,
        Self: 'answer,
    {
        Box::pin(async move { Ok(post::send(&self.collector, request, self.mark).await?) })
    }
}
