//! Gateway mode: the last stop of traffic that leaves the mesh (`--gateway-listen`). Sidecars ask it with `CONNECT`
//! (HTTP/2 or HTTP/1.1) or with SOCKS5 for a connection to the outside. One connection, step by step:
//!
//! 1. *admit* ([`admission`]): a mesh certificate, or, only if plaintext is permitted, an address of the mesh;
//! 2. *ask*: the destination; whatever is no `CONNECT` gets FSM's 404;
//! 3. *decide* ([`destination`]): never the gateway itself, nor the cloud's metadata, and only what is listed if there
//!    is a list; a name is judged again by the addresses it resolves to;
//! 4. *relay*, and one line on standard output when it is over ([`record`]).
//!
//! A connection that is not admitted is reset. (FSM's gateway takes anybody anywhere: weakness S-9.)

mod admission;
pub mod destination;
mod observed;
mod record;
mod socks;
#[cfg(test)]
mod tests;

use crate::detect::{self, Prefixed, Protocol};
use crate::http::body::ResponseBody;
use crate::http::reply::{self, Answer, Refusal};
use crate::http::server::{self, Version};
use crate::limits;
use crate::listen::ConnInfo;
use crate::reason::Reason;
use crate::runtime;
use crate::runtime::drain::Phase;
use crate::shared::Proxy;
use crate::tcp::{RelayOptions, Resettable, relay_or_reset, reset_on_close};
use crate::telemetry::Direction;
use crate::telemetry::counters::ClusterCounters;
use crate::tls::{Alpn, Peer, ReadAhead};
use crate::upstream::connect::{self, Host, Target, Transport};
use crate::upstream::gate::{ConnectionGuard, Gate, GateLimits};
use crate::upstream::gateway::Mode;
use crate::upstream::resolve::ChosenNames;
use admission::{Admission, Way};
use arc_swap::ArcSwapOption;
use arcstr::ArcStr;
use bytes::Bytes;
use destination::{Destinations, Permit};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use observed::Observed;
use record::{Record, Records};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What a gateway is told on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayOptions {
    /// Where sidecars ask.
    pub listen: Vec<SocketAddr>,
    /// How they ask.
    pub mode: Mode,
    /// Addresses of the mesh may ask without TLS: FSM's sidecars do.
    pub plaintext: bool,
    /// Permitted destinations; empty: all.
    pub permits: Vec<Permit>,
}

/// The gateway.
#[derive(Debug)]
pub struct EgressGateway {
    mode: Mode,
    plaintext: bool,
    destinations: Destinations,
    gate: Arc<Gate>,
    names: ChosenNames,
    transport: Transport,
    admission: ArcSwapOption<Admission>,
    records: Records,
}

/// Who asks.
#[derive(Debug)]
struct Client {
    info: ConnInfo,
    /// Principal of the verified certificate.
    principal: Option<ArcStr>,
}

impl EgressGateway {
    /// A gateway that writes its records to standard output. `mark` is the packet mark of its connections.
    ///
    /// # Errors
    /// When the thread that writes cannot be started.
    pub fn new(options: &GatewayOptions, mark: Option<u32>) -> std::io::Result<Self> {
        Ok(Self {
            mode: options.mode,
            plaintext: options.plaintext,
            destinations: Destinations::new(options.permits.clone()),
            gate: Arc::new(Gate::new(Arc::default())),
            names: ChosenNames::default(),
            transport: Transport { tls: None, connect_timeout: limits::CONNECT_TIMEOUT, via: None, mark },
            admission: ArcSwapOption::empty(),
            records: Records::start(Box::new(std::io::stdout()))?,
        })
    }

    /// How it is asked.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// What it counts: tunnels are its connections.
    pub fn counters(&self) -> &Arc<ClusterCounters> {
        self.gate.counters()
    }

    /// Waits until every record so far is written, but not for long.
    pub fn flush(&self) {
        self.records.flush();
    }

