//! One HTTP request from our application, in the order of FSM's outbound chain.

use super::Route;
use super::attempts::{self, Course, Trail};
use super::connection::Connection;
use crate::config::snapshot::{Carries, OutboundEntry, Settings, Snapshot};
use crate::detect::Prefixed;
use crate::http::body::ResponseBody;
use crate::http::forward;
use crate::http::reply::{self, Refusal};
use crate::http::sanitize::{SERVICE_IDENTITY, STATS, take_rare};
use crate::http::server::{self, Version};
use crate::http::{grpc, target};
use crate::listen::ConnInfo;
use crate::reason::Reason;
use crate::route::table::{Question, Service};
use crate::runtime::drain::Phase;
use crate::shared::Proxy;
use crate::telemetry::Direction;
use crate::telemetry::record::{Ends, Record, Session};
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::{Answered, Endpoint, ForOthers};
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Serves the requests of one connection.
pub async fn serve<IO>(proxy: &Arc<Proxy>, io: Prefixed<IO>, version: Version, info: &ConnInfo) -> Result<(), Refusal>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let drain = proxy.drain.watch();
    let connection = Arc::new(Connection {
        proxy: Arc::clone(proxy),
        info: *info,
        drain: drain.clone(),
        version,
        chosen: Mutex::default(),
        session: OnceLock::new(),
    });
    let handle = move |request| handle(Arc::clone(&connection), request);
    if let Err(error) = server::serve(io, version, drain, Phase::Closing, handle).await {
        tracing::debug!(direction = "outbound", peer = %info.peer, %error, "HTTP connection ended");
    }
    Ok(())
}

async fn handle(connection: Arc<Connection>, request: Request<Incoming>) -> Response<ResponseBody> {
    let grpc = grpc::is_grpc(request.headers());
    let snapshot = connection.proxy.store.snapshot();
    let observe = snapshot.as_ref().map(|snapshot| &snapshot.observe);
    let for_records = || Session::new(&connection.proxy.telemetry, Ends::of_application(&connection.info, None));
    let session = || Arc::clone(connection.session.get_or_init(for_records));
    let mut record = Record::begin(&connection.proxy.telemetry, observe, Direction::Outbound, &request, false, session);
    let (mut response, last) = match carry(&connection, snapshot.as_deref(), request, grpc, &mut record).await {
        Ok(response) => (response, false),
        Err(refusal) => {
            record.refused(&refusal);
            let last = reply::ends_connection(refusal.reason);
            (refuse(&connection, refusal, grpc), last)
        }
    };
    if connection.version == Version::Http1 && (last || connection.drain.phase() >= Phase::Closing) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    record.answered(&mut response, grpc);
    response
}

/// The chain: routing, tracing, circuit breaking, load balancing with retries, metrics.
async fn carry(
    connection: &Connection,
    snapshot: Option<&Snapshot>,
    mut request: Request<Incoming>,
    grpc: bool,
    record: &mut Record,
) -> Result<Response<ResponseBody>, Refusal> {
    let snapshot = snapshot.ok_or(Reason::UnknownDestination)?;
    let settings = &snapshot.settings;
    let entry = current_entry(snapshot, connection)?;

    // Routing.
    let mut host = target::canonicalize(&mut request, connection.info.destination)?;
    let service = service(&entry, settings, &mut host)?;
    let question =
        Question { method: request.method(), path: request.uri().path(), headers: request.headers(), caller: None };
    let route = service.route(question)?;
    let cluster = route.split.pick().ok_or(Reason::NoCluster)?;
    record.routed(service, Some(cluster));

    // Tracing. FSM's sidecars tell each other who calls then.
    record.tell(request.headers_mut());
    let introduced = record.is_traced() && settings.stats_headers && cluster.is_of_sidecars();
    let introduction = if introduced { &*connection.proxy.stats_request_headers } else { &[] };
    let for_others = ForOthers { trace_refused: record.refuses_trace(), introduction };

    // Headers: who we are, in the place where peers of FSM look for it. Ours trust the certificate instead.
    match &settings.service_identity {
        Some(identity) => drop(request.headers_mut().insert(SERVICE_IDENTITY, identity.clone())),
        None => drop(take_rare(request.headers_mut(), &SERVICE_IDENTITY)),
    }

    // Circuit breaking, load balancing and retries, attempt by attempt; then metrics.
    let protocol = forward::upstream_protocol(&request, entry.carries == Carries::Grpc, cluster.is_of_sidecars());
    let key = cluster.settings.balancing.key(request.headers(), connection.info.peer.ip());
    if cluster.is_of_sidecars() {
        // Pipy at the other end compares hosts letter by letter.
        canonicalize(&mut host);
    }
    let mut outgoing = forward::prepare(request, protocol, &host, &cluster.settings, for_others)?;
    let course = Course { connection, settings, cluster, failover: route.split.failover(), grpc, key };
    record.sends(outgoing.progress());
    let mut trail = Trail::default();
    let mut outcome = attempts::send(&course, &mut outgoing, &mut trail).await;
    let told = Told { pods: snapshot.observe.pods, grpc };
    count(cluster, &mut outcome, trail.endpoint.as_deref(), record.responded(), told);
    record.tried(trail.attempts, trail.endpoint);
    outcome
}

