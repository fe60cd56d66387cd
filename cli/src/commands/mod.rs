//! What `fsm` understands, one file a command.
//!
//! A command reads its arguments, does its work on the state directory ([`crate::local::state`]) or through the mesh's
//! daemon, prints its answer to the standard output, and returns an exit code: 0, or that of the command which `fsm exec`
//! ran. Any error is told on the standard error as `Error: …` with what to do, and gives 1; wrong usage gives 2.

mod apply;
mod certificate;
mod check;
mod completion;
mod converged;
mod create;
mod dashboard;
mod delete;
mod describe;
mod down;
mod edges;
mod environment;
mod exec;
mod explain;
mod get;
mod inject;
mod kinds;
mod logs;
mod manifest;
mod merge;
mod mesh;
mod metadata;
mod metrics;
mod namespace;
mod node;
mod patch;
mod pods;
mod policy;
mod preset;
mod problems;
mod progress;
mod proxy;
mod release;
mod rollout;
mod scale;
mod select;
mod stat;
mod support;
mod tap;
mod top;
mod up;
mod verify;
mod version;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::cluster::{Access, Cluster, ClusterError, ControlPlane};
use crate::local::state::{Home, State};
use crate::reach::{InCluster, Mesh};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "fsm",
    version,
    about = "A service mesh: on this machine with `fsm up`, from the same YAML as in Kubernetes",
    long_about = "A service mesh: on this machine with `fsm up`, from the same YAML as in Kubernetes.\n\n\
        Start:    fsm up DIR --detach         run what DIR describes, each pod with its sidecar\n\
        Look:     fsm get pods -A             what runs, and whether it is well\n          \
                  fsm logs POD -c sidecar     what the sidecar says\n          \
                  fsm proxy get config_dump POD -n NS   what the sidecar was told\n\
        Change:   fsm apply -f FILE           as kubectl apply\n\
        Try:      fsm exec deploy/curl -n curl -- curl -si httpbin.httpbin:14001/get\n\
        End:      fsm down",
    disable_help_subcommand = true,
    max_term_width = 110
)]
pub struct Cli {
    #[command(flatten)]
    mesh: MeshChoice,
    #[command(subcommand)]
    command: Command,
}

/// Which mesh a command is about.
#[derive(Debug, Clone, Args)]
pub struct MeshChoice {
    /// Name of the mesh; not needed where there is only one
    #[arg(
        id = "mesh",
        long = "name",
        visible_alias = "mesh-name",
        env = "FSM_MESH",
        global = true,
        value_name = "MESH"
    )]
    name: Option<String>,
    /// Directory that has one directory for each mesh [default: /run/fsm as root, else $XDG_RUNTIME_DIR/fsm]
    #[arg(long, env = "FSM_STATE_DIR", global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Namespace of the mesh's own objects, such as its MeshConfig
    #[arg(short = 'N', long, env = "FSM_NAMESPACE", default_value = "fsm-system", global = true, value_name = "NS")]
    fsm_namespace: String,
    #[command(flatten)]
    access: Access,
}

