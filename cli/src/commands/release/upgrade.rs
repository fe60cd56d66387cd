//! `fsm mesh upgrade`.

use anyhow::Result;
use clap::Args;

use super::{Change, check_mesh_name};
use crate::commands::{MeshChoice, say_line};

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
    change: Change,
    /// Forget what was set before: only --set and --values count (what FSM's own command does)
    #[arg(long)]
    reset_values: bool,
}

impl Upgrade {
    pub(crate) fn run(self, choice: &MeshChoice) -> Result<()> {
        let cluster = choice.cluster()?;
        let (mesh, namespace) = choice.release(&cluster)?;
        check_mesh_name(&mesh)?;
        let values = self.change.values.arguments()?;
        let chart = self.change.values.chart()?;
        let path = chart.path().display().to_string();
        let mut arguments = vec!["upgrade".to_owned(), mesh.clone(), path, "--namespace".to_owned(), namespace.clone()];
        arguments.extend(values);
        // The name is no setting: a mesh that is called otherwise afterwards would be another one.
        arguments.extend(["--set".to_owned(), format!("fsm.meshName={mesh}")]);
        arguments.push(if self.reset_values { "--reset-values" } else { "--reset-then-reuse-values" }.to_owned());
        if self.change.make(choice, &cluster, (&mesh, &namespace), &arguments)? {
            say_line(format!("FSM successfully upgraded mesh [{mesh}] in namespace [{namespace}]"));
        }
        Ok(())
    }
}
