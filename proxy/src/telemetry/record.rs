//! What is written down of one request, for those who asked: a tap, an access log, a trace.
//!
//! [`Record::begin`] decides whether anybody wants it; if nobody does, a record is empty and every step of it costs one
//! comparison. Otherwise it is filled along the request's way and handed out when the last byte of the response has passed,
//! or when the client or the server broke off. Nothing here formats, blocks or fails: who reads it does so elsewhere.
//!
//! Bodies are never kept. Headers are kept for FSM's remote log only; what is secret in them, and in the query, is hidden
//! when they are shown ([`redact`]).

pub mod connection;
pub mod fields;
pub mod redact;
mod slot;
pub mod texts;

use super::grpc::GrpcStatus;
use super::noted::Noted;
use super::observe::{Observe, Wants};
use super::trace::context::digits;
use super::trace::span::{Hop, Span};
use super::{Direction, Telemetry};
use crate::http::body::{BodyProgress, ResponseBody};
use crate::http::reply::{self, Refusal};
use crate::listen::ConnInfo;
use crate::reason::Reason;
use crate::route::table::Service;
use crate::runtime;
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::Endpoint;
use arcstr::ArcStr;
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body as _, Frame};
use slot::Slot;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use texts::{Text, Texts};

/// Header that names a request across hops.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a header takes in a map besides its name and value.
const HEADER_BYTES: usize = 64;

/// What follows one request through the chain: its trace, and what is written down for others.
#[derive(Debug)]
pub struct Record {
    /// When the request's head was here.
    pub started: Instant,
    head: Option<Duration>,
    hop: Hop,
    /// It gets a name across hops.
    names: bool,
    draft: Option<Slot>,
}

/// What is known of the two ends of a connection.
#[derive(Clone, Debug)]
pub struct Ends {
    /// The client.
    pub peer: SocketAddr,
    /// Where it was going.
    pub destination: SocketAddr,
    /// Who it is according to its certificate.
    pub identity: Option<ArcStr>,
    /// Whether it came over mTLS.
    pub mtls: bool,
    /// The server that its TLS hello asks for (SNI).
    pub server_name: Option<ArcStr>,
}

impl Ends {
    /// Of a connection from our own application, which proves nothing.
    pub fn of_application(info: &ConnInfo, server_name: Option<ArcStr>) -> Self {
        Self { peer: info.peer, destination: info.destination, identity: None, mtls: false, server_name }
    }
}

/// A client's connection, as far as the records of its requests have it in common.
#[derive(Debug)]
pub struct Session {
    telemetry: Arc<Telemetry>,
    /// Both ends.
    pub ends: Ends,
}

impl Session {
    /// A connection whose records are handed out here.
    pub fn new(telemetry: &Arc<Telemetry>, ends: Ends) -> Arc<Self> {
        Arc::new(Self { telemetry: Arc::clone(telemetry), ends })
    }
}

/// One request and what became of it.
#[derive(Debug)]
pub struct Draft {
    /// Which way it went.
    pub direction: Direction,
    /// When its head was here.
    pub started: Instant,
    /// Who wants to know.
    pub wants: Wants,
    /// The settings that say so.
    pub observe: Arc<Observe>,
    /// The client's connection.
    pub session: Arc<Session>,
    /// Method.
    pub method: Method,
    /// What it says of itself.
    pub texts: Texts,
    /// Version towards the client.
    pub version: Version,
    /// All headers of the request, where the remote log wants them.
    pub request_headers: Option<Box<HeaderMap>>,
    /// The trace that it belongs to.
    pub span: Option<Box<Span>>,
    /// The service that the host led to.
    pub service: Option<Arc<Service>>,
    /// The cluster that the route chose.
    pub cluster: Option<Arc<str>>,
    /// The endpoint that answered, or was asked last.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Times that the request was sent.
    pub attempts: u32,
    /// Why the proxy answered itself.
    pub reason: Option<Reason>,
    /// The same in words, for operators.
    pub detail: String,
    /// Why the proxy at the other end answered itself, as it says.
    pub upstream_reason: Option<HeaderValue>,
    /// Status.
    pub status: StatusCode,
    /// Whether it is a gRPC call.
    grpc: bool,
    /// How the gRPC call ended, if it is one and said so.
    pub grpc_status: Option<GrpcStatus>,
    /// All headers of the response, where the remote log wants them.
    pub response_headers: Option<Box<HeaderMap>>,
    /// From the request's head to the response's head.
    pub head: Duration,
    /// From the request's head to the last byte.
    pub duration: Duration,
    request_body: Option<Arc<BodyProgress>>,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// Whether the response passed to its end.
    pub complete: bool,
}

