//! What the servers have in common: listening, connections with a limit, and the end by signal.

use super::Usage;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// An answer with its whole body.
pub(super) type Reply = Response<Full<Bytes>>;

/// Connections that a server has at once; more wait to be accepted.
const CONNECTIONS: usize = 2048;

/// How long a client may take for its request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long accepting rests when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs a program on a runtime of its own until it ends or SIGTERM or SIGINT says so.
pub(super) fn until_told_to_end(program: impl Future<Output = Result<(), Usage>>) -> Result<(), Usage> {
    let failed = |error: io::Error| Usage::failed(format!("cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        tokio::select! {
            outcome = program => outcome,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    });
    // Requests in progress get a moment; whoever waits for longer is cut off.
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

/// A listener on all addresses of both families.
pub(super) fn everywhere(port: u16) -> Result<TcpListener, Usage> {
    let listen = |address: SocketAddr| -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        TcpListener::from_std(socket.into())
    };
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let old = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    listen(both).or_else(|_| listen(old)).map_err(|error| {
        Usage::failed(format!("cannot listen on port {port}: {error}; is another program of the pod listening there?"))
    })
}

/// Serves HTTP/1.1 on a listener until the task is ended.
pub(super) fn http<H, F>(listener: Result<TcpListener, Usage>, handler: H) -> Result<JoinHandle<()>, Usage>
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let listener = listener?;
    if let Ok(address) = listener.local_addr() {
        println!("listening on port {}", address.port());
    }
    let handler = Arc::new(handler);
    Ok(tokio::spawn(accept(listener, move |stream, _peer| {
        let handler = Arc::clone(&handler);
        connection(stream, move |request| handler(request))
    })))
}

/// Serves one connection to its end.
pub(super) async fn connection<H, F>(stream: TcpStream, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let reply = handler(request);
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    // A client that goes away in the middle is its own affair.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// Accepts connections for ever, each with a task of its own.
pub(super) async fn accept<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let connection = handler(stream, peer);
                tokio::spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Waits for all servers, which is for ever.
pub(super) async fn all(servers: Vec<JoinHandle<()>>) {
    for server in servers {
        let _ = server.await;
    }
}
