//! Network namespaces, addresses, names and processes of a local mesh.
//!
//! ```text
//!   pod a (netns, /32)      pod b (netns, /32)        the machine's own network
//!        | veth                  | veth                     |
//!   +----+-----------------------+----+                     |
//!   | node (netns)                    |   sockets only:     |
//!   |  a route to each pod            |   connect, listen,  |
//!   |  Services: conntrack DNAT       | <- DNS forwarding,  |
//!   |  DNS on 10.96.0.10              |   uplink relay      |
//!   +---------------------------------+                     |
//! ```
//!
//! * Every packet of a pod goes to its gateway, 169.254.1.1, which is the node: it routes to the other pods and rewrites
//!   Service addresses. Neighbour entries are fixed, so nothing is learned and nothing is late.
//! * A container is a process in its pod's network, with a mount namespace (its own `/etc/resolv.conf`, `/etc/hosts`,
//!   mounts) and a process namespace of its own. It is process 1 there: when it ends, the kernel ends whatever else it
//!   has started, as in Kubernetes.
//! * Nothing has a name outside: no namespace is bound to a file, no link, rule, mount or setting is made in the
//!   machine's own namespaces. The kernel frees everything when the last process and the last descriptor are gone, and
//!   containers die with the thread that started them (`PR_SET_PDEATHSIG`), also after `kill -9` of the program. A mark
//!   in the environment of each container lets [`Node::destroy`] end what should have survived that.
//! * Without root the program calls [`rootless::enter`] first: all this works in a user namespace too.
//!
//! The functions that are not `async` take some milliseconds (they run `ip` and `iptables-restore`, or start a process)
//! and must not be called where that matters: use `spawn_blocking`.
//!
//! What it does not do: cgroups, image layers, seccomp. A container sees the machine's files and, as root, may change
//! them; only network, processes, hostname and mounts are its own.

pub mod address;
mod container;
pub mod dns;
mod error;
mod ip;
mod mounts;
mod place;
mod pod;
mod process;
mod record;
mod resident;
pub mod rootless;
pub mod services;
mod sys;
mod uplink;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::net::TcpStream;

pub use container::{
    Container, ContainerProcess, Exec, ExecIo, ExecRequest, Limits, Mount, Output, SIDECAR_USER, User,
};
pub use dns::{NameData, NameRecord};
pub use error::NodeError;
pub use pod::{PodNamespace, PodNetwork};
pub use services::{Protocol, ServiceRule};

use address::AddressPool;
use dns::Zone;
use place::Place;
use record::Record;
use resident::Server;
use services::Firewall;

/// The gateway of every pod: link-local, so that no address of a pod is spent on it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// How to make a node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Name of the mesh, for messages and thread names.
    pub name: String,
    /// A directory that exists; the node keeps its files in `node/` below it.
    pub state_dir: PathBuf,
    /// Addresses of pods; the first is the node's own. At least a /29.
    pub pod_cidr: Ipv4Net,
    /// Addresses of Services; the tenth is the DNS server's. At least a /28.
    pub service_cidr: Ipv4Net,
    /// The last part of all names, without a dot at either end.
    pub cluster_domain: String,
    /// Whether pods reach the outside: TCP (relayed by this program, as this program) and names. Off: neither.
    pub uplink: bool,
}

impl NodeOptions {
    /// The usual ranges of Kubernetes, `cluster.local`, no way out.
    pub fn new(name: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        let net = |a, b, prefix| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), prefix);
        Self {
            name: name.into(),
            state_dir: state_dir.into(),
            pod_cidr: net(10, 244, 16),
            service_cidr: net(10, 96, 16),
            cluster_domain: "cluster.local".to_owned(),
            uplink: false,
        }
    }
}

/// Which pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl PodKey {
    /// A pod by namespace and name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The machine's half of a mesh. Cheap to clone; the last clone ends it with all its pods, as [`Node::close`] does.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    options: NodeOptions,
    directory: PathBuf,
    record: Record,
    /// The machine's own network, where this program was when it made the node.
    place: Place,
    address: Ipv4Addr,
    dns_address: Ipv4Addr,
    firewall: Firewall,
    zone: Arc<RwLock<Zone>>,
    pods: Mutex<Pods>,
    /// Containers of the node's own network ([`Node::spawn`]).
    own: Mutex<Vec<Container>>,
    _server: Server,
}

struct Pods {
    addresses: AddressPool,
    links: u64,
    by_key: BTreeMap<PodKey, PodNamespace>,
}