impl Record {
    /// Begins a record. Without a configuration (`observe`) nobody wants one.
    pub fn begin<B>(
        telemetry: &Telemetry,
        observe: Option<&Arc<Observe>>,
        direction: Direction,
        request: &Request<B>,
        session: impl FnOnce() -> Arc<Session>,
    ) -> Self {
        let started = Instant::now();
        let Some(observe) = observe.filter(|observe| observe.looks_at_requests(telemetry)) else {
            return Self { started, head: None, hop: Hop::Untouched, names: false, draft: None };
        };
        let headers = request.headers();
        let noted = Noted::of(headers);
        let hop = observe.trace.as_ref().map_or(Hop::Untouched, |rules| Hop::begin(rules, direction, &noted.trace));
        let names = hop.is_sampled() || observe.trace.as_ref().is_some_and(|rules| rules.names_all);
        let wants = observe.wants(telemetry, direction, &hop);
        if wants.is_empty() {
            return Self { started, head: None, hop, names, draft: None };
        }
        let draft = Slot::of(|texts| Draft {
            direction,
            started,
            wants,
            observe: Arc::clone(observe),
            session: session(),
            method: request.method().clone(),
            texts: noted.copy(request.uri(), texts),
            version: request.version(),
            request_headers: wants.contains(Wants::REMOTE).then(|| copy(headers)),
            span: hop.span().copied().or_else(|| Span::as_told(&noted.trace)).map(Box::new),
            service: None,
            cluster: None,
            endpoint: None,
            attempts: 0,
            reason: None,
            detail: String::new(),
            upstream_reason: None,
            status: StatusCode::OK,
            grpc: false,
            grpc_status: None,
            response_headers: None,
            head: Duration::ZERO,
            duration: Duration::ZERO,
            request_body: None,
            response_bytes: 0,
            complete: false,
        });
        Self { started, head: None, hop, names, draft: Some(draft) }
    }

    /// Whether anything is written down.
    pub const fn is_kept(&self) -> bool {
        self.draft.is_some()
    }

    fn draft(&mut self) -> Option<&mut Draft> {
        self.draft.as_mut().and_then(Slot::draft)
    }

    /// Where the request goes.
    pub fn routed(&mut self, service: &Arc<Service>, cluster: Option<&Cluster>) {
        if let Some(draft) = self.draft() {
            draft.service = Some(Arc::clone(service));
            draft.cluster = cluster.map(|cluster| Arc::clone(&cluster.name));
        }
    }

    /// Whether the request belongs to a trace that is recorded.
    pub const fn is_traced(&self) -> bool {
        self.hop.is_sampled()
    }

    /// Tells the next hop about the trace. A request that somebody writes down gets a name across hops if it has none.
    pub fn tell(&mut self, headers: &mut HeaderMap) {
        self.hop.write(headers);
        if !self.names || self.hop == Hop::Untouched {
            return;
        }
        if let Some(id) = headers.get_mut(REQUEST_ID) {
            id.set_sensitive(true);
        } else {
            let id = request_id();
            if let Some(draft) = self.draft() {
                draft.texts.set(Text::RequestId, id.as_bytes());
            }
            headers.insert(REQUEST_ID, id);
        }
    }

    /// The body that is sent on.
    pub fn sends(&mut self, body: Option<Arc<BodyProgress>>) {
        if let Some(draft) = self.draft() {
            draft.request_body = body;
        }
    }

    /// Who was asked, and how often.
    pub fn tried(&mut self, attempts: u32, endpoint: Option<Arc<Endpoint>>) {
        if let Some(draft) = self.draft() {
            draft.attempts = attempts;
            draft.endpoint = endpoint;
        }
    }

    /// The proxy answers itself.
    pub fn refused(&mut self, refusal: &Refusal) {
        if let Some(draft) = self.draft() {
            draft.reason = Some(refusal.reason);
            draft.detail.clone_from(&refusal.detail);
        }
    }

    /// The head of the response is here. Gives the time since the head of the request.
    pub fn responded(&mut self) -> Duration {
        *self.head.insert(self.started.elapsed())
    }

