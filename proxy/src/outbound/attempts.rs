//! Carrying out one request: attempt after attempt, until one succeeds or nothing more may be tried.
//!
//! Each attempt asks the cluster's circuit breaker, takes an endpoint, and tells both how it went. Then, in this order:
//! an endpoint that has certainly seen nothing of the request is no attempt at all, another one gets the request at once;
//! the retry policy decides; at last the route's failover cluster gets the request, once.

use super::connection::Connection;
use crate::config::snapshot::Settings;
use crate::http::body::{Kept, RequestBody, ResponseBody};
use crate::http::forward::{self, Outgoing};
use crate::http::reply::{Answer, Refusal};
use crate::http::server::Version;
use crate::limits;
use crate::policy::breaker::{Admission, Outcome, Ticket};
use crate::policy::outlier;
use crate::policy::retry::{Attempt, AttemptOutcome, MethodSafety, RetryPolicy, Verdict};
use crate::reason::Reason;
use crate::runtime;
use crate::upstream::balance::Algorithm;
use crate::upstream::cluster::{Cluster, Tried};
use crate::upstream::endpoint::{Endpoint, ExchangeOptions};
use crate::upstream::error::UpstreamError;
use http::uri::{Parts, PathAndQuery};
use http::{HeaderMap, HeaderName, Method, Request, Response, Uri};
use std::sync::Arc;
use std::time::{Duration, Instant};

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Where a request may go.
pub(super) struct Course<'a> {
    pub(super) connection: &'a Connection,
    pub(super) settings: &'a Settings,
    /// The cluster that the route chose.
    pub(super) cluster: &'a Arc<Cluster>,
    /// The cluster that gets what the first one fails at.
    pub(super) failover: Option<&'a Arc<Cluster>>,
    pub(super) grpc: bool,
    /// What keeps the sender's requests together, where the cluster wants that.
    pub(super) key: Option<u64>,
}

/// What a request went through.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// Times that it was sent.
    pub(super) attempts: u32,
    /// Who was asked last.
    pub(super) endpoint: Option<Arc<Endpoint>>,
}

/// Sends a request, and leaves a trail.
///
/// # Errors
/// [`Refusal`] of the last attempt.
pub(super) async fn send(
    course: &Course<'_>,
    outgoing: &mut Outgoing<'_>,
    trail: &mut Trail,
) -> Result<Response<ResponseBody>, Refusal> {
    let (request, options) = (&mut outgoing.request, outgoing.options);
    let mut template = request.as_mut().and_then(|request| Template::of(course, options, request));
    let mut outcome = at_cluster(course, course.cluster, request, options, template.as_mut(), trail).await;
    if let (Some(template), Some(failover)) = (&mut template, course.failover)
        && outcome.as_ref().map_or(true, |done| done.response.status().is_server_error())
        && template.body.is_whole()
    {
        *request = Some(template.request());
        outcome = at_cluster(course, failover, request, options, None, trail).await;
    }
    let done = outcome?;
    forward::finish(done.response, outgoing.upgrade.take(), &done.endpoint.target)
}

struct Done {
    response: Response<ResponseBody>,
    endpoint: Arc<Endpoint>,
}

async fn at_cluster(
    course: &Course<'_>,
    cluster: &Arc<Cluster>,
    request: &mut Option<Request<RequestBody>>,
    options: ExchangeOptions<'_>,
    mut template: Option<&mut Template>,
    trail: &mut Trail,
) -> Result<Done, Refusal> {
    let policy = cluster.settings.retry.as_deref().filter(|_| template.is_some());
    let options = with_deadline(options, policy);
    if policy.is_some() {
        cluster.settings.budget.deposit(Instant::now());
    }
    let mut tried = Tried::new();
    let mut number = 1;
    let mut _share = None;
    loop {
        let started = Instant::now();
        let ticket = admit(cluster, started)?;
        let endpoint = choose(course, cluster, started, &mut tried).ok_or(Reason::NoEndpoint)?;
        let plain_uri = request.as_mut().and_then(|request| prefix_path(request, &endpoint));
        trail.attempts += 1;
        trail.endpoint = Some(Arc::clone(&endpoint));
        let exchanged = endpoint.exchange(request, options).await;
        let ended = Instant::now();
        let outcome = outcome_of(&exchanged);
        record(cluster, ticket, &exchanged, ended, ended - started);
        cluster.record(&endpoint, outlier::is_failure(outcome), ended);
        tried.push(Arc::clone(&endpoint));
        let result = match exchanged {
            Ok(response) => Ok(Done { response, endpoint }),
            Err(error) => {
                if let Some(again) = request.as_mut()
                    && tried.len() < limits::ENDPOINTS_PER_REQUEST
                    && cluster.has_untried(&tried)
                {
                    tracing::debug!("{error}; another endpoint gets the request");
                    if let Some(uri) = plain_uri {
                        *again.uri_mut() = uri;
                    }
                    continue;
                }
                Err(error)
            }
        };
        let (Some(policy), Some(template)) = (policy, template.as_deref_mut()) else {
            return result.map_err(Refusal::from);
        };
        let attempt = template.attempt(number, course.grpc, outcome);
        let verdict = policy.decide(&attempt, &cluster.settings.budget, ended, runtime::random());
        let counters = cluster.counters();
        match verdict {
            Verdict::Retry { after, share } => {
                counters.retries.increment();
                counters.retry_backoffs.increment();
                // The failed response gives its connection up before the pause, not after it.
                drop(result);
                tokio::time::sleep(after).await;
                _share = Some(share);
                *request = Some(template.request());
                number += 1;
                continue;
            }
            Verdict::Return if number > 1 => counters.retry_successes.increment(),
            Verdict::Exhausted => counters.retry_limit_exceeded.increment(),
            Verdict::OverBudget(_) => counters.retry_overflows.increment(),
            Verdict::Return | Verdict::NotSafe => {}
        }
        return result.map_err(Refusal::from);
    }
}

