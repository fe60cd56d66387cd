//! `fsm version`.

use anyhow::Result;
use clap::Args;
use serde::Deserialize;

use super::{MeshChoice, say, say_line};
use crate::output::Table;

/// `fsm version`.
#[derive(Debug, Args)]
pub(super) struct Version {
    /// Tell only the version of this program
    #[arg(long)]
    client_only: bool,
    /// Accepted for scripts: it is never looked for newer versions
    #[arg(long)]
    version_only: bool,
}

/// Version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What it was built from, if the build told.
const COMMIT: &str = match option_env!("FSM_GIT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// When it was built, if the build told.
const DATE: &str = match option_env!("FSM_BUILD_DATE") {
    Some(date) => date,
    None => "unknown",
};

/// What a controller tells of itself.
#[derive(Default, Deserialize)]
struct Told {
    version: Option<String>,
    git_commit: Option<String>,
    build_date: Option<String>,
}

impl Version {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<()> {
        say_line(format!(
            "CLI Version: version.Info{{Version:\"v{VERSION}\", GitCommit:\"{COMMIT}\", BuildDate:\"{DATE}\"}}"
        ));
        if self.client_only {
            return Ok(());
        }
        let mut table = Table::new(["MESH NAME", "MESH NAMESPACE", "VERSION", "GIT COMMIT", "BUILD DATE"]);
        for state in mesh.home().meshes()? {
            if let Ok(Some(run)) = state.run() {
                // A local mesh is run by this very program; another version means that it was replaced meanwhile.
                let known = run.version == VERSION;
                let (commit, date) = if known { (COMMIT, DATE) } else { ("unknown", "unknown") };
                table.row([state.mesh(), &mesh.fsm_namespace, &format!("v{}", run.version), commit, date]);
            }
        }
        if let Some(cluster) = mesh.cluster_if_any(true)? {
            for known in cluster.meshes()? {
                let told = cluster.controller_text(&known, "/version")?;
                let told: Told = told.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
                let version = told.version.unwrap_or_else(|| known.version.clone());
                let unknown = || "unknown".to_owned();
                let version = format!("v{}", version.trim_start_matches('v'));
                let (commit, date) = (told.git_commit.unwrap_or_else(unknown), told.build_date.unwrap_or_else(unknown));
                table.row([&known.mesh, &known.namespace, &version, &commit, &date]);
            }
        }
        if table.is_empty() {
            say_line("Unable to find FSM control plane in the cluster");
        } else {
            say(&format!("\n{table}"));
        }
        Ok(())
    }
}
