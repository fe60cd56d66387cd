//! One endpoint: where it is, its connections, and the exchange of one request for one response.

use super::balance::{Answer, EndpointLoad};
use super::connect::{self, Host, Opened, Protocol, ResolvedNames, Security, Target, Transport};
use super::error::{Sent, UpstreamError};
use super::gate::{ConnectionGuard, Gate, GateLimits, RequestGuard};
use super::pool::{Dial, Http1Connection, Lease, Pool};
use super::resolve::ChosenNames;
use crate::http::body::{BodyProgress, RequestBody, ResponseBody};
use crate::policy::outlier::EndpointHealth;
use crate::reason::Reason;
use crate::telemetry::counters::ClusterCounters;
use crate::telemetry::signals::{Edge, PeerName};
use crate::telemetry::trace::context;
use crate::telemetry::workload;
use crate::tls::Peer;
use arc_swap::ArcSwapOption;
use arcstr::ArcStr;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// One endpoint of a cluster. Lives over configuration updates for as long as its address and transport stay.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is.
    pub target: Target,
    /// How connections to it are made.
    pub transport: Arc<Transport>,
    names: ResolvedNames,
    /// Addresses of the hosts that clients name, for an endpoint that stands for many.
    chosen: ChosenNames,
    pool: Arc<Pool>,
    gate: Arc<Gate>,
    /// Requests in flight and latency, for balancing.
    pub load: Arc<EndpointLoad>,
    /// Failures and ejections.
    pub health: EndpointHealth,
    /// What its cluster's ingress wants before the path (`Path`, multi-cluster).
    pub path_prefix: Option<Box<str>>,
    /// Who answers there, as far as is known.
    peer: ArcSwapOption<KnownPeer>,
    /// When it joined a cluster that was there already; such endpoints are warmed up.
    pub since: Option<Instant>,
}

/// What an exchange must know besides the request.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeOptions<'a> {
    /// Protocol towards the endpoint.
    pub protocol: Protocol,
    /// The connection must serve nothing else before or after: it will be upgraded.
    pub upgrade: bool,
    /// From the request to the response head; progress of the request body starts it anew.
    pub response_timeout: Duration,
    /// A connection is retired after so many requests.
    pub requests_per_connection: Option<u32>,
    /// The cluster's limits.
    pub limits: GateLimits,
    /// What others than our own sidecars are told with the request.
    pub for_others: ForOthers<'a>,
}

/// What our own sidecars know without a header, and others do not.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForOthers<'a> {
    /// The request begins a trace that is not recorded. Our own sidecars gather that from its silence.
    pub trace_refused: bool,
    /// Who calls, as FSM's sidecars say it. Our own go by the certificate.
    pub introduction: &'a [(HeaderName, HeaderValue)],
}

impl ForOthers<'_> {
    fn tell(&self, headers: &mut HeaderMap) {
        if self.trace_refused {
            context::write_refusal(headers);
        }
        for (name, value) in self.introduction {
            headers.insert(name, value.clone());
        }
    }
}

/// One endpoint as shown to people.
#[derive(Clone, Debug)]
pub struct EndpointStatus {
    /// `host:port` as configured.
    pub address: String,
    /// Share of the traffic.
    pub weight: u32,
    /// Whether the balancer may choose it at the moment.
    pub healthy: bool,
    /// Open connections: idle HTTP/1 ones and all HTTP/2 ones.
    pub connections: usize,
    /// Requests in flight.
    pub requests: usize,
    /// How connections to it are secured.
    pub security: Security,
}

/// What came back from an endpoint, as far as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Status.
    pub status: StatusCode,
    /// `fsm-stats` of the response.
    pub stats: Option<&'a HeaderValue>,
    /// Pods are told apart.
    pub pods: bool,
    /// How the response ends is counted too, where it was counted.
    pub grpc: bool,
}

/// Who has answered last.
#[derive(Debug)]
struct KnownPeer {
    said: Option<HeaderValue>,
    pods: bool,
    edge: Arc<Edge>,
}

impl KnownPeer {
    /// Who does not introduce itself is who was there before: sidecars of ours do it now and then.
    fn is_still_right(&self, answer: &Answered<'_>) -> bool {
        (answer.stats.is_none() || self.said.as_ref() == answer.stats) && self.pods == answer.pods
    }
}

/// A response's head; or what went wrong, with the request if certainly nothing of it was sent.
type Responded = Result<Response<Incoming>, (UpstreamError, Option<Request<RequestBody>>)>;

