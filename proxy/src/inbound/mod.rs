//! Towards our application. One connection, step by step:
//!
//! 1. *admit*: it was redirected to us, the port is known, the source may connect;
//! 2. *throttle*: the port's limit of new connections leaves room for it;
//! 3. *terminate TLS*: mesh clients prove their identity, sources of `SourceIPRanges` as their entry says;
//! 4. *carry*: HTTP request by request ([`http`]), anything else as bytes ([`tcp`]).
//!
//! A connection that is refused is reset, as FSM does it, and counted under its reason.

pub mod http;
pub mod tcp;

use crate::config::snapshot::{Carries, Inbound, InboundPort, MeshTls, Source};
use crate::detect::{self, Prefixed, Protocol};
use crate::http::reply::Refusal;
use crate::http::server::Version;
use crate::limits;
use crate::listen::ConnInfo;
use crate::reason::Reason;
use crate::shared::Proxy;
use crate::tcp::{Resettable, reset_on_close};
use crate::telemetry::Direction;
use crate::telemetry::record::Ends;
use crate::telemetry::record::connection::ConnectionRecord;
use crate::telemetry::signals::PeerName;
use crate::tls::{Accepted, Alpn, Lenient, Peer, ReadAhead, ServerTls};
use arcstr::ArcStr;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What is known of a client once its connection is established.
#[derive(Debug)]
pub struct Client {
    /// Addresses of the connection.
    pub info: ConnInfo,
    /// Verified certificate; `None` on plaintext connections.
    pub peer: Option<Peer>,
    /// Agreed application protocol: our own sidecars always name one for HTTP, Pipy never does.
    pub alpn: Alpn,
    /// The server that it asked for in its TLS hello (SNI). Sidecars ask for none.
    pub server_name: Option<ArcStr>,
}

impl Client {
    /// Both ends of the connection, for records.
    pub fn ends(&self) -> Ends {
        let identity = self.peer.as_ref().and_then(|peer| peer.principal.clone());
        Ends {
            peer: self.info.peer,
            destination: self.info.destination,
            identity,
            mtls: self.peer.is_some(),
            server_name: self.server_name.clone(),
        }
    }

    /// Who the client is, for counters: what its certificate says and nothing else.
    pub fn name(&self) -> PeerName {
        let peer = self.peer.as_ref();
        let identity = peer.and_then(|peer| peer.service.as_ref().or(peer.principal.as_ref()));
        identity.map_or_else(|| PeerName::unknown(peer.is_some()), PeerName::verified)
    }
}

/// The bytes of an admitted connection.
enum Stream {
    Plain(Prefixed<TcpStream>),
    Tls(Prefixed<Box<TlsStream<ReadAhead<TcpStream>>>>),
    TlsAfterPeek(Prefixed<Box<TlsStream<ReadAhead<Prefixed<TcpStream>>>>>),
}

impl Stream {
    fn server_name(&self) -> Option<ArcStr> {
        let name = match self {
            Self::Plain(_) => None,
            Self::Tls(io) => io.get_ref().get_ref().1.server_name(),
            Self::TlsAfterPeek(io) => io.get_ref().get_ref().1.server_name(),
        };
        name.map(ArcStr::from)
    }
}

/// Carries one connection from accept to end.
pub async fn serve(proxy: Arc<Proxy>, stream: TcpStream, info: ConnInfo) {
    let mut record = None;
    let attending = proxy.attend(Direction::Inbound);
    let outcome = carry(&proxy, stream, &info, &mut record).await;
    // Where nothing is known of the client but its addresses.
    let ends =
        || Ends { peer: info.peer, destination: info.destination, identity: None, mtls: false, server_name: None };
    attending.ended(&info, outcome).log(&proxy, record, ends);
}

