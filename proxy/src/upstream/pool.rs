//! Connections to one endpoint, kept for reuse. The pool lives in the endpoint: finding a connection needs no hashing.
//!
//! * HTTP/1: last in, first out, so that a burst's surplus connections grow old and go. A connection comes back when
//!   the last byte of its response has passed *and* its request was sent whole; anything else closes it.
//! * HTTP/2: as many connections as the streams need ([`limits::POOL_STREAMS_PER_CONNECTION`]); one connection attempt
//!   at a time, whose result all waiters share.
//!
//! Each worker has its own shelf, so workers do not contend; a shelf's lock is never held across an await.

use super::balance::InFlight;
use super::connect::{Connection, Counted, Opened, Protocol, ResolvedNames, Target, Transport, connect};
use super::error::UpstreamError;
use super::gate::{ConnectionGuard, Gate, GateLimits, RequestGuard};
use super::gateway::Tunnel;
use crate::http::body::{BodyProgress, RequestBody};
use crate::limits;
use crate::runtime;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

/// Connections to one endpoint.
#[derive(Debug)]
pub struct Pool {
    shelves: Box<[Shelf]>,
}

#[derive(Debug, Default)]
struct Shelf {
    http1: Mutex<Vec<IdleHttp1>>,
    http2: Mutex<Vec<Arc<Http2Connection>>>,
    opening_http2: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct IdleHttp1 {
    connection: Http1Connection,
    since: Instant,
}

/// An HTTP/1 connection in the hands of one request.
#[derive(Debug)]
pub struct Http1Connection {
    /// Sends requests.
    pub sender: http1::SendRequest<RequestBody>,
    /// Requests it has served before this one.
    pub served: u32,
    /// Whether one of our own sidecars is at its other end.
    pub ours: bool,
    /// The task that drives the connection; `None` for one that is to be upgraded.
    task: Option<AbortHandle>,
}

impl Drop for Http1Connection {
    /// Closes the connection at once. hyper would notice only at the upstream's next byte that nobody wants the rest of
    /// a response, and a quiet event stream has no next byte.
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// An HTTP/2 connection shared by many requests.
#[derive(Debug)]
pub struct Http2Connection {
    sender: http2::SendRequest<RequestBody>,
    ours: bool,
    streams: AtomicUsize,
    served: AtomicUsize,
}

/// What connecting needs to know besides the pool itself.
#[derive(Clone, Copy, Debug)]
pub struct Dial<'a> {
    /// Where to.
    pub target: &'a Target,
    /// How.
    pub transport: &'a Transport,
    /// Resolved addresses of the target's name.
    pub names: &'a ResolvedNames,
    /// The cluster's gate.
    pub gate: &'a Arc<Gate>,
    /// The cluster's limits.
    pub limits: GateLimits,
    /// A connection is retired after so many requests.
    pub requests_per_connection: Option<u32>,
}

impl Pool {
    /// An empty pool with a shelf for each worker.
    pub fn new() -> Self {
        Self { shelves: (0..runtime::worker_count()).map(|_| Shelf::default()).collect() }
    }

    fn shelf(&self) -> &Shelf {
        &self.shelves[runtime::worker_index() % self.shelves.len()]
    }

    /// An idle HTTP/1 connection that is alive as far as can be known, the most recently used first.
    async fn idle_http1(&self) -> Option<Http1Connection> {
        loop {
            let mut idle = self.shelf().http1.lock().pop()?;
            if idle.since.elapsed() >= limits::POOL_IDLE_TIMEOUT || idle.connection.sender.is_closed() {
                continue;
            }
            // Its task may not have noticed yet that the last response is over; if the connection died, it errs.
            if idle.connection.sender.is_ready() || idle.connection.sender.ready().await.is_ok() {
                return Some(idle.connection);
            }
        }
    }

    /// A connection for one request: an idle one, or a new one, or, when the cluster has as many as it may have, the
    /// next one that becomes free. `true` when it had served requests before.
    pub async fn http1(&self, dial: Dial<'_>, upgrade: bool) -> Result<(Http1Connection, bool), UpstreamError> {
        loop {
            if !upgrade && let Some(idle) = self.idle_http1().await {
                return Ok((idle, true));
            }
            if let Some(guard) = dial.gate.connection(dial.limits) {
                // Rare beside reuse, and large: in a box it does not make every request's future larger.
                let opening = Box::pin(self.open_http1(dial, upgrade, guard));
                return opening.await.map(|connection| (connection, false));
            }
            dial.gate.wait(dial.limits, &dial.target.to_string()).await?;
        }
    }

