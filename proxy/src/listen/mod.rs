//! Accepting connections and learning where they were going.
//!
//! [`bind`] opens a listening socket, [`accept_loop`] serves it until it is told to stop. Beyond the admission limit new
//! connections wait in the kernel. A failed `accept` never ends the loop unless the socket itself is broken. What
//! the client was really connecting to, before iptables redirected it, comes with every connection as [`ConnInfo`].

mod original_destination;

use crate::limits::{ACCEPT_BACKOFF, LISTEN_BACKLOG, TCP_KEEP_ALIVE};
use original_destination::original_destination;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Both ends of a connection, and where it was going. IPv4-mapped IPv6 addresses are shown as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    /// The client.
    pub peer: SocketAddr,
    /// Our end of the socket.
    pub local: SocketAddr,
    /// Where the client was connecting to; the same as `local` when it was not redirected.
    pub destination: SocketAddr,
    /// `false`: the connection came straight to our own port. Sending it on to its "destination" would be a loop.
    pub redirected: bool,
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("cannot listen on {address}: another process does (`ss -ltnp` names it); stop it or choose another port")]
    InUse {
        /// What was to be opened.
        address: SocketAddr,
    },
    /// Ports below 1024 need a privilege.
    #[error("cannot listen on {address}: permission denied; choose a port above 1023 or grant CAP_NET_BIND_SERVICE")]
    Denied {
        /// What was to be opened.
        address: SocketAddr,
    },
    /// The machine has no such address, or not this version of IP at all.
    #[error("cannot listen on {address}: this machine has no such address ({source}); is this version of IP enabled?")]
    NoSuchAddress {
        /// What was to be opened.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {source}; check the limits of open files and of memory")]
    Other {
        /// What was to be opened.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EADDRINUSE) => Self::InUse { address },
            Some(libc::EACCES | libc::EPERM) => Self::Denied { address },
            Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => Self::NoSuchAddress { address, source },
            _ => Self::Other { address, source },
        }
    }

    /// Whether the machine lacks the address or its whole family: where IPv6 is off, IPv4 alone will do.
    pub fn address_missing(&self) -> bool {
        matches!(self, Self::NoSuchAddress { .. })
    }
}

/// Opens a non-blocking listening socket. With `reuse_port` several workers can open the same one and the kernel shares
/// connections out among them. An IPv6 socket takes IPv6 only, so that `0.0.0.0` and `[::]` can both be opened.
pub fn bind(address: SocketAddr, reuse_port: bool) -> Result<std::net::TcpListener, BindError> {
    open(address, reuse_port).map_err(|source| BindError::new(address, source))
}

fn open(address: SocketAddr, reuse_port: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // A restarted proxy must not wait for connections of its predecessor in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit these on Linux, which saves four system calls for each connection. They must be set
    // before `listen`: a connection takes what the listener has when its handshake ends.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEP_ALIVE).with_interval(TCP_KEEP_ALIVE / 6))?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(LISTEN_BACKLOG).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Accepts until `stop` is cancelled (or `admission` closed), and hands each connection to `handle` together with its
/// permit, which frees the place when dropped. `handle` must return at once: it spawns. Connections of a listener that
/// [`bind`] made come with `TCP_NODELAY` and keep-alive.
///
/// Returns an error only when the socket cannot accept any more; dropping it on return closes the port.
pub async fn accept_loop<F>(
    listener: TcpListener,
    stop: CancellationToken,
    admission: Arc<Semaphore>,
    handle: F,
) -> io::Result<()>
where
    F: Fn(TcpStream, ConnInfo, OwnedSemaphorePermit),
{
    let own = listener.local_addr()?;
    let mut shortage = Shortage::default();
    loop {
        let next = async {
            let permit = Arc::clone(&admission).acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            next = next => match next {
                Some(next) => next,
                None => return Ok(()),
            },
        };
        match accepted {
            Ok((stream, peer)) => match prepare(&stream, peer) {
                Ok(info) => handle(stream, info, permit),
                // The client is gone already.
                Err(error) => {
                    debug!(%peer, %error, "a connection was closed before it could be served")
                }
            },
            Err(error) => match AcceptFailure::of(&error) {
                AcceptFailure::Connection => {
                    debug!(%own, %error, "a connection failed before it was accepted")
                }
                AcceptFailure::Permanent => return Err(error),
                AcceptFailure::Resource => {
                    shortage.report(own, &error);
                    drop(permit);
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(ACCEPT_BACKOFF) => {}
                    }
                }
            },
        }
    }
}

fn prepare(stream: &TcpStream, peer: SocketAddr) -> io::Result<ConnInfo> {
    let local = canonical(stream.local_addr()?);
    let destination = original_destination(&SockRef::from(stream), local).map_or(local, canonical);
    Ok(ConnInfo { peer: canonical(peer), local, destination, redirected: destination != local })
}

/// An IPv4-mapped IPv6 address as the IPv4 address that it is; scope and flow of IPv6 addresses are dropped, because
/// they are no part of any configured address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What a failed `accept` says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptFailure {
    /// One connection is lost, the next may succeed at once. Linux reports network errors of the new connection here.
    Connection,
    /// Nothing can be accepted until something is freed. Unknown errors count as this, so that they cannot spin.
    Resource,
    /// The socket is no listening socket any more.
    Permanent,
}

impl AcceptFailure {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(
                libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EINTR
                | libc::EPERM
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::ETIMEDOUT,
            ) => Self::Connection,
            Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EFAULT) => Self::Permanent,
            _ => Self::Resource,
        }
    }
}

/// Warns about a shortage at most once in [`Self::INTERVAL`]: it can last, and the log must not make it worse.
#[derive(Debug, Default)]
struct Shortage {
    reported: Option<Instant>,
    unreported: u64,
}

impl Shortage {
    const INTERVAL: Duration = Duration::from_secs(10);

    fn report(&mut self, listener: SocketAddr, error: &io::Error) {
        let now = Instant::now();
        if !self.is_due(now) {
            return;
        }
        warn!(%listener, %error, failures = self.unreported,
            "no new connections can be accepted: raise the limit of open files or lower the number of connections");
        self.unreported = 0;
    }

    fn is_due(&mut self, now: Instant) -> bool {
        self.unreported += 1;
        let due = self.reported.is_none_or(|last| now.duration_since(last) >= Self::INTERVAL);
        if due {
            self.reported = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests;
