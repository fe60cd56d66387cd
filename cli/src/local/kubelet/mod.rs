//! A node of a real cluster: the runner of pods of `fsm up`, fed by an API server. For tests and for trying things out on
//! one machine; see docs/testing-on-kubernetes.md for what it is not.
//!
//! ```text
//!   API server --watch--> follow --> roster (which pods, how far) --Action--> workload::on_node (namespaces, processes)
//!       ^                              | Order                                   |
//!       +------- write (bind, status, delete) <---------------- Report ----------+
//!       |
//!       +--CONNECT--> gateway: Services and pods, for webhooks and for kubectl logs   <--:443-- pods: the API server
//!       +--TLS------> serve: logs, exec, port-forward
//! ```
//!
//! It registers a Node, takes every pod that nobody has scheduled, and does what a kubelet does for it. Addresses are
//! those of [`crate::local::node`]: nothing outside of this process and its containers is changed, and all of it is gone
//! when the process is. When the API server is away, pods go on, and what happens to them is told when it is back.
//!
//! It never decides which pod runs where, and it honours neither resources nor affinities nor security contexts beyond
//! user and group.

mod credentials;
mod follow;
mod gateway;
mod register;
mod roster;
mod serve;
mod services;
mod write;

use super::daemon::Containers;
use super::node::{Node, NodeOptions};
use super::state::{Home, State};
use super::workload::Runtime;
use super::workload::on_node::{NodeRuntime, NodeRuntimeOptions, Prober};
use super::workload::process::Host;
use super::workload::runtime::Report;
use super::workload::tools::MachineTools;
use anyhow::{Context, Result, bail};
use follow::{Change, Object};
use ipnet::Ipv4Net;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use roster::Roster;
use std::net::{IpAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Port of the kubelet's own API, on the node's address.
const KUBELET_PORT: u16 = 10250;
/// Where pods reach the API server, on the node's address, behind the address of its Service.
const API_PORT: u16 = 6443;
/// How often tokens are looked at.
const RENEWAL: Duration = Duration::from_secs(10);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The kubeconfig file by which it reaches the API server.
    pub kubeconfig: PathBuf,
    /// Its name in the cluster.
    pub name: String,
    /// A directory for its files.
    pub state_dir: PathBuf,
    /// Addresses of Services, as the API server gives them out.
    pub service_cidr: Ipv4Net,
    /// Where the API server asks for connections into the node (HTTP CONNECT): a Unix socket to be made.
    pub egress_socket: Option<PathBuf>,
    /// A file to make when everything listens and the Node is registered.
    pub ready_file: Option<PathBuf>,
    /// Whether pods reach the outside of the machine's node.
    pub uplink: bool,
}

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// Without root, without a usable kubeconfig, or when the machine refuses what the node needs.
pub fn main(options: &Options) -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("FSM_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    if !nix::unistd::geteuid().is_root() {
        bail!("a node runs containers as the users that they name, which needs root: run it with sudo");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(run(options));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn run(options: &Options) -> Result<()> {
    let state = Home::new(Some(&options.state_dir)).mesh(&options.name)?;
    state.create()?;
    let Some(_lock) = state.lock()? else {
        bail!(
            "a node {} runs with {} already: end it, or choose another --state-dir",
            options.name,
            state.root().display()
        );
    };
    let kubeconfig = options.kubeconfig.display();
    let read = Kubeconfig::read_from(&options.kubeconfig).with_context(|| format!("cannot read {kubeconfig}"))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("{kubeconfig} names no usable cluster"))?;
    let client = Client::try_from(config.clone()).context("no client can be made")?;

    let mut settings = NodeOptions::new(&options.name, state.root());
    settings.uplink = options.uplink;
    settings.service_cidr = options.service_cidr;
    let node = tokio::task::spawn_blocking(move || Node::create(settings)).await??;
    let outcome = serve(options, &state, &node, config, client).await;
    let closing = node.clone();
    let _ = tokio::task::spawn_blocking(move || closing.close()).await;
    outcome.and_then(|()| Ok(state.remove()?))
}