impl Endpoint {
    /// An endpoint without connections.
    pub fn new(
        target: Target,
        transport: Arc<Transport>,
        gate: Arc<Gate>,
        load: Arc<EndpointLoad>,
        path_prefix: Option<Box<str>>,
        since: Option<Instant>,
    ) -> Self {
        let (names, chosen, pool) = (ResolvedNames::default(), ChosenNames::default(), Arc::default());
        Self {
            target,
            transport,
            names,
            chosen,
            pool,
            gate,
            load,
            health: EndpointHealth::default(),
            path_prefix,
            peer: ArcSwapOption::empty(),
            since,
        }
    }

    /// Whether a sidecar of the mesh is there, reached over mTLS.
    pub fn is_of_sidecar(&self) -> bool {
        self.transport.tls.as_ref().is_some_and(|tls| !tls.send_server_name)
    }

    /// Counts a response, for the workload that it comes from: `stats` is what the sidecar there says of itself, if it does.
    /// Else, and without a response, it counts for the workload that was there before.
    ///
    /// A pod says always the same, so this is one comparison; only something new is looked at. Gives the edge that was
    /// counted on, for the end of a gRPC call.
    pub fn count(&self, counters: &ClusterCounters, answer: Answered<'_>, elapsed: Duration) -> Option<Arc<Edge>> {
        let known = self.peer.load();
        if let Some(known) = known.as_deref()
            && known.is_still_right(&answer)
            && std::ptr::eq(counters, &raw const **self.gate.counters())
        {
            known.edge.response(answer.status, elapsed);
            return answer.grpc.then(|| Arc::clone(&known.edge));
        }
        let said = answer.stats.cloned().or_else(|| known.as_ref().and_then(|known| known.said.clone()));
        let name = self.peer_name(said.as_ref(), answer.pods);
        let edge = counters.edges.of(&name);
        edge.response(answer.status, elapsed);
        let counted = answer.grpc.then(|| Arc::clone(&edge));
        if std::ptr::eq(counters, &raw const **self.gate.counters()) {
            self.peer.store(Some(Arc::new(KnownPeer { said, pods: answer.pods, edge })));
        }
        counted
    }

    /// Who is there according to its certificate, for counters: a sidecar that the mesh has certified, or nobody known.
    pub fn certified(&self, server: Option<&Peer>) -> PeerName {
        let account = server.filter(|_| self.is_of_sidecar()).and_then(|server| server.service.as_ref());
        account.map_or_else(|| self.nameless(), PeerName::verified)
    }

    /// Whoever is there, where it does not say who.
    pub fn nameless(&self) -> PeerName {
        PeerName::unknown(self.is_of_sidecar())
    }

