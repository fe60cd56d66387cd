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
    draft: Option<Box<Draft>>,
    kept: Kept,
    outcome: Outcome,
}

/// When a record is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Always,
    /// Somebody looks for errors, and nobody for anything else.
    IfItFails,
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
    /// The trace that it belongs to.
    pub span: Option<Box<Span>>,
    /// The service that the host led to.
    pub service: Option<Arc<Service>>,
    /// The cluster that the route chose.
    pub cluster: Option<Arc<str>>,
    outcome: Option<Box<Outcome>>,
    rare: Option<Box<Rare>>,
    request_body: Option<Arc<BodyProgress>>,
}

/// What became of a request. It travels beside the draft: when the server answers, other requests have pushed the draft out of
/// the CPU's nearest caches, and most drafts need not be looked at again.
#[derive(Debug)]
pub struct Outcome {
    /// The endpoint that answered, or was asked last.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Times that the request was sent.
    pub attempts: u32,
    /// Why the proxy answered itself.
    pub reason: Option<Reason>,
    /// Status.
    pub status: StatusCode,
    /// Whether it is a gRPC call.
    grpc: bool,
    /// How the gRPC call ended, if it is one and said so.
    pub grpc_status: Option<GrpcStatus>,
    /// From the request's head to the response's head.
    pub head: Duration,
    /// From the request's head to the last byte.
    pub duration: Duration,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// Whether the response passed to its end.
    pub complete: bool,
}

impl Outcome {
    /// Nothing yet.
    const OPEN: Self = Self {
        endpoint: None,
        attempts: 0,
        reason: None,
        status: StatusCode::OK,
        grpc: false,
        grpc_status: None,
        head: Duration::ZERO,
        duration: Duration::ZERO,
        response_bytes: 0,
        complete: false,
    };

    /// Whether its head speaks of a failure.
    fn has_failed(&self) -> bool {
        self.status.is_client_error() || self.status.is_server_error() || self.reason.is_some()
    }

    /// Whether an operator who looks for errors wants to see it.
    fn is_error(&self) -> bool {
        self.has_failed() || !self.complete || self.grpc_status.is_some_and(|status| status != GrpcStatus::OK)
    }
}

/// What hardly any record has something of: apart, for what a draft costs most requests is the memory that it touches.
#[derive(Debug)]
pub struct Rare {
    /// All headers of the request, where the remote log wants them.
    pub request_headers: Option<HeaderMap>,
    /// All headers of the response, where the remote log wants them.
    pub response_headers: Option<HeaderMap>,
    /// Why the proxy answered itself, in words for operators.
    pub detail: String,
    /// Why the proxy at the other end answered itself, as it says.
    pub upstream_reason: Option<HeaderValue>,
}

impl Rare {
    const NOTHING: Self =
        Self { request_headers: None, response_headers: None, detail: String::new(), upstream_reason: None };
}

impl Record {
    /// Begins a record. Without a configuration (`observe`) nobody wants one. `decided`: whoever sent the request would have told
    /// if its trace was recorded.
    pub fn begin<B>(
        telemetry: &Telemetry,
        observe: Option<&Arc<Observe>>,
        direction: Direction,
        request: &Request<B>,
        decided: bool,
        session: impl FnOnce() -> Arc<Session>,
    ) -> Self {
        let started = Instant::now();
        let Some(observe) = observe.filter(|observe| observe.looks_at_requests(telemetry)) else {
            return Self::of(started, Hop::Untouched);
        };
        let headers = request.headers();
        let noted = Noted::of(headers);
        let hop =
            observe.trace.as_ref().map_or(Hop::Untouched, |rules| Hop::begin(rules, direction, &noted.trace, decided));
        let names = hop.is_sampled() || observe.trace.as_ref().is_some_and(|rules| rules.names_all);
        let wants = observe.wants(telemetry, direction, &hop);
        if wants.is_empty() {
            return Self { names, ..Self::of(started, hop) };
        }
        let mut draft = Box::new(Draft {
            direction,
            started,
            wants,
            observe: Arc::clone(observe),
            session: session(),
            method: request.method().clone(),
            texts: Texts::default(),
            version: request.version(),
            span: hop.span().copied().or_else(|| Span::as_told(&noted.trace)).map(Box::new),
            service: None,
            cluster: None,
            outcome: None,
            rare: None,
            request_body: None,
        });
        noted.copy(request.uri(), &mut draft.texts);
        let sifted = wants == Wants::LOG && observe.access_log.as_ref().is_some_and(|log| log.errors_only);
        let kept = if sifted { Kept::IfItFails } else { Kept::Always };
        let mut record = Self { names, draft: Some(draft), kept, ..Self::of(started, hop) };
        if wants.contains(Wants::REMOTE)
            && let Some(draft) = record.draft()
        {
            draft.rare_mut().request_headers = Some(copy(headers));
        }
        record
    }

    const fn of(started: Instant, hop: Hop) -> Self {
        Self { started, head: None, hop, names: false, draft: None, kept: Kept::Always, outcome: Outcome::OPEN }
    }

    /// Whether anything is written down.
    pub const fn is_kept(&self) -> bool {
        self.draft.is_some()
    }

