//! To the outside: destinations that no cluster serves, passed through as they are.

use super::{Route, find};
use crate::config::snapshot::Snapshot;
use crate::http::reply::Refusal;
use crate::listen::ConnInfo;
use crate::reason::Reason;
use crate::shared::Proxy;
use crate::tcp::Resettable;
use crate::telemetry::record::connection::ConnectionRecord;
use crate::upstream::connect::{self, Host, Protocol, ResolvedNames, Target, Transport};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Relays a connection to its original destination in the way that `transport` says: straight, through an egress
/// gateway, or with TLS of our own. All of them are counted together: a label for each destination would let clients
/// fill the memory (weakness P-5).
///
/// # Errors
/// [`Refusal`] when there is no such way or the destination cannot be reached.
pub async fn passthrough<IO>(
    proxy: &Proxy,
    snapshot: Arc<Snapshot>,
    transport: Option<Arc<Transport>>,
    mut io: IO,
    info: &ConnInfo,
    record: &mut ConnectionRecord,
) -> Result<(), Refusal>
where
    IO: AsyncRead + AsyncWrite + Resettable + Unpin,
{
    let (Some(cluster), Some(transport)) = (snapshot.outbound.passthrough.clone(), transport) else {
        return Err(Reason::UnknownDestination.into());
    };
    record.routed(&cluster);
    let guard = cluster.state.gate.connection(cluster.settings.limits).ok_or(Reason::Overloaded)?;
    let target = Target { host: Host::Address(info.destination.ip()), port: info.destination.port() };
    let names = ResolvedNames::default();
    let connecting = connect::connect(&target, &transport, Protocol::Tcp, &names, cluster.counters());
    let upstream = Box::pin(connecting).await?;
    record.connected(&target, upstream.server.as_ref());
    // The connection may live for days; the snapshot must not.
    drop((snapshot, transport));
    let relaying = upstream.connection.relay(&mut io, guard, &record.moved);
    tokio::select! {
        biased;
        relayed = relaying => {
            record.relayed(&relayed.end);
            Ok(())
        }
        reason = proxy.withdrawn(|snapshot| permitted(snapshot, info.destination)) => {
            Err(Refusal::explained(reason, "a new configuration no longer lets this destination pass through"))
        }
    }
}

/// Whether bytes to the destination may pass as they are.
fn permitted(snapshot: &Snapshot, destination: SocketAddr) -> Result<(), Reason> {
    let passes = match find(snapshot, destination)? {
        Route::Passthrough => true,
        Route::Tcp(entry) | Route::HttpOrTcp(_, entry) => {
            entry.tcp.as_ref().is_some_and(|tcp| tcp.split.is_none() && tcp.passthrough.is_some())
        }
        Route::Http(_) => false,
    };
    if passes { Ok(()) } else { Err(Reason::UnknownDestination) }
}
