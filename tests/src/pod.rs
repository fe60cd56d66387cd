//! Pods: network namespaces with addresses on a bridge that only one test sees.

use crate::namespace::Namespace;
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// One test's network: a bridge in a namespace of its own.
pub struct Mesh {
    bridge: Arc<Namespace>,
    pods: AtomicU8,
}

impl Mesh {
    /// Makes an empty network, or says on standard error that the test is skipped and why.
    ///
    /// Namespaces need root. Where `CI` is `true` a test that cannot run fails instead of being skipped.
    pub fn create() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "{test}: pods are network namespaces, which need root"
            );
            // Not `eprintln!`: the test framework would hide it.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: pods are network namespaces, which need root");
            return None;
        }
        let bridge = Namespace::create("bridge", &[]);
        bridge.ip(&[
            "link set lo up".to_owned(),
            // No snooping: it loses the first IPv6 neighbour solicitations.
            "link add br0 type bridge forward_delay 0 mcast_snooping 0".to_owned(),
            "link set br0 up".to_owned(),
        ]);
        Some(Self { bridge: Arc::new(bridge), pods: AtomicU8::new(0) })
    }

    /// Adds a pod with the next free addresses: one IPv4, one IPv6.
    pub fn pod(&self, name: &str) -> Pod {
        let number = 10 + self.pods.load(Ordering::Relaxed);
        self.pod_at(
            name,
            &[
                IpAddr::V4(Ipv4Addr::new(10, 244, 1, number)),
                IpAddr::V6(Ipv6Addr::new(0xfd00, 0x244, 1, 0, 0, 0, 0, number.into())),
            ],
        )
    }

    /// Adds a pod with exactly these addresses. Any two pods reach each other, whatever their addresses: all routes
    /// lead to the bridge.
    pub fn pod_at(&self, name: &str, addresses: &[IpAddr]) -> Pod {
        let number = self.pods.fetch_add(1, Ordering::Relaxed);
        let directory =
            tempfile::Builder::new().prefix("fsm-pod-").tempdir().expect("a temporary directory can be made");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        let hosts = directory.path().join("hosts");
        let resolver = directory.path().join("resolv.conf");
        fs::write(&hosts, "127.0.0.1 localhost\n::1 localhost\n").expect("the directory is writable");
        // Nobody answers there: a name that is not in `hosts` does not exist, at once.
        fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
            .expect("the directory is writable");
        let namespace = Namespace::create(
            name,
            &[(hosts.clone(), PathBuf::from("/etc/hosts")), (resolver, PathBuf::from("/etc/resolv.conf"))],
        );
        self.bridge.ip(&[
            format!("link add pod{number} type veth peer name eth0 netns {}", namespace.path()),
            format!("link set pod{number} master br0 up"),
        ]);
        let mut commands = vec!["link set lo up".to_owned()];
        commands.extend(addresses.iter().map(|address| match address {
            IpAddr::V4(address) => format!("addr add {address}/32 dev eth0"),
            // Without duplicate detection the address can be used at once.
            IpAddr::V6(address) => format!("addr add {address}/128 dev eth0 nodad"),
        }));
        commands.push("link set eth0 up".to_owned());
        if addresses.iter().any(IpAddr::is_ipv4) {
            commands.push("route add 0.0.0.0/0 dev eth0".to_owned());
        }
        if addresses.iter().any(IpAddr::is_ipv6) {
            commands.push("route add ::/0 dev eth0".to_owned());
        }
        namespace.ip(&commands);
        Pod {
            inner: Arc::new(PodInner {
                name: name.to_owned(),
                addresses: addresses.to_vec(),
                namespace,
                hosts,
                directory,
                _bridge: Arc::clone(&self.bridge),
            }),
        }
    }
}

/// A network namespace with addresses, `/etc/hosts` and a directory of its own. Cheap to clone; the last clone ends it.
#[derive(Clone)]
pub struct Pod {
    inner: Arc<PodInner>,
}

struct PodInner {
    name: String,
    addresses: Vec<IpAddr>,
    namespace: Namespace,
    hosts: PathBuf,
    directory: TempDir,
    _bridge: Arc<Namespace>,
}

impl Pod {
    /// The pod's name, for messages.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The pod's first address.
    pub fn ip(&self) -> IpAddr {
        *self.inner.addresses.first().expect("a pod has an address")
    }

    /// The pod's first IPv6 address.
    pub fn ipv6(&self) -> IpAddr {
        *self.inner.addresses.iter().find(|address| address.is_ipv6()).expect("the pod has an IPv6 address")
    }

    /// All addresses of the pod.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.inner.addresses
    }

    /// A directory that lives as long as the pod and that every user may enter.
    pub fn directory(&self) -> &std::path::Path {
        self.inner.directory.path()
    }

    /// Adds names to the pod's `/etc/hosts`.
    pub fn hosts(&self, entries: &[(&str, &str)]) {
        let mut file =
            fs::OpenOptions::new().append(true).open(&self.inner.hosts).expect("the pod's hosts file is ours");
        for (address, name) in entries {
            writeln!(file, "{address} {name}").expect("the pod's hosts file is writable");
        }
    }

    /// Runs a closure on the pod's own thread, inside its namespaces. It must not wait for anything long.
    pub fn enter<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.inner.namespace.run(job)
    }

    /// Runs a program inside the pod to its end.
    pub fn run(&self, mut command: Command) -> Output {
        let program = command.get_program().to_owned();
        self.enter(move || command.output())
            .unwrap_or_else(|why| panic!("{}: {program:?} does not run: {why}", self.name()))
    }

    /// Connects from the pod.
    ///
    /// # Errors
    /// Those of `connect`; a refusal is often what a test wants to see.
    pub async fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = self.socket(to.ip());
        let stream = crate::within(
            &format!("{}: connecting to {to}", self.name()),
            TcpSocket::from_std_stream(socket.into()).connect(to),
        )
        .await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Listens in the pod. Ports are the pod's own, so tests use those of the documents.
    pub fn listen(&self, at: SocketAddr) -> TcpListener {
        let listen = || {
            let socket = self.socket(at.ip());
            socket.set_reuse_address(true)?;
            if at.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.bind(&at.into())?;
            socket.listen(1024)?;
            TcpListener::from_std(socket.into())
        };
        // A program that another test starts at this very moment holds a copy of every socket between fork and exec,
        // also of one that was closed meanwhile.
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(2);
        loop {
            match listen() {
                Ok(listener) => return listener,
                Err(why) if why.kind() == std::io::ErrorKind::AddrInUse && std::time::Instant::now() < patience => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Err(why) => panic!("{}: cannot listen at {at}: {why}", self.name()),
            }
        }
    }

    /// Lets the pod reach a port of the machine's loopback address under the same address, for as long as the test's
    /// runtime lives.
    pub fn bring_in(&self, at: SocketAddr) {
        let listener = self.listen(at);
        tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Refused out there is closed in here.
                    let Ok(mut outside) = TcpStream::connect(at).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                });
            }
        });
    }

    fn socket(&self, family: IpAddr) -> Socket {
        let domain = if family.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        // The thread's namespace at this moment is the socket's for life.
        let socket = self
            .enter(move || Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None))
            .expect("a socket can be made");
        socket.set_tcp_nodelay(true).expect("TCP sockets have this option");
        socket
    }
}
