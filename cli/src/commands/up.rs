//! `fsm up`: a mesh on this machine, from a directory of YAML.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::manifest::{self, Document};
use super::progress::Progress;
use super::{MeshChoice, apply, converged, down, namespace, preset, say_line, wait};
use crate::local::daemon::{programs, wire};
use crate::local::state::{ObjectName, Objects, State};

/// How often the pods and their sidecars are looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long a killed daemon may hold its lock.
const DYING: Duration = Duration::from_secs(5);

/// `fsm up`.
#[derive(Debug, Args)]
#[command(
    after_help = "DIR is a directory (all *.yaml, *.yml and *.json below it), a file, or `-`. Namespaces that its objects \
    are in are created, and belong to the mesh unless they have the label flomesh.io/monitored-by or flomesh.io/ignore, \
    or the annotation flomesh.io/sidecar-injection, of their own.\n\n\
    Without --detach the mesh stays until Ctrl-C, which takes everything down. \
    With --detach it stays until `fsm down`; exit code 1 tells that not all pods became ready in time, or not all sidecars got their configuration."
)]
pub(super) struct Up {
    /// What is to run: Kubernetes YAML
    #[arg(value_name = "DIR")]
    sources: Vec<PathBuf>,
    /// Return when all pods are ready, and all sidecars have the newest configuration
    #[arg(short, long)]
    detach: bool,
    /// How long the pods may take to become ready, as in 90s or 3m
    #[arg(long, default_value = "120s", value_parser = wait::duration)]
    timeout: Duration,
    /// Pods reach nothing outside of the mesh's own machine network, and no outside names
    #[arg(long)]
    isolated: bool,
}

impl Up {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<ExitCode> {
        let state = mesh.home().mesh(mesh.name.as_deref().unwrap_or("fsm"))?;
        // Everything that can be wrong is looked at before anything is begun.
        for program in ["fsm-control", "fsm-proxy"] {
            programs::find(program)?;
        }
        let read = manifest::read_all(&self.sources)?;
        if manifest::tell(&read.errors) {
            bail!("nothing was started: correct what is wrong above, or leave it out");
        }
        let lock = claim(&state)?;
        let begun = write(&state, mesh, read.documents).and_then(|()| start(&state, mesh, &self, lock));
        let mut daemon = match begun {
            Ok(daemon) => daemon,
            Err(error) => {
                state.remove()?;
                return Err(error);
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.follow(&state, &mut daemon))
    }

