//! `fsm edges`: who talks to whom.

use anyhow::Result;
use clap::Args;
use fsm_api::resources::Kind;

use super::{MeshChoice, pods, say};
use crate::output::Progress;
use crate::reach::{Place, PodName};
use crate::views::edges::{Member, edges};
use crate::views::workload::Workload;
use crate::views::{Format, show};

/// `fsm edges`.
#[derive(Debug, Args)]
#[command(
    after_help = "CALLER and SERVER are the service accounts that both sides prove by certificate. Numbers are those since \
    the sidecars were started."
)]
pub(super) struct Edges {
    /// Only from or to workloads of this namespace
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// Accepted as everywhere: it is the default
    #[arg(short = 'A', long, conflicts_with = "namespace", hide = true)]
    all_namespaces: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true, value_name = "FORMAT")]
    output: Format,
}

impl Edges {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let mesh = choice.reach()?;
        let mut pods = mesh.list(&Kind::Pod, None)?;
        pods.retain(|pod| pods::has_sidecar(pod) && !pods::is_over(pod));
        let progress = Progress::new("Asking sidecars", pods.len());
        let answers = mesh.each(&pods, |mesh, pod| {
            let name = PodName::of(pod);
            let signals = mesh.read(&Place::Sidecar(name.clone()), "/signals");
            progress.one_more();
            (name, signals.map(|signals| Member { workload: Workload::of(pod), signals }))
        });
        progress.end();
        let mut members = Vec::new();
        for (name, answer) in answers {
            match answer {
                Ok(member) => members.push(member),
                Err(why) => eprintln!("Pod {name} is left out: {why:#}"),
            }
        }
        let mut rows = edges(&members);
        rows.retain(|edge| {
            self.namespace.as_ref().is_none_or(|wanted| [&edge.from_namespace, &edge.to_namespace].contains(&wanted))
        });
        if rows.is_empty() && matches!(self.output, Format::Table | Format::Wide) {
            eprintln!("No sidecar has let anything in or sent anything yet.");
        }
        say(&show(&rows, self.output));
        Ok(())
    }
}
