//! The programs of a cluster's control plane, and how each is started.

use super::{Shape, lock};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;

/// The audience of service-account tokens that name none.
const ISSUER: &str = "https://kubernetes.default.svc";

/// Addresses of Services; the first is the API server's own.
pub(crate) const SERVICES: &str = "10.96.0.0/16";

/// Fields that servers of 1.20 drop without these gates; newer servers do not know all of them any more.
const GATES: &str =
    "EndpointSliceNodeName=true,EndpointSliceTerminatingCondition=true,BoundServiceAccountTokenVolume=true";

#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) peers: u16,
    pub(super) server: u16,
    pub(super) controllers: u16,
}

impl Ports {
    pub(super) fn free() -> Self {
        // All are held until the last is found, so that they differ.
        let held: Vec<std::net::TcpListener> =
            (0..4).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let port = |index: usize| held[index].local_addr().expect("it is bound").port();
        Self { etcd: port(0), peers: port(1), server: port(2), controllers: port(3) }
    }
}

pub(super) fn etcd(assets: &Path, directory: &Path, ports: Ports) -> Command {
    let clients = format!("http://127.0.0.1:{}", ports.etcd);
    let peers = format!("http://127.0.0.1:{}", ports.peers);
    let mut command = program(assets, directory, "etcd");
    command.arg("--data-dir").arg(directory.join("etcd")).arg("--unsafe-no-fsync").args(["--name", "t"]);
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    command.arg("--initial-cluster").arg(format!("t={peers}")).args(["--logger", "zap", "--log-level", "warn"]);
    command
}

pub(super) fn kube_apiserver(assets: &Path, directory: &Path, ports: Ports, shape: Shape) -> Command {
    let mut command = program(assets, directory, "kube-apiserver");
    let file = |name: &str| directory.join(name).display().to_string();
    command.args([
        format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", ports.server),
        // Must not be loopback; nobody dials it.
        "--advertise-address=10.99.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-issuer={ISSUER}"),
        format!("--api-audiences={ISSUER}"),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--authorization-mode=RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
    ]);
    if shape.has_node {
        command.args([
            format!("--egress-selector-config-file={}", file("egress.yaml")),
            format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
            format!("--kubelet-client-key={}", file("kubelet-client.key")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ]);
    }
    if is_old(assets) {
        command.arg(format!("--feature-gates={GATES}"));
    }
    command
}

pub(super) fn controllers(assets: &Path, directory: &Path, ports: Ports) -> Command {
    let mut command = program(assets, directory, "kube-controller-manager");
    let file = |name: &str| directory.join(name).display().to_string();
    command.args([
        format!("--kubeconfig={}", file("admin.kubeconfig")),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", ports.controllers),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", file("sa.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        "--controllers=*,-nodelifecycle,-nodeipam,-route,-service,-cloud-node-lifecycle".to_owned(),
    ]);
    if is_old(assets) {
        command.args(["--port=0".to_owned(), format!("--feature-gates={GATES}")]);
    }
    command
}

/// Whether the programs are of the release whose flags differ from today's.
fn is_old(assets: &Path) -> bool {
    let version = Command::new(assets.join("kube-apiserver")).arg("--version").output().expect("kube-apiserver runs");
    String::from_utf8_lossy(&version.stdout).contains("v1.20.")
}

pub(super) fn program(assets: &Path, directory: &Path, name: &str) -> Command {
    // A run that is killed leaves no processes: they die with the thread that starts them.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(assets.join(name)).current_dir(directory);
    let log = File::options().create(true).append(true).open(directory.join(format!("{name}.log"))).expect("a log");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    command
}

/// A thread that lasts as long as the process: what it starts dies with it.
pub(crate) struct Keeper {
    orders: Mutex<mpsc::Sender<(Command, mpsc::Sender<Child>)>>,
}

impl Keeper {
    pub(crate) fn start() -> Self {
        let (orders, received) = mpsc::channel::<(Command, mpsc::Sender<Child>)>();
        std::thread::spawn(move || {
            for (mut command, started) in received {
                let child = command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"));
                let _ = started.send(child);
            }
        });
        Self { orders: Mutex::new(orders) }
    }

    pub(crate) fn spawn(&self, command: Command) -> Child {
        let (started, child) = mpsc::channel();
        lock(&self.orders).send((command, started)).expect("the thread lives");
        child.recv().expect("the program starts")
    }
}