    /// Carries one connection from accept to end.
    pub async fn serve(self: Arc<Self>, proxy: Arc<Proxy>, stream: TcpStream, info: ConnInfo) {
        let attending = proxy.attend(Direction::Inbound);
        let outcome = Box::pin(Arc::clone(&self).carry(&proxy, stream, info)).await;
        attending.ended(&info, outcome);
    }

    async fn carry(self: Arc<Self>, proxy: &Arc<Proxy>, stream: TcpStream, info: ConnInfo) -> Result<(), Refusal> {
        let way = match self.admit(proxy, &stream, &info).await {
            Ok(way) => way,
            Err(refusal) => {
                reset_on_close(&stream);
                return Err(refusal);
            }
        };
        let tls = match way {
            Way::Plaintext => return self.answer(proxy, stream, Alpn::None, Client { info, principal: None }).await,
            Way::Tls(tls) => tls,
        };
        let accepted = tls.accept(ReadAhead::new(stream), limits::TLS_HANDSHAKE_TIMEOUT).await;
        let accepted = accepted.map_err(|error| Refusal::explained(error.reason(), error.to_string()))?;
        proxy.telemetry.direction(Direction::Inbound).handshakes.increment();
        let principal = accepted.peer.and_then(|peer: Peer| peer.principal);
        self.answer(proxy, accepted.stream, accepted.alpn, Client { info, principal }).await
    }

    async fn answer<IO>(self: Arc<Self>, proxy: &Arc<Proxy>, io: IO, alpn: Alpn, client: Client) -> Result<(), Refusal>
    where
        IO: AsyncRead + AsyncWrite + Resettable + Unpin + Send + 'static,
    {
        if self.mode == Mode::Socks5 {
            return self.answer_socks(io, &client).await;
        }
        let (version, io) = if let Some(version) = Version::agreed(alpn) {
            (version, Prefixed::new(Bytes::new(), io))
        } else {
            let detected = detect::detect_http(io, limits::DETECT_TIMEOUT).await;
            match detected.protocol {
                Protocol::Http2 => (Version::Http2, detected.io),
                Protocol::Timeout | Protocol::Closed => return Err(Reason::DownstreamTimeout.into()),
                Protocol::Http1 | Protocol::Other | Protocol::Tls(_) => (Version::Http1, detected.io),
            }
        };
        let (gateway, shared, client) = (self, Arc::clone(proxy), Arc::new(client));
        let handle = move |request| handle(Arc::clone(&gateway), Arc::clone(&shared), Arc::clone(&client), request);
        if let Err(error) = server::serve(io, version, proxy.drain.watch(), Phase::Draining, handle).await {
            tracing::debug!(%error, "connection of a gateway's client ended");
        }
        Ok(())
    }

    async fn answer_socks<IO>(&self, mut io: IO, client: &Client) -> Result<(), Refusal>
    where
        IO: AsyncRead + AsyncWrite + Resettable + Unpin,
    {
        let asking = tokio::time::timeout(limits::DETECT_TIMEOUT, socks::read_target(&mut io)).await;
        let target = match asking {
            Err(_) => return Err(Reason::DownstreamTimeout.into()),
            Ok(Err(error)) => return Err(Refusal::explained(Reason::UnknownProtocol, error.to_string())),
            Ok(Ok(target)) => target,
        };
        let opened = Box::pin(self.open(client, &target)).await;
        let answer = socks::answer(&mut io, opened.as_ref().err().map(|refusal| refusal.reason));
        let answered = tokio::time::timeout(limits::DETECT_TIMEOUT, answer).await;
        let (upstream, guard) = opened?;
        match answered {
            Ok(Ok(())) => self.tunnel(client, &target, io, upstream, &guard).await,
            Ok(Err(_)) | Err(_) => return Err(Reason::DownstreamTimeout.into()),
        }
        Ok(())
    }

