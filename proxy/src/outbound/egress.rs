//! To the outside: destinations that no cluster serves, passed through as they are.

use crate::config::snapshot::Snapshot;
use crate::http::reply::Refusal;
use crate::listen::ConnInfo;
use crate::reason::Reason;
use crate::upstream::connect::{self, Host, Protocol, ResolvedNames, Target, Transport};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Relays a connection to its original destination in the way that `transport` says: straight, through an egress
/// gateway, or with TLS of our own. All of them are counted together: a label for each destination would let clients
/// fill the memory (weakness P-5).
///
/// # Errors
/// [`Refusal`] when there is no such way or the destination cannot be reached.
pub async fn passthrough<IO>(
    snapshot: &Snapshot,
    transport: Option<&Arc<Transport>>,
    mut io: IO,
    info: &ConnInfo,
) -> Result<(), Refusal>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (Some(cluster), Some(transport)) = (&snapshot.outbound.passthrough, transport) else {
        return Err(Reason::UnknownDestination.into());
    };
    let guard = cluster.state.gate.connection(cluster.settings.limits).ok_or(Reason::Overloaded)?;
    let target = Target { host: Host::Address(info.destination.ip()), port: info.destination.port() };
    let names = ResolvedNames::default();
    let connecting = connect::connect(&target, transport, Protocol::Tcp, &names, cluster.counters());
    let upstream = Box::pin(connecting).await?;
    upstream.relay(&mut io, guard).await;
    Ok(())
}