    /// What a sidecar says of itself counts where its certificate was checked, and only if it names the identity that the
    /// configuration expects there. What it says beyond that has few values, or is asked for by the configuration.
    fn peer_name(&self, stats: Option<&HeaderValue>, pods: bool) -> PeerName {
        let unknown = self.nameless();
        let said =
            stats.filter(|_| self.is_of_sidecar()).and_then(|stats| workload::read_stats_header(stats.as_bytes()));
        let Some(said) = said else { return unknown };
        let expected = self.transport.tls.as_ref().is_some_and(|tls| tls.http1.expects(said.name, said.namespace));
        if !expected {
            return unknown;
        }
        PeerName {
            namespace: said.namespace.into(),
            kind: said.kind.into(),
            name: said.name.into(),
            pod: if pods { said.pod.into() } else { ArcStr::default() },
            mtls: true,
        }
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// A connection that was idle may have been closed by its peer at the very moment of its reuse. Such a request is
    /// sent once more, on a fresh connection, if it certainly was not sent or is safe to repeat (RFC 9110 §9.2.2, no
    /// body); this is invisible to retry policies and budgets.
    ///
    /// The request is taken when it is sent. After an error it is there again, whole, if certainly nothing of it was sent: it
    /// may go to another endpoint then.
    ///
    /// # Errors
    /// [`UpstreamError`] naming the endpoint.
    pub async fn exchange(
        &self,
        request: &mut Option<Request<RequestBody>>,
        options: ExchangeOptions<'_>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let in_flight = self.load.begin(Instant::now());
        let mut outcome = match options.protocol {
            Protocol::Http2 => self.exchange_http2(request, options).await,
            Protocol::Http1 | Protocol::Tcp => self.exchange_http1(request, options).await,
        };
        let failed = outcome.as_ref().map_or(true, |response| response.status().is_server_error());
        in_flight.answered(if failed { Answer::Failed } else { Answer::Good }, Instant::now());
        if let Ok(response) = &mut outcome {
            response.body_mut().hold(in_flight);
        }
        outcome
    }

    /// Opens a connection for bytes of any kind.
    ///
    /// # Errors
    /// [`UpstreamError`] naming the endpoint.
    pub async fn open_tcp(&self, limits: GateLimits) -> Result<(Opened, ConnectionGuard), UpstreamError> {
        self.open_to(&self.target, &self.names, limits).await
    }

    /// The same for the host that a client names: of an endpoint that stands for many, that very one.
    ///
    /// # Errors
    /// [`UpstreamError`] naming the host.
    pub async fn open_tcp_to(
        &self,
        name: &ArcStr,
        limits: GateLimits,
    ) -> Result<(Opened, ConnectionGuard), UpstreamError> {
        match &self.target.host {
            Host::Below(_) => {
                let target = Target { host: Host::Name(name.clone()), port: self.target.port };
                self.open_to(&target, &self.chosen.of(name), limits).await
            }
            Host::Address(_) | Host::Name(_) => self.open_tcp(limits).await,
        }
    }

    async fn open_to(
        &self,
        target: &Target,
        names: &ResolvedNames,
        limits: GateLimits,
    ) -> Result<(Opened, ConnectionGuard), UpstreamError> {
        let counters = self.gate.counters();
        let Some(guard) = self.gate.connection(limits) else {
            counters.overflows.increment();
            let detail = format!("endpoint {target}: the cluster has {} open connections", limits.connections);
            return Err(UpstreamError::unsent(Reason::Overloaded, detail));
        };
        let connecting = connect::connect(target, &self.transport, Protocol::Tcp, names, counters);
        connecting.await.map(|opened| (opened, guard))
    }

    /// The live state, for people.
    pub fn status(&self, weight: u32, healthy: bool) -> EndpointStatus {
        EndpointStatus {
            address: self.target.to_string(),
            weight,
            healthy,
            connections: self.pool.connections(),
            requests: self.load.in_flight(),
            security: self.transport.security(),
        }
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    fn dial(&self, options: ExchangeOptions<'_>) -> Dial<'_> {
        Dial {
            target: &self.target,
            transport: &self.transport,
            names: &self.names,
            gate: &self.gate,
            limits: options.limits,
            requests_per_connection: options.requests_per_connection,
        }
    }

    async fn exchange_http1(
        &self,
        request: &mut Option<Request<RequestBody>>,
        options: ExchangeOptions<'_>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let guard = self.gate.request(options.limits).map_err(|reason| self.overloaded(reason))?;
        let mut failure = None;
        while request.is_some() {
            let opened = self.pool.http1(self.dial(options), options.upgrade).await;
            let (mut connection, reused) = opened.map_err(|error| self.without_connection(error))?;
            let Some(mut outgoing) = request.take() else { break };
            if !connection.ours {
                options.for_others.tell(outgoing.headers_mut());
            }
            let progress = outgoing.body().progress();
            let spare = if reused { repeatable(&outgoing) } else { None };
            let sending = connection.sender.try_send_request(outgoing);
            let (error, unsent) = match self.respond(sending, progress.as_deref(), options).await {
                Ok(response) => return Ok(self.lend_http1(response, connection, progress, options, guard)),
                Err(failed) => failed,
            };
            *request = unsent.or(spare);
            if !reused {
                return Err(error);
            }
            failure = Some(error);
        }
        Err(failure.unwrap_or_else(|| self.nothing_to_send()))
    }

    async fn exchange_http2(
        &self,
        request: &mut Option<Request<RequestBody>>,
        options: ExchangeOptions<'_>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let guard = self.gate.request(options.limits).map_err(|reason| self.overloaded(reason))?;
        let mut failure = None;
        let mut attempts = 0;
        while request.is_some() {
            let opened = self.pool.http2(self.dial(options)).await;
            let (stream, reused) = opened.map_err(|error| self.without_connection(error))?;
            let Some(mut outgoing) = request.take() else { break };
            if !stream.is_ours() {
                options.for_others.tell(outgoing.headers_mut());
            }
            let progress = outgoing.body().progress();
            let spare = if reused { repeatable(&outgoing) } else { None };
            let sending = stream.sender().try_send_request(outgoing);
            let (error, unsent) = match self.respond(sending, progress.as_deref(), options).await {
                Ok(response) => {
                    let lease = Lease::http2(stream, Arc::clone(&self.gate), guard);
                    return Ok(response.map(|body| ResponseBody::upstream(body, lease)));
                }
                Err(failed) => failed,
            };
            attempts += 1;
            *request = unsent.or(spare);
            if !reused || attempts > 2 {
                return Err(error);
            }
            failure = Some(error);
        }
        Err(failure.unwrap_or_else(|| self.nothing_to_send()))
    }

    fn without_connection(&self, error: UpstreamError) -> UpstreamError {
        if error.reason != Reason::Overloaded {
            self.gate.counters().pending_failures.increment();
        }
        error
    }

    fn overloaded(&self, reason: Reason) -> UpstreamError {
        UpstreamError::unsent(reason, format!("endpoint {}: too many requests in flight", self.target))
    }

    fn nothing_to_send(&self) -> UpstreamError {
        UpstreamError::sent(
            Reason::UpstreamReset,
            format!("endpoint {}: the request has been sent already", self.target),
        )
    }

    fn lend_http1(
        &self,
        response: Response<Incoming>,
        mut connection: Http1Connection,
        request: Option<Arc<BodyProgress>>,
        options: ExchangeOptions<'_>,
        guard: RequestGuard,
    ) -> Response<ResponseBody> {
        connection.served += 1;
        let retired = options.requests_per_connection.is_some_and(|limit| connection.served >= limit);
        let reusable = !options.upgrade && !retired;
        let (pool, gate) = (Arc::clone(&self.pool), Arc::clone(&self.gate));
        let lease = Lease::http1(connection, pool, request, reusable, gate, guard);
        response.map(|body| ResponseBody::upstream(body, lease))
    }

    /// Waits for the response head. The deadline starts anew while the request body makes progress, so that a long
    /// upload is not mistaken for a silent server.
    async fn respond<F>(&self, sending: F, progress: Option<&BodyProgress>, options: ExchangeOptions<'_>) -> Responded
    where
        F: Future<Output = Result<Response<Incoming>, hyper::client::conn::TrySendError<Request<RequestBody>>>>,
    {
        let mut sending = std::pin::pin!(sending);
        let mut seen = 0;
        let (deadline, http1) = (options.response_timeout, options.protocol != Protocol::Http2);
        let mut unanswered = Unanswered { counters: self.gate.counters(), http1, given_up: true };
        loop {
            let Ok(outcome) = timeout(deadline, &mut sending).await else {
                let frames = progress.map_or(0, BodyProgress::frames);
                if frames > seen {
                    seen = frames;
                    continue;
                }
                self.gate.counters().request_timeouts.increment();
                let detail = format!("endpoint {}: no response after {deadline:?}", self.target);
                return Err((UpstreamError::sent(Reason::UpstreamTimeout, detail), None));
            };
            unanswered.given_up = false;
            return outcome.map_err(|mut refused| {
                let request = refused.take_message();
                let mut error = UpstreamError::from_exchange(refused.error(), &self.target.to_string());
                if request.is_some() {
                    error.sent = Sent::Nothing;
                } else {
                    unanswered.counters.resets_received.increment();
                    if http1 {
                        unanswered.counters.destroyed_by_remote.increment();
                    }
                }
                (error, request)
            });
        }
    }
}

/// A request without a response so far. Given up like this (too slow, or the client went away), it is reset.
struct Unanswered<'a> {
    counters: &'a ClusterCounters,
    http1: bool,
    given_up: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.given_up {
            self.counters.resets_sent.increment();
            if self.http1 {
                self.counters.destroyed_here.increment();
            }
        }
    }
}

/// A copy of a request that may be sent twice: idempotent by definition and without a body.
fn repeatable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    );
    if !idempotent || !request.body().is_empty() {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_as_often_as_they_are_asked_and_hear_it_once() {
        let caller = [(HeaderName::from_static("fsm-stats-name"), HeaderValue::from_static("web"))];
        let for_others = ForOthers { trace_refused: true, introduction: &caller };
        let mut headers = HeaderMap::new();
        ForOthers::default().tell(&mut headers);
        assert!(headers.is_empty());
        for _attempt in 0..2 {
            for_others.tell(&mut headers);
            let told: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            assert_eq!(told, [("x-b3-sampled", b"0".as_slice()), ("fsm-stats-name", b"web")]);
        }
    }
}
