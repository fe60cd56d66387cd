//! One TCP connection towards our application.

use super::Client;
use crate::config::snapshot::Source;
use crate::detect::Prefixed;
use crate::http::reply::Refusal;
use crate::reason::Reason;
use crate::shared::Proxy;
use crate::upstream::cluster::{Cluster, Tried};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// Relays one connection to the application, which may be the first to speak. The connection ends when a new
/// configuration no longer admits its client.
///
/// # Errors
/// [`Refusal`] when the client is not permitted, or no longer, or the application cannot be reached.
pub async fn serve<IO>(proxy: &Proxy, mut io: Prefixed<IO>, client: &Client) -> Result<(), Refusal>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut generations = proxy.store.subscribe();
    let cluster = authorize(proxy, client)?;
    let endpoint = cluster.pick(Instant::now(), &Tried::new(), None).ok_or(Reason::NoEndpoint)?;
    let (upstream, guard) = Box::pin(endpoint.open_tcp(cluster.settings.limits)).await?;
    let relaying = upstream.relay(&mut io, guard);
    tokio::select! {
        biased;
        _ = relaying => Ok(()),
        reason = withdrawn(proxy, client, &mut generations) => {
            Err(Refusal::explained(reason, "a new configuration no longer admits this client"))
        }
    }
}

/// Waits for a configuration that does not admit the client.
async fn withdrawn(proxy: &Proxy, client: &Client, generations: &mut watch::Receiver<u64>) -> Reason {
    loop {
        if generations.changed().await.is_err() {
            // The store lives as long as the process.
            return Reason::ShuttingDown;
        }
        if let Err(reason) = authorize(proxy, client) {
            return reason;
        }
    }
}

/// The server decides by address and verified identity who may connect, and where to.
fn authorize(proxy: &Proxy, client: &Client) -> Result<Arc<Cluster>, Reason> {
    let snapshot = proxy.store.snapshot();
    let inbound = snapshot.as_ref().and_then(|snapshot| snapshot.inbound.as_deref());
    let (_, port) = super::admit(inbound, &client.info)?;
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