impl Node {
    /// Makes the node's network with its DNS server and no pods.
    ///
    /// # Errors
    ///
    /// [`NodeError::Permission`] without the needed rights (call [`rootless::enter`] first), [`NodeError::Tool`] if `ip`
    /// or `iptables-restore` is missing or fails, [`NodeError::InUse`] if another live process has a node there. Nothing
    /// is left behind then. What a dead process has left there is removed first.
    pub fn create(options: NodeOptions) -> Result<Self, NodeError> {
        let plan = address::Plan::new(options.pod_cidr, options.service_cidr)?;
        dns::check_domain(&options.cluster_domain)?;
        Self::destroy(&options.state_dir)?;
        let record = Record::create(&options.state_dir)?;
        let directory = record::directory(&options.state_dir);
        let made = Self::build(options, plan, record.clone(), directory);
        if made.is_err() {
            record.remove();
        }
        made
    }

    fn build(options: NodeOptions, plan: address::Plan, record: Record, directory: PathBuf) -> Result<Self, NodeError> {
        let place = Place::new_network("the node")?;
        ip::set_up_node(&place, &plan)?;
        let uplink = match options.uplink {
            true => Some(uplink::Uplink::bind(&place, plan.node)?),
            false => None,
        };
        let firewall = Firewall::find(place.clone(), plan.clone(), uplink.as_ref().map(uplink::Uplink::address))?;
        let zone = Arc::new(RwLock::new(Zone::new(&options.cluster_domain, Vec::new())));
        let sockets = dns::Sockets::bind(&place, SocketAddrV4::new(plan.dns, 53))?;
        let resolver = options.uplink.then(dns::Forwarder::of_machine);
        let server = Server::start(&options.name, sockets, Arc::clone(&zone), resolver, uplink)?;
        let addresses = AddressPool::new(plan.pods, &[plan.node]);
        Ok(Self {
            inner: Arc::new(Inner {
                options,
                directory,
                record,
                place,
                address: plan.node,
                dns_address: plan.dns,
                firewall,
                zone,
                pods: Mutex::new(Pods { addresses, links: 0, by_key: BTreeMap::new() }),
                own: Mutex::default(),
                _server: server,
            }),
        })
    }

    /// Removes what a node that was made with this state directory has left, its creator being dead: processes first,
    /// then files; namespaces, links and rules end with the processes. No error if there is nothing.
    ///
    /// Works from outside of the user namespace of a node without root, for the same user.
    ///
    /// # Errors
    ///
    /// [`NodeError::InUse`] if the creator still runs (also if that is this process): end it, or close the node.
    /// [`NodeError::Stubborn`] if a process does not die. [`NodeError::File`] if a file cannot be removed.
    pub fn destroy(state_dir: &Path) -> Result<(), NodeError> {
        record::destroy(state_dir)
    }

    /// Ends all containers and the DNS server, and removes the node's files. Waits until the processes are gone.
    /// Handles of pods and containers that the caller still has are of no use afterwards.
    pub fn close(&self) {
        self.inner.close();
    }

    /// What the node was made with.
    pub fn options(&self) -> &NodeOptions {
        &self.inner.options
    }

    /// The node's own address, from which it connects to pods, and where pods reach programs of [`Node::spawn`] and
    /// sockets of [`Node::listen`].
    pub fn address(&self) -> Ipv4Addr {
        self.inner.address
    }

    /// The DNS server's address, a Service address.
    pub fn dns_address(&self) -> Ipv4Addr {
        self.inner.dns_address
    }

    /// Makes a pod: its namespaces, address and link. It is empty: nothing runs in it.
    ///
    /// # Errors
    ///
    /// [`NodeError::PodExists`], [`NodeError::Address`] if the address is taken, outside of the range, or none is left;
    /// [`NodeError::Tool`], [`NodeError::Kernel`]. Nothing of the pod is left then.
    pub fn add_pod(&self, network: PodNetwork) -> Result<PodNamespace, NodeError> {
        self.inner.add_pod(network)
    }

    /// The pod, if it is there.
    pub fn pod(&self, key: &PodKey) -> Option<PodNamespace> {
        self.inner.pods().by_key.get(key).cloned()
    }

    /// All pods, by namespace and name.
    pub fn pods(&self) -> Vec<PodNamespace> {
        self.inner.pods().by_key.values().cloned().collect()
    }

    /// Ends what runs in the pod (SIGKILL) and removes it; no error if it is not there. Its address may be given to
    /// another pod, but those that were never used come first.
    ///
    /// # Errors
    ///
    /// [`NodeError::Tool`] if `ip` fails; the pod is gone all the same, only its link may live on until the node ends.
    pub fn remove_pod(&self, key: &PodKey) -> Result<(), NodeError> {
        self.inner.remove_pod(key)
    }

