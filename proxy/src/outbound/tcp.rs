//! One TCP connection from our application to a cluster.

use super::egress;
use crate::config::snapshot::{Carries, OutboundEntry, Snapshot};
use crate::detect::{self, Protocol};
use crate::http::reply::Refusal;
use crate::limits;
use crate::listen::ConnInfo;
use crate::reason::Reason;
use crate::upstream::cluster::{Cluster, Tried};
use http::HeaderMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

/// Relays one connection to an endpoint of the entry's clusters, or passes it through where the entry says so. The
/// server may be the first to speak: nothing is read before the upstream is connected, except a TLS client's hello
/// where the server name chooses the endpoint.
///
/// # Errors
/// [`Refusal`] when there is no way to go or the endpoint cannot be reached.
pub async fn serve<IO>(snapshot: &Snapshot, entry: &OutboundEntry, mut io: IO, info: &ConnInfo) -> Result<(), Refusal>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let tcp = entry.tcp.as_ref().ok_or(Reason::NoCluster)?;
    let Some(split) = &tcp.split else {
        return egress::passthrough(snapshot, tcp.passthrough.as_ref(), io, info).await;
    };
    let cluster = split.pick().ok_or(Reason::NoCluster)?;
    if entry.carries == Carries::Tls && cluster.is_external() {
        return serve_by_server_name(cluster, io).await;
    }
    let key = cluster.settings.balancing.key(&HeaderMap::new(), info.peer.ip());
    let endpoint = cluster.pick(Instant::now(), &Tried::new(), key).ok_or(Reason::NoEndpoint)?;
    let (upstream, guard) = Box::pin(endpoint.open_tcp(cluster.settings.limits)).await?;
    upstream.relay(&mut io, guard).await;
    Ok(())
}

/// TLS to the outside: the client's server name must be one of the cluster's hosts, or lie below one of its wildcards,
/// and leads to that very host. (FSM took the hosts of a port in turn, whatever the client asked for: weakness C-1.)
async fn serve_by_server_name<IO>(cluster: &Arc<Cluster>, io: IO) -> Result<(), Refusal>
where
    IO: AsyncRead + AsyncWrite + Unpin,
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
    let name = name.ok_or_else(|| refused("the client names no server".to_owned()))?;
    let endpoint = cluster.named(&name).ok_or_else(|| refused(format!("server name {name:?} is not permitted")))?;
    let (upstream, guard) = Box::pin(endpoint.open_tcp_to(&name, cluster.settings.limits)).await?;
    upstream.relay(&mut detected.io, guard).await;
    Ok(())
}
