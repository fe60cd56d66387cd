//! The runtime on a real node: actions become namespaces, processes and connections.
//!
//! Every action gets a task of its own and reports when it is done; the order of actions on one container is kept by
//! the controllers, which wait for reports. Files of a pod are below its directory in the state directory and are
//! removed with the pod.

mod checks;
mod files;
mod tokens;

pub use tokens::{Issued, LocalTokens, Tokens};

use super::runtime::{Action, ContainerId, Exit, PodId, Process, Report, Runtime, Stop, User, Volume};
use crate::local::daemon::Containers;
use crate::local::node::{self, Container, ContainerProcess, Limits, Node, NodeError, Output, PodKey, PodNetwork};
use crate::local::state::State;
use clap::Parser;
use files::Files;
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// What it is made with.
#[derive(Clone)]
pub struct NodeRuntimeOptions {
    /// Where pods live.
    pub node: Node,
    /// Where their files are.
    pub state: State,
    /// Running containers are entered here, for `fsm exec`.
    pub containers: Containers,
    /// Who issues tokens.
    pub tokens: Arc<dyn Tokens>,
    /// Where probes come from.
    pub probes: Prober,
    /// `PATH` of containers that have none of their own.
    pub path: String,
}

/// Where probes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prober {
    /// From inside the pod, where the redirection leaves them alone.
    Pod,
    /// From the node, as a kubelet's do.
    Node,
}

/// Pods on a node.
pub struct NodeRuntime {
    inner: Arc<Inner>,
}

struct Inner {
    options: NodeRuntimeOptions,
    files: Files,
    reports: UnboundedSender<Report>,
    /// What runs, and what has been asked to.
    running: Mutex<HashMap<ContainerId, Container>>,
}

impl NodeRuntime {
    /// A runtime that reports to `reports`. To be used inside of a Tokio runtime.
    pub fn new(options: NodeRuntimeOptions, reports: UnboundedSender<Report>) -> Self {
        let files = Files::new(&options);
        Self { inner: Arc::new(Inner { options, files, reports, running: Mutex::default() }) }
    }

    /// Brings a pod's volumes up to date, those that are mounted. Cheap when nothing has changed.
    pub fn refresh(&self, pod: PodId, volumes: Vec<Volume>) {
        Arc::clone(&self.inner).blocking(move |inner| inner.files.refresh(&pod, volumes));
    }
}

impl Runtime for NodeRuntime {
    fn begin(&mut self, action: Action) {
        let inner = Arc::clone(&self.inner);
        match action {
            Action::SetUp { pod, hostname, names } => inner.blocking(move |inner| inner.set_up(&pod, hostname, names)),
            Action::Start { id, process } => inner.blocking(move |inner| inner.start(&id, *process)),
            Action::Stop { id, how } => inner.stop(&id, how),
            Action::Check { id, ticket, check, timeout } => {
                tokio::spawn(async move {
                    let outcome = checks::look(&inner, &id, check, timeout).await;
                    inner.report(Report::Checked { id, ticket, outcome });
                });
            }
            Action::TearDown { pod } => inner.blocking(move |inner| inner.tear_down(&pod)),
        }
    }
}

impl Inner {
    fn blocking(self: Arc<Self>, job: impl FnOnce(&Arc<Self>) + Send + 'static) {
        tokio::task::spawn_blocking(move || job(&self));
    }

    fn report(&self, report: Report) {
        // Nobody listens any more when the mesh is taken down.
        let _ = self.reports.send(report);
    }

