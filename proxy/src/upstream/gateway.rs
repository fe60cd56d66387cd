//! Leaving the mesh through an egress gateway: the gateway opens the connection, we speak through it.
//!
//! `http2tunnel` asks with an HTTP/2 `CONNECT` (RFC 9113 §8.5), `sock5` (FSM's spelling) with SOCKS5 (RFC 1928). Names
//! are resolved by the gateway. The gateway is asked over mutual TLS where the document says who it is, else in
//! plaintext, which is all that FSM's gateways understand. When the configuration wants a gateway and none can be used, nothing leaves: going
//! straight out instead would defeat the gateway's purpose.

use super::balance::Rotation;
use super::connect::{Host, ResolvedNames, Target};
use super::error::UpstreamError;
use crate::limits;
use crate::reason::Reason;
use crate::runtime;
use crate::tls::{ClientTls, ReadAhead};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io;
use std::net::IpAddr;
use std::str::FromStr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How a gateway is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// HTTP/2 `CONNECT`.
    #[default]
    Http2Tunnel,
    /// SOCKS5 without authentication.
    Socks5,
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "http2tunnel" => Ok(Self::Http2Tunnel),
            "sock5" | "socks5" => Ok(Self::Socks5),
            _ => Err("http2tunnel or sock5"),
        }
    }
}

/// The gateways of a forward rule.
#[derive(Debug)]
pub struct Gateways {
    members: Vec<Gateway>,
    rotation: Rotation,
}

/// One gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Where it is.
    pub target: Target,
    /// How it is asked.
    pub mode: Mode,
    /// Mesh mTLS with whom the document says; `None` asks in plaintext.
    pub tls: Option<ClientTls>,
    /// Resolved addresses of the target's name.
    pub(super) names: ResolvedNames,
}

impl Gateway {
    /// A gateway as compiled.
    pub fn new(target: Target, mode: Mode, tls: Option<ClientTls>) -> Self {
        Self { target, mode, tls, names: ResolvedNames::default() }
    }
}

/// A connection that a gateway has opened for us.
#[derive(Debug)]
pub enum Tunnel {
    /// A stream of an HTTP/2 connection.
    Http2(TokioIo<Upgraded>),
    /// The connection to the SOCKS5 gateway itself.
    Socks5(TcpStream),
    /// The same over TLS.
    Socks5Tls(Box<TlsStream<ReadAhead<TcpStream>>>),
}

impl Gateways {
    /// Gateways with their weights. None at all refuses everything.
    pub fn new(members: Vec<(Gateway, u32)>, start: usize) -> Self {
        let weights: Vec<u32> = members.iter().map(|(_, weight)| *weight).collect();
        let members = members.into_iter().map(|(gateway, _)| gateway).collect();
        Self { members, rotation: Rotation::new(&weights, start) }
    }

    /// The gateway that is next in turn.
    ///
    /// # Errors
    /// [`Reason::NoEndpoint`] when there is none.
    pub fn pick(&self, target: &Target) -> Result<&Gateway, UpstreamError> {
        let next = self.rotation.next().and_then(|index| self.members.get(index));
        next.ok_or_else(|| {
            let detail = format!("endpoint {target}: must leave through an egress gateway, and none has an endpoint");
            UpstreamError::unsent(Reason::NoEndpoint, detail)
        })
    }
}

