//! `fsm mesh list`: the meshes of this machine.

use anyhow::Result;
use clap::Subcommand;
use fsm_api::resources::Kind;
use serde_json::Value;

use super::namespace::MONITORED_BY;
use super::{MeshChoice, say};
use crate::output::Table;

/// `fsm mesh`.
#[derive(Debug, Subcommand)]
pub(super) enum Mesh {
    /// List the meshes, the namespaces that belong to them, and the SMI versions they understand
    List,
}

impl Mesh {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<()> {
        let Self::List = self;
        let meshes = mesh.home().meshes()?;
        if meshes.is_empty() {
            say("No fsm mesh control planes found\n");
            return Ok(());
        }
        let mut first = Table::new(["MESH NAME", "MESH NAMESPACE", "VERSION", "ADDED NAMESPACES", "STATUS"]);
        let mut second = Table::new(["MESH NAME", "MESH NAMESPACE", "SMI SUPPORTED"]);
        let smi = smi_versions();
        for state in &meshes {
            let run = state.run().ok().flatten();
            let version = run.map_or_else(|| "-".to_owned(), |run| run.version);
            let added: Vec<String> = state
                .objects()
                .list("Namespace", None)?
                .iter()
                .filter(|namespace| belongs(namespace, state.mesh()))
                .map(|namespace| namespace["metadata"]["name"].as_str().unwrap_or_default().to_owned())
                .collect();
            let status = if state.is_running() { "running" } else { "stopped (fsm down removes it)" };
            first.row([state.mesh(), &mesh.fsm_namespace, &version, &added.join(","), status]);
            second.row([state.mesh(), &mesh.fsm_namespace, &smi]);
        }
        say(&format!("\n{first}\n{second}\n"));
        Ok(())
    }
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