    fn running(&self) -> MutexGuard<'_, HashMap<ContainerId, Container>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn container(&self, id: &ContainerId) -> Option<Container> {
        self.running().get(id).cloned()
    }

    fn set_up(&self, pod: &PodId, hostname: String, names: Vec<String>) {
        let key = key_of(pod);
        let network = PodNetwork { hostname, names, ..PodNetwork::new(key.clone()) };
        let mut made = self.options.node.add_pod(network.clone());
        if matches!(made, Err(NodeError::PodExists { .. })) {
            // Left by a tear-down that has failed half-way.
            made = match self.options.node.remove_pod(&key) {
                Ok(()) => self.options.node.add_pod(network),
                Err(why) => Err(why),
            };
        }
        self.report(match made {
            Ok(made) => Report::PodUp { pod: pod.clone(), addresses: vec![made.address().into()] },
            Err(why) => Report::PodFailed { pod: pod.clone(), why: why.to_string() },
        });
    }

    fn start(self: &Arc<Self>, id: &ContainerId, process: Process) {
        if process.user == User::Redirection {
            return self.redirect(id, &process.command);
        }
        match self.spawn(id, process) {
            Ok(container) => {
                let PodId { namespace, name, .. } = &id.pod;
                self.options.containers.insert(namespace, name, &id.container, container.clone());
                self.running().insert(id.clone(), container.clone());
                self.report(Report::Started { id: id.clone() });
                let (inner, id) = (Arc::clone(self), id.clone());
                // spawn_blocking threads know their runtime.
                tokio::runtime::Handle::current().spawn(async move {
                    let ended = container.wait().await;
                    inner.running().remove(&id);
                    let exit = ended.map_or(Exit::Code(255), exit_of);
                    inner.report(Report::Exited { id, exit });
                });
            }
            Err(why) => {
                self.report(Report::StartFailed { id: id.clone(), reason: "CreateContainerError".to_owned(), why });
            }
        }
    }

    fn spawn(&self, id: &ContainerId, process: Process) -> Result<Container, String> {
        let gone = || format!("the pod {} is gone", id.pod);
        let pod = self.options.node.pod(&key_of(&id.pod)).ok_or_else(gone)?;
        let mounts = self.files.mounts(&id.pod, process.user, &process.mounts)?;
        let mut words = process.command.into_iter();
        let program = words.next().ok_or("the container has no command")?;
        let mut env = process.environment;
        if !env.iter().any(|(name, _)| name == "PATH") {
            env.push(("PATH".to_owned(), self.options.path.clone()));
        }
        let process = ContainerProcess {
            program: program.into(),
            args: words.collect(),
            env,
            directory: process.directory.map(PathBuf::from),
            user: match process.user {
                User::Sidecar => node::User::SIDECAR,
                User::Ids { user, group } => node::User::Ids { user, group },
                User::Application | User::Redirection => node::User::Node,
            },
            output: Output::File(self.log(id)),
            mounts,
            limits: Limits::default(),
        };
        pod.spawn(process).map_err(|why| why.to_string())
    }

    /// The redirection is no process: this program does it in the pod's network.
    fn redirect(&self, id: &ContainerId, command: &[String]) {
        self.report(Report::Started { id: id.clone() });
        let outcome = self.redirected(id, command);
        let (code, text) = match outcome {
            Ok(notes) => (0, format!("the pod's traffic goes through its sidecar\n{notes}")),
            Err(why) => (1, format!("{why}\n")),
        };
        let log = std::fs::File::options().create(true).append(true).open(self.log(id));
        if let Err(error) = log.and_then(|mut log| log.write_all(text.as_bytes())) {
            tracing::warn!("pod {}: cannot write the log of {}: {error}", id.pod, id.container);
        }
        self.report(Report::Exited { id: id.clone(), exit: Exit::Code(code) });
    }

    fn redirected(&self, id: &ContainerId, command: &[String]) -> Result<String, String> {
        let flags = fsm_init::Flags::try_parse_from(command).map_err(|error| error.to_string())?;
        let options = fsm_init::Options::try_from(flags).map_err(|error| error.to_string())?;
        let pod = self.options.node.pod(&key_of(&id.pod)).ok_or_else(|| format!("the pod {} is gone", id.pod))?;
        self.files.make_pod(&id.pod)?;
        let outcome = pod.redirect(&options).map_err(|error| error.to_string())?;
        Ok(outcome.notes.iter().map(|note| format!("note: {note}\n")).collect())
    }

    fn stop(&self, id: &ContainerId, how: Stop) {
        if let Some(container) = self.container(id) {
            match how {
                Stop::Ask => container.ask(),
                Stop::Kill => container.kill(),
            };
        }
    }

    fn tear_down(&self, pod: &PodId) {
        if let Err(why) = self.options.node.remove_pod(&key_of(pod)) {
            tracing::warn!("pod {pod}: {why}");
        }
        self.files.forget(pod);
        self.report(Report::Gone { pod: pod.clone() });
    }

    fn log(&self, id: &ContainerId) -> PathBuf {
        self.options.state.log(&id.pod.namespace, &id.pod.name, &id.container)
    }
}

fn key_of(pod: &PodId) -> PodKey {
    PodKey::new(&pod.namespace, &pod.name)
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(255),
    }
}