    async fn follow(&self, state: &State, daemon: &mut Child) -> Result<ExitCode> {
        let mut stops = Stops::new()?;
        let begun = Instant::now();
        let mut attached: Option<UnixStream> = None;
        let mut seen = Progress::default();
        let mut up = false;
        // What keeps a mesh whose pods are ready from being up.
        let mut behind: Option<String> = None;
        loop {
            if let Some(status) = daemon.try_wait()? {
                if status.success() {
                    say_line(format!("Mesh [{}] was taken down", state.mesh()));
                    return Ok(ExitCode::SUCCESS);
                }
                return Err(failure(state, &status.to_string()));
            }
            if state.run()?.is_some_and(|run| run.started) {
                if attached.is_none() && !self.detach {
                    attached = Some(wire::ask(state, &wire::Request::Attach)?);
                }
                let now = look(&state.objects())?;
                now.news(&seen).iter().for_each(say_line);
                behind = if now.is_done() && !up { converged::missing(state)? } else { None };
                if now.is_done() && behind.is_none() && !up {
                    up = true;
                    say_line(welcome(state, &now, begun.elapsed(), self.detach));
                    if self.detach {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                seen = now;
            }
            if self.detach && begun.elapsed() >= self.timeout {
                seen.complaints().iter().chain(&behind).for_each(|line| eprintln!("{line}"));
                bail!(
                    "mesh {} runs, but not all of its pods were ready and up to date within {:?}: `fsm get pods -A` shows \
                     how they are, `fsm down` ends the mesh",
                    state.mesh(),
                    self.timeout
                );
            }
            if !up && !self.detach && begun.elapsed() >= self.timeout {
                // Told once; whoever watches may mend it while it runs.
                seen.complaints().iter().chain(&behind).for_each(|line| eprintln!("not ready: {line}"));
                up = true;
            }
            tokio::select! {
                () = stops.any() => {
                    eprintln!("\nTaking mesh [{}] down", state.mesh());
                    down::take_down(state)?;
                    let _ = daemon.wait();
                    return Ok(ExitCode::SUCCESS);
                }
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }
}

/// The state directory with its lock; what a dead daemon has left there is removed first.
fn claim(state: &State) -> Result<File> {
    let deadline = Instant::now() + DYING;
    loop {
        if !state.is_running() {
            down::clear(state)?;
            state.create()?;
            if let Some(lock) = state.lock()? {
                return Ok(lock);
            }
        }
        // The lock of a daemon that was killed is held until the kernel has taken it apart.
        if is_well(state) || Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(INTERVAL / 5);
    }
    let daemon = state.run().ok().flatten().map_or_else(String::new, |run| format!(" (process {})", run.daemon.pid));
    bail!(
        "mesh {} runs already{daemon}: change it with `fsm apply -f …`, end it with `fsm down --name {}`, or give the new one \
         another name with --name",
        state.mesh(),
        state.mesh()
    )
}

/// Whether the daemon that holds the lock answers, or is just being started.
fn is_well(state: &State) -> bool {
    match state.run() {
        Ok(Some(run)) if !run.started => run.daemon.is_alive(),
        _ => wire::ask(state, &wire::Request::Ping).is_ok(),
    }
}

fn write(state: &State, mesh: &MeshChoice, documents: Vec<Document>) -> Result<()> {
    let objects = state.objects();
    preset::write(&objects, state.mesh(), &mesh.fsm_namespace)?;
    let mut mine: BTreeSet<String> = BTreeSet::new();
    for mut document in documents {
        document.settle(None)?;
        let id = document.id()?;
        let namespace = if document.resource.kind == "Namespace" { id.name.clone() } else { id.namespace.clone() };
        if !namespace.is_empty() && objects.get(&ObjectName::new("Namespace", "", &namespace))?.is_none() {
            objects.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))?;
            apply::finish_namespace(&objects, &namespace)?;
        }
        apply::apply(&objects, &mut document, None)?;
        mine.insert(namespace);
    }
    for namespace in mine.iter().filter(|namespace| !namespace.is_empty() && **namespace != mesh.fsm_namespace) {
        namespace::adopt(&objects, state.mesh(), namespace)?;
    }
    Ok(())
}

fn start(state: &State, mesh: &MeshChoice, up: &Up, lock: File) -> Result<Child> {
    let log = File::options().create(true).append(true).open(state.daemon_log());
    let log = log.with_context(|| format!("cannot write {}", state.daemon_log().display()))?;
    let base = state.root().parent().unwrap_or(state.root());
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command
        .args(["daemon", "--name", state.mesh(), "--fsm-namespace", &mesh.fsm_namespace, "--state-dir"])
        .arg(base)
        .args((!up.detach).then_some("--attached"))
        .args(up.isolated.then_some("--isolated"))
        .stdin(Stdio::from(lock))
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .current_dir("/");
    command.spawn().context("cannot start the daemon")
}

fn look(objects: &Objects) -> Result<Progress> {
    let pods = objects.list("Pod", None)?;
    let mut workloads: Vec<(&str, Vec<Value>)> = Vec::new();
    for kind in ["Deployment.apps", "StatefulSet.apps", "DaemonSet.apps", "Job.batch"] {
        workloads.push((kind, objects.list(kind, None)?));
    }
    Ok(Progress::of(&pods, &workloads))
}

/// Why the daemon has ended, and nothing of the mesh is left then.
fn failure(state: &State, status: &str) -> anyhow::Error {
    let told = state.run().ok().flatten().and_then(|run| run.failure);
    let why = told.unwrap_or_else(|| {
        let log = std::fs::read_to_string(state.daemon_log()).unwrap_or_default();
        let last: Vec<_> = log.lines().rev().take(3).collect();
        format!("its daemon ended ({status}); it said last: {}", last.into_iter().rev().collect::<Vec<_>>().join(" | "))
    });
    match down::clear(state) {
        Ok(()) => anyhow!("mesh {} does not run: {why}", state.mesh()),
        Err(error) => {
            anyhow!("mesh {} does not run: {why}; and what it left could not be removed: {error}", state.mesh())
        }
    }
}

fn welcome(state: &State, progress: &Progress, took: Duration, detach: bool) -> String {
    let count = progress.pods.len();
    let pods = if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") };
    let hint =
        if detach { "`fsm get pods -A` shows them, `fsm down` ends them" } else { "Ctrl-C takes everything down" };
    format!("Mesh [{}] is up with {pods} after {:.1} s: {hint}", state.mesh(), took.as_secs_f64())
}

/// What ends a mesh in the foreground.
struct Stops([Signal; 3]);

impl Stops {
    fn new() -> Result<Self> {
        let wait = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self([wait(SignalKind::interrupt())?, wait(SignalKind::terminate())?, wait(SignalKind::hangup())?]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
