//! `fsm proxy`: what sidecars say of themselves. One sidecar's pages and tables are here, what is asked of all of them in
//! [`status`].

mod diff;
mod log_level;
mod page;
mod status;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use fsm_api::config::Config;
use fsm_api::resources::Kind;

use super::select::Scope;
use super::{MeshChoice, pods, say};
use crate::reach::http::Method;
use crate::reach::{Mesh, Place, PodName};
use crate::views::proxy as views;
use crate::views::workload::addresses;
use crate::views::{Format, Row, show};

/// `fsm proxy`.
#[derive(Debug, Subcommand)]
pub(super) enum Proxy {
    /// Show every sidecar: its version, its configuration and whether that is the newest, its certificate
    Status(status::ShowAll),
    /// Show which requests and connections a sidecar lets in and sends out, and where they go
    Routes(Routes),
    /// Show where a sidecar sends requests, how many it sent and how they ended
    Clusters(One),
    /// Show the addresses behind the clusters: their health, and how connections to them are secured
    Endpoints(Endpoints),
    /// Show the open ports of a sidecar
    Listeners(One),
    /// Show the certificates of a sidecar, and how long they last
    Certs(One),
    /// Show or change how much a sidecar logs, until its next restart
    LogLevel(log_level::LogLevel),
    /// Compare what the control plane wants a sidecar to do with what it does; exit code 1 if that differs
    Diff(diff::Diff),
    /// Print a page of a pod's sidecar, as it is
    Get(page::Page),
}

/// Which sidecar, and how to show it.
#[derive(Debug, Args)]
pub(super) struct One {
    /// A pod, or deploy/NAME
    pod: String,
    #[command(flatten)]
    scope: Scope,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true, value_name = "FORMAT")]
    output: Format,
}

/// `fsm proxy routes`.
#[derive(Debug, Args)]
#[command(after_help = "Rules of a service are tried from top to bottom; the first one that fits decides.\n\
    Example: fsm proxy routes deploy/bookstore-v1 -n bookstore --direction inbound")]
pub(super) struct Routes {
    #[command(flatten)]
    one: One,
    /// Only rules for this port
    #[arg(long)]
    port: Option<u16>,
    /// Only `inbound` or `outbound` rules
    #[arg(long, value_parser = ["inbound", "outbound"])]
    direction: Option<String>,
}

/// `fsm proxy endpoints`.
#[derive(Debug, Args)]
pub(super) struct Endpoints {
    #[command(flatten)]
    one: One,
    /// Only clusters with this in their name
    #[arg(long, value_name = "PART")]
    cluster: Option<String>,
}

impl Proxy {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<ExitCode> {
        match self {
            Self::Status(command) => return command.run(mesh),
            Self::Diff(command) => return command.run(mesh),
            Self::Get(command) => return command.run(mesh),
            Self::LogLevel(command) => command.run(mesh)?,
            Self::Routes(command) => command.run(mesh)?,
            Self::Endpoints(command) => command.run(mesh)?,
            Self::Clusters(one) => {
                let sidecar = one.find(mesh)?;
                one.print(&views::clusters(&sidecar.read::<Vec<_>>("/clusters?format=json")?), "no clusters");
            }
            Self::Certs(one) => {
                let sidecar = one.find(mesh)?;
                one.print(&views::certificates(&sidecar.read::<Vec<_>>("/certs")?), "no certificates");
            }
            Self::Listeners(one) => {
                let page = one.find(mesh)?.text("/listeners")?;
                one.print(&views::listeners(&page), "no open ports");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Routes {
    fn run(self, mesh: &MeshChoice) -> Result<()> {
        let sidecar = self.one.find(mesh)?;
        let mut routes = sidecar.routes()?;
        routes.retain(|route| self.port.is_none_or(|port| port == route.port));
        routes.retain(|route| self.direction.as_deref().is_none_or(|direction| direction == route.direction));
        self.one.print(&routes, "no such rules");
        Ok(())
    }
}

impl Endpoints {
    fn run(self, mesh: &MeshChoice) -> Result<()> {
        let sidecar = self.one.find(mesh)?;
        let page: Vec<_> = sidecar.read("/clusters?format=json")?;
        let pods = names_by_address(&sidecar.mesh)?;
        let rows = views::endpoints(&page, &sidecar.routes()?, &pods, self.cluster.as_deref());
        self.one.print(&rows, "no such endpoints");
        Ok(())
    }
}

/// `namespace/name` of every pod by its addresses.
fn names_by_address(mesh: &Mesh) -> Result<BTreeMap<String, String>> {
    let mut names = BTreeMap::new();
    for pod in mesh.list(&Kind::Pod, None)? {
        let name = PodName::of(&pod).to_string();
        names.extend(addresses(&pod).into_iter().map(|address| (address, name.clone())));
    }
    Ok(names)
}

impl One {
    fn find(&self, mesh: &MeshChoice) -> Result<Sidecar> {
        Sidecar::find(mesh, &self.scope, &self.pod)
    }

    /// Rows, or on the standard error that there are none.
    fn print<R: Row>(&self, rows: &[R], nothing: &str) {
        if rows.is_empty() && matches!(self.output, Format::Table | Format::Wide) {
            eprintln!("The sidecar has {nothing}.");
        }
        say(&show(rows, self.output));
    }
}

/// The sidecar of a pod, to be asked.
pub(super) struct Sidecar {
    pub(super) mesh: Mesh,
    pub(super) pod: PodName,
    pub(super) place: Place,
}

impl Sidecar {
    /// The sidecar of the pod that is meant.
    pub(super) fn find(choice: &MeshChoice, scope: &Scope, target: &str) -> Result<Self> {
        let mesh = choice.reach()?;
        let pod = pods::find(&mesh, choice, scope, target)?;
        let name = PodName::of(&pod);
        if !pods::has_sidecar(&pod) {
            bail!(
                "Pod {} in namespace {} is not a part of a mesh: after `fsm namespace add {}` its workload has to be \
                 restarted with `fsm rollout restart`",
                name.name,
                name.namespace,
                name.namespace
            );
        }
        Ok(Self { mesh, place: Place::Sidecar(name.clone()), pod: name })
    }

    /// A page of JSON.
    pub(super) fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.mesh.read(&self.place, path)
    }

    /// The rules of its configuration.
    fn routes(&self) -> Result<Vec<views::Route>> {
        let dump = self.text("/config_dump")?;
        let (config, _) = Config::read(dump.as_bytes())
            .with_context(|| format!("the configuration of {} is not understood", self.place))?;
        Ok(views::routes(&config))
    }

    /// A page of text.
    pub(super) fn text(&self, path: &str) -> Result<String> {
        self.ask(Method::Get, path)
    }

    /// A page of text, which asking for may change something.
    pub(super) fn ask(&self, method: Method, path: &str) -> Result<String> {
        let page = self.mesh.page(&self.place, method, path)?;
        let text = String::from_utf8_lossy(&page.body).into_owned();
        if page.status != 200 {
            bail!("{} answers {} to {path}: {}", self.place, page.status, text.trim());
        }
        Ok(text)
    }
}
