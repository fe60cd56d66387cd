//! The process that keeps a local mesh going: its node, fsm-control, and the pods.
//!
//! `fsm up` starts it as `fsm daemon …` in a session of its own, with the mesh's lock as its standard input: the lock is
//! held exactly as long as the process lives. It makes the node, starts fsm-control in the node's network, runs the pods,
//! and answers commands on a socket in the state directory. SIGTERM (`fsm down`) ends everything in order and removes the
//! state directory. When it is killed, the kernel ends its containers, and with them their namespaces; what is left then is
//! files, which `fsm down` or the next `fsm up` removes.
//!
//! Without root it first moves into a user namespace of its own.

mod containers;
mod control;
pub mod programs;
mod socket;
pub(in crate::local) mod streams;
pub mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

pub use containers::Containers;

use socket::Presence;

use super::node::rootless::{self, Privilege};
use super::node::{Node, NodeOptions};
use super::state::{ProcessId, Run, State, StateError};
use super::workload::{self, RunOptions};

/// Port of fsm-control's stream, on the node's address; sidecars are injected with it.
const STREAM_PORT: u16 = fsm_api::stream::DEFAULT_PORT;
/// Port of fsm-control's admin pages, on the loopback address of the node's network.
const ADMIN_PORT: u16 = 9091;
/// How long fsm-control may take to its first readiness.
const CONTROL_START: Duration = Duration::from_secs(30);
/// Whoever started an attached daemon has to say that it is there.
const ATTACH: Duration = Duration::from_secs(30);
/// How often the state directory is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How long the pods may take to end.
const PODS_END: Duration = Duration::from_secs(10);

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The mesh; its directory is there, and its objects are written.
    pub state: State,
    /// Namespace of the mesh's own objects.
    pub fsm_namespace: String,
    /// End when the command that attached itself ends.
    pub attached: bool,
    /// Whether pods reach the outside of the machine's mesh.
    pub uplink: bool,
}

/// Runs the daemon to its end; to be called while the process has one thread.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("FSM_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            if let Ok(Some(mut run)) = options.state.run() {
                run.failure = Some(format!("{error:#}"));
                let _ = options.state.set_run(&run);
            }
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    // Away from the terminal, so that Ctrl-C there reaches the command that follows us, and not us and every pod.
    let _ = nix::unistd::setsid();
    let me = ProcessId::current().context("cannot look at /proc")?;
    let record = Record::new(options.state.clone(), Run::new(options.state.mesh(), crate::commands::VERSION, me))?;
    let control = programs::find("fsm-control")?;
    let privilege = rootless::enter()?;
    record.update(|run| run.rootless = privilege == Privilege::UserNamespace)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(options, control, record));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(options: &Options, control: PathBuf, record: Record) -> Result<()> {
    let state = &options.state;
    let lock = state.lock_identity();
    let mut settings = NodeOptions::new(state.mesh(), state.root());
    settings.uplink = options.uplink;
    let node = tokio::task::spawn_blocking(move || Node::create(settings)).await??;
    let containers = Containers::default();
    let (end, ending) = watch::channel(false);

    let control =
        control::Options { program: control, state: state.clone(), fsm_namespace: options.fsm_namespace.clone() };
    let keeping = tokio::spawn(control::keep(control.clone(), node.clone(), ending.clone(), remember(record.clone())));
    let (presence, mut present) = mpsc::channel(4);
    let listener = socket::listen(state).context("cannot make the daemon's socket")?;
    let service = socket::Service { node: node.clone(), containers: containers.clone(), presence };
    let answering = tokio::spawn(socket::serve(listener, service));

    let running = tokio::spawn(workload::run(pods_of(options, &node, &containers, &control), ending));

    let outcome = async {
        ready(&control).await?;
        record.update(|run| run.started = true)?;
        tracing::info!(mesh = state.mesh(), "the mesh is there");
        tokio::select! {
            wanted = stay(options, lock, &mut present) => wanted,
            ended = running => Err(match ended {
                Ok(Ok(())) => anyhow!("nobody runs the pods any more"),
                Ok(Err(error)) => error.into(),
                Err(error) => anyhow!("nobody runs the pods any more: {error}"),
            }),
        }
    }
    .await;

    tracing::info!("the mesh is taken down");
    end.send_replace(true);
    answering.abort();
    let _ = tokio::time::timeout(PODS_END, keeping).await;
    let closing = tokio::task::spawn_blocking(move || node.close());
    let _ = closing.await;
    // Another mesh may have been started in the place of one whose directory was removed.
    let ours = state.lock_identity().is_none_or(|now| Some(now) == lock);
    if outcome.is_ok() && ours {
        state.remove()?;
    }
    outcome
}

fn pods_of(options: &Options, node: &Node, containers: &Containers, control: &control::Options) -> RunOptions {
    RunOptions {
        state: options.state.clone(),
        node: node.clone(),
        containers: containers.clone(),
        fsm_namespace: options.fsm_namespace.clone(),
        control: node.address(),
        control_name: format!("fsm-controller.{}.svc", options.fsm_namespace),
        control_ca: control.bundle(),
    }
}

/// Writes down each start of fsm-control.
fn remember(record: Record) -> impl Fn(&super::node::Container) {
    move |container| {
        if let Err(error) = record.update(|run| run.control = ProcessId::of(container.pid()).ok()) {
            tracing::warn!(%error, "cannot write down what runs");
        }
    }
}

/// What runs, here and in `run.json`.
#[derive(Clone)]
struct Record {
    state: State,
    run: Arc<Mutex<Run>>,
}

impl Record {
    fn new(state: State, run: Run) -> Result<Self, StateError> {
        state.set_run(&run)?;
        Ok(Self { state, run: Arc::new(Mutex::new(run)) })
    }

    fn update(&self, change: impl FnOnce(&mut Run)) -> Result<(), StateError> {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut run);
        self.state.set_run(&run)
    }
}

/// Until fsm-control has said once that it is ready.
async fn ready(control: &control::Options) -> Result<()> {
    let file = control.ready_file();
    let deadline = Instant::now() + CONTROL_START;
    while !file.exists() {
        if Instant::now() >= deadline {
            let log = control.state.control_log();
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(3).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            return Err(anyhow!(
                "fsm-control is not ready after {CONTROL_START:?}; it said last: {}",
                last.join(" | ")
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Until somebody wants the end.
async fn stay(options: &Options, lock: Option<(u64, u64)>, present: &mut mpsc::Receiver<Presence>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = removed(&options.state, lock) => tracing::warn!("the state directory was removed, so nobody could end the mesh any more"),
        () = gone(present), if options.attached => tracing::info!("the command that started the mesh is gone"),
    }
    Ok(())
}

/// Until somebody has removed the state directory: no command would find this process again. The lock tells, since other
/// files may be made anew by programs that do not know.
async fn removed(state: &State, lock: Option<(u64, u64)>) {
    while state.lock_identity() == lock {
        tokio::time::sleep(LOOK).await;
    }
}

/// Until the command that attached itself is gone, or none has come.
async fn gone(present: &mut mpsc::Receiver<Presence>) {
    let mut limit = ATTACH;
    while let Ok(Some(Presence::Here)) = tokio::time::timeout(limit, present.recv()).await {
        limit = Duration::MAX;
    }
}