    async fn open_http1(
        &self,
        dial: Dial<'_>,
        upgrade: bool,
        guard: ConnectionGuard,
    ) -> Result<Http1Connection, UpstreamError> {
        let opened = open(dial, Protocol::Http1).await?;
        let ours = opened.ours;
        let (sender, task) = match opened.connection {
            Connection::Plain(stream) => handshake_http1(stream, dial, guard).await?,
            Connection::Tls(stream) => handshake_http1(stream, dial, guard).await?,
            Connection::TlsToOther(stream) => handshake_http1(stream, dial, guard).await?,
            Connection::Tunnel(tunnel) => match *tunnel {
                Tunnel::Http2(stream) => handshake_http1(stream, dial, guard).await?,
                Tunnel::Socks5(stream) => handshake_http1(stream, dial, guard).await?,
                Tunnel::Socks5Tls(stream) => handshake_http1(*stream, dial, guard).await?,
            },
        };
        Ok(Http1Connection { sender, served: 0, ours, task: (!upgrade).then_some(task) })
    }

    /// Gives an HTTP/1 connection back, once its exchange is over.
    fn give_back(&self, connection: Http1Connection) {
        let mut shelf = self.shelf().http1.lock();
        if shelf.len() < limits::POOL_IDLE_CONNECTIONS {
            shelf.push(IdleHttp1 { connection, since: Instant::now() });
        }
    }

    /// A place for one stream on an HTTP/2 connection; `true` when the connection had served requests before.
    pub async fn http2(self: &Arc<Self>, dial: Dial<'_>) -> Result<(Http2Stream, bool), UpstreamError> {
        let shelf = self.shelf();
        if let Some(stream) = shelf.http2_stream(dial.requests_per_connection) {
            return Ok((stream, true));
        }
        // Whoever gets the lock second finds the connection that the first one has opened.
        let _opening = shelf.opening_http2.lock().await;
        if let Some(stream) = shelf.http2_stream(dial.requests_per_connection) {
            return Ok((stream, true));
        }
        let guard = loop {
            match dial.gate.connection(dial.limits) {
                Some(guard) => break guard,
                None => dial.gate.wait(dial.limits, &dial.target.to_string()).await?,
            }
        };
        // Rare and large, as that of HTTP/1 is.
        let (sender, ours) = Box::pin(open_http2(dial, guard)).await?;
        let connection =
            Arc::new(Http2Connection { sender, ours, streams: AtomicUsize::new(1), served: AtomicUsize::new(1) });
        shelf.http2.lock().push(Arc::clone(&connection));
        Ok((Http2Stream { connection }, false))
    }

    /// Closes what has been idle for too long; called now and then for endpoints that get no traffic.
    pub fn sweep(&self) {
        for shelf in &self.shelves {
            let expired = |idle: &IdleHttp1| {
                idle.since.elapsed() >= limits::POOL_IDLE_TIMEOUT || idle.connection.sender.is_closed()
            };
            shelf.http1.lock().retain(|idle| !expired(idle));
            shelf.http2.lock().retain(|connection| !connection.sender.is_closed());
        }
    }

    /// Idle HTTP/1 connections and HTTP/2 connections at the moment.
    pub fn connections(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.http1.lock().len() + shelf.http2.lock().len()).sum()
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl Shelf {
    fn http2_stream(&self, requests_per_connection: Option<u32>) -> Option<Http2Stream> {
        let limit = requests_per_connection.map_or(usize::MAX, |limit| limit as usize);
        let mut connections = self.http2.lock();
        connections.retain(|connection| !connection.sender.is_closed() && connection.served.load(Relaxed) < limit);
        let connection = connections
            .iter()
            .find(|connection| connection.streams.load(Relaxed) < limits::POOL_STREAMS_PER_CONNECTION)?;
        connection.streams.fetch_add(1, Relaxed);
        connection.served.fetch_add(1, Relaxed);
        Some(Http2Stream { connection: Arc::clone(connection) })
    }
}

/// A place for one stream on an HTTP/2 connection, free again when dropped.
#[derive(Debug)]
pub struct Http2Stream {
    connection: Arc<Http2Connection>,
}

impl Http2Stream {
    /// Sends requests on the connection.
    pub fn sender(&self) -> http2::SendRequest<RequestBody> {
        self.connection.sender.clone()
    }

