//! Opening connections to endpoints: resolve, bind, connect, secure.
//!
//! A name with several addresses is tried as RFC 8305 ("happy eyeballs") wants it: one address after another, the next
//! one as soon as one has failed or has been silent for [`limits::CONNECT_STAGGER`]; the first connection wins.

use super::error::UpstreamError;
use super::gate::ConnectionGuard;
use super::gateway::{self, Gateways, Tunnel};
pub use super::resolve::ResolvedNames;
use crate::limits;
use crate::reason::Reason;
use crate::tcp::{Moved, RelayOptions, Relayed, Resettable, relay_or_reset};
use crate::telemetry::counters::{ClusterCounters, Counter};
use crate::tls::client::{ClientTls, ConnectError};
use crate::tls::verify::Expect;
use crate::tls::{Lenient, Peer, ReadAhead};
use arcstr::ArcStr;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

/// FSM's source address of connections from the proxy to the application: tells the application's own connections
/// apart from the proxy's, in captures and in rules.
const TO_APPLICATION: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

/// Where an endpoint is: an address, or a name that is resolved when needed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Address or name, without brackets.
    pub host: Host,
    /// TCP port.
    pub port: u16,
}

/// The host of a [`Target`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A literal address.
    Address(IpAddr),
    /// A DNS name.
    Name(ArcStr),
    /// Every name below this one (`*.example.org`, one or more labels): leads to the host that a TLS client names.
    Below(ArcStr),
}

impl Target {
    /// The address, unless it is a name.
    pub const fn address(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Address(address) => Some(SocketAddr::new(address, self.port)),
            Host::Name(_) | Host::Below(_) => None,
        }
    }
}

impl Host {
    /// Whether it belongs to the world outside: the mesh knows its pods by address.
    pub const fn is_external(&self) -> bool {
        !matches!(self, Self::Address(_))
    }

    /// How well a name (lower case) fits: `None` not at all, else the more the better.
    pub fn fits(&self, name: &str) -> Option<usize> {
        match self {
            Self::Address(_) => None,
            Self::Name(host) => (**host == *name).then_some(usize::MAX),
            Self::Below(domain) => {
                let labels = name.strip_suffix(domain.as_str())?.strip_suffix('.')?;
                (!labels.is_empty()).then_some(domain.len())
            }
        }
    }
}

impl FromStr for Target {
    type Err = String;

    /// Parses `host:port`, with an IPv6 address in brackets; the host may be `*.` and a name.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: Host::Address(address.ip()), port: address.port() });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port; write `host:port`"))?;
        let port = port.parse().map_err(|_| format!("`{port}` is no port number (1–65535)"))?;
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let domain = host.strip_prefix("*.");
        let name = domain.unwrap_or(host);
        if name.is_empty() || host.len() > 253 || !name.bytes().all(valid) {
            return Err(format!("`{host}` is neither an IP address nor a DNS name"));
        }
        let name = ArcStr::from(name.to_ascii_lowercase());
        Ok(Self { host: if domain.is_some() { Host::Below(name) } else { Host::Name(name) }, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Address(address) => write!(f, "{address}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Below(domain) => write!(f, "*.{domain}:{}", self.port),
        }
    }
}

/// How the connections of a cluster are made. Equal settings share one value, so pointer equality tells whether an
/// endpoint's pool may be kept over a configuration update.
#[derive(Debug)]
pub struct Transport {
    /// TLS towards the endpoint; `None` speaks plaintext.
    pub tls: Option<UpstreamTls>,
    /// Deadline of the TCP connect, and again of the TLS handshake.
    pub connect_timeout: Duration,
    /// Egress gateways to go through, for plaintext only: TLS that we originate goes straight to its endpoint (FSM's
    /// rule), TLS of the application is plaintext to us.
    pub via: Option<Arc<Gateways>>,
    /// Packet mark of the proxy's own sockets, where redirection tells them apart by mark.
    pub mark: Option<u32>,
}

impl Transport {
    /// How connections are secured, for people.
    pub fn security(&self) -> Security {
        match self.tls.as_ref().map(|tls| tls.http1.expected()) {
            None => Security::Plaintext,
            Some(Expect::HostName) => Security::Origination,
            Some(Expect::AnyOfMesh) => Security::Mesh(Vec::new()),
            Some(Expect::Principals(names)) => Security::Mesh(names.iter().map(ToString::to_string).collect()),
        }
    }
}

/// How connections to an endpoint are secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not by this proxy. What the application encrypts itself is plaintext to us.
    Plaintext,
    /// By mutual TLS with a server of the mesh that proves to be one of these; any of the mesh if there are none.
    Mesh(Vec<String>),
    /// By TLS that this proxy originates towards a server outside the mesh.
    Origination,
}

