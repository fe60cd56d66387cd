//! Pods: a network, a hostname, two files, and the containers in it.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::net::TcpStream;

use super::container::{self, Container, ContainerProcess, Mount};
use super::place::Place;
use super::{Inner, NodeError, PodKey, ip};

/// The longest hostname that Linux takes and DNS allows as a label.
const LONGEST_HOSTNAME: usize = 63;

/// A pod to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNetwork {
    /// Which pod.
    pub key: PodKey,
    /// Its address; `None`: the next free one.
    pub address: Option<Ipv4Addr>,
    /// What `hostname` says, and the name of its own address in `/etc/hosts`.
    pub hostname: String,
    /// Other names of its own address in `/etc/hosts`, as the full one of a pod with a subdomain.
    pub names: Vec<String>,
    /// More lines of `/etc/hosts` (`hostAliases`).
    pub hosts: Vec<(IpAddr, Vec<String>)>,
}

impl PodNetwork {
    /// A pod with the next free address and its name as hostname.
    pub fn new(key: PodKey) -> Self {
        let mut hostname: String = key.name.chars().take(LONGEST_HOSTNAME).collect();
        while hostname.ends_with(['-', '.']) {
            hostname.pop();
        }
        Self { key, address: None, hostname, names: Vec::new(), hosts: Vec::new() }
    }

    pub(super) fn check(&self) -> Result<(), NodeError> {
        let refuse = |value: &str, why: &str| {
            let why = format!("{why} (pod {})", self.key);
            Err(NodeError::Setting { what: "the hostname", value: value.to_owned(), why })
        };
        if self.hostname.len() > LONGEST_HOSTNAME {
            return refuse(&self.hostname, "is longer than 63 characters");
        }
        let names = std::iter::once(&self.hostname).chain(&self.names);
        for name in names.chain(self.hosts.iter().flat_map(|(_, names)| names)) {
            // They become words of a line.
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if name.is_empty() || !name.chars().all(legal) {
                return refuse(name, "may have letters, digits, `-` and `.` only");
            }
        }
        Ok(())
    }
}

/// A pod on the node. Cheap to clone; it ends with [`super::Node::remove_pod`] or the node.
#[derive(Clone)]
pub struct PodNamespace {
    inner: Arc<PodInner>,
}

struct PodInner {
    key: PodKey,
    address: Ipv4Addr,
    link: String,
    place: Place,
    files: PodFiles,
    /// `None` when the pod has been removed.
    containers: Mutex<Option<Vec<Container>>>,
    node: Weak<Inner>,
}

/// Makes the namespaces, files and link of a pod whose address is reserved.
pub(super) fn make(
    node: &Arc<Inner>,
    network: PodNetwork,
    address: Ipv4Addr,
    link: String,
) -> Result<PodNamespace, NodeError> {
    let files = PodFiles::of_pod(node, &network, address, &link)?;
    let made = Place::new_pod(&format!("pod {}", network.key), &network.hostname).and_then(|place| {
        ip::set_up_pod(&node.place, &place, &place.network_file(), &link, address)?;
        Ok(place)
    });
    match made {
        Ok(place) => Ok(PodNamespace {
            inner: Arc::new(PodInner {
                key: network.key,
                address,
                link,
                place,
                files,
                containers: Mutex::new(Some(Vec::new())),
                node: Arc::downgrade(node),
            }),
        }),
        Err(why) => {
            files.remove();
            Err(why)
        }
    }
}

impl PodNamespace {
    /// Which pod.
    pub fn key(&self) -> &PodKey {
        &self.inner.key
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.inner.address
    }

    /// Starts a container.
    ///
    /// # Errors
    ///
    /// [`NodeError::Start`] if the program is not there or the pod has been removed, [`NodeError::Mount`],
    /// [`NodeError::File`] for the log.
    pub fn spawn(&self, process: ContainerProcess) -> Result<Container, NodeError> {
        let removed = || NodeError::Start {
            program: process.program.to_string_lossy().into_owned(),
            why: format!("pod {} has been removed", self.inner.key),
        };
        let Some(node) = self.inner.node.upgrade() else { return Err(removed()) };
        // Under the lock, so that a pod which is being removed gets no new container.
        let mut containers = self.containers();
        let Some(running) = containers.as_mut() else { return Err(removed()) };
        let container = container::start(&self.inner.place, &self.inner.files, &node.record, process)?;
        running.retain(|one| one.ended().is_none());
        running.push(container.clone());
        Ok(container)
    }

