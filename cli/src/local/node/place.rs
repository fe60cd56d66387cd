//! Namespaces by descriptor, and threads that enter them.
//!
//! A namespace lives as long as something refers to it; here that is an open descriptor. To do something inside, a fresh
//! thread enters, does it, and ends: it never returns to other work, so no other code ever runs in the wrong place.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{OFlag, openat};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::NodeError;
use super::sys;

/// Namespaces to be in. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Place {
    name: Arc<str>,
    /// In the order in which they are to be entered.
    namespaces: Arc<[(CloneFlags, File)]>,
}

/// Kinds of namespace and their files below `/proc/…/ns`, in the order in which they are entered.
const KINDS: [(CloneFlags, &str); 5] = [
    (CloneFlags::CLONE_NEWNET, "net"),
    (CloneFlags::CLONE_NEWUTS, "uts"),
    (CloneFlags::CLONE_NEWIPC, "ipc"),
    (CloneFlags::CLONE_NEWPID, "pid_for_children"),
    (CloneFlags::CLONE_NEWNS, "mnt"),
];

/// All of [`KINDS`].
pub(super) const ALL_KINDS: CloneFlags = CloneFlags::CLONE_NEWNET
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNS);

/// The directory of the calling thread's namespaces. It stays of use when the thread moves to where `/proc` is another.
pub(super) fn own_namespaces() -> io::Result<File> {
    File::open("/proc/thread-self/ns")
}

impl Place {
    /// An empty network.
    pub(super) fn new_network(name: &str) -> Result<Self, NodeError> {
        Self::make(name, CloneFlags::CLONE_NEWNET, None)
    }

    /// An empty network with a hostname and shared memory of its own.
    pub(super) fn new_pod(name: &str, hostname: &str) -> Result<Self, NodeError> {
        let kinds = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
        Self::make(name, kinds, Some(hostname))
    }

    /// Where the calling thread is, and where processes that it starts are. `namespaces`: of [`own_namespaces`], called
    /// on the same thread.
    pub(super) fn here(name: &str, namespaces: &File, kinds: CloneFlags) -> io::Result<Self> {
        let open = |(kind, file): &(CloneFlags, &str)| {
            let file = openat(namespaces, *file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
            Ok((*kind, File::from(file)))
        };
        let namespaces: io::Result<Vec<_>> = KINDS.iter().filter(|(kind, _)| kinds.contains(*kind)).map(open).collect();
        Ok(Self { name: name.into(), namespaces: namespaces?.into() })
    }

    fn make(name: &str, kinds: CloneFlags, hostname: Option<&str>) -> Result<Self, NodeError> {
        let made = on_a_thread(|| {
            unshare(kinds)?;
            if let Some(hostname) = hostname {
                sys::set_hostname(hostname)?;
            }
            Self::here(name, &own_namespaces()?, kinds)
        });
        made.and_then(|made| made).map_err(|why| NodeError::kernel(format!("make namespaces for {name}"), why))
    }

    /// A path by which other processes of this user can name the network, as long as this lives.
    pub(super) fn network_file(&self) -> String {
        let network = self.namespaces.iter().find(|(kind, _)| *kind == CloneFlags::CLONE_NEWNET);
        let descriptor = network.map_or(-1, |(_, file)| file.as_raw_fd());
        format!("/proc/{}/fd/{descriptor}", std::process::id())
    }

    /// Puts the calling thread there. To get back is the caller's business.
    pub(super) fn enter(&self) -> io::Result<()> {
        for (kind, file) in self.namespaces.iter() {
            if *kind == CloneFlags::CLONE_NEWNS {
                // A thread that shares its working directory with others may not move among mount namespaces.
                unshare(CloneFlags::CLONE_FS)?;
            }
            setns(file, *kind)?;
        }
        Ok(())
    }

    /// Runs a closure there, on a thread of its own, and waits for it. A panic of the closure goes on in the caller.
    pub(super) fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T, NodeError> {
        let entered = on_a_thread(|| -> io::Result<T> {
            self.enter()?;
            Ok(job())
        });
        entered.and_then(|done| done).map_err(|why| NodeError::kernel(format!("enter {}", self.name), why))
    }

    /// A socket that belongs there, wherever it is used. It does not block.
    pub(super) fn socket(&self, domain: Domain, kind: Type) -> io::Result<Socket> {
        self.run(|| Socket::new(domain, kind.nonblocking().cloexec(), None)).map_err(io::Error::other)?
    }

    pub(super) fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        let socket = self.socket(Domain::for_address(at), Type::STREAM)?;
        socket.set_reuse_address(true)?;
        socket.bind(&at.into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    }

    pub(super) fn bind_udp(&self, at: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.socket(Domain::for_address(at), Type::DGRAM)?;
        socket.bind(&at.into())?;
        Ok(socket.into())
    }

    pub(super) async fn connect(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        let socket = self.socket(Domain::for_address(to), Type::STREAM)?;
        let connecting = TcpSocket::from_std_stream(socket.into()).connect(to);
        let stream = tokio::time::timeout(deadline, connecting).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {to} within {deadline:?}"))
        })??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Runs a closure on a thread that ends afterwards; its panic goes on in the caller.
fn on_a_thread<T: Send>(job: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("fsm-place".to_owned()).spawn_scoped(scope, job)?;
        thread.join().map_or_else(|panic| resume_unwind(panic), Ok)
    })
}