/// TLS towards an endpoint.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Own certificate, trusted roots and expected identity, for HTTP/1, HTTP/2 and TCP.
    pub http1: ClientTls,
    /// The same, offering `h2`.
    pub http2: ClientTls,
    /// The same, offering no application protocol.
    pub tcp: ClientTls,
    /// Whether to name the endpoint's host (SNI); mesh peers are known by identity instead.
    pub send_server_name: bool,
}

/// What will be spoken on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Anything.
    Tcp,
}

/// A fresh connection to an endpoint.
#[derive(Debug)]
pub enum Connection {
    /// Plaintext.
    Plain(TcpStream),
    /// Secured.
    Tls(Box<TlsStream<ReadAhead<TcpStream>>>),
    /// Secured, with something that is not our sidecar at the other end; for bytes only.
    TlsToOther(Box<Lenient<TlsStream<ReadAhead<TcpStream>>>>),
    /// Opened for us by an egress gateway.
    Tunnel(Box<Tunnel>),
}

/// A fresh connection, and who is at its other end.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub connection: Connection,
    /// What the server's verified certificate says; `None` where it showed none.
    pub server: Option<Peer>,
    /// Whether it is one of our own sidecars, which knows that we are one.
    pub ours: bool,
}

impl Connection {
    /// Relays bytes between a client and this connection until both are done, counting them on the cluster and, when it is
    /// over, in `moved`. That one of them broke off is passed on to the other.
    pub async fn relay<IO>(self, io: &mut IO, guard: ConnectionGuard, moved: &Moved) -> Relayed
    where
        IO: AsyncRead + AsyncWrite + Resettable + Unpin,
    {
        let counters = guard.counters();
        let options = RelayOptions {
            idle: limits::TCP_IDLE_TIMEOUT,
            sent: &counters.sent_bytes,
            received: &counters.received_bytes,
            moved: Some(moved),
        };
        match self {
            Self::Plain(mut stream) => relay_or_reset(io, &mut stream, options).await,
            Self::Tls(mut stream) => relay_or_reset(io, &mut *stream, options).await,
            Self::TlsToOther(mut stream) => relay_or_reset(io, &mut *stream, options).await,
            Self::Tunnel(mut tunnel) => match &mut *tunnel {
                Tunnel::Http2(stream) => relay_or_reset(io, stream, options).await,
                Tunnel::Socks5(stream) => relay_or_reset(io, stream, options).await,
                Tunnel::Socks5Tls(stream) => relay_or_reset(io, &mut **stream, options).await,
            },
        }
    }
}

/// Opens a connection to `target`.
///
/// # Errors
/// [`UpstreamError`] with the reason and the endpoint's name. Nothing of a request has been sent then.
pub async fn connect(
    target: &Target,
    transport: &Transport,
    protocol: Protocol,
    names: &ResolvedNames,
    counters: &ClusterCounters,
) -> Result<Opened, UpstreamError> {
    let nameless = |connection| Opened { connection, server: None, ours: false };
    if let Some(gateways) = &transport.via {
        let gateway = gateways.pick(target)?;
        let stream = connect_tcp(&gateway.target, transport, &gateway.names, counters).await?;
        let tunnel = gateway::open(stream, gateway, target).await?;
        return Ok(nameless(Connection::Tunnel(Box::new(tunnel))));
    }
    let stream = connect_tcp(target, transport, names, counters).await?;
    let Some(tls) = &transport.tls else {
        return Ok(nameless(Connection::Plain(stream)));
    };
    let client = match protocol {
        Protocol::Http1 => &tls.http1,
        Protocol::Http2 => &tls.http2,
        Protocol::Tcp => &tls.tcp,
    };
    // An address is never sent (RFC 6066 §3), but the certificate must name it all the same.
    let address = match &target.host {
        Host::Address(address) => address.to_string(),
        Host::Name(_) | Host::Below(_) => String::new(),
    };
    let server_name = match &target.host {
        _ if !tls.send_server_name => None,
        Host::Name(name) => Some(name.as_str()),
        Host::Address(_) => Some(address.as_str()),
        Host::Below(_) => None,
    };
    match client.connect(ReadAhead::new(stream), server_name, transport.connect_timeout).await {
        Ok(connected) => {
            counters.handshakes.increment();
            if !connected.named {
                counters.unnamed_identities.increment();
            }
            let ours = connected.alpn.is_between_sidecars();
            let connection = match protocol {
                Protocol::Tcp if tls.send_server_name => {
                    Connection::TlsToOther(Box::new(Lenient::of_outside(connected.stream)))
                }
                Protocol::Tcp if !ours => Connection::TlsToOther(Box::new(Lenient::of_pipy(connected.stream))),
                Protocol::Tcp | Protocol::Http1 | Protocol::Http2 => Connection::Tls(Box::new(connected.stream)),
            };
            Ok(Opened { connection, server: Some(connected.peer), ours })
        }
        Err(error) => {
            counters.connect_failures.increment();
            if matches!(error, ConnectError::Timeout(_)) {
                counters.connect_timeouts.increment();
            }
            Err(UpstreamError::unsent(error.reason(), format!("endpoint {target}: {error}")))
        }
    }
}