/// Asks a gateway, to which `stream` leads, for a connection to `target`.
///
/// # Errors
/// [`UpstreamError`] naming gateway and target.
pub async fn open(stream: TcpStream, gateway: &Gateway, target: &Target) -> Result<Tunnel, UpstreamError> {
    let failed = |reason, cause: &str| {
        let at = &gateway.target;
        UpstreamError::unsent(reason, format!("endpoint {target} through egress gateway {at}: {cause}"))
    };
    enum Way {
        Plain(TcpStream),
        Tls(Box<TlsStream<ReadAhead<TcpStream>>>),
    }
    let way = match &gateway.tls {
        None => Way::Plain(stream),
        Some(tls) => {
            let connecting = tls.connect(ReadAhead::new(stream), None, limits::TLS_HANDSHAKE_TIMEOUT);
            let connected = connecting.await.map_err(|error| failed(error.reason(), &error.to_string()))?;
            Way::Tls(Box::new(connected.stream))
        }
    };
    let opening = async {
        match (gateway.mode, way) {
            (Mode::Http2Tunnel, Way::Plain(stream)) => http2_tunnel(stream, target).await.map(Tunnel::Http2),
            (Mode::Http2Tunnel, Way::Tls(stream)) => http2_tunnel(stream, target).await.map(Tunnel::Http2),
            (Mode::Socks5, Way::Plain(stream)) => socks5(stream, target).await.map(Tunnel::Socks5),
            (Mode::Socks5, Way::Tls(stream)) => socks5(stream, target).await.map(Tunnel::Socks5Tls),
        }
    };
    match tokio::time::timeout(limits::CONNECT_TIMEOUT, opening).await {
        Ok(Ok(tunnel)) => Ok(tunnel),
        Ok(Err(cause)) => Err(failed(Reason::UpstreamUnreachable, &cause)),
        Err(_) => {
            let cause = format!("no answer after {:?}", limits::CONNECT_TIMEOUT);
            Err(failed(Reason::UpstreamConnectTimeout, &cause))
        }
    }
}

async fn http2_tunnel<IO>(stream: IO, target: &Target) -> Result<TokioIo<Upgraded>, String>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW)
        .keep_alive_interval(limits::HTTP2_KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(limits::HTTP2_KEEP_ALIVE_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("the gateway speaks no HTTP/2: {error}"))?;
    runtime::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the egress gateway ended");
        }
    });
    let authority: Uri = target.to_string().parse().map_err(|error| format!("{target} is no authority: {error}"))?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = authority;
    let response = sender.send_request(request).await.map_err(|error| format!("CONNECT failed: {error}"))?;
    if response.status() != StatusCode::OK {
        return Err(format!("the gateway answers CONNECT with {}", response.status()));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| format!("CONNECT failed: {error}"))?;
    Ok(TokioIo::new(upgraded))
}

async fn socks5<IO>(stream: IO, target: &Target) -> Result<IO, String>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    ask_socks5(stream, target).await.map_err(|error| error.to_string())
}

async fn ask_socks5<IO>(mut stream: IO, target: &Target) -> io::Result<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    const VERSION: u8 = 5;
    const NO_AUTHENTICATION: u8 = 0;
    stream.write_all(&[VERSION, 1, NO_AUTHENTICATION]).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    if chosen != [VERSION, NO_AUTHENTICATION] {
        return Err(io::Error::other("the gateway is no SOCKS5 server, or wants authentication"));
    }
    stream.write_all(&socks5_request(target)?).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    if head[0] != VERSION || head[1] != 0 {
        return Err(io::Error::other(format!("the gateway refuses with SOCKS5 code {}", head[1])));
    }
    let bound = match head[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await?),
        kind => return Err(io::Error::other(format!("the gateway answers with address type {kind}"))),
    };
    let mut rest = vec![0; bound + 2];
    stream.read_exact(&mut rest).await?;
    Ok(stream)
}

fn socks5_request(target: &Target) -> io::Result<Vec<u8>> {
    const CONNECT: u8 = 1;
    let mut request = vec![5, CONNECT, 0];
    match &target.host {
        Host::Address(IpAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.octets());
        }
        Host::Address(IpAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.octets());
        }
        // No connection is ever opened to "any of them"; the resolver of the other end would say so too.
        Host::Below(_) => return Err(io::Error::other("a wildcard is no host")),
        Host::Name(name) => {
            let length = u8::try_from(name.len()).map_err(|_| io::Error::other("the name is longer than 255 bytes"))?;
            request.extend_from_slice(&[3, length]);
            request.extend_from_slice(name.as_bytes());
        }
    }
    request.extend_from_slice(&target.port.to_be_bytes());
    Ok(request)
}
