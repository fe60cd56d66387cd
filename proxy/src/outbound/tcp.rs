//! One TCP connection from our application to a cluster.

use super::egress;
use super::{Route, find};
use crate::config::snapshot::{Carries, OutboundEntry, Snapshot};
use crate::detect::{self, Protocol};
use crate::http::reply::Refusal;
use crate::limits;
use crate::listen::ConnInfo;
use crate::policy::outlier;
use crate::policy::retry::AttemptOutcome;
use crate::reason::Reason;
use crate::shared::Proxy;
use crate::tcp::Resettable;
use crate::telemetry::record::connection::ConnectionRecord;
use crate::upstream::cluster::{Cluster, Tried};
use crate::upstream::connect::Opened;
use crate::upstream::gate::ConnectionGuard;
use http::HeaderMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

/// Relays one connection to an endpoint of the entry's clusters, or passes it through where the entry says so. The
/// server may be the first to speak: nothing is read before the upstream is connected, except a TLS client's hello
/// where the server name chooses the endpoint. The connection ends when a new configuration no longer leads its
/// destination to its cluster.
///
/// # Errors
/// [`Refusal`] when there is no way to go, or no longer, or no endpoint can be reached.
pub async fn serve<IO>(
    proxy: &Proxy,
    snapshot: Arc<Snapshot>,
    entry: Arc<OutboundEntry>,
    mut io: IO,
    info: &ConnInfo,
    record: &mut ConnectionRecord,
) -> Result<(), Refusal>
where
    IO: AsyncRead + AsyncWrite + Resettable + Unpin,
{
    let tcp = entry.tcp.as_ref().ok_or(Reason::NoCluster)?;
    let Some(split) = &tcp.split else {
        let transport = tcp.passthrough.clone();
        return egress::passthrough(proxy, snapshot, transport, io, info, record).await;
    };
    let cluster = Arc::clone(split.pick().ok_or(Reason::NoCluster)?);
    record.routed(&cluster);
    let by_server_name = entry.carries == Carries::Tls && cluster.is_external();
    // The connection may live for days; the snapshot must not.
    drop((entry, snapshot));
    if by_server_name {
        return serve_by_server_name(proxy, &cluster, io, info, record).await;
    }
    let (upstream, guard) = Box::pin(open(&cluster, info, record)).await?;
    let relaying = upstream.connection.relay(&mut io, guard, &record.moved);
    tokio::select! {
        biased;
        relayed = relaying => {
            record.relayed(&relayed.end);
            Ok(())
        }
        reason = proxy.withdrawn(|snapshot| leads_to(snapshot, info.destination, &cluster.name).map(drop)) => {
            Err(withdrawal(reason, &cluster))
        }
    }
}

/// A connection to the first endpoint that can be reached. Nothing has been sent before there is one, so another
/// endpoint may always be tried.
async fn open(
    cluster: &Cluster,
    info: &ConnInfo,
    record: &mut ConnectionRecord,
) -> Result<(Opened, ConnectionGuard), Refusal> {
    let key = cluster.settings.balancing.key(&HeaderMap::new(), info.peer.ip());
    let mut tried = Tried::new();
    let mut last = None;
    while tried.len() < limits::ENDPOINTS_PER_REQUEST
        && let Some(endpoint) = cluster.pick(Instant::now(), &tried, key)
    {
        let opened = endpoint.open_tcp(cluster.settings.limits).await;
        let failed = opened.as_ref().is_err_and(|error| outlier::is_failure(AttemptOutcome::from(error)));
        match opened {
            Err(error) if !failed => return Err(error.into()),
            Ok((opened, guard)) => {
                cluster.record(&endpoint, false, Instant::now());
                let server = opened.server.as_ref();
                cluster.counters().edges.of(&endpoint.certified(server)).connections.increment();
                record.connected(&endpoint.target, server);
                return Ok((opened, guard));
            }
            Err(error) => {
                cluster.record(&endpoint, true, Instant::now());
                tracing::debug!("{error}; another endpoint is tried, if there is one");
                last = Some(error);
            }
        }
        tried.push(endpoint);
    }
    Err(last.map_or_else(|| Reason::NoEndpoint.into(), Refusal::from))
}

/// TLS to the outside: the client's server name must be one of the cluster's hosts, or lie below one of its wildcards,
/// and leads to that very host. (FSM took the hosts of a port in turn, whatever the client asked for: weakness C-1.)
async fn serve_by_server_name<IO>(
    proxy: &Proxy,
    cluster: &Arc<Cluster>,
    io: IO,
    info: &ConnInfo,
    record: &mut ConnectionRecord,
) -> Result<(), Refusal>
where
    IO: AsyncRead + AsyncWrite + Resettable + Unpin,
{
    let mut detected = detect::detect(io, limits::DETECT_TIMEOUT).await;
    let name = match &detected.protocol {
        Protocol::Tls(hello) => hello.server_name.clone(),
        Protocol::Timeout | Protocol::Closed => return Err(Reason::DownstreamTimeout.into()),
        Protocol::Http1 | Protocol::Http2 | Protocol::Other => {
            return Err(Reason::UnknownProtocol.into());
        }
    };
    let refused = |what: String| {
        let detail = format!("{what}; cluster `{}` takes only the hosts that it lists", cluster.name);
        Refusal::explained(Reason::UnknownServerName, detail)
    };
    record.ends.server_name.clone_from(&name);
    let name = name.ok_or_else(|| refused("the client names no server".to_owned()))?;
    let endpoint = cluster.named(&name).ok_or_else(|| refused(format!("server name {name:?} is not permitted")))?;
    let (upstream, guard) = Box::pin(endpoint.open_tcp_to(&name, cluster.settings.limits)).await?;
    cluster.counters().edges.of(&endpoint.nameless()).connections.increment();
    record.connected(&endpoint.target, upstream.server.as_ref());
    let still_named = |snapshot: &Snapshot| {
        let cluster = leads_to(snapshot, info.destination, &cluster.name)?;
        cluster.named(&name).map(drop).ok_or(Reason::UnknownServerName)
    };
    let relaying = upstream.connection.relay(&mut detected.io, guard, &record.moved);
    tokio::select! {
        biased;
        relayed = relaying => {
            record.relayed(&relayed.end);
            Ok(())
        }
        reason = proxy.withdrawn(still_named) => Err(withdrawal(reason, cluster)),
    }
}

/// The cluster of this name, if bytes to the destination may still go there.
fn leads_to(snapshot: &Snapshot, destination: SocketAddr, cluster: &str) -> Result<Arc<Cluster>, Reason> {
    let (Route::Tcp(entry) | Route::HttpOrTcp(_, entry)) = find(snapshot, destination)? else {
        return Err(Reason::UnknownDestination);
    };
    let split = entry.tcp.as_ref().and_then(|tcp| tcp.split.as_ref()).ok_or(Reason::NoCluster)?;
    let mut targets = split.targets().iter().map(|(target, _)| target);
    targets.find(|target| *target.name == *cluster).cloned().ok_or(Reason::NoCluster)
}

fn withdrawal(reason: Reason, cluster: &Cluster) -> Refusal {
    let detail = format!("a new configuration no longer leads this destination to cluster `{}`", cluster.name);
    Refusal::explained(reason, detail)
}