async fn connect_tcp(
    target: &Target,
    transport: &Transport,
    names: &ResolvedNames,
    counters: &ClusterCounters,
) -> Result<TcpStream, UpstreamError> {
    if let Host::Address(address) = &target.host {
        return attempt(target, SocketAddr::new(*address, target.port), transport, counters).await;
    }
    let addresses = names.resolve(target).await?;
    race(target, &addresses, transport, counters).await
}

/// Connects to the first of a target's addresses that answers.
///
/// # Errors
/// [`UpstreamError`] of the last address.
pub async fn race(
    target: &Target,
    addresses: &[SocketAddr],
    transport: &Transport,
    counters: &ClusterCounters,
) -> Result<TcpStream, UpstreamError> {
    let mut waiting = addresses.iter().take(limits::ADDRESSES_PER_CONNECT);
    let mut attempts: Attempts<'_> = Vec::new();
    let mut last = None;
    loop {
        match waiting.next() {
            Some(address) => attempts.push(Box::pin(attempt(target, *address, transport, counters))),
            None if attempts.is_empty() => {
                return Err(last.unwrap_or_else(|| {
                    let detail = format!("endpoint {target}: the name has no address");
                    UpstreamError::unsent(Reason::UpstreamUnresolved, detail)
                }));
            }
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            biased;
            finished = first(&mut attempts) => match finished {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            },
            () = tokio::time::sleep(limits::CONNECT_STAGGER), if more => {}
        }
    }
}

type Attempts<'a> = Vec<Pin<Box<dyn Future<Output = Result<TcpStream, UpstreamError>> + Send + 'a>>>;

/// Waits for the first attempt that ends, and takes it out.
async fn first(attempts: &mut Attempts<'_>) -> Result<TcpStream, UpstreamError> {
    poll_fn(|cx| {
        for index in 0..attempts.len() {
            if let Poll::Ready(outcome) = attempts[index].as_mut().poll(cx) {
                drop(attempts.swap_remove(index));
                return Poll::Ready(outcome);
            }
        }
        Poll::Pending
    })
    .await
}

async fn attempt(
    target: &Target,
    address: SocketAddr,
    transport: &Transport,
    counters: &ClusterCounters,
) -> Result<TcpStream, UpstreamError> {
    match tokio::time::timeout(transport.connect_timeout, dial(address, transport.mark)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            counters.connect_failures.increment();
            let reason = match error.kind() {
                // A reset in the middle of the handshake is a refusal too: a full backlog, a firewall that says so.
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Reason::UpstreamRefused,
                io::ErrorKind::TimedOut => Reason::UpstreamConnectTimeout,
                _ => Reason::UpstreamUnreachable,
            };
            Err(UpstreamError::unsent(reason, format!("endpoint {target} at {address}: {error}")))
        }
        Err(_) => {
            counters.connect_failures.increment();
            counters.connect_timeouts.increment();
            let detail = format!("endpoint {target} at {address}: no connection after {:?}", transport.connect_timeout);
            Err(UpstreamError::unsent(Reason::UpstreamConnectTimeout, detail))
        }
    }
}

/// Opens a plain TCP connection as the proxy does: without delay, kept alive, with the packet mark of its own traffic.
///
/// # Errors
/// What the system says. There is no deadline here.
pub async fn dial(address: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let reference = socket2::SockRef::from(&socket);
    reference.set_tcp_nodelay(true)?;
    reference.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(limits::TCP_KEEP_ALIVE))?;
    if let Some(mark) = mark {
        reference.set_mark(mark)?;
    }
    if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        // Without it the kernel would pick the source port at bind time, for all destinations together, and run out.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddr::new(TO_APPLICATION, 0))?;
    }
    socket.connect(address).await
}

/// Counts the connection and every byte that passes it.
#[derive(Debug)]
pub struct Counted<T> {
    io: T,
    guard: ConnectionGuard,
}

impl<T> Counted<T> {
    /// Starts counting.
    pub const fn new(io: T, guard: ConnectionGuard) -> Self {
        Self { io, guard }
    }
}

fn count(counter: &Counter, result: &io::Result<usize>) {
    if let Ok(length) = result {
        counter.add(*length as u64);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buffer));
        self.guard.counters().received_bytes.add((buffer.filled().len() - before) as u64);
        Poll::Ready(result)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        count(&self.guard.counters().sent_bytes, &result);
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices));
        count(&self.guard.counters().sent_bytes, &result);
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
