//! `fsm mesh list`: the meshes of this machine and of the cluster.

use anyhow::Result;
use clap::Subcommand;
use fsm_api::resources::Kind;
use serde_json::Value;

use super::namespace::MONITORED_BY;
use super::release::upgrade::Upgrade;
use super::{MeshChoice, say, say_line};
use crate::cluster::{Cluster, Selector, types};
use crate::output::Table;

/// `fsm mesh`.
#[derive(Debug, Subcommand)]
pub(super) enum Mesh {
    /// List the meshes, the namespaces that belong to them, and the SMI versions they understand
    List,
    /// Upgrade a mesh of a cluster to the version of this program, or change values of its chart
    Upgrade(Upgrade),
}

impl Mesh {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<()> {
        match self {
            Self::List => list(mesh),
            Self::Upgrade(command) => command.run(mesh),
        }
    }
}

fn list(mesh: &MeshChoice) -> Result<()> {
    let mut tables = Tables::default();
    if !mesh.access.is_given() {
        tables.add_local(mesh)?;
    }
    match mesh.cluster_if_any(!tables.is_empty())? {
        Some(cluster) => tables.add_cluster(&cluster)?,
        None if tables.is_empty() => say_line(NONE),
        None => {}
    }
    tables.print();
    Ok(())
}

/// Where there is nothing, in FSM's words.
const NONE: &str = "No fsm mesh control planes found";

/// The two tables of `fsm mesh list`.
struct Tables {
    meshes: Table,
    smi: Table,
    in_cluster: bool,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            meshes: Table::new(["MESH NAME", "MESH NAMESPACE", "VERSION", "ADDED NAMESPACES", "STATUS"]),
            smi: Table::new(["MESH NAME", "MESH NAMESPACE", "SMI SUPPORTED"]),
            in_cluster: false,
        }
    }
}

impl Tables {
    fn is_empty(&self) -> bool {
        self.meshes.is_empty()
    }

    fn add_local(&mut self, mesh: &MeshChoice) -> Result<()> {
        let smi = smi_versions();
        for state in &mesh.home().meshes()? {
            let run = state.run().ok().flatten();
            let version = run.map_or_else(|| "-".to_owned(), |run| run.version);
            let added = added(&state.objects().list("Namespace", None)?, state.mesh());
            let status = if state.is_running() {
                "running on this machine"
            } else {
                "stopped, on this machine (fsm down removes it)"
            };
            self.meshes.row([state.mesh(), &mesh.fsm_namespace, &version, &added, status]);
            self.smi.row([state.mesh(), &mesh.fsm_namespace, &smi]);
        }
        Ok(())
    }

    fn add_cluster(&mut self, cluster: &Cluster) -> Result<()> {
        let meshes = cluster.meshes()?;
        if meshes.is_empty() {
            say_line(format!("{NONE} in {}", cluster.describe()));
            return Ok(());
        }
        self.in_cluster = true;
        let namespaces = cluster.list(types::NAMESPACE, None, Selector::labels(MONITORED_BY))?;
        for known in &meshes {
            let (ready, wanted) = known.ready;
            let status = format!("{ready}/{wanted} ready in context {}", cluster.context());
            let added = added(&namespaces, &known.mesh);
            self.meshes.row([&known.mesh, &known.namespace, &known.version, &added, &status]);
            let told = cluster.controller_text(known, "/smi/version")?;
            let smi = told.and_then(|text| smi_of(&text)).unwrap_or_else(|| "Unknown".to_owned());
            self.smi.row([&known.mesh, &known.namespace, &smi]);
        }
        Ok(())
    }

    fn print(&self) {
        if self.is_empty() {
            return;
        }
        say(&format!("\n{}\n{}\n", self.meshes, self.smi));
        if self.in_cluster {
            say_line(
                "To list the FSM controller pods for a mesh, please run the following command passing in the mesh's namespace",
            );
            say_line("\tkubectl get pods -n <fsm-mesh-namespace> -l app=fsm-controller");
        }
    }
}

/// The namespaces of a mesh, with commas between them.
fn added(namespaces: &[Value], mesh: &str) -> String {
    let names = namespaces
        .iter()
        .filter(|namespace| belongs(namespace, mesh))
        .map(|namespace| namespace["metadata"]["name"].as_str().unwrap_or_default());
    names.collect::<Vec<_>>().join(",")
}

/// `{"TrafficSplit": "v1alpha4"}` as the local list shows it.
fn smi_of(text: &str) -> Option<String> {
    let told: std::collections::BTreeMap<String, String> = serde_json::from_str(text).ok()?;
    Some(told.iter().map(|(kind, version)| format!("{kind}:{version}")).collect::<Vec<_>>().join(","))
}

fn belongs(namespace: &Value, mesh: &str) -> bool {
    namespace["metadata"]["labels"][MONITORED_BY].as_str() == Some(mesh)
}

/// `Kind:version`, sorted, as FSM's controller tells it.
fn smi_versions() -> String {
    let mut versions: Vec<String> = Kind::ALL
        .iter()
        .filter_map(Kind::names)
        .filter(|names| names.group.ends_with(".smi-spec.io"))
        .flat_map(|names| names.versions.iter().map(|version| format!("{}:{version}", names.kind)))
        .collect();
    versions.sort();
    versions.join(",")
}
