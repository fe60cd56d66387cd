//! One HTTP request towards our application, in the order of FSM's inbound chain.

use super::Client;
use crate::config::snapshot::{Carries, InboundPort, Snapshot, Source};
use crate::detect::Prefixed;
use crate::http::body::ResponseBody;
use crate::http::forward::{self, Outgoing};
use crate::http::reply::{self, Answer, Refusal};
use crate::http::sanitize::{SERVICE_IDENTITY, STATS, take_rare};
use crate::http::server::{self, Version};
use crate::http::{forwarded, grpc, target};
use crate::limits;
use crate::policy::rate::{Decision, LimitedAnswer, RequestLimit};
use crate::reason::Reason;
use crate::route::table::{Question, Service};
use crate::runtime::drain::{DrainWatch, Phase};
use crate::shared::Proxy;
use crate::telemetry::Direction;
use crate::telemetry::counters::ClusterCounters;
use crate::telemetry::record::{Record, Session};
use crate::telemetry::signals::Edge;
use crate::tls::Alpn;
use crate::upstream::cluster::{Cluster, Tried};
use crate::upstream::endpoint::{Endpoint, ForOthers};
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

struct Connection {
    proxy: Arc<Proxy>,
    client: Client,
    drain: DrainWatch,
    version: Version,
    /// Where the responses to this client are counted: nearly always all in the same place.
    edge: OnceLock<(Arc<ClusterCounters>, Arc<Edge>)>,
    /// Responses that have had a chance to say who we are.
    responses: AtomicU32,
    /// What records know of it, once there is one.
    session: OnceLock<Arc<Session>>,
}

/// Serves the requests of one connection.
pub async fn serve<IO>(proxy: &Arc<Proxy>, io: Prefixed<IO>, version: Version, client: Client)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let drain = proxy.drain.watch();
    let peer = client.info.peer;
    // Pipy takes any GOAWAY for an error and fails what is under way: it gets one only when the time is up.
    let patience = if client.alpn == Alpn::None { Phase::Closing } else { Phase::Draining };
    let connection = Arc::new(Connection {
        proxy: Arc::clone(proxy),
        client,
        drain: drain.clone(),
        version,
        edge: OnceLock::new(),
        responses: AtomicU32::new(0),
        session: OnceLock::new(),
    });
    let handle = move |request| handle(Arc::clone(&connection), request);
    if let Err(error) = server::serve(io, version, drain, patience, handle).await {
        tracing::debug!(direction = "inbound", %peer, %error, "HTTP connection ended");
    }
}

async fn handle(connection: Arc<Connection>, request: Request<Incoming>) -> Response<ResponseBody> {
    let grpc = grpc::is_grpc(request.headers());
    let snapshot = connection.proxy.store.snapshot();
    let observe = snapshot.as_ref().map(|snapshot| &snapshot.observe);
    let for_records = || Session::new(&connection.proxy.telemetry, connection.client.ends());
    let decided = connection.client.alpn.is_between_sidecars();
    let session = || Arc::clone(connection.session.get_or_init(for_records));
    let mut record =
        Record::begin(&connection.proxy.telemetry, observe, Direction::Inbound, &request, decided, session);
    let (mut response, last) = match carry(&connection, snapshot.as_deref(), request, grpc, &mut record).await {
        Ok(response) => (response, false),
        Err(refusal) => {
            record.refused(&refusal);
            let last = reply::ends_connection(refusal.reason);
            (refuse(&connection, refusal, grpc), last)
        }
    };
    if connection.version == Version::Http1 && (last || connection.drain.phase() >= Phase::Draining) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    record.answered(&mut response, grpc);
    response
}

/// The chain: routing, tracing, throttling of service and route, load balancing, metrics. (TLS has been terminated.)
async fn carry(
    connection: &Connection,
    snapshot: Option<&Snapshot>,
    mut request: Request<Incoming>,
    grpc: bool,
    record: &mut Record,
) -> Result<Response<ResponseBody>, Refusal> {
    let client = &connection.client;
    let snapshot = snapshot.ok_or(Reason::UnknownPort)?;
    let port = current_port(snapshot, client)?;

    // Routing, on verified facts only: whatever identity the client claims is dropped here.
    let host = target::canonicalize(&mut request, client.info.destination)?;
    drop(take_rare(request.headers_mut(), &SERVICE_IDENTITY));
    let caller = client.peer.as_ref().and_then(|peer| peer.service.as_deref());
    let service = service(port, client, &host)?;
    let question =
        Question { method: request.method(), path: request.uri().path(), headers: request.headers(), caller };
    let route = service.route(question)?;

    let cluster = route.split.pick();
    record.routed(service, cluster.map(|cluster| &**cluster));

    // Tracing.
    record.tell(request.headers_mut());

    // Throttling: the service first, then the route.
    throttle(service.limit.as_ref(), Reason::RateLimitedService)?;
    throttle(route.limit.as_ref(), Reason::RateLimitedRoute)?;

    // Headers: the application learns who called, and of clients outside the mesh where they are.
    if !port.sources.is_empty() && port.sources.find(client.info.peer.ip()).is_some() && caller.is_none() {
        forwarded::add_client(request.headers_mut(), client.info.peer.ip(), client.peer.is_some());
    }
    if let Some(caller) = caller.and_then(|caller| HeaderValue::from_str(caller).ok()) {
        request.headers_mut().insert(SERVICE_IDENTITY, caller);
    }

    // Load balancing and metrics.
    let cluster = cluster.ok_or(Reason::NoCluster)?;
    let protocol = forward::upstream_protocol(&request, port.carries == Carries::Grpc, false);
    let for_others = ForOthers { trace_refused: record.refuses_trace(), ..ForOthers::default() };
    let mut outgoing = forward::prepare(request, protocol, &host, &cluster.settings, for_others)?;
    record.sends(outgoing.progress());
    let mut endpoint = None;
    let mut outcome = send(cluster, &mut outgoing, &mut endpoint).await;
    if let (Ok(response), Some(stats), true) =
        (&mut outcome, &connection.proxy.stats_header, snapshot.settings.stats_headers)
    {
        let headers = response.headers_mut();
        // Whatever the application says there is not ours to vouch for.
        let introduced = connection.introduces_us();
        drop(if introduced { headers.insert(STATS, stats.clone()) } else { take_rare(headers, &STATS) });
    }
    let status = outcome.as_ref().map_or_else(Refusal::status, Response::status);
    let counted = connection.count(cluster, status, record.responded(), grpc);
    if let (Some(edge), Ok(response)) = (counted, &mut outcome) {
        ResponseBody::count_call(response, edge);
    }
    record.tried(endpoint.is_some().into(), endpoint);
    outcome
}

