//! What `fsm install`, `fsm mesh upgrade` and `fsm uninstall mesh` have in common: a mesh is a Helm release with its name.

pub(super) mod install;
mod pods;
mod prompt;
pub(super) mod uninstall;
pub(super) mod upgrade;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::cluster::{Chart, Cluster, Helm, HelmError, duration};
use crate::commands::{MeshChoice, say};

/// What is done to a release, and for how long.
#[derive(Debug, Clone, Args)]
pub(super) struct Change {
    #[command(flatten)]
    values: Values,
    /// How long the pods may take to become ready; 0: for ever
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    /// If it fails, take everything back: to how it was before
    #[arg(long)]
    atomic: bool,
    /// Let helm and the API server check it, print what would be installed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Which values the chart is given.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Values {
    /// Set a value of the chart, as KEY=VALUE (repeatable, or with commas)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// File with values of the chart (repeatable; - is the standard input)
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Chart to use, a directory or an archive [default: the one that is built into this program]
    #[arg(long = "fsm-chart-path", value_name = "PATH")]
    chart: Option<PathBuf>,
    /// Registry of the images; older name of --set fsm.image.registry
    #[arg(long, hide = true, value_name = "REGISTRY")]
    container_registry: Option<String>,
    /// Tag of the images; older name of --set fsm.image.tag
    #[arg(long, hide = true, value_name = "TAG")]
    fsm_image_tag: Option<String>,
    /// Older name of --set fsm.enableEgress
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    enable_egress: Option<bool>,
}

/// For as long as anybody may mean by "no time limit".
const ENDLESS: Duration = Duration::from_secs(365 * 24 * 3600);

impl Change {
    /// Has helm do it as these arguments say, and tells how the pods come up. Says whether anything was changed: not if it was
    /// only tried.
    fn make(
        &self,
        choice: &MeshChoice,
        cluster: &Cluster,
        release: (&str, &str),
        arguments: &[String],
    ) -> Result<bool> {
        let (mesh, namespace) = release;
        let helm = Helm::find(&choice.access)?;
        let mut arguments = arguments.to_vec();
        if self.dry_run {
            arguments.push("--dry-run=server".to_owned());
            say(&helm.run(&arguments).map_err(|error| explain(error, mesh, namespace))?);
            return Ok(false);
        }
        let limit = if self.timeout.is_zero() { ENDLESS } else { self.timeout };
        arguments.push(format!("--timeout={}s", limit.as_secs().max(1)));
        if self.atomic {
            arguments.push("--atomic".to_owned());
        }
        install::follow(cluster, &helm, &arguments, release, limit)?;
        Ok(true)
    }
}

impl Values {
    /// As arguments of helm; what `--set` says counts more than files.
    fn arguments(&self) -> Result<Vec<String>> {
        let mut arguments = Vec::new();
        for file in &self.files {
            arguments.extend(["--values".to_owned(), file.display().to_string()]);
        }
        let older = [
            self.container_registry.as_ref().map(|registry| format!("fsm.image.registry={registry}")),
            self.fsm_image_tag.as_ref().map(|tag| format!("fsm.image.tag={tag}")),
            self.enable_egress.map(|enabled| format!("fsm.enableEgress={enabled}")),
        ];
        for set in older.into_iter().flatten() {
            arguments.extend(["--set".to_owned(), set]);
        }
        for set in &self.set {
            if !set.contains('=') || set.starts_with('=') {
                bail!(
                    "invalid format for --set: key=value is needed, and `{set}` is not; for example --set fsm.enableEgress=true"
                );
            }
            arguments.extend(["--set".to_owned(), set.clone()]);
        }
        Ok(arguments)
    }

    fn chart(&self) -> Result<Chart> {
        if let Some(path) = self.chart.as_deref().filter(|path| !path.exists()) {
            bail!("there is no chart at {} (--fsm-chart-path)", path.display());
        }
        Ok(Chart::new(self.chart.as_deref())?)
    }
}

/// A name that can be a release, a label and part of other names.
fn check_mesh_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 63 || !name.chars().all(good) || name.starts_with('-') || name.ends_with('-') {
        bail!(
            "invalid mesh-name `{name}`: use lower-case letters, digits and `-`, at most 63 of them, first and last no `-` \
             (a DNS label of RFC 1123)"
        );
    }
    // Helm's own limit for names of releases.
    if name.len() > 53 {
        bail!("invalid mesh-name `{name}`: Helm takes at most 53 characters for the name of a release");
    }
    Ok(())
}

/// What helm says, with what to do about it.
fn explain(error: HelmError, mesh: &str, namespace: &str) -> anyhow::Error {
    let HelmError::Failed { said } = &error else { return error.into() };
    let hint = if said.contains("cannot re-use a name") || said.contains("cannot reuse a name") {
        format!(
            "mesh [{mesh}] is already installed in namespace [{namespace}], or an installation failed half-way: \
             `helm status {mesh} -n {namespace}` says which; `fsm mesh upgrade` changes it, `fsm uninstall mesh` removes it"
        )
    } else if said.contains("don't meet the specifications of the schema") {
        "these values are not what the chart takes; docs/installation.md has the table of values".to_owned()
    } else if said.contains("another operation (install/upgrade/rollback) is in progress") {
        format!(
            "if nobody works on it, an earlier run was interrupted: `helm history {mesh} -n {namespace}` shows it, \
             `helm rollback {mesh} -n {namespace}` ends it"
        )
    } else if said.contains("has no deployed releases") || said.contains("release: not found") {
        format!(
            "there is no mesh [{mesh}] in namespace [{namespace}]: `fsm mesh list` shows those of the cluster, --mesh-name \
             and --fsm-namespace choose one"
        )
    } else if said.contains("invalid ownership metadata") {
        "an object of this name is there already and belongs to something else: is it of another mesh, or left from one? \
         `fsm uninstall mesh -a` removes what meshes leave"
            .to_owned()
    } else {
        return anyhow::anyhow!("helm: {said}");
    };
    anyhow::anyhow!("helm: {said}\n{hint}")
}

#[cfg(test)]
mod tests;
