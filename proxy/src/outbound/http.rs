//! One HTTP request from our application, in the order of FSM's outbound chain.

use super::Route;
use crate::app::Proxy;
use crate::config::snapshot::{Carries, OutboundEntry, Settings, Snapshot};
use crate::detect::Prefixed;
use crate::http::body::ResponseBody;
use crate::http::forward::{self, Destination};
use crate::http::reply::{self, Refusal};
use crate::http::sanitize::SERVICE_IDENTITY;
use crate::http::server::{self, Version};
use crate::http::{grpc, target};
use crate::listen::ConnInfo;
use crate::reason::Reason;
use crate::route::table::{Question, Service};
use crate::runtime::drain::{DrainWatch, Phase};
use crate::telemetry::Direction;
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::Endpoint;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

struct Connection {
    proxy: Arc<Proxy>,
    info: ConnInfo,
    drain: DrainWatch,
    version: Version,
    /// The endpoint that this connection's requests go to, where the configuration wants one choice for each
    /// downstream connection.
    chosen: Mutex<Option<(Arc<Cluster>, Arc<Endpoint>)>>,
}

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
    });
    let handle = move |request| handle(Arc::clone(&connection), request);
    if let Err(error) = server::serve(io, version, drain, handle).await {
        tracing::debug!(direction = "outbound", peer = %info.peer, %error, "HTTP connection ended");
    }
    Ok(())
}

async fn handle(connection: Arc<Connection>, request: Request<Incoming>) -> Response<ResponseBody> {
    let grpc = grpc::is_grpc(request.headers());
    let mut response = match carry(&connection, request).await {
        Ok(response) => response,
        Err(refusal) => refuse(&connection, &refusal, grpc),
    };
    if connection.version == Version::Http1 && connection.drain.phase() >= Phase::Closing {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The chain: routing, load balancing, metrics. (Circuit breaking and retries come with their policies.)
async fn carry(connection: &Connection, mut request: Request<Incoming>) -> Result<Response<ResponseBody>, Refusal> {
    let snapshot = connection.proxy.store.snapshot().ok_or(Reason::UnknownDestination)?;
    let settings = &snapshot.settings;
    let entry = current_entry(&snapshot, connection)?;

    // Routing.
    let mut host = target::canonicalize(&mut request, connection.info.destination)?;
    let service = service(&entry, settings, &mut host)?;
    let question =
        Question { method: request.method(), path: request.uri().path(), headers: request.headers(), caller: None };
    let route = service.route(question)?;
    let cluster = route.split.pick().ok_or(Reason::NoCluster)?;

    // Headers: who we are, in the place where peers of FSM look for it. Ours trust the certificate instead.
    match &settings.service_identity {
        Some(identity) => drop(request.headers_mut().insert(SERVICE_IDENTITY, identity.clone())),
        None => drop(request.headers_mut().remove(SERVICE_IDENTITY)),
    }

    // Load balancing and metrics.
    let started = Instant::now();
    let outcome = match choose(connection, settings, cluster) {
        Some(endpoint) => {
            let peer_is_sidecar = endpoint.transport.tls.as_ref().is_some_and(|tls| !tls.send_server_name);
            let protocol = forward::upstream_protocol(&request, entry.carries == Carries::Grpc, peer_is_sidecar);
            forward::forward(request, Destination { cluster, endpoint: &endpoint, protocol, host: &host }).await
        }
        None => Err(Reason::NoEndpoint.into()),
    };
    let status = outcome.as_ref().map_or_else(|refusal| refusal.reason.status(), Response::status);
    cluster.counters.response(status, started.elapsed());
    outcome
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

/// The endpoint: a new choice for every request, or one for the whole connection, as configured for its version.
fn choose(connection: &Connection, settings: &Settings, cluster: &Arc<Cluster>) -> Option<Arc<Endpoint>> {
    let per_request = match connection.version {
        Version::Http1 => settings.http1_per_request,
        Version::Http2 => settings.http2_per_request,
    };
    if per_request {
        return cluster.pick();
    }
    let mut chosen = connection.chosen.lock();
    if let Some((of, endpoint)) = &*chosen
        && Arc::ptr_eq(of, cluster)
    {
        return Some(Arc::clone(endpoint));
    }
    let endpoint = cluster.pick()?;
    *chosen = Some((Arc::clone(cluster), Arc::clone(&endpoint)));
    Some(endpoint)
}

fn refuse(connection: &Connection, refusal: &Refusal, grpc: bool) -> Response<ResponseBody> {
    connection.proxy.telemetry.direction(Direction::Outbound).refused(refusal.reason);
    tracing::debug!(
        direction = "outbound",
        reason = refusal.reason.code(),
        peer = %connection.info.peer,
        destination = %connection.info.destination,
        detail = refusal.detail,
        "request refused"
    );
    reply::refuse(refusal.reason, grpc)
}
