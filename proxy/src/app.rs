//! Builds every part in order and runs them: the admin runtime on the main thread, data workers on their own.

mod listeners;

use crate::admin::{self, AdminState, Listeners, Readiness, probes::ProbeKind};
use crate::config::cache::Cache;
use crate::config::compile::Environment;
use crate::config::snapshot::Snapshot;
use crate::config::source::{self, Source};
use crate::config::store::Store;
use crate::dns::{self, Names};
use crate::gateway::EgressGateway;
use crate::limits;
use crate::listen;
use crate::options::{Options, RuntimeFlavor};
use crate::policy::budget::{Allowance, REPLAY_BYTES};
use crate::runtime;
use crate::runtime::drain::{Drain, Phase};
use crate::runtime::workers::{Scheduling, Workers};
use crate::shared::Proxy;
use crate::telemetry::build::VERSION;
use crate::telemetry::export::{self, Export, Origin};
use crate::telemetry::log;
use crate::telemetry::workload::Workload;
use crate::telemetry::{Direction, Telemetry};
use anyhow::Context;
use listeners::DataListeners;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The proxy, ready to run.
pub struct App {
    options: Options,
    proxy: Arc<Proxy>,
    workers: Workers,
    admin: Arc<AdminState>,
    gateway: Option<Arc<EgressGateway>>,
    /// That of fsm-control's stream.
    cache: Option<Arc<Cache>>,
    stop: CancellationToken,
}

impl App {
    /// Builds every part; opens nothing yet.
    ///
    /// # Errors
    /// When the log, the workers or the cache directory cannot be had.
    pub fn build(options: Options) -> anyhow::Result<Self> {
        let log = log::install(options.log_level, options.log_format)?;
        let telemetry = Arc::new(Telemetry::new());
        count_panics(Arc::clone(&telemetry));
        raise_descriptor_limit();
        let scheduling = match options.runtime {
            RuntimeFlavor::WorkStealing => Scheduling::WorkStealing,
            RuntimeFlavor::PerCore => Scheduling::PerCore,
        };
        let workers = Workers::start(options.worker_threads(), scheduling)?;
        let environment = Environment { mark: options.upstream_mark, identity: None };
        let mut store = Store::new(Arc::clone(&telemetry)).with_environment(environment);
        let mut cache = open_cache(&options);
        if matches!(options.source, Source::Repo(_))
            && let Some(cache) = cache.take()
        {
            store = store.with_cache(cache);
        }
        let store = Arc::new(store);
        let workload = Workload::from_environment();
        let proxy = Arc::new(Proxy {
            store: Arc::clone(&store),
            telemetry: Arc::clone(&telemetry),
            drain: Drain::new(),
            stats_header: workload.stats_header(),
            stats_request_headers: workload.stats_request_headers(),
            replay: Arc::new(Allowance::new(REPLAY_BYTES)),
        });
        let admin = Arc::new(AdminState {
            store,
            telemetry,
            workload: Arc::new(workload),
            readiness: Arc::new(Readiness::new()),
            listeners: Arc::new(Listeners::default()),
            log,
            drain: CancellationToken::new(),
            quit: CancellationToken::new(),
        });
        let gateway = options.gateway.as_ref().map(|gateway| EgressGateway::new(gateway, options.upstream_mark));
        let gateway = gateway.transpose().context("cannot start the egress gateway")?.map(Arc::new);
        if let Some(gateway) = &gateway {
            let _ = proxy.telemetry.gateway.set((gateway.mode(), Arc::clone(gateway.counters())));
        }
        let cache = cache.map(Arc::new);
        Ok(Self { options, proxy, workers, admin, gateway, cache, stop: CancellationToken::new() })
    }