impl Connection {
    /// Whether the next response says which workload this is. A sidecar of ours keeps it in mind for our address and needs it
    /// with a connection's first response, and again now and then, as a response may get lost. All others get it every time, as
    /// from FSM.
    fn introduces_us(&self) -> bool {
        let keeps_it = self.client.peer.is_some() && self.client.alpn != Alpn::None;
        !keeps_it || self.responses.fetch_add(1, Relaxed).is_multiple_of(limits::INTRODUCED_EVERY)
    }

    /// Counts a response for this client. Gives the edge that was counted on, for the end of a gRPC call.
    fn count(&self, cluster: &Cluster, status: StatusCode, elapsed: Duration, grpc: bool) -> Option<Arc<Edge>> {
        let counters = cluster.counters();
        let edge = || (Arc::clone(counters), counters.edges.of(&self.client.name()));
        let (of, edge) = self.edge.get_or_init(edge);
        if Arc::ptr_eq(of, counters) {
            edge.response(status, elapsed);
            return grpc.then(|| Arc::clone(edge));
        }
        let edge = counters.edges.of(&self.client.name());
        edge.response(status, elapsed);
        grpc.then_some(edge)
    }
}

/// Takes a token of a limit, or answers as it says.
fn throttle(limit: Option<&RequestLimit>, reason: Reason) -> Result<(), Refusal> {
    let Some(limit) = limit else { return Ok(()) };
    let Decision::Limited { .. } = limit.limiter.take(Instant::now()) else { return Ok(()) };
    let LimitedAnswer { status, headers } = &*limit.answer;
    let answer = Answer { status: *status, headers: headers.clone(), body: Bytes::new() };
    Err(Refusal { answer: Some(Box::new(answer)), ..Refusal::new(reason) })
}

/// To the application; it has one endpoint, so there is nowhere else to go.
async fn send(
    cluster: &Cluster,
    outgoing: &mut Outgoing<'_>,
    asked: &mut Option<Arc<Endpoint>>,
) -> Result<Response<ResponseBody>, Refusal> {
    let endpoint = cluster.pick(Instant::now(), &Tried::new(), None).ok_or(Reason::NoEndpoint)?;
    let endpoint = asked.insert(endpoint);
    let response = endpoint.exchange(&mut outgoing.request, outgoing.options).await?;
    forward::finish(response, outgoing.upgrade.take(), &endpoint.target)
}

/// The port as it is configured now: rules apply to the next request, not to the next connection.
fn current_port<'a>(snapshot: &'a Snapshot, client: &Client) -> Result<&'a InboundPort, Reason> {
    let inbound = snapshot.inbound.as_ref().ok_or(Reason::UnknownPort)?;
    inbound.ports.get(&client.info.destination.port()).map(|port| &**port).ok_or(Reason::UnknownPort)
}

/// The service: by host for the mesh; the one called `*` for clients of `SourceIPRanges`, whose certificate must name
/// a permitted principal where the range says so.
fn service<'a>(port: &'a InboundPort, client: &Client, host: &HeaderValue) -> Result<&'a Arc<Service>, Reason> {
    let source = if port.sources.is_empty() { None } else { port.sources.find(client.info.peer.ip()) };
    if let Some(Source::Tls { principals: Some(principals) }) = source {
        let admitted = client.peer.as_ref().is_some_and(|peer| principals.iter().any(|name| peer.has_name(name)));
        if !admitted {
            return Err(Reason::PrincipalNotAllowed);
        }
    }
    let by_host = || host.to_str().ok().and_then(|host| port.hosts.find(host));
    // A mesh pod inside such a range is still a mesh client if it came with an identity.
    let service = if source.is_some() && client.peer.is_none() {
        port.hosts.any()
    } else if source.is_some() {
        port.hosts.any().or_else(by_host)
    } else {
        by_host()
    };
    service.ok_or(Reason::NoService)
}

fn refuse(connection: &Connection, refusal: Refusal, grpc: bool) -> Response<ResponseBody> {
    let client = &connection.client;
    let counters = connection.proxy.telemetry.direction(Direction::Inbound);
    match &client.peer {
        Some(_) => counters.refused_to(&client.name(), refusal.reason),
        None => counters.refused(refusal.reason),
    }
    tracing::debug!(
        direction = "inbound",
        reason = refusal.reason.code(),
        peer = %client.info.peer,
        identity = client.peer.as_ref().and_then(|peer| peer.principal.as_deref()).unwrap_or("none"),
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
        future_size::assert_within(future_size::of_two(handle), 4_500);
    }
}
