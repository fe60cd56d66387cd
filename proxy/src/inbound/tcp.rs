//! One TCP connection towards our application.

use super::Client;
use crate::config::snapshot::{Snapshot, Source};
use crate::detect::Prefixed;
use crate::http::reply::Refusal;
use crate::reason::Reason;
use crate::shared::Proxy;
use crate::tcp::Resettable;
use crate::telemetry::record::connection::ConnectionRecord;
use crate::upstream::cluster::{Cluster, Tried};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

/// Relays one connection to the application, which may be the first to speak. The connection ends when a new
/// configuration no longer admits its client.
///
/// # Errors
/// [`Refusal`] when the client is not permitted, or no longer, or the application cannot be reached.
pub async fn serve<IO>(
    proxy: &Proxy,
    mut io: Prefixed<IO>,
    client: &Client,
    record: &mut ConnectionRecord,
) -> Result<(), Refusal>
where
    IO: AsyncRead + AsyncWrite + Resettable + Unpin,
{
    let snapshot = proxy.store.snapshot().ok_or(Reason::UnknownPort)?;
    let cluster = authorize(&snapshot, client)?;
    record.routed(&cluster);
    // The connection may live for days; the snapshot must not.
    drop(snapshot);
    let endpoint = cluster.pick(Instant::now(), &Tried::new(), None).ok_or(Reason::NoEndpoint)?;
    cluster.counters().edges.of(&client.name()).connections.increment();
    let (upstream, guard) = Box::pin(endpoint.open_tcp(cluster.settings.limits)).await?;
    record.connected(&endpoint.target, upstream.server.as_ref());
    let relaying = upstream.connection.relay(&mut io, guard, &record.moved);
    tokio::select! {
        biased;
        relayed = relaying => {
            record.relayed(&relayed.end);
            Ok(())
        }
        reason = proxy.withdrawn(|snapshot| authorize(snapshot, client).map(drop)) => {
            Err(Refusal::explained(reason, "a new configuration no longer admits this client"))
        }
    }
}

/// The server decides by address and verified identity who may connect, and where to.
fn authorize(snapshot: &Snapshot, client: &Client) -> Result<Arc<Cluster>, Reason> {
    let (_, port) = super::admit(snapshot.inbound.as_deref(), &client.info)?;
    let tcp = port.tcp.as_ref().ok_or(Reason::NoCluster)?;
    match port.sources.find(client.info.peer.ip()) {
        Some(Source::Tls { principals: Some(principals) }) => {
            let named = client.peer.as_ref().is_some_and(|peer| principals.iter().any(|name| peer.has_name(name)));
            if !named {
                return Err(Reason::PrincipalNotAllowed);
            }
        }
        Some(Source::Tls { principals: None } | Source::Plaintext) => {}
        None => {
            let caller = client.peer.as_ref().and_then(|peer| peer.service.as_deref());
            let known =
                |callers: &[Box<str>], caller: &str| callers.binary_search_by(|known| (**known).cmp(caller)).is_ok();
            let admitted =
                tcp.callers.as_ref().is_none_or(|callers| caller.is_some_and(|caller| known(callers, caller)));
            if !admitted {
                return Err(Reason::IdentityNotAllowed);
            }
        }
    }
    tcp.split.pick().cloned().ok_or(Reason::NoCluster)
}