    /// Sends the pod's traffic through its sidecar, or no longer does, as `options` say. Harmless to repeat.
    ///
    /// # Errors
    ///
    /// [`NodeError::Redirect`].
    pub fn redirect(&self, options: &fsm_init::Options) -> Result<fsm_init::Outcome, NodeError> {
        let redirected = self.inner.place.run(|| fsm_init::run(options))?;
        redirected.map_err(|why| NodeError::Redirect { pod: self.inner.key.clone(), why: Box::new(why) })
    }

    /// Connects from inside the pod, also to its loopback address. The node's program does this, not the pod's: it is
    /// redirected only if `options` of [`PodNamespace::redirect`] tell the proxy by its user and this is another.
    ///
    /// # Errors
    ///
    /// Those of `connect`, and [`io::ErrorKind::TimedOut`] after `deadline`.
    pub async fn connect(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        self.inner.place.connect(to, deadline).await
    }

    /// Listens inside the pod; port 0 takes a free one. The socket does not block.
    ///
    /// # Errors
    ///
    /// Those of `bind` and `listen`.
    pub fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        self.inner.place.listen(at)
    }

    /// Runs a closure on a thread inside the pod's network and hostname, with the machine's files. It must start no
    /// threads.
    ///
    /// # Errors
    ///
    /// [`NodeError::Kernel`] if the thread cannot get there.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T, NodeError> {
        self.inner.place.run(job)
    }

    pub(super) fn link(&self) -> &str {
        &self.inner.link
    }

    /// Ends the containers without waiting.
    pub(super) fn kill(&self) {
        self.containers().iter().flatten().for_each(|one| {
            one.kill();
        });
    }

    /// Ends the containers for good, waits for them, and removes the pod's files.
    pub(super) fn end(&self) {
        let containers = self.containers().take().unwrap_or_default();
        containers.iter().for_each(|one| {
            one.kill();
        });
        containers.iter().for_each(Container::wait_blocking);
        self.inner.files.remove();
    }

    fn containers(&self) -> MutexGuard<'_, Option<Vec<Container>>> {
        self.inner.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for PodNamespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PodInner { key, address, .. } = &*self.inner;
        f.debug_struct("PodNamespace").field("key", key).field("address", address).finish_non_exhaustive()
    }
}

/// The files that containers of a pod see in place of the machine's.
#[derive(Debug, Clone)]
pub(super) struct PodFiles {
    directory: PathBuf,
    pub(super) hostname: String,
}

impl PodFiles {
    /// Those of programs in the node's own network.
    pub(super) fn of_node(directory: &Path, node: &Inner) -> Result<Self, NodeError> {
        let hosts = hosts_file(&[(IpAddr::V4(node.address), vec![node.options.name.clone()])]);
        Self::write(directory.join("node"), &node.options.name, &hosts, &node.resolver(None))
    }

    fn of_pod(node: &Inner, network: &PodNetwork, address: Ipv4Addr, link: &str) -> Result<Self, NodeError> {
        let mut names = network.names.clone();
        names.push(network.hostname.clone());
        let mut lines = vec![(IpAddr::V4(address), names)];
        lines.extend(network.hosts.iter().cloned());
        let resolver = node.resolver(Some(&network.key.namespace));
        // Named by the link, not by the pod: what users write is never part of a path here.
        Self::write(node.directory.join(link), &network.hostname, &hosts_file(&lines), &resolver)
    }

    fn write(directory: PathBuf, hostname: &str, hosts: &str, resolver: &str) -> Result<Self, NodeError> {
        let files = Self { directory, hostname: hostname.to_owned() };
        let staging = files.staging().to_owned();
        fs::create_dir_all(&staging).map_err(NodeError::file("make", &staging))?;
        let name = format!("{hostname}\n");
        for (file, text) in [("hosts", hosts), ("resolv.conf", resolver), ("hostname", name.as_str())] {
            let path = files.directory.join(file);
            fs::write(&path, text).map_err(NodeError::file("write", &path))?;
        }
        Ok(files)
    }

    pub(super) fn mounts(&self) -> Vec<Mount> {
        ["hosts", "resolv.conf", "hostname"]
            .map(|name| Mount {
                source: self.directory.join(name),
                target: Path::new("/etc").join(name),
                read_only: false,
            })
            .into()
    }

    pub(super) fn staging(&self) -> &Path {
        &self.directory
    }

    pub(super) fn remove(&self) {
        // Whatever stays is removed with the node's directory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn hosts_file(lines: &[(IpAddr, Vec<String>)]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    for (address, names) in lines {
        text.push_str(&format!("{address}\t{}\n", names.join("\t")));
    }
    text
}