    fn draft(&mut self) -> Option<&mut Draft> {
        self.draft.as_deref_mut()
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

    /// Whether the request begins a trace that is not recorded.
    pub fn refuses_trace(&self) -> bool {
        self.hop == Hop::Refused
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
        if self.draft.is_some() {
            self.outcome.attempts = attempts;
            self.outcome.endpoint = endpoint;
        }
    }

    /// The proxy answers itself.
    pub fn refused(&mut self, refusal: &Refusal) {
        self.outcome.reason = Some(refusal.reason);
        if let Some(draft) = self.draft() {
            draft.rare_mut().detail.clone_from(&refusal.detail);
        }
    }

    /// The head of the response is here. Gives the time since the head of the request.
    pub fn responded(&mut self) -> Duration {
        *self.head.insert(self.started.elapsed())
    }

    /// The response, to a gRPC call or not, is ready to go; the record is handed out when it has gone.
    pub fn answered(self, response: &mut Response<ResponseBody>, grpc: bool) {
        let Self { started, head, draft: Some(mut draft), kept, mut outcome, .. } = self else { return };
        outcome.status = response.status();
        outcome.grpc = grpc;
        if grpc {
            outcome.grpc_status = GrpcStatus::of(response.headers());
        }
        outcome.head = head.unwrap_or_else(|| started.elapsed());
        if kept == Kept::Always || outcome.has_failed() {
            draft.heard(response.headers(), outcome.reason.is_none());
        }
        match response.body_mut() {
            body @ ResponseBody::Upstream { .. } => body.observe(Transit { draft, kept, outcome }),
            body => {
                outcome.response_bytes = body.size_hint().exact().unwrap_or_default();
                Transit { draft, kept, outcome }.end(true);
            }
        }
    }
}

/// Headers in memory of their own (see [`texts`]).
fn copy(headers: &HeaderMap) -> HeaderMap {
    headers.iter().filter_map(|(name, value)| Some((name.clone(), copy_of(value)?))).collect()
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
    /// What hardly any record has something of.
    pub fn rare(&self) -> &Rare {
        static NOTHING: Rare = Rare::NOTHING;
        self.rare.as_deref().unwrap_or(&NOTHING)
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| Box::new(Rare::NOTHING))
    }

    /// Bytes of the request's body that were sent on.
    pub fn request_bytes(&self) -> u64 {
        self.request_body.as_ref().map_or(0, |body| body.bytes())
    }

    /// About how much memory it takes, for the bounds of queues.
    pub fn weight(&self) -> usize {
        let headers = |headers: &Option<HeaderMap>| -> usize {
            headers
                .iter()
                .flat_map(|headers| headers.iter())
                .map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES)
                .sum()
        };
        let rare = self.rare.as_ref().map_or(0, |rare| {
            size_of::<Rare>() + rare.detail.len() + headers(&rare.request_headers) + headers(&rare.response_headers)
        });
        size_of::<Self>() + size_of::<Outcome>() + self.texts.weight() + rare
    }

    /// When the request's head was here, by the wall clock.
    pub fn started_at(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_sub(self.started.elapsed()).unwrap_or(now)
    }

    /// What became of it.
    pub fn outcome(&self) -> &Outcome {
        static OPEN: Outcome = Outcome::OPEN;
        self.outcome.as_deref().unwrap_or(&OPEN)
    }

    /// Whether an operator who looks for errors wants to see it.
    pub fn is_error(&self) -> bool {
        self.outcome().is_error()
    }

    /// Whether the server failed, for traces.
    pub fn is_failure(&self) -> bool {
        let Outcome { status, complete, grpc_status, .. } = self.outcome();
        status.is_server_error() || !complete || grpc_status.is_some_and(GrpcStatus::is_failure)
    }

    /// Notes of a response's head what somebody may want to read.
    fn heard(&mut self, headers: &HeaderMap, of_others: bool) {
        if of_others && let Some(reason) = reply::reason_of(headers) {
            self.rare_mut().upstream_reason = copy_of(reason);
        }
        if self.wants.contains(Wants::REMOTE) {
            self.rare_mut().response_headers = Some(copy(headers));
        }
    }
}

/// A record whose response is passing; handed out when it has passed, or never will.
#[derive(Debug)]
pub struct Transit {
    draft: Box<Draft>,
    kept: Kept,
    outcome: Outcome,
}

impl Transit {
    /// A frame of the body has passed.
    pub fn frame(&mut self, frame: &Frame<Bytes>) {
        let outcome = &mut self.outcome;
        if let Some(data) = frame.data_ref() {
            outcome.response_bytes += data.len() as u64;
        } else if let Some(trailers) = frame.trailers_ref().filter(|_| outcome.grpc) {
            outcome.grpc_status = GrpcStatus::of(trailers).or(outcome.grpc_status);
        }
    }

    /// The response has passed, or will never pass. The record is handed out, if it is of interest still.
    pub fn end(self, complete: bool) {
        let Self { mut draft, kept, mut outcome } = self;
        outcome.complete = complete;
        if kept == Kept::IfItFails && !outcome.is_error() {
            return;
        }
        outcome.duration = draft.started.elapsed();
        draft.outcome = Some(Box::new(outcome));
        let session = Arc::clone(&draft.session);
        session.telemetry.observers.take(*draft);
    }
}