    /// Runs until the end has come: SIGTERM and all connections done, or SIGINT, or `/quitquitquit`.
    ///
    /// # Errors
    /// When an admin port cannot be opened or signals cannot be had.
    pub fn run(self) -> anyhow::Result<()> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().on_thread_start(runtime::step_back).build()?;
        runtime.block_on(self.run_until_the_end())
    }

    async fn run_until_the_end(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        self.open_admin_ports()?;
        let names = Arc::new(Names::of_pod(Arc::clone(&self.proxy.store), self.options.upstream_mark));
        for address in &self.options.dns_listen {
            self.answer_names(&names, *address)?;
        }
        for note in &self.options.notes {
            tracing::warn!("{note}");
        }
        tracing::info!(
            "fsm-proxy {} started: {} data worker(s), configuration from {}",
            VERSION,
            self.options.worker_threads(),
            self.options.source,
        );
        let follow = source::run(
            self.options.source.clone(),
            Arc::clone(&self.proxy.store),
            Arc::clone(&self.proxy.telemetry),
            self.cache.clone(),
            self.stop.clone(),
        );
        let origin = Origin::from_environment(self.options.upstream_mark);
        let mut exports = JoinSet::new();
        for kind in [Export::Spans, Export::Logs] {
            let (telemetry, origin, stop) = (Arc::clone(&self.proxy.telemetry), origin.clone(), self.stop.clone());
            exports.spawn(export::send(kind, telemetry, origin, stop));
        }
        let data = DataListeners::new(&self.options, Arc::clone(&self.proxy));
        let gateway_stop = self.stop.child_token();
        if let (Some(gateway), Some(options)) = (&self.gateway, &self.options.gateway) {
            let listeners = &self.admin.listeners;
            data.open_gateway(gateway, &options.listen, &self.workers, listeners, &gateway_stop)?;
        }
        tokio::select! {
            () = follow => {}
            () = self.follow_configuration(&data, &names) => {}
            () = self.sweep_pools() => {}
            () = self.free_retired() => {}
            _ = interrupt.recv() => tracing::info!("interrupted: ending at once"),
            () = self.admin.quit.cancelled() => tracing::info!("asked to quit: ending at once"),
            () = self.end_asked_for(&mut terminate) => {
                tokio::select! {
                    () = self.drain(&data, &gateway_stop) => {}
                    _ = interrupt.recv() => tracing::info!("interrupted: ending at once"),
                    () = self.admin.quit.cancelled() => tracing::info!("asked to quit: ending at once"),
                }
            }
        }
        self.stop.cancel();
        let _ = timeout(limits::EXPORT_LAST_WORD, exports.join_all()).await;
        if let Some(gateway) = &self.gateway {
            gateway.flush();
        }
        self.proxy.telemetry.observers.access_log.flush(Duration::from_secs(1));
        self.admin.log.flush(Duration::from_secs(1));
        self.workers.stop();
        Ok(())
    }

    async fn end_asked_for(&self, terminate: &mut tokio::signal::unix::Signal) {
        tokio::select! {
            _ = terminate.recv() => {}
            () = self.admin.drain.cancelled() => {}
        }
    }

    /// Opens and closes data and probe ports as the configuration asks, and tells `/ready` about it.
    async fn follow_configuration(&self, data: &DataListeners, names: &Arc<Names>) {
        let mut generations = self.proxy.store.subscribe();
        let mut probes: Vec<ProbeKind> = Vec::new();
        let mut answers_pipy = !self.options.dns_listen.is_empty();
        loop {
            let complete = match self.proxy.store.snapshot() {
                None => true,
                Some(snapshot) => {
                    // FSM 1.3.0 to 1.3.8 redirect a pod's questions without a word to the sidecar.
                    if !answers_pipy && snapshot.document.spec.local_dns_proxy.is_some() {
                        answers_pipy = true;
                        if let Err(error) = self.answer_names(names, dns::PIPY_ADDRESS) {
                            tracing::error!("{error:#}; the application's names are not answered");
                        }
                    }
                    self.put_in_place(&snapshot, data, &mut probes)
                }
            };
            let retry = async {
                if complete {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            };
            tokio::select! {
                changed = generations.changed() => if changed.is_err() { return },
                () = retry => {}
            }
        }
    }

    /// Whether everything that the snapshot wants is in place.
    fn put_in_place(&self, snapshot: &Snapshot, data: &DataListeners, probes: &mut Vec<ProbeKind>) -> bool {
        let outbound = snapshot.document.outbound.is_some() || snapshot.settings.egress_passthrough;
        let opened = [
            data.want(Direction::Inbound, snapshot.inbound.is_some(), &self.workers, &self.admin.listeners),
            data.want(Direction::Outbound, outbound, &self.workers, &self.admin.listeners),
        ];
        if snapshot.observe.access_log.is_some()
            && let Err(error) = self.proxy.telemetry.observers.access_log.start()
        {
            tracing::error!("there is no access log: its thread cannot be started: {error}");
        }
        for kind in ProbeKind::ALL {
            if kind.is_wanted(&snapshot.document) && !probes.contains(&kind) {
                self.open_probe_port(kind);
                probes.push(kind);
            }
        }
        let level = &snapshot.document.spec.sidecar_log_level;
        if !self.options.log_level_pinned
            && !level.is_empty()
            && let Err(error) = self.admin.log.set(level)
        {
            tracing::warn!("Spec.SidecarLogLevel: {error}; the level stays {}", self.admin.log.get());
        }
        let complete = opened.iter().all(|opened| *opened);
        let identity = snapshot.identity.is_some() || snapshot.document.certificate.is_none();
        self.admin.readiness.set_identity(identity);
        self.admin.readiness.set_listeners(complete);
        self.admin.readiness.set_config(true);
        complete
    }

    fn open_admin_ports(&self) -> anyhow::Result<()> {
        let options = &self.options;
        let legacy = options.admin_port.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        for address in options.admin_listen.iter().copied().chain(legacy) {
            if let Some(listener) = self.bind("admin", address)? {
                tokio::spawn(admin::serve(listener, Arc::clone(&self.admin), self.stop.clone()));
            }
        }
        for address in &options.prometheus_listen {
            if let Some(listener) = self.bind("inbound-prometheus-listener", *address)? {
                tokio::spawn(admin::prometheus::serve(listener, Arc::clone(&self.admin), self.stop.clone()));
            }
        }
        Ok(())
    }

    /// Answers questions about names at an address.
    fn answer_names(&self, names: &Arc<Names>, address: SocketAddr) -> anyhow::Result<()> {
        let socket = match std::net::UdpSocket::bind(address) {
            Ok(socket) => socket,
            // The IPv6 twin of an IPv4 address.
            Err(error) if address.is_ipv6() && error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => return Ok(()),
            Err(error) => return Err(error).context(format!("cannot answer names at {address}")),
        };
        socket.set_nonblocking(true)?;
        self.admin.listeners.opened("dns-listener", socket.local_addr()?);
        let (names, stop) = (Arc::clone(names), self.stop.clone());
        tokio::spawn(async move {
            if let Err(error) = names.serve(socket, stop).await {
                tracing::error!("names are not answered any more at {address}: {error}");
            }
        });
        Ok(())
    }

    fn open_probe_port(&self, kind: ProbeKind) {
        for address in &self.options.probe_listen_address {
            let address = SocketAddr::new(*address, kind.port());
            match self.bind("probe", address) {
                Ok(Some(listener)) => {
                    let store = Arc::clone(&self.proxy.store);
                    let telemetry = Arc::clone(&self.proxy.telemetry);
                    tokio::spawn(admin::probes::serve_probes(listener, kind, store, telemetry, self.stop.clone()));
                }
                Ok(None) => {}
                Err(error) => tracing::error!("{error:#}; probes of this kind will fail"),
            }
        }
    }

    /// Binds an address; `None` when the machine has no such address family, which is fine for the IPv6 twin of an
    /// IPv4 address.
    fn bind(&self, name: &str, address: SocketAddr) -> anyhow::Result<Option<tokio::net::TcpListener>> {
        match listen::bind(address, false) {
            Ok(listener) => {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                self.admin.listeners.opened(name, listener.local_addr()?);
                Ok(Some(listener))
            }
            Err(error) if address.is_ipv6() && error.address_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Closes upstream connections that have been idle for too long, also of endpoints that get no traffic.
    async fn sweep_pools(&self) {
        loop {
            tokio::time::sleep(limits::POOL_IDLE_TIMEOUT / 6).await;
            if let Some(snapshot) = self.proxy.store.snapshot() {
                snapshot.clusters.iter().for_each(|cluster| cluster.sweep());
            }
        }
    }

    /// Frees what was in force before, on a thread of its own.
    async fn free_retired(&self) {
        let store = &self.proxy.store;
        let mut generations = store.subscribe();
        let mut more = false;
        loop {
            let look_again = async {
                match more {
                    true => tokio::time::sleep(limits::RETIRED_LOOK).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = generations.changed() => if changed.is_err() { return },
                () = look_again => {}
            }
            let retired;
            (retired, more) = store.take_retired();
            if !retired.is_empty() {
                let _ = tokio::task::spawn_blocking(move || drop(retired)).await;
            }
        }
    }

    /// The end, as `runtime::drain` describes it.
    async fn drain(&self, data: &DataListeners, gateway: &CancellationToken) {
        let deadline = Instant::now() + self.options.drain_max;
        tracing::info!(
            "draining: not ready any more, still accepting for {:?}, cut off after {:?}",
            self.options.drain_min,
            self.options.drain_max,
        );
        self.admin.readiness.begin_draining();
        self.proxy.drain.advance(Phase::Draining);
        tokio::time::sleep(self.options.drain_min.min(self.options.drain_max)).await;
        data.close(Direction::Inbound, &self.admin.listeners);
        gateway.cancel();
        self.proxy.drain.advance(Phase::Closing);
        // The application may still be calling others while it ends: outbound stays open until all is quiet.
        while self.open_connections() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        match self.open_connections() {
            0 => tracing::info!("drained: no connection is left"),
            left => tracing::warn!("drained: {left} connection(s) were still open and are cut off"),
        }
    }

    fn open_connections(&self) -> i64 {
        let active = |direction| self.proxy.telemetry.direction(direction).connections_active.get();
        Direction::ALL.into_iter().map(active).sum()
    }
}

/// The cache that was asked for. Without one a restart during an outage of the controller has no network; without a proxy
/// nobody has.
fn open_cache(options: &Options) -> Option<Cache> {
    let (directory, owner) = (options.cache_dir.as_ref()?, options.source.cache_owner()?);
    let cache = Cache::open(directory, &owner);
    cache.inspect_err(|error| tracing::warn!("going on without a cache: {error}")).ok()
}

/// A panic ends the task it happens in and nothing else; it is a defect, so it is counted and logged loudly.
fn count_panics(telemetry: Arc<Telemetry>) {
    std::panic::set_hook(Box::new(move |panic| {
        telemetry.panics.increment();
        tracing::error!("panic (please report it): {panic}");
    }));
}

/// Every connection costs two descriptors; the usual soft limit of 1,024 would be reached by 500.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!("cannot raise the limit of open files from {soft} to {hard}: {error}");
    }
}
