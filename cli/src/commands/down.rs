//! `fsm down`: nothing of a mesh is left, however it ended.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use nix::sys::signal::Signal;

use super::{MeshChoice, say_line};
use crate::local::node::Node;
use crate::local::state::State;

/// How long a daemon may take to end its pods.
const GRACE: Duration = Duration::from_secs(30);
/// How long a killed one may take to disappear.
const KILLED: Duration = Duration::from_secs(5);
/// How long a daemon that has just been started may take to say who it is.
const YOUNG: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(20);

/// `fsm down`.
#[derive(Debug, Args)]
#[command(
    after_help = "Ends all pods and the control plane, and removes everything of the mesh from this machine: namespaces, \
    rules, processes, files. Works after a crash, too. Objects that were only applied, not kept in files, are gone."
)]
pub(super) struct Down {
    /// All meshes of this user
    #[arg(long)]
    all: bool,
}

impl Down {
    pub(super) fn run(&self, mesh: &MeshChoice) -> Result<()> {
        let home = mesh.home();
        let meshes = match (&mesh.name, self.all) {
            (Some(_), false) => vec![mesh.state()?],
            (Some(_), true) => bail!("--all and --name exclude each other"),
            (None, true) => home.meshes()?,
            (None, false) => {
                let found = home.meshes()?;
                if found.len() > 1 {
                    let names: Vec<_> = found.iter().map(State::mesh).collect();
                    bail!(
                        "there are several meshes ({}): choose one with --name, or take all down with --all",
                        names.join(", ")
                    );
                }
                found
            }
        };
        if meshes.is_empty() {
            say_line(format!("There is no mesh in {}", home.path().display()));
        }
        for state in meshes {
            take_down(&state)?;
            say_line(format!("Mesh [{}] is down", state.mesh()));
        }
        Ok(())
    }
}

/// Ends the mesh and removes what is left of it.
pub(super) fn take_down(state: &State) -> Result<()> {
    let asked = Instant::now();
    while state.is_running() {
        let daemon = state.run().ok().flatten().map(|run| run.daemon);
        match daemon.filter(|daemon| daemon.is_alive()) {
            Some(daemon) => {
                // Its files go first, and it outlives them for a moment: who asks afterwards shall find no process either.
                let gone = || !state.is_running() && !daemon.is_alive();
                daemon.signal(Signal::SIGTERM);
                if !until(GRACE, gone) {
                    daemon.signal(Signal::SIGKILL);
                    if !until(KILLED, gone) {
                        bail!(
                            "the daemon of mesh {} (process {}) does not even end when killed",
                            state.mesh(),
                            daemon.pid
                        );
                    }
                }
            }
            None if asked.elapsed() < YOUNG => std::thread::sleep(INTERVAL),
            None => bail!(
                "some process holds {}, but is no daemon that this mesh knows of: `fuser {}` tells which",
                state.root().join("lock").display(),
                state.root().join("lock").display()
            ),
        }
    }
    clear(state)
}

/// Removes what a mesh whose daemon is dead has left.
pub(super) fn clear(state: &State) -> Result<()> {
    if state.exists() {
        Node::destroy(state.root())?;
        state.remove()?;
    }
    Ok(())
}

fn until(limit: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(INTERVAL);
    }
    true
}
