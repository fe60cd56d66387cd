//! A pod and its peer as network namespaces, with listeners that tell who answered.
//!
//! Namespaces have no names: each lives as long as a thread of ours is in it, so nothing stays
//! behind, whatever happens to the test. Every listener answers a connection with one line: its own
//! label and the destination the client had dialled.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, SockRef, Socket, Type};

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// Set for the process that plays the proxy: where it shall connect to.
pub(crate) const CLIENT_TARGET: &str = "FSM_INIT_TEST_CLIENT_TARGET";

pub(crate) const POD_V4: &str = "10.99.0.2";
pub(crate) const POD_V6: &str = "fd99::2";
pub(crate) const PEER_V4: &str = "10.99.0.1";
pub(crate) const PEER_V6: &str = "fd99::1";
/// The peer on the pod's second interface, `eth1`.
pub(crate) const SECOND_V4: &str = "10.98.0.1";
/// Addresses behind the peer, outside the pod's own subnet.
pub(crate) const FAR_V4: &str = "10.50.0.1";
pub(crate) const FAR_V6: &str = "fd50::1";

/// A network namespace with a thread in it that runs what it is given.
pub(crate) struct Namespace {
    jobs: Option<Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<JoinHandle<()>>,
    thread_id: i32,
}

/// A pod that fsm-init can be run in, and a peer connected to it by two interfaces.
pub(crate) struct Pod {
    pub(crate) pod: Namespace,
    pub(crate) peer: Namespace,
    listeners: Vec<Listener>,
}

/// Who opens a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Client {
    /// A socket of the test process: any user but the proxy's.
    Application,
    /// A process of this user.
    User(u32),
    /// A socket with this packet mark.
    Marked(u32),
}

