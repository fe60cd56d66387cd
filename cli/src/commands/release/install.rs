//! `fsm install`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use super::pods::{self, Watch};
use super::{Change, check_mesh_name, explain};
use crate::cluster::{Cluster, Helm, Running};
use crate::commands::check::{Outcome, room_for};
use crate::commands::{MeshChoice, say, say_line};

/// Between two looks at the pods.
const LOOK: Duration = Duration::from_millis(150);

/// `fsm install`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fsm check --pre && fsm install\n  \
    fsm install --set fsm.enablePermissiveTrafficPolicy=false --set fsm.deployPrometheus=true\n  \
    fsm install -f values.yaml --mesh-name shop --fsm-namespace shop-system\n  \
    fsm install --render | less            what would be installed, without a cluster")]
pub(crate) struct Install {
    #[command(flatten)]
    change: Change,
    /// No other mesh may be installed beside this one
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true",
        action = clap::ArgAction::Set)]
    enforce_single_mesh: bool,
    /// Print the objects that would be installed; needs no cluster
    #[arg(long, conflicts_with = "dry_run")]
    render: bool,
}

impl Install {
    pub(crate) fn run(self, choice: &MeshChoice) -> Result<ExitCode> {
        let (mesh, namespace) = (choice.mesh_name(), choice.fsm_namespace.as_str());
        check_mesh_name(mesh)?;
        let values = self.change.values.arguments()?;
        let chart = self.change.values.chart()?;
        let path = chart.path().display().to_string();
        let mut arguments = vec![mesh.to_owned(), path, "--namespace".to_owned(), namespace.to_owned()];
        arguments.extend(values);
        for set in [format!("fsm.meshName={mesh}"), format!("fsm.enforceSingleMesh={}", self.enforce_single_mesh)] {
            arguments.extend(["--set".to_owned(), set]);
        }
        if self.render {
            arguments.insert(0, "template".to_owned());
            let helm = Helm::find(&choice.access)?;
            say(&helm.run(&arguments).map_err(|error| explain(error, mesh, namespace))?);
            return Ok(ExitCode::SUCCESS);
        }
        // Found out before anything else is asked.
        Helm::find(&choice.access)?;
        let cluster = choice.cluster()?;
        // Says what is wrong with the cluster in our words, before helm does in its own.
        cluster.text("/version")?;
        self.ask_for_room(&cluster, mesh, namespace)?;
        arguments.insert(0, "install".to_owned());
        arguments.push("--create-namespace".to_owned());
        if self.change.make(choice, &cluster, (mesh, namespace), &arguments)? {
            say_line(format!("FSM installed successfully in namespace [{namespace}] with mesh name [{mesh}]"));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Whether no other mesh is in the way. Job fsm-preinstall looks for that, too, but its pod fails three times, a minute
    /// long, before helm gives up, and then helm only says that it did.
    fn ask_for_room(&self, cluster: &Cluster, mesh: &str, namespace: &str) -> Result<()> {
        // Whoever may not list Deployments everywhere has the Job look.
        let Ok(meshes) = cluster.meshes() else { return Ok(()) };
        if meshes.iter().any(|there| there.mesh == mesh && there.namespace == namespace) {
            bail!(
                "mesh [{mesh}] is already installed in namespace [{namespace}]: `fsm mesh upgrade` changes it, \
                 `fsm uninstall mesh` removes it"
            );
        }
        match room_for(&meshes, mesh, namespace) {
            Outcome::Fail(found) => bail!("{}; {}", found.why, found.remedy),
            Outcome::Warn(found) if self.enforce_single_mesh => bail!("{}; {}", found.why, found.remedy),
            Outcome::Warn(_) | Outcome::Pass => Ok(()),
        }
    }
}

/// Runs helm, and tells how the pods come up, until it has ended and everything runs.
pub(super) fn follow(
    cluster: &Cluster,
    helm: &Helm,
    arguments: &[String],
    (mesh, namespace): (&str, &str),
    limit: Duration,
) -> Result<()> {
    let give_up = Instant::now() + limit;
    let mut watch = Watch::new(mesh, namespace);
    watch.pass_over(cluster)?;
    let mut happenings = watch.follow(cluster);
    let mut helm = Some(helm.start(arguments)?);
    loop {
        let helm_done = helm.as_mut().is_none_or(Running::is_done);
        let look = watch.look(cluster, helm_done)?;
        for line in look.news {
            say_line(line);
        }
        if helm_done
            && let Some(ended) = helm.take()
            && let Err(error) = ended.finish()
        {
            let ill = pods::ill(cluster, mesh, namespace).unwrap_or_default();
            bail!("{ill}{}", explain(error, mesh, namespace));
        }
        if helm_done && look.missing.is_empty() {
            return Ok(());
        }
        if Instant::now() > give_up {
            let ill = pods::ill(cluster, mesh, namespace).unwrap_or_default();
            bail!(
                "{ill}not everything is ready after {} s: {}. What is there stays: look at it with `kubectl get pods -n \
                 {namespace}`, wait longer with `fsm check`, or remove it with `fsm uninstall mesh`; --timeout waits longer",
                limit.as_secs(),
                look.missing.join(", ")
            );
        }
        for line in watch.happened(&cluster.happenings(&mut happenings, LOOK)) {
            say_line(line);
        }
    }
}