async fn carry(
    proxy: &Arc<Proxy>,
    stream: TcpStream,
    info: &ConnInfo,
    record: &mut Option<Box<ConnectionRecord>>,
) -> Result<(), Refusal> {
    let snapshot = proxy.store.snapshot();
    let inbound = snapshot.as_ref().and_then(|snapshot| snapshot.inbound.as_deref());
    let admitted = admit(inbound, info).and_then(|(inbound, port)| match throttle(proxy, &port) {
        true => Ok((inbound, port)),
        false => Err(Reason::RateLimitedConnections),
    });
    let (inbound, port) = match admitted {
        Ok(admitted) => admitted,
        Err(reason) => {
            // Reset before it has sent anything, a client takes us for a port where nobody listens: FSM's pages show
            // "connection reset by peer" (curl's 56), not a failure to connect (7).
            let _ = tokio::time::timeout(limits::REFUSAL_GRACE, stream.peek(&mut [0])).await;
            reset_on_close(&stream);
            return Err(reason.into());
        }
    };
    let carries = port.carries;
    let established = Box::pin(terminate_tls(proxy, stream, info, inbound, &port)).await?;
    // The connection may live for days; the snapshot must not.
    drop(snapshot);
    let (stream, peer, version, alpn) = established;
    let client = Client { info: *info, peer, alpn, server_name: stream.server_name() };
    let begin = || ConnectionRecord::new(client.ends());
    match (carries, stream) {
        (Carries::Http | Carries::Grpc, Stream::Plain(io)) => http::serve(proxy, io, version, client).await,
        (Carries::Http | Carries::Grpc, Stream::Tls(io)) => http::serve(proxy, io, version, client).await,
        (Carries::Http | Carries::Grpc, Stream::TlsAfterPeek(io)) => http::serve(proxy, io, version, client).await,
        (_, Stream::Plain(io)) => tcp::serve(proxy, io, &client, record.insert(begin())).await?,
        (_, Stream::Tls(io)) if client.alpn == Alpn::MeshTcp => {
            tcp::serve(proxy, io, &client, record.insert(begin())).await?;
        }
        (_, Stream::Tls(io)) => {
            let (prefix, stream) = io.into_parts();
            let io = Prefixed::new(prefix, Lenient::of_pipy(stream));
            tcp::serve(proxy, io, &client, record.insert(begin())).await?;
        }
        (_, Stream::TlsAfterPeek(io)) => tcp::serve(proxy, io, &client, record.insert(begin())).await?,
    }
    Ok(())
}

/// Step 1: whether the connection may be talked to at all.
fn admit<'a>(inbound: Option<&'a Inbound>, info: &ConnInfo) -> Result<(&'a Inbound, Arc<InboundPort>), Reason> {
    if !info.redirected {
        return Err(Reason::DirectConnection);
    }
    let inbound = inbound.ok_or(Reason::UnknownPort)?;
    let port = inbound.ports.get(&info.destination.port()).ok_or(Reason::UnknownPort)?;
    let source = info.peer.ip();
    if port.sources.find(source).is_none() && !inbound.allows(source) {
        return Err(Reason::SourceNotAllowed);
    }
    Ok((inbound, Arc::clone(port)))
}

/// Step 2: whether the port may have one more connection.
fn throttle(proxy: &Proxy, port: &InboundPort) -> bool {
    port.limit.as_ref().is_none_or(|limit| limit.admits(Instant::now(), &proxy.telemetry))
}

type Established = (Stream, Option<Peer>, Version, Alpn);

/// Step 3: mesh clients come with mTLS wherever the mesh has certificates; sources outside the mesh as their entry says.
async fn terminate_tls(
    proxy: &Proxy,
    stream: TcpStream,
    info: &ConnInfo,
    inbound: &Inbound,
    port: &InboundPort,
) -> Result<Established, Refusal> {
    let http = matches!(port.carries, Carries::Http | Carries::Grpc);
    let tls = match (&inbound.mesh_tls, http) {
        (MeshTls::Off, _) => return plaintext(proxy, stream, http).await,
        (MeshTls::Broken, _) => {
            reset_on_close(&stream);
            let detail = "the configuration's certificate is unusable (see /config_status)".to_owned();
            return Err(Refusal::explained(Reason::DownstreamTls, detail));
        }
        (MeshTls::On { http, .. }, true) => http,
        (MeshTls::On { tcp, tcp_outside, .. }, false) => {
            if port.sources.find(info.peer.ip()).is_none() {
                tcp
            } else {
                tcp_outside
            }
        }
    };
    let source = port.sources.find(info.peer.ip());
    match source {
        Some(Source::Plaintext) if http => plaintext_or_tls(proxy, stream, tls).await,
        Some(Source::Plaintext) => plaintext(proxy, stream, http).await,
        Some(Source::Tls { .. }) | None => {
            let accepted = accept(proxy, tls, stream).await?;
            if source.is_none() {
                require_workload(&inbound.mesh_tls, accepted.peer.as_ref())?;
            }
            let (version, io) = if http {
                detect_version(proxy, accepted.stream, accepted.alpn).await?
            } else {
                (Version::Http1, Prefixed::new(Bytes::new(), accepted.stream))
            };
            Ok((Stream::Tls(io), accepted.peer, version, accepted.alpn))
        }
    }
}

