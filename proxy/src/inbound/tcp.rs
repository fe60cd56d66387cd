//! One TCP connection towards our application.

use super::Client;
use crate::config::snapshot::{InboundPort, Source};
use crate::detect::Prefixed;
use crate::http::reply::Refusal;
use crate::reason::Reason;
use tokio::io::{AsyncRead, AsyncWrite};

/// Relays one connection to the application, which may be the first to speak.
///
/// # Errors
/// [`Refusal`] when the client is not permitted or the application cannot be reached.
pub async fn serve<IO>(port: &InboundPort, mut io: Prefixed<IO>, client: &Client) -> Result<(), Refusal>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let tcp = port.tcp.as_ref().ok_or(Reason::NoCluster)?;
    authorize(port, client)?;
    let cluster = tcp.split.pick().ok_or(Reason::NoCluster)?;
    let endpoint = cluster.pick().ok_or(Reason::NoEndpoint)?;
    let upstream = Box::pin(endpoint.open_tcp()).await?;
    upstream.relay(&mut io, &cluster.counters).await;
    Ok(())
}

/// The server decides by verified identity who may connect.
fn authorize(port: &InboundPort, client: &Client) -> Result<(), Reason> {
    match port.sources.find(client.info.peer.ip()) {
        Some(Source::Tls { principals: Some(principals) }) => {
            let named = client.peer.as_ref().is_some_and(|peer| principals.iter().any(|name| peer.has_name(name)));
            return if named { Ok(()) } else { Err(Reason::PrincipalNotAllowed) };
        }
        Some(Source::Tls { principals: None } | Source::Plaintext) => return Ok(()),
        None => {}
    }
    let Some(callers) = port.tcp.as_ref().and_then(|tcp| tcp.callers.as_ref()) else {
        return Ok(());
    };
    let caller = client.peer.as_ref().and_then(|peer| peer.service.as_deref());
    let admitted = caller.is_some_and(|caller| callers.binary_search_by(|known| (**known).cmp(caller)).is_ok());
    if admitted { Ok(()) } else { Err(Reason::IdentityNotAllowed) }
}