/// Where a command works.
pub(crate) enum Place {
    /// On a mesh of this machine.
    Local(State),
    /// On a cluster.
    Cluster(Box<Cluster>),
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create or change objects from files, directories or the standard input
    Apply(apply::Apply),
    /// Add or change annotations of an object
    Annotate(metadata::Change),
    /// Look whether the mesh of a cluster is well, or whether one can be installed
    Check(check::Check),
    /// Show the roots of the mesh, or replace them
    #[command(subcommand)]
    Certificate(certificate::Certificate),
    /// Create a namespace, a secret, a config map or a service account
    #[command(subcommand)]
    Create(create::Create),
    /// Lead to the Grafana of a mesh in a cluster
    Dashboard(dashboard::Dashboard),
    /// Delete objects by file, by name or by label
    Delete(delete::Delete),
    /// Show all of an object, and what is wrong with it
    Describe(describe::Describe),
    /// Take a mesh down, and remove everything that is left of it
    Down(down::Down),
    /// Show who talks to whom, by which identities, and whether it is encrypted
    Edges(edges::Edges),
    /// Tell what commands go by
    #[command(name = "env")]
    Environment(environment::Environment),
    /// Run a command in a pod
    Exec(exec::Exec),
    /// Say what a reason means, and what to do
    Explain(explain::Explain),
    /// Show objects
    Get(get::Get),
    /// Print manifests with the sidecar in their pods, as the injector's webhook would put it there
    Inject(inject::Inject),
    /// Install a mesh into a cluster
    Install(release::install::Install),
    /// Add or change labels of an object
    Label(metadata::Change),
    /// Print what a container said
    Logs(logs::Logs),
    /// List, change and upgrade meshes
    #[command(subcommand)]
    Mesh(mesh::Mesh),
    /// Say whether Prometheus looks at the sidecars of a namespace
    #[command(subcommand)]
    Metrics(metrics::Metrics),
    /// Say which namespaces belong to the mesh
    #[command(subcommand, visible_alias = "ns")]
    Namespace(namespace::Namespace),
    /// Change fields of an object
    Patch(patch::Patch),
    /// Ask what policies mean
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Look into a sidecar
    #[command(subcommand)]
    Proxy(proxy::Proxy),
    /// Restart the pods of a workload, or wait until they are up to date
    #[command(subcommand)]
    Rollout(rollout::Rollout),
    /// Change the number of pods of a workload
    Scale(scale::Scale),
    /// Show success rate, requests a second and latencies of workloads
    Stat(stat::Stat),
    /// Watch requests while they happen
    Tap(tap::Tap),
    /// Show the same again and again, the busiest workload first
    Top(top::Top),
    /// Help with what went wrong
    #[command(subcommand)]
    Support(support::Support),
    /// Wait until pods are ready, or objects are gone
    Wait(wait::Wait),
    /// Print the definitions of all custom resources, for `kubectl apply -f -`
    Crds,
    /// Print a script that lets the shell complete commands
    Completion(completion::Completion),
    /// Take a mesh off a cluster
    #[command(subcommand)]
    Uninstall(release::uninstall::Uninstall),
    /// Print manifests without the sidecar in their pods
    Uninject(inject::Uninject),
    /// Run a mesh on this machine, from a directory of YAML
    Up(up::Up),
    /// Find out why something does not work
    #[command(subcommand)]
    Verify(verify::Verify),
    /// Tell the versions of this program and of the running meshes
    Version(version::Version),
    /// The process that keeps a mesh going; started by `fsm up`
    #[command(hide = true)]
    Daemon {
        /// End with the command that started it
        #[arg(long)]
        attached: bool,
        /// No way out of the machine
        #[arg(long)]
        isolated: bool,
    },
    /// Run pods of a real API server on this machine, as a node of its cluster (for tests)
    #[command(hide = true)]
    Node(node::Node),
    /// Run one of the built-in programs that stand in for container images
    #[command(hide = true)]
    Program {
        /// Its name
        name: String,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Runs the command line to its end; what `main` does.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            let label = crate::output::Style::detect(true).bad("Error:");
            eprintln!("{label} {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let mesh = &cli.mesh;
    match cli.command {
        Command::Apply(command) => return command.run(mesh),
        Command::Annotate(command) => command.run(mesh, metadata::Part::Annotations)?,
        Command::Check(command) => return command.run(mesh),
        Command::Certificate(command) => command.run(mesh)?,
        Command::Create(command) => command.run(mesh)?,
        Command::Delete(command) => return command.run(mesh),
        Command::Daemon { attached, isolated } => return daemon(mesh, attached, !isolated),
        Command::Dashboard(command) => command.run(mesh)?,
        Command::Describe(command) => command.run(mesh)?,
        Command::Down(command) => command.run(mesh)?,
        Command::Edges(command) => command.run(mesh)?,
        Command::Explain(command) => command.run()?,
        Command::Environment(command) => command.run(mesh)?,
        Command::Exec(command) => return command.run(mesh),
        Command::Get(command) => return command.run(mesh),
        Command::Inject(command) => command.run(mesh)?,
        Command::Install(command) => return command.run(mesh),
        Command::Label(command) => command.run(mesh, metadata::Part::Labels)?,
        Command::Logs(command) => command.run(mesh)?,
        Command::Mesh(command) => command.run(mesh)?,
        Command::Metrics(command) => command.run(mesh)?,
        Command::Namespace(command) => command.run(mesh)?,
        Command::Node(command) => command.run(mesh)?,
        Command::Patch(command) => command.run(mesh)?,
        Command::Policy(command) => return command.run(mesh),
        Command::Proxy(command) => return command.run(mesh),
        Command::Rollout(command) => command.run(mesh)?,
        Command::Scale(command) => command.run(mesh)?,
        Command::Stat(command) => command.run(mesh)?,
        Command::Tap(command) => command.run(mesh)?,
        Command::Top(command) => command.run(mesh)?,
        Command::Support(command) => command.run(mesh)?,
        Command::Wait(command) => command.run(mesh)?,
        Command::Crds => crds()?,
        Command::Completion(command) => command.run(Cli::command())?,
        Command::Uninstall(command) => return command.run(mesh),
        Command::Uninject(command) => command.run()?,
        Command::Up(command) => return command.run(mesh),
        Command::Verify(command) => return command.run(mesh),
        Command::Version(command) => command.run(mesh)?,
        Command::Program { name, arguments } => return Ok(crate::programs::run(&name, &arguments)),
    }
    Ok(ExitCode::SUCCESS)
}

fn daemon(mesh: &MeshChoice, attached: bool, uplink: bool) -> Result<ExitCode> {
    use crate::local::daemon::{self, Options};
    Ok(daemon::main(&Options { state: mesh.state()?, fsm_namespace: mesh.fsm_namespace.clone(), attached, uplink }))
}

/// All custom resources, as `kubectl apply -f -` takes them.
fn crds() -> Result<()> {
    for definition in fsm_api::resources::crds() {
        say(&format!("---\n{}", crate::output::yaml(&serde_json::to_value(definition)?)));
    }
    Ok(())
}

impl MeshChoice {
    fn home(&self) -> Home {
        Home::new(self.state_dir.as_deref())
    }

    /// The flags that make another run of this program mean the same mesh.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = self.access.arguments("--context");
        arguments.extend(self.name.iter().flat_map(|name| ["--name".to_owned(), name.clone()]));
        let directory = self.state_dir.iter().map(|directory| directory.display().to_string());
        arguments.extend(directory.flat_map(|directory| ["--state-dir".to_owned(), directory]));
        arguments.extend(["--fsm-namespace".to_owned(), self.fsm_namespace.clone()]);
        arguments
    }

    /// The mesh that commands which only look are about.
    fn reach(&self) -> Result<Mesh> {
        Ok(match self.place()? {
            Place::Local(state) => Mesh::Local(state),
            Place::Cluster(cluster) => {
                Mesh::Cluster(InCluster::new(*cluster, &self.fsm_namespace, self.name.as_deref()))
            }
        })
    }

    /// Where a command works: on the mesh of this machine that is named or runs, unless a cluster is named; else on the
    /// cluster of the kubeconfig.
    pub(crate) fn place(&self) -> Result<Place> {
        if !self.access.is_given() {
            let home = self.home();
            let local = match &self.name {
                Some(name) => home.mesh(name)?.exists(),
                None => home.meshes()?.iter().any(State::is_running),
            };
            if local {
                return Ok(Place::Local(self.state()?));
            }
        }
        match Cluster::connect(&self.access) {
            Ok(cluster) => Ok(Place::Cluster(Box::new(cluster))),
            // Nothing was named and nothing is configured: then it is a mesh of this machine, even one that stands still.
            Err(ClusterError::NotConfigured) if !self.access.is_given() => match self.state() {
                Ok(state) => Ok(Place::Local(state)),
                Err(error) => {
                    Err(error.context("no cluster is configured (--kubeconfig, KUBECONFIG), and on this machine"))
                }
            },
            Err(error) => Err(error.into()),
        }
    }

    /// The cluster, for commands that look at everything: none where none is configured. With something else to show, one
    /// that cannot be used is a note.
    pub(crate) fn cluster_if_any(&self, something_else: bool) -> Result<Option<Cluster>> {
        match Cluster::connect(&self.access).and_then(|cluster| cluster.text("/version").map(|_| cluster)) {
            Ok(cluster) => Ok(Some(cluster)),
            Err(ClusterError::NotConfigured) if !self.access.is_given() => Ok(None),
            Err(error) if something_else => {
                eprintln!("note: {error}");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The cluster that is meant, for commands that do nothing elsewhere.
    pub(crate) fn cluster(&self) -> Result<Cluster> {
        Ok(Cluster::connect(&self.access)?)
    }

    /// Name and namespace of the mesh of a cluster that is meant: the one named, else the one in `--fsm-namespace`, else the
    /// only one.
    pub(crate) fn release(&self, cluster: &Cluster) -> Result<(String, String)> {
        let meshes = cluster.meshes()?;
        let fits = |mesh: &&ControlPlane| self.name.as_ref().is_none_or(|name| *name == mesh.mesh);
        let fitting: Vec<_> = meshes.iter().filter(fits).collect();
        let at_home = fitting.iter().find(|mesh| mesh.namespace == self.fsm_namespace);
        match (at_home, fitting.as_slice()) {
            (Some(mesh), _) | (None, [mesh]) => Ok((mesh.mesh.clone(), mesh.namespace.clone())),
            (None, _) => {
                let there: Vec<_> = meshes.iter().map(|mesh| format!("{} in {}", mesh.mesh, mesh.namespace)).collect();
                let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
                Err(anyhow!(
                    "mesh [{}] does not exist in {}; there are: {there}. --mesh-name and --fsm-namespace choose one, `fsm \
                     install` makes one",
                    self.mesh_name(),
                    cluster.describe()
                ))
            }
        }
    }

    /// The name of the mesh, for commands on a cluster.
    pub(crate) fn mesh_name(&self) -> &str {
        self.name.as_deref().unwrap_or("fsm")
    }

    /// The mesh that is meant: the one named, else the only one there is, else the only one that runs.
    fn state(&self) -> Result<State> {
        let home = self.home();
        if let Some(name) = &self.name {
            let state = home.mesh(name)?;
            if state.exists() {
                return Ok(state);
            }
            // FSM's words, with what they mean here.
            bail!(
                "mesh [{name}] does not exist, please specify another mesh using --mesh-name or create a new mesh: \
                 `fsm mesh list` shows those in {}, `fsm up DIR --name {name}` starts one",
                home.path().display()
            );
        }
        let mut meshes = home.meshes()?;
        if meshes.len() > 1 {
            let running: Vec<_> = meshes.iter().filter(|state| state.is_running()).cloned().collect();
            if running.len() == 1 {
                meshes = running;
            }
        }
        match <[State; 1]>::try_from(meshes) {
            Ok([state]) => Ok(state),
            Err(meshes) if meshes.is_empty() => {
                Err(anyhow!("there is no mesh in {}: start one with `fsm up DIR --detach`", home.path().display()))
            }
            Err(meshes) => {
                let names: Vec<_> = meshes.iter().map(State::mesh).collect();
                Err(anyhow!("there are several meshes ({}): choose one with --name", names.join(", ")))
            }
        }
    }
}

/// Prints to the standard output. Whoever closed it (`| head`) has seen enough: that is no error.
pub(crate) fn say(text: &str) {
    say_bytes(text.as_bytes());
}

fn say_bytes(bytes: &[u8]) {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    if let Err(error) = output.write_all(bytes).and_then(|()| output.flush()) {
        let code = i32::from(error.kind() != std::io::ErrorKind::BrokenPipe);
        std::process::exit(code);
    }
}

/// Prints a line to the standard output.
pub(crate) fn say_line(text: impl AsRef<str>) {
    say(&format!("{}\n", text.as_ref()));
}

pub(crate) use crate::cluster::duration;
pub(crate) use version::VERSION;

#[cfg(test)]
mod tests;