    /// Whether one of our own sidecars is at the connection's other end.
    pub fn is_ours(&self) -> bool {
        self.connection.ours
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        self.connection.streams.fetch_sub(1, Relaxed);
    }
}

/// Holds an upstream connection for as long as a response streams.
#[derive(Debug)]
pub struct Lease {
    held: Held,
    open: Open,
    _request: RequestGuard,
    in_flight: Option<InFlight>,
}

/// A response that has not passed yet. Dropped as it is, it was given up here.
#[derive(Debug)]
struct Open {
    gate: Arc<Gate>,
    http1: bool,
    settled: bool,
}

impl Open {
    const fn new(gate: Arc<Gate>, http1: bool) -> Self {
        Self { gate, http1, settled: false }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.settled {
            let counters = self.gate.counters();
            counters.resets_sent.increment();
            if self.http1 {
                counters.destroyed_here.increment();
            }
        }
    }
}

#[derive(Debug)]
enum Held {
    Http1 { connection: Http1Connection, pool: Arc<Pool>, request: Option<Arc<BodyProgress>>, reusable: bool },
    Http2 { _stream: Http2Stream },
}

impl Lease {
    /// Holds an HTTP/1 connection. `reusable` is false when it must not serve another request.
    pub const fn http1(
        connection: Http1Connection,
        pool: Arc<Pool>,
        request: Option<Arc<BodyProgress>>,
        reusable: bool,
        gate: Arc<Gate>,
        guard: RequestGuard,
    ) -> Self {
        let held = Held::Http1 { connection, pool, request, reusable };
        Self { held, open: Open::new(gate, true), _request: guard, in_flight: None }
    }

    /// Whether it holds a stream of HTTP/2.
    pub const fn is_http2(&self) -> bool {
        matches!(self.held, Held::Http2 { .. })
    }

    /// Holds a place on an HTTP/2 connection.
    pub const fn http2(stream: Http2Stream, gate: Arc<Gate>, guard: RequestGuard) -> Self {
        let held = Held::Http2 { _stream: stream };
        Self { held, open: Open::new(gate, false), _request: guard, in_flight: None }
    }

    /// Keeps a request counted as in flight for as long.
    pub fn hold(&mut self, in_flight: InFlight) {
        self.in_flight = Some(in_flight);
    }

    /// The response has passed whole: the connection may serve another request.
    pub fn finish(mut self) {
        self.open.settled = true;
        if let Held::Http1 { connection, pool, request, reusable: true } = self.held
            && request.is_none_or(|progress| progress.ended())
        {
            pool.give_back(connection);
            self.open.gate.freed();
        }
    }

    /// The upstream cut the response off.
    pub fn broken(mut self) {
        self.open.settled = true;
        let counters = self.open.gate.counters();
        counters.resets_received.increment();
        if self.open.http1 {
            counters.destroyed_by_remote.increment();
        }
    }
}

async fn open(dial: Dial<'_>, protocol: Protocol) -> Result<Opened, UpstreamError> {
    connect(dial.target, dial.transport, protocol, dial.names, dial.gate.counters()).await
}

/// An HTTP/2 connection, and whether one of our own sidecars is at its other end.
async fn open_http2(
    dial: Dial<'_>,
    guard: ConnectionGuard,
) -> Result<(http2::SendRequest<RequestBody>, bool), UpstreamError> {
    let opened = open(dial, Protocol::Http2).await?;
    let sender = match opened.connection {
        Connection::Plain(stream) => handshake_http2(stream, dial, guard).await?,
        Connection::Tls(stream) => handshake_http2(stream, dial, guard).await?,
        Connection::TlsToOther(stream) => handshake_http2(stream, dial, guard).await?,
        Connection::Tunnel(tunnel) => match *tunnel {
            Tunnel::Http2(stream) => handshake_http2(stream, dial, guard).await?,
            Tunnel::Socks5(stream) => handshake_http2(stream, dial, guard).await?,
            Tunnel::Socks5Tls(stream) => handshake_http2(*stream, dial, guard).await?,
        },
    };
    Ok((sender, opened.ours))
}

type Http1Handle = (http1::SendRequest<RequestBody>, AbortHandle);

async fn handshake_http1<T>(stream: T, dial: Dial<'_>, guard: ConnectionGuard) -> Result<Http1Handle, UpstreamError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(Counted::new(stream, guard));
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(limits::HTTP1_MAX_HEADER_BYTES)
        .handshake(io)
        .await
        .map_err(|error| UpstreamError::from_exchange(&error, &dial.target.to_string()))?;
    let target = dial.target.clone();
    let task = runtime::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(endpoint = %target, %error, "upstream HTTP/1 connection ended");
        }
    });
    Ok((sender, task))
}

async fn handshake_http2<T>(
    stream: T,
    dial: Dial<'_>,
    guard: ConnectionGuard,
) -> Result<http2::SendRequest<RequestBody>, UpstreamError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(Counted::new(stream, guard));
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW)
        .max_send_buf_size(limits::HTTP2_SEND_BUFFER)
        .max_header_list_size(limits::HTTP2_MAX_HEADER_BYTES)
        .keep_alive_interval(limits::HTTP2_KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(limits::HTTP2_KEEP_ALIVE_TIMEOUT)
        .handshake(io)
        .await
        .map_err(|error| UpstreamError::from_exchange(&error, &dial.target.to_string()))?;
    let target = dial.target.clone();
    runtime::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(endpoint = %target, %error, "upstream HTTP/2 connection ended");
        }
    });
    Ok(sender)
}