/// What is told apart in counters.
#[derive(Clone, Copy)]
struct Told {
    pods: bool,
    grpc: bool,
}

/// Counts what became of a request for the workload that it went to, as which its sidecar introduces itself.
fn count(
    cluster: &Cluster,
    outcome: &mut Result<Response<ResponseBody>, Refusal>,
    endpoint: Option<&Endpoint>,
    elapsed: Duration,
    told: Told,
) {
    let Told { pods, grpc } = told;
    let status = outcome.as_ref().map_or_else(Refusal::status, Response::status);
    let Some(endpoint) = endpoint else { return cluster.counters().response(status, elapsed) };
    // What a sidecar says of itself is for us; of others it is a header like any other.
    let said = outcome.as_mut().ok().filter(|_| endpoint.is_of_sidecar());
    let stats = said.and_then(|response| take_rare(response.headers_mut(), &STATS));
    let answered = Answered { status, stats: stats.as_ref(), pods, grpc };
    let counted = endpoint.count(cluster.counters(), answered, elapsed);
    if let (Some(edge), Ok(response)) = (counted, outcome) {
        ResponseBody::count_call(response, edge);
    }
}

/// The entry as it is configured now: rules apply to the next request, not to the next connection.
fn current_entry(snapshot: &Snapshot, connection: &Connection) -> Result<Arc<OutboundEntry>, Reason> {
    match super::find(snapshot, connection.info.destination)? {
        Route::Http(entry) | Route::HttpOrTcp(entry, _) => Ok(entry),
        // The port has become a TCP port under a live HTTP connection: its next request starts a new one.
        Route::Tcp(_) | Route::Passthrough => Err(Reason::UnknownDestination),
    }
}

/// The service by host. With `EnableAutoDefaultRoute` an unknown host is served by the entry's first service, and the
/// request is addressed to it.
fn service<'a>(
    entry: &'a OutboundEntry,
    settings: &Settings,
    host: &mut HeaderValue,
) -> Result<&'a Arc<Service>, Reason> {
    if let Some(service) = host.to_str().ok().and_then(|host| entry.hosts.find(host)) {
        return Ok(service);
    }
    let default = settings.auto_default_route.then(|| entry.hosts.first()).flatten().ok_or(Reason::NoService)?;
    *host = HeaderValue::from_str(&default.name).map_err(|_| Reason::NoService)?;
    Ok(default)
}

fn canonicalize(host: &mut HeaderValue) {
    let canonical = host.to_str().ok().map(target::canonical_host);
    if let Some(Cow::Owned(canonical)) = canonical
        && let Ok(canonical) = HeaderValue::from_str(&canonical)
    {
        *host = canonical;
    }
}

fn refuse(connection: &Connection, refusal: Refusal, grpc: bool) -> Response<ResponseBody> {
    connection.proxy.telemetry.direction(Direction::Outbound).refused(refusal.reason);
    tracing::debug!(
        direction = "outbound",
        reason = refusal.reason.code(),
        peer = %connection.info.peer,
        destination = %connection.info.destination,
        detail = refusal.detail,
        "request refused"
    );
    reply::refuse(refusal, grpc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::future_size;

    /// It is copied and allocated for every request; see docs/performance.md.
    #[test]
    fn the_state_of_a_request_stays_small() {
        future_size::assert_within(future_size::of_two(handle), 6_000);
    }
}
