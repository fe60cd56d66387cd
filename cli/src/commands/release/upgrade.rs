//! `fsm mesh upgrade`.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::install::follow;
use super::{Values, check_mesh_name, explain, timeout};
use crate::cluster::Helm;
use crate::commands::{MeshChoice, say, say_line};

/// `fsm mesh upgrade`.
#[derive(Debug, Args)]
#[command(
    after_help = "What was set before is kept, and new values get the defaults of the new chart. The MeshConfig of a \
    mesh is never changed by an upgrade: change it with `kubectl edit meshconfig fsm-mesh-config`.\n\nExamples:\n  \
    fsm mesh upgrade\n  fsm mesh upgrade --set fsm.fsmController.replicaCount=2\n  \
    fsm mesh upgrade --reset-values -f values.yaml"
)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    values: Values,
    /// Forget what was set before: only --set and --values count (what FSM's own command does)
    #[arg(long)]
    reset_values: bool,
    /// How long the pods may take to become ready
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = timeout)]
    timeout: Duration,
    /// Go back to the release of before if it fails
    #[arg(long)]
    atomic: bool,
    /// Let helm and the API server check it, print what would be installed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Upgrade {
    pub(crate) fn run(self, choice: &MeshChoice) -> Result<()> {
        let cluster = choice.cluster()?;
        let (mesh, namespace) = choice.release(&cluster)?;
        check_mesh_name(&mesh)?;
        let values = self.values.arguments()?;
        let chart = self.values.chart()?;
        let helm = Helm::find(&choice.access)?;
        let path = chart.path().display().to_string();
        let mut arguments = vec!["upgrade".to_owned(), mesh.clone(), path, "--namespace".to_owned(), namespace.clone()];
        arguments.extend(values);
        // The name is no setting: a mesh that is called otherwise afterwards would be another one.
        arguments.extend(["--set".to_owned(), format!("fsm.meshName={mesh}")]);
        arguments.push(if self.reset_values { "--reset-values" } else { "--reset-then-reuse-values" }.to_owned());
        if self.dry_run {
            arguments.push("--dry-run=server".to_owned());
            say(&helm.run(&arguments).map_err(|error| explain(error, &mesh, &namespace))?);
            return Ok(());
        }
        arguments.push(format!("--timeout={}s", self.timeout.as_secs().max(1)));
        if self.atomic {
            arguments.push("--atomic".to_owned());
        }
        follow(&cluster, &helm, &arguments, (&mesh, &namespace), self.timeout)?;
        say_line(format!("FSM successfully upgraded mesh [{mesh}] in namespace [{namespace}]"));
        Ok(())
    }
}