    /// Step 3: opens what the client asked for.
    async fn open(&self, client: &Client, target: &Target) -> Result<(TcpStream, ConnectionGuard), Refusal> {
        let refused = |why: &str| Refusal::explained(Reason::DestinationNotAllowed, format!("{target}: {why}"));
        if !self.destinations.admits(target) {
            return Err(refused("is not among the permitted destinations"));
        }
        let key = ArcStr::from(target.to_string());
        let addresses = self.names.of(&key).resolve(target).await?;
        let own = client.info.local.ip();
        let admitted = |address: &&SocketAddr| self.destinations.admits_address(address, own);
        let addresses: Vec<SocketAddr> = addresses.iter().filter(admitted).copied().collect();
        if addresses.is_empty() {
            return Err(refused("leads to the gateway itself, to the machine or to no single host"));
        }
        let limits = GateLimits::default();
        let guard = self.gate.connection(limits).ok_or(Reason::Overloaded)?;
        let stream = connect::race(target, &addresses, &self.transport, self.counters()).await?;
        // The kernel talks to an address of its own from that very address: another one of ours.
        match (stream.local_addr(), stream.peer_addr()) {
            (Ok(local), Ok(peer)) if local.ip() != peer.ip() => Ok((stream, guard)),
            _ => Err(refused("is an address of the gateway itself")),
        }
    }

    async fn tunnel<IO>(
        &self,
        client: &Client,
        target: &Target,
        io: IO,
        mut upstream: TcpStream,
        guard: &ConnectionGuard,
    ) where
        IO: AsyncRead + AsyncWrite + Resettable + Unpin,
    {
        let mut record = Record::begin(client.info.peer, client.principal.clone(), target, upstream.peer_addr().ok());
        let mut io = Observed::new(io);
        let counters = guard.counters();
        let options = RelayOptions {
            idle: limits::TCP_IDLE_TIMEOUT,
            sent: &counters.sent_bytes,
            received: &counters.received_bytes,
            moved: None,
        };
        let relayed = relay_or_reset(&mut io, &mut upstream, options).await;
        record.end(&relayed, io.hello());
        self.records.write(record);
    }
}

async fn handle(
    gateway: Arc<EgressGateway>,
    proxy: Arc<Proxy>,
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let peer = client.info.peer;
    match connect_request(gateway, Arc::clone(&proxy), client, request).await {
        Ok(response) => response,
        Err(refusal) => {
            proxy.telemetry.direction(Direction::Outbound).refused(refusal.reason);
            tracing::debug!(reason = refusal.reason.code(), %peer, detail = refusal.detail, "tunnel refused");
            reply::refuse(refusal, false)
        }
    }
}

/// Answers 200 when the connection is open; the tunnel goes on by itself then.
async fn connect_request(
    gateway: Arc<EgressGateway>,
    proxy: Arc<Proxy>,
    client: Arc<Client>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Refusal> {
    if request.method() != Method::CONNECT {
        let answer =
            Answer { status: StatusCode::NOT_FOUND, headers: HeaderMap::new(), body: Bytes::from_static(b"Not Found") };
        return Err(Refusal { answer: Some(Box::new(answer)), ..Refusal::new(Reason::UnknownProtocol) });
    }
    let authority = request.uri().authority().ok_or(Reason::BadHost)?;
    let target: Target = authority.as_str().parse().map_err(|error| Refusal::explained(Reason::BadHost, error))?;
    if matches!(target.host, Host::Below(_)) {
        return Err(Reason::BadHost.into());
    }
    let (upstream, guard) = Box::pin(gateway.open(&client, &target)).await?;
    let upgrade = hyper::upgrade::on(&mut request);
    runtime::spawn(async move {
        // An HTTP/1 connection ends for its server when it becomes a tunnel; a drain waits for the tunnel too.
        let _counted = proxy.telemetry.direction(Direction::Inbound).connection();
        match tokio::time::timeout(limits::DETECT_TIMEOUT, upgrade).await {
            Ok(Ok(io)) => gateway.tunnel(&client, &target, TokioIo::new(io), upstream, &guard).await,
            Ok(Err(error)) => tracing::debug!(%error, "a client went away before its tunnel began"),
            Err(_) => tracing::debug!("a client's tunnel did not begin in time"),
        }
    });
    Ok(Response::new(ResponseBody::Empty))
}