    /// Replaces all Services at once. Connections that exist go on, also to endpoints that are no longer listed; new
    /// ones are spread evenly at random. A Service without endpoints refuses connections.
    ///
    /// # Errors
    ///
    /// [`NodeError::Address`] for a Service outside of the service range or at the DNS server's address;
    /// [`NodeError::Tool`] if `iptables-restore` fails. The rules are then as they were.
    pub fn set_services(&self, services: &[ServiceRule]) -> Result<(), NodeError> {
        self.inner.firewall.set(services)
    }

    /// Replaces all names at once. Names that no DNS name can be are left out and returned.
    pub fn set_names(&self, records: Vec<NameRecord>) -> Vec<NameRecord> {
        let mut zone = Zone::new(&self.inner.options.cluster_domain, records);
        let refused = zone.take_refused();
        *self.inner.zone.write().unwrap_or_else(PoisonError::into_inner) = zone;
        refused
    }

    /// Starts a program in the node's own network, such as fsm-control: pods reach it at [`Node::address`]. It ends with
    /// the node, or when its handle is told so.
    ///
    /// # Errors
    ///
    /// [`NodeError::Start`], [`NodeError::Mount`].
    pub fn spawn(&self, process: ContainerProcess) -> Result<Container, NodeError> {
        let inner = &self.inner;
        let files = pod::PodFiles::of_node(&inner.directory, inner)?;
        let container = container::start(&inner.place, &files, &inner.record, process)?;
        let mut own = inner.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|one| one.ended().is_none());
        own.push(container.clone());
        Ok(container)
    }

    /// Connects to a pod (or a Service) from the node, as the kubelet would.
    ///
    /// # Errors
    ///
    /// Those of `connect`, and [`io::ErrorKind::TimedOut`] after `deadline`.
    pub async fn connect(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        self.inner.place.connect(to, deadline).await
    }

    /// Listens in the node's network; port 0 takes a free one. The socket does not block.
    ///
    /// # Errors
    ///
    /// Those of `bind` and `listen`.
    pub fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        self.inner.place.listen(at)
    }

    /// Runs a closure on a thread inside the node's network. It must start no threads.
    ///
    /// # Errors
    ///
    /// [`NodeError::Kernel`] if the thread cannot get there.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T, NodeError> {
        self.inner.place.run(job)
    }

    /// Whether containers can run as the sidecar's user (1500) and others. Where not, all run as the one user there is,
    /// and the proxy's traffic has to be recognised by its mark.
    pub fn can_switch_users(&self) -> bool {
        rootless::maps_user(SIDECAR_USER)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.inner.options.name).finish_non_exhaustive()
    }
}

impl Inner {
    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_pod(self: &Arc<Self>, network: PodNetwork) -> Result<PodNamespace, NodeError> {
        network.check()?;
        let (address, link) = {
            let mut pods = self.pods();
            if pods.by_key.contains_key(&network.key) {
                return Err(NodeError::PodExists { pod: network.key.clone() });
            }
            let address = pods.addresses.take(network.address)?;
            pods.links += 1;
            (address, format!("pod{}", pods.links))
        };
        // Not under the lock: making many pods at once is the usual start of a mesh.
        let made = pod::make(self, network, address, link);
        let mut pods = self.pods();
        match made {
            Ok(pod) if !pods.by_key.contains_key(pod.key()) => {
                pods.by_key.insert(pod.key().clone(), pod.clone());
                Ok(pod)
            }
            Ok(pod) => {
                drop(pods);
                self.discard(&pod)?;
                Err(NodeError::PodExists { pod: pod.key().clone() })
            }
            Err(why) => {
                pods.addresses.give_back(address);
                Err(why)
            }
        }
    }

    fn remove_pod(&self, key: &PodKey) -> Result<(), NodeError> {
        let Some(pod) = self.pods().by_key.remove(key) else { return Ok(()) };
        self.discard(&pod)
    }

    fn discard(&self, pod: &PodNamespace) -> Result<(), NodeError> {
        pod.end();
        let unlinked = ip::remove_link(&self.place, pod.link());
        self.pods().addresses.give_back(pod.address());
        unlinked
    }

    fn close(&self) {
        let pods = std::mem::take(&mut self.pods().by_key);
        // All at once first, so that the wait for one is the wait for all.
        let own = std::mem::take(&mut *self.own.lock().unwrap_or_else(PoisonError::into_inner));
        own.iter().for_each(|one| {
            one.kill();
        });
        pods.values().for_each(PodNamespace::kill);
        own.iter().for_each(Container::wait_blocking);
        pods.values().for_each(PodNamespace::end);
        self.record.remove();
    }

    /// Whom DNS answers for, to be written to a pod's `/etc/resolv.conf`.
    fn resolver(&self, namespace: Option<&str>) -> String {
        dns::resolver_file(IpAddr::V4(self.dns_address), namespace, &self.options.cluster_domain)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