    /// The response, to a gRPC call or not, is ready to go; the record is handed out when it has gone.
    pub fn answered(self, response: &mut Response<ResponseBody>, grpc: bool) {
        let Some(mut slot) = self.draft else { return };
        let Some(draft) = slot.draft() else { return };
        draft.status = response.status();
        draft.grpc = grpc;
        if grpc {
            draft.grpc_status = GrpcStatus::of(response.headers());
        }
        draft.head = self.head.unwrap_or_else(|| draft.started.elapsed());
        if draft.reason.is_none() && !draft.waits_for_an_error() {
            draft.upstream_reason = reply::reason_of(response.headers()).and_then(copy_of);
        }
        if draft.wants.contains(Wants::REMOTE) {
            draft.response_headers = Some(copy(response.headers()));
        }
        match response.body_mut() {
            body @ ResponseBody::Upstream { .. } => body.observe(Transit(slot)),
            body => {
                draft.response_bytes = body.size_hint().exact().unwrap_or_default();
                Transit(slot).end(true);
            }
        }
    }
}

/// Headers in memory of their own (see [`texts`]).
fn copy(headers: &HeaderMap) -> Box<HeaderMap> {
    Box::new(headers.iter().filter_map(|(name, value)| Some((name.clone(), copy_of(value)?))).collect())
}

fn copy_of(value: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

/// A UUID of version 4 (RFC 9562). It names, it does not protect.
fn request_id() -> HeaderValue {
    let random = u128::from(runtime::random()) << 64 | u128::from(runtime::random());
    let version_and_variant = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let digits = digits::<32>(version_and_variant);
    let mut text = [b'-'; 36];
    for (from, to, count) in [(0, 0, 8), (8, 9, 4), (12, 14, 4), (16, 19, 4), (20, 24, 12)] {
        text[to..to + count].copy_from_slice(&digits[from..from + count]);
    }
    let mut id = HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("none"));
    // It never comes again: HPACK's table keeps what may.
    id.set_sensitive(true);
    id
}

impl Draft {
    /// Bytes of the request's body that were sent on.
    pub fn request_bytes(&self) -> u64 {
        self.request_body.as_ref().map_or(0, |body| body.bytes())
    }

    /// About how much memory it takes, for the bounds of queues.
    pub fn weight(&self) -> usize {
        let headers = |headers: &Option<Box<HeaderMap>>| -> usize {
            headers
                .iter()
                .flat_map(|headers| headers.iter())
                .map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES)
                .sum()
        };
        size_of::<Self>() + self.texts.weight() + headers(&self.request_headers) + headers(&self.response_headers)
    }

    /// When the request's head was here, by the wall clock.
    pub fn started_at(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_sub(self.started.elapsed()).unwrap_or(now)
    }

    /// Whether an operator who looks for errors wants to see it.
    pub fn is_error(&self) -> bool {
        let http = self.status.is_client_error() || self.status.is_server_error();
        http || self.reason.is_some()
            || !self.complete
            || self.grpc_status.is_some_and(|status| status != GrpcStatus::OK)
    }

    /// Whether the server failed, for traces.
    pub fn is_failure(&self) -> bool {
        self.status.is_server_error() || !self.complete || self.grpc_status.is_some_and(GrpcStatus::is_failure)
    }

    /// Whether so far nobody wants to see it: it counts only if it becomes an error.
    fn waits_for_an_error(&self) -> bool {
        let errors_only = || self.observe.access_log.as_ref().is_some_and(|log| log.errors_only);
        let well = !(self.status.is_client_error() || self.status.is_server_error()) && self.reason.is_none();
        well && self.wants == Wants::LOG && errors_only()
    }
}

/// A record whose response is passing; handed out when it has passed, or never will.
#[derive(Debug)]
pub struct Transit(Slot);

impl Transit {
    /// A frame of the body has passed.
    pub fn frame(&mut self, frame: &Frame<Bytes>) {
        let Some(draft) = self.0.draft() else { return };
        if let Some(data) = frame.data_ref() {
            draft.response_bytes += data.len() as u64;
        } else if let Some(trailers) = frame.trailers_ref().filter(|_| draft.grpc) {
            draft.grpc_status = GrpcStatus::of(trailers).or(draft.grpc_status);
        }
    }

    /// The response has passed, or will never pass. The record is handed out, if it is of interest still.
    pub fn end(mut self, complete: bool) {
        let Some(draft) = self.0.draft() else { return };
        draft.complete = complete;
        if draft.waits_for_an_error() && !draft.is_error() {
            return;
        }
        draft.duration = draft.started.elapsed();
        if let Some(draft) = self.0.take() {
            let session = Arc::clone(&draft.session);
            session.telemetry.observers.take(draft);
        }
    }
}