/// The endpoint for an attempt. The first one follows the connection's own choice where the configuration wants one
/// for each connection; later ones take what has not been tried yet, or begin anew when all have been.
fn choose(course: &Course<'_>, cluster: &Arc<Cluster>, now: Instant, tried: &mut Tried) -> Option<Arc<Endpoint>> {
    let per_request = match course.connection.version {
        // An algorithm that looks at loads or keys decides for every request, or it could not.
        _ if cluster.settings.balancing.algorithm != Algorithm::RoundRobin || course.key.is_some() => true,
        Version::Http1 => course.settings.http1_per_request,
        Version::Http2 => course.settings.http2_per_request,
    };
    let mut chosen = (!per_request).then(|| course.connection.chosen.lock());
    if tried.is_empty()
        && let Some(Some((of, endpoint))) = chosen.as_deref()
        && Arc::ptr_eq(of, cluster)
        && !cluster.leaves_out(endpoint, now)
    {
        return Some(Arc::clone(endpoint));
    }
    let endpoint = cluster.pick(now, tried, course.key).or_else(|| {
        tried.clear();
        cluster.pick(now, tried, course.key)
    })?;
    if let Some(chosen) = chosen.as_deref_mut() {
        *chosen = Some((Arc::clone(cluster), Arc::clone(&endpoint)));
    }
    Some(endpoint)
}

/// Asks the cluster's breaker; while it is open the configured answer is given at once.
fn admit(cluster: &Cluster, now: Instant) -> Result<Option<Ticket>, Refusal> {
    let Some(breaker) = &cluster.settings.breaker else { return Ok(None) };
    match breaker.admit(now) {
        Admission::Closed(ticket) | Admission::Probe(ticket) => Ok(Some(ticket)),
        Admission::Refused { status, body } => {
            let answer = Answer { status, headers: HeaderMap::new(), body };
            Err(Refusal { answer: Some(Box::new(answer)), ..Refusal::new(Reason::CircuitOpen) })
        }
    }
}

/// Tells the breaker what became of an attempt that it admitted.
fn record(cluster: &Cluster, ticket: Option<Ticket>, exchanged: &Exchanged, now: Instant, elapsed: Duration) {
    let (Some(breaker), Some(ticket)) = (&cluster.settings.breaker, ticket) else { return };
    // FSM's boundary: whatever is above 499.
    let failed = exchanged.as_ref().map_or(true, |response| response.status().as_u16() > 499);
    if let Some(event) = breaker.record(ticket, now, Outcome { failed, elapsed }) {
        // Visible at FSM's default level, `error`: people look for this line when a service stops answering.
        tracing::error!("{}", event.log_line(&cluster.name));
    }
}

type Exchanged = Result<Response<ResponseBody>, UpstreamError>;

fn outcome_of(exchanged: &Exchanged) -> AttemptOutcome {
    match exchanged {
        Ok(response) => {
            // Among the headers it is the whole response ("trailers only"): an error without a message.
            let status = response.headers().get(&GRPC_STATUS).and_then(|status| status.to_str().ok()?.parse().ok());
            match status {
                Some(status) if status != 0 => AttemptOutcome::GrpcStatus(status),
                _ => AttemptOutcome::Status(response.status().as_u16()),
            }
        }
        Err(error) => AttemptOutcome::from(error),
    }
}

fn with_deadline<'a>(mut options: ExchangeOptions<'a>, policy: Option<&RetryPolicy>) -> ExchangeOptions<'a> {
    if let Some(per_try) = policy.and_then(RetryPolicy::per_try_timeout) {
        options.response_timeout = options.response_timeout.min(per_try);
    }
    options
}

/// Puts an endpoint's path prefix before the path; gives the URI without it.
fn prefix_path(request: &mut Request<RequestBody>, endpoint: &Endpoint) -> Option<Uri> {
    let prefix = endpoint.path_prefix.as_deref()?;
    let plain = request.uri().clone();
    let rest = plain.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut parts = Parts::from(plain.clone());
    parts.path_and_query = PathAndQuery::try_from(format!("{prefix}{rest}")).ok();
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    Some(plain)
}

/// What another attempt is made from. Exists only where there may be one.
struct Template {
    method: Method,
    uri: Uri,
    version: ::http::Version,
    headers: HeaderMap,
    body: Kept,
}

impl Template {
    fn of(course: &Course<'_>, options: ExchangeOptions<'_>, request: &mut Request<RequestBody>) -> Option<Self> {
        let wanted = course.cluster.settings.retry.is_some() || course.failover.is_some();
        (wanted && !options.upgrade).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            body: request.body_mut().keep(&course.connection.proxy.replay),
        })
    }

    fn request(&self) -> Request<RequestBody> {
        let mut request = Request::new(self.body.again());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        request
    }

    fn attempt(&self, number: u32, grpc: bool, outcome: AttemptOutcome) -> Attempt {
        Attempt {
            number,
            safety: MethodSafety::of(&self.method),
            grpc,
            body_replayable: self.body.is_whole(),
            // Nothing goes downstream before a response is returned from here.
            bytes_downstream: false,
            outcome,
        }
    }
}
