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

use super::grpc::GrpcStatus;
use super::observe::{Observe, Wants};
use super::trace::context::digits;
use super::trace::span::Span;
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
use http::header::{HOST, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Header that names a request across hops.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a header takes in a map besides its name and value.
const HEADER_BYTES: usize = 64;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What follows one request through the chain: its trace, and what is written down for others.
#[derive(Debug)]
pub struct Record {
    /// When the request's head was here.
    pub started: Instant,
    span: Option<Span>,
    draft: Option<Box<Draft>>,
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
    telemetry: Arc<Telemetry>,
    /// Method.
    pub method: Method,
    /// Target as it was sent on.
    pub uri: Uri,
    /// Host header as the client wrote it.
    pub host: Option<HeaderValue>,
    /// Version towards the client.
    pub version: Version,
    /// All headers of the request, where the remote log wants them.
    pub request_headers: Option<HeaderMap>,
    /// `user-agent`
    pub user_agent: Option<HeaderValue>,
    /// `x-request-id`
    pub request_id: Option<HeaderValue>,
    /// `x-forwarded-for`
    pub forwarded_for: Option<HeaderValue>,
    /// Both ends of the client's connection.
    pub ends: Ends,
    /// The trace that it belongs to.
    pub span: Option<Span>,
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
    /// How the gRPC call ended, if it is one and said so.
    pub grpc_status: Option<GrpcStatus>,
    /// All headers of the response, where the remote log wants them.
    pub response_headers: Option<HeaderMap>,
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
        telemetry: &Arc<Telemetry>,
        observe: Option<&Arc<Observe>>,
        direction: Direction,
        request: &Request<B>,
        ends: impl FnOnce() -> Ends,
    ) -> Self {
        let started = Instant::now();
        let Some(observe) = observe else { return Self { started, span: None, draft: None } };
        let headers = request.headers();
        let span = observe.trace.as_ref().and_then(|rules| Span::begin(rules, direction, headers));
        let wants = observe.wants(telemetry, direction, span.as_ref());
        if wants.is_empty() {
            return Self { started, span, draft: None };
        }
        let header = |name: &HeaderName| headers.get(name).cloned();
        let draft = Box::new(Draft {
            direction,
            started,
            wants,
            observe: Arc::clone(observe),
            telemetry: Arc::clone(telemetry),
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: header(&HOST),
            version: request.version(),
            request_headers: wants.contains(Wants::REMOTE).then(|| headers.clone()),
            user_agent: header(&USER_AGENT),
            request_id: header(&REQUEST_ID),
            forwarded_for: header(&FORWARDED_FOR),
            ends: ends(),
            span: span.or_else(|| Span::as_told(headers)),
            service: None,
            cluster: None,
            endpoint: None,
            attempts: 0,
            reason: None,
            detail: String::new(),
            upstream_reason: None,
            status: StatusCode::OK,
            grpc_status: None,
            response_headers: None,
            head: Duration::ZERO,
            duration: Duration::ZERO,
            request_body: None,
            response_bytes: 0,
            complete: false,
        });
        Self { started, span, draft: Some(draft) }
    }

    /// Whether anything is written down.
    pub const fn is_kept(&self) -> bool {
        self.draft.is_some()
    }

    /// Where the request goes.
    pub fn routed(&mut self, service: &Arc<Service>, cluster: Option<&Cluster>) {
        if let Some(draft) = &mut self.draft {
            draft.service = Some(Arc::clone(service));
            draft.cluster = cluster.map(|cluster| Arc::clone(&cluster.name));
        }
    }

    /// Whether the request belongs to a trace that is recorded.
    pub fn is_traced(&self) -> bool {
        self.span.as_ref().is_some_and(|span| span.context.sampled)
    }

    /// Tells the next hop about the trace, and gives the request a name across hops if it has none.
    pub fn tell(&mut self, headers: &mut HeaderMap) {
        let Some(span) = &self.span else { return };
        span.write(headers);
        if !headers.contains_key(REQUEST_ID) {
            let id = request_id();
            if let Some(draft) = &mut self.draft {
                draft.request_id = Some(id.clone());
            }
            headers.insert(REQUEST_ID, id);
        }
    }

    /// The body that is sent on.
    pub fn sends(&mut self, body: Option<Arc<BodyProgress>>) {
        if let Some(draft) = &mut self.draft {
            draft.request_body = body;
        }
    }

    /// Who was asked, and how often.
    pub fn tried(&mut self, attempts: u32, endpoint: Option<&Arc<Endpoint>>) {
        if let Some(draft) = &mut self.draft {
            draft.attempts = attempts;
            draft.endpoint = endpoint.cloned();
        }
    }

    /// The proxy answers itself.
    pub fn refused(&mut self, refusal: &Refusal) {
        if let Some(draft) = &mut self.draft {
            draft.reason = Some(refusal.reason);
            draft.detail.clone_from(&refusal.detail);
        }
    }

    /// The response is ready to go; the record is handed out when it has gone.
    pub fn answered(self, response: &mut Response<ResponseBody>) {
        let Some(mut draft) = self.draft else { return };
        draft.status = response.status();
        draft.grpc_status = GrpcStatus::of(response.headers());
        draft.head = draft.started.elapsed();
        if draft.reason.is_none() {
            draft.upstream_reason = reply::reason_of(response.headers()).cloned();
        }
        if draft.wants.contains(Wants::REMOTE) {
            draft.response_headers = Some(response.headers().clone());
        }
        match response.body_mut() {
            body @ ResponseBody::Upstream { .. } => body.observe(Transit(Some(draft))),
            body => {
                let length = body.size_hint().exact().unwrap_or_default();
                draft.passed(length, true);
            }
        }
    }
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
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("none"))
}

impl Draft {
    /// Bytes of the request's body that were sent on.
    pub fn request_bytes(&self) -> u64 {
        self.request_body.as_ref().map_or(0, |body| body.bytes())
    }

    /// About how much memory it takes, for the bounds of queues.
    pub fn weight(&self) -> usize {
        let headers = |headers: &Option<HeaderMap>| -> usize {
            headers.iter().flatten().map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES).sum()
        };
        let target = self.uri.path_and_query().map_or(0, |target| target.as_str().len());
        size_of::<Self>() + target + headers(&self.request_headers) + headers(&self.response_headers)
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

    /// Hands the record out.
    fn passed(mut self: Box<Self>, bytes: u64, complete: bool) {
        self.response_bytes = bytes;
        self.complete = complete;
        self.duration = self.started.elapsed();
        let telemetry = Arc::clone(&self.telemetry);
        telemetry.observers.take(self);
    }
}

/// A record whose response is passing; handed out when it has passed, or when its body is dropped before.
#[derive(Debug, Default)]
pub struct Transit(Option<Box<Draft>>);

impl Transit {
    /// What came after the body, if it did.
    pub fn trailers(&mut self, trailers: Option<&HeaderMap>) {
        if let (Some(draft), Some(trailers)) = (&mut self.0, trailers) {
            draft.grpc_status = GrpcStatus::of(trailers).or(draft.grpc_status);
        }
    }

    /// The response has passed, or will never pass.
    pub fn end(&mut self, bytes: u64, complete: bool) {
        if let Some(draft) = self.0.take() {
            draft.passed(bytes, complete);
        }
    }
}