async fn serve(options: &Options, state: &State, node: &Node, config: Config, client: Client) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let containers = Containers::default();
    let host = Host { name: options.name.clone(), address: IpAddr::V4(node.address()) };
    gateway::relay_api_server(node, API_PORT, &config).context("pods cannot be given the API server")?;
    if let Some(path) = &options.egress_socket {
        gateway::serve_connections(node.clone(), path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
    }
    let (seen, known) = (containers.clone(), client.clone());
    let service = serve::Service::new(node.clone(), seen, state.clone(), known, options.name.clone());
    serve::start(service, KUBELET_PORT, &config).context("the kubelet's API cannot be served")?;
    register::node(&client, &host, node.dns_address(), KUBELET_PORT).await?;

    let (changes, mut changed) = mpsc::channel(64);
    follow::start(&client, &changes);
    let (reports, mut reported) = mpsc::unbounded_channel();
    let tools = MachineTools::of_environment();
    let runtime = NodeRuntimeOptions {
        node: node.clone(),
        state: state.clone(),
        containers,
        tokens: Arc::new(credentials::ClusterTokens::new(client.clone())),
        probes: Prober::Node,
        path: tools.path(),
    };
    let mut pods = Pods {
        start: Instant::now(),
        roster: Roster::new(host, Arc::new(tools), jiff::Timestamp::now()),
        services: services::Table::new(node.clone(), SocketAddrV4::new(node.address(), API_PORT)),
        runtime: NodeRuntime::new(runtime, reports),
        writer: write::start(client, options.name.clone()),
        state: state.clone(),
    };
    if let Some(path) = &options.ready_file {
        std::fs::write(path, node.address().to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    tracing::info!(node = options.name, "the node is there");
    let mut renewal = tokio::time::interval(RENEWAL);
    loop {
        pods.advance();
        let wake = pods.wake();
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            Some(report) = reported.recv() => {
                pods.learn(&report);
                while let Ok(report) = reported.try_recv() {
                    pods.learn(&report);
                }
            }
            Some(change) = changed.recv() => {
                pods.take_in(change);
                while let Ok(change) = changed.try_recv() {
                    pods.take_in(change);
                }
            }
            _ = renewal.tick() => pods.refresh(),
            () = sleep(wake) => {}
        }
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// What the loop moves along.
struct Pods {
    start: Instant,
    roster: Roster,
    services: services::Table,
    runtime: NodeRuntime,
    writer: mpsc::UnboundedSender<roster::Order>,
    state: State,
}

impl Pods {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wake(&self) -> Option<Duration> {
        let now = self.now();
        self.roster.wake(now).map(|at| at.saturating_sub(now))
    }

    fn learn(&mut self, report: &Report) {
        let now = self.now();
        self.roster.learn(report, now);
    }

    fn take_in(&mut self, change: Change) {
        let now = self.now();
        let is_content = matches!(
            change,
            Change::Applied(Object::ConfigMap(_) | Object::Secret(_))
                | Change::Removed(Object::ConfigMap(_) | Object::Secret(_))
        );
        self.services.take_in(&change);
        self.roster.take_in(change, now);
        if is_content {
            self.roster.retry(now);
            self.refresh();
        }
    }

    fn refresh(&mut self) {
        for (pod, volumes) in self.roster.volumes() {
            self.runtime.refresh(pod, volumes);
        }
    }

    fn advance(&mut self) {
        self.services.tell_node();
        self.roster.set_service_variables(self.services.variables());
        let now = self.now();
        let actions = self.roster.step(now);
        // Before a pod of the same name begins.
        for gone in self.roster.take_gone() {
            let directory = self.state.pod(&gone.namespace, &gone.name);
            if let Err(error) = std::fs::remove_dir_all(&directory)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!("cannot remove {}: {error}", directory.display());
            }
        }
        for action in actions {
            self.runtime.begin(action);
        }
        for order in self.roster.orders() {
            // The writer ends with the process only.
            let _ = self.writer.send(order);
        }
    }
}