struct Listener {
    socket: Socket,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (ready, entered) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            for job in queue {
                job();
            }
        });
        let thread_id = entered.recv_timeout(DEADLINE).expect("the namespace's thread");
        let namespace = Self { jobs: Some(jobs), thread: Some(thread), thread_id };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `job` in the namespace; a panic in it is a panic here.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, answer) = mpsc::channel();
        let job = Box::new(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            let _ = sender.send(result);
        });
        self.jobs.as_ref().unwrap().send(job).unwrap();
        match answer.recv().expect("the namespace's thread is gone") {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    pub(crate) fn command(&self, mut command: Command) -> Output {
        self.run(move || command.output().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Runs `ip` with these words.
    pub(crate) fn ip(&self, words: &str) {
        let mut command = Command::new("ip");
        command.args(words.split_whitespace());
        let output = self.command(command);
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a firewall command; gives its output.
    pub(crate) fn tool(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let output = self.command(command);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Pod {
    pub(crate) fn new() -> Self {
        let (pod, peer) = (Namespace::new(), Namespace::new());
        for (index, interface) in ["eth0", "eth1"].into_iter().enumerate() {
            let other = peer.thread_id;
            pod.ip(&format!("link add {interface} type veth peer name {interface} netns {other}"));
            for (namespace, host) in [(&pod, 2), (&peer, 1)] {
                let net = 99 - index;
                namespace.ip(&format!("address add 10.{net}.0.{host}/24 dev {interface}"));
                namespace.ip(&format!("address add fd{net}::{host}/64 dev {interface} nodad"));
                namespace.ip(&format!("link set {interface} up"));
            }
        }
        peer.ip(&format!("address add {FAR_V4}/32 dev lo"));
        peer.ip(&format!("address add {FAR_V6}/128 dev lo nodad"));
        pod.ip(&format!("route add default via {PEER_V4}"));
        pod.ip(&format!("-6 route add default via {PEER_V6}"));

        let mut both = Self { pod, peer, listeners: Vec::new() };
        for any in ["0.0.0.0", "::"] {
            for (port, label) in [
                (15001, "outbound"),
                (15003, "inbound"),
                (8080, "application"),
                (9000, "application"),
                (15010, "metrics"),
                (15901, "liveness"),
                (15902, "readiness"),
                (15903, "startup"),
                (15904, "tcp-probe"),
            ] {
                both.listen_in_pod(any, port, label);
            }
            for port in [80, 443, 8080, 15000] {
                let listener = Listener::start(&both.peer, any, port, "peer");
                both.listeners.push(listener);
            }
        }
        both
    }

    pub(crate) fn listen_in_pod(&mut self, address: &str, port: u16, label: &'static str) {
        let listener = Listener::start(&self.pod, address, port, label);
        self.listeners.push(listener);
    }

    /// What the pod's `client` gets when it connects there.
    pub(crate) fn pod_dials(&self, client: Client, address: &str, port: u16) -> String {
        ask(&self.pod, client, target(address, port))
    }

    /// What the peer gets when it connects there.
    pub(crate) fn peer_dials(&self, address: &str, port: u16) -> String {
        ask(&self.peer, Client::Application, target(address, port))
    }

    /// Runs fsm-init in the pod.
    pub(crate) fn try_init(&self, arguments: &[&str]) -> Output {
        self.pod.command(init_command(arguments))
    }

    /// Runs fsm-init in the pod; it must succeed. Gives what it printed to standard output.
    pub(crate) fn init(&self, arguments: &[&str]) -> String {
        let output = self.try_init(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "fsm-init {arguments:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The rules and own chains of both families, without comments, counters and the kernel's
    /// chains (nft shows those only once the table has been used).
    pub(crate) fn rules(&self, backend: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for base in ["iptables", "ip6tables"] {
            let listing = self.pod.tool(&format!("{base}-{backend}-save"));
            lines.extend(
                listing
                    .lines()
                    .filter(|line| line.starts_with("-A ") || line.contains(" - ["))
                    .map(|line| format!("{base} {}", line.split(" [").next().unwrap())),
            );
        }
        lines
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for listener in &mut self.listeners {
            // Wakes the thread that waits in accept.
            let _ = listener.socket.shutdown(std::net::Shutdown::Both);
            if let Some(thread) = listener.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl Listener {
    fn start(namespace: &Namespace, address: &str, port: u16, label: &'static str) -> Self {
        let address = target(address, port);
        let socket = namespace.run(move || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            if address.is_ipv6() {
                socket.set_only_v6(true).unwrap();
            }
            socket.set_reuse_address(true).unwrap();
            socket.bind(&address.into()).unwrap_or_else(|error| panic!("{address}: {error}"));
            socket.listen(16).unwrap();
            socket
        });
        let listener = TcpListener::from(socket.try_clone().unwrap());
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let _ = answer(stream, label);
            }
        });
        Self { socket, thread: Some(thread) }
    }
}

pub(crate) fn init_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fsm-init"));
    command.args(arguments);
    command
}

/// Connects, reads the answer to its end.
pub(crate) fn connect(target: SocketAddr, mark: Option<u32>) -> String {
    let talk = || -> std::io::Result<String> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
        if let Some(mark) = mark {
            socket.set_mark(mark)?;
        }
        socket.connect_timeout(&target.into(), DEADLINE)?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut line = String::new();
        stream.read_to_string(&mut line)?;
        Ok(line)
    };
    talk().unwrap_or_else(|error| format!("{:?}", error.kind()))
}

fn answer(mut stream: TcpStream, label: &str) -> std::io::Result<()> {
    stream.set_write_timeout(Some(DEADLINE))?;
    let original = {
        let socket = SockRef::from(&stream);
        match stream.local_addr()?.ip() {
            IpAddr::V4(_) => socket.original_dst_v4(),
            IpAddr::V6(_) => socket.original_dst_v6(),
        }
    };
    // Before fsm-init ran nothing is tracked, and there is no original destination.
    let original = original.ok().and_then(|address| address.as_socket());
    let dialled = original.map_or_else(|| stream.local_addr(), Ok)?;
    stream.write_all(format!("{label} {dialled}").as_bytes())
}

fn ask(namespace: &Namespace, client: Client, target: SocketAddr) -> String {
    match client {
        Client::Application => namespace.run(move || connect(target, None)),
        Client::Marked(mark) => namespace.run(move || connect(target, Some(mark))),
        Client::User(uid) => {
            use std::os::unix::process::CommandExt;
            // This program once more, as another user: /proc/self/exe needs no readable path.
            let mut command = Command::new("/proc/self/exe");
            command.args(["--exact", "client_process", "--ignored", "--nocapture"]);
            command.env(CLIENT_TARGET, target.to_string()).uid(uid).gid(uid);
            let output = String::from_utf8(namespace.command(command).stdout).unwrap();
            let answer = output.split('«').nth(1).and_then(|rest| rest.split('»').next());
            answer.unwrap_or_else(|| panic!("the client of user {uid} said: {output}")).to_owned()
        }
    }
}

fn target(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}