/// Clients of no source range belong to the mesh. The mesh's authority certifies others too (AccessCert, an ingress, fsm-control
/// itself): they come in where a policy lets them in, and nowhere else.
fn require_workload(mesh_tls: &MeshTls, peer: Option<&Peer>) -> Result<(), Refusal> {
    let MeshTls::On { workloads_only: true, .. } = mesh_tls else { return Ok(()) };
    if peer.is_some_and(|peer| peer.service.is_some()) {
        return Ok(());
    }
    let named = peer.and_then(|peer| peer.principal.as_deref()).unwrap_or("nobody");
    let detail = format!("the client's certificate names {named}, which is no service account of this mesh");
    Err(Refusal::explained(Reason::IdentityNotAllowed, detail))
}

async fn accept<IO>(proxy: &Proxy, tls: &ServerTls, stream: IO) -> Result<Accepted<ReadAhead<IO>>, Refusal>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Resettable + Unpin,
{
    let accepted = tls.accept(ReadAhead::of_client(stream), limits::TLS_HANDSHAKE_TIMEOUT).await;
    let accepted = accepted.map_err(|error| Refusal::explained(error.reason(), error.to_string()))?;
    proxy.telemetry.direction(Direction::Inbound).handshakes.increment();
    Ok(accepted)
}

async fn plaintext(proxy: &Proxy, stream: TcpStream, http: bool) -> Result<Established, Refusal> {
    if !http {
        return Ok((Stream::Plain(Prefixed::new(Bytes::new(), stream)), None, Version::Http1, Alpn::None));
    }
    let (version, io) = detect_version(proxy, stream, Alpn::None).await?;
    Ok((Stream::Plain(io), None, version, Alpn::None))
}

/// A source that may come in plaintext may be a mesh pod as well: then it comes with TLS and an identity.
async fn plaintext_or_tls(proxy: &Proxy, stream: TcpStream, tls: &ServerTls) -> Result<Established, Refusal> {
    let detected = detect::detect(stream, limits::DETECT_TIMEOUT).await;
    let version = match detected.protocol {
        Protocol::Tls(_) => {
            let accepted = accept(proxy, tls, detected.io).await?;
            let (version, io) = detect_version(proxy, accepted.stream, accepted.alpn).await?;
            return Ok((Stream::TlsAfterPeek(io), accepted.peer, version, accepted.alpn));
        }
        Protocol::Http2 => Version::Http2,
        // The HTTP/1 codec answers garbage with 400, which tells its sender more than silence.
        Protocol::Http1 | Protocol::Other => Version::Http1,
        Protocol::Timeout | Protocol::Closed => return Err(undetected(proxy, &detected.protocol)),
    };
    Ok((Stream::Plain(detected.io), None, version, Alpn::None))
}

/// HTTP/1 or HTTP/2: by agreement (ALPN), else by the first bytes.
async fn detect_version<IO>(proxy: &Proxy, io: IO, alpn: Alpn) -> Result<(Version, Prefixed<IO>), Refusal>
where
    IO: tokio::io::AsyncRead + Unpin,
{
    if let Some(version) = Version::agreed(alpn) {
        return Ok((version, Prefixed::new(Bytes::new(), io)));
    }
    let detected = detect::detect_http(io, limits::DETECT_TIMEOUT).await;
    match detected.protocol {
        Protocol::Http2 => Ok((Version::Http2, detected.io)),
        Protocol::Http1 | Protocol::Other | Protocol::Tls(_) => Ok((Version::Http1, detected.io)),
        Protocol::Timeout | Protocol::Closed => Err(undetected(proxy, &detected.protocol)),
    }
}

fn undetected(proxy: &Proxy, protocol: &Protocol) -> Refusal {
    if matches!(protocol, Protocol::Timeout) {
        proxy.telemetry.direction(Direction::Inbound).detect_timeouts.increment();
    }
    Refusal::explained(Reason::DownstreamTimeout, "the client sent no request".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::future_size;

    /// Every connection has one for as long as it lives.
    #[test]
    fn the_state_of_a_connection_stays_small() {
        future_size::assert_within(future_size::of_three(serve), 5_000);
    }
}
