//! `fsm proxy status`: every sidecar of the mesh, or some of them, in one line each.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use fsm_api::resources::Kind;
use jiff::Timestamp;
use serde_json::Value;

use crate::commands::select::Selector;
use crate::commands::{MeshChoice, pods, say};
use crate::output::Progress;
use crate::reach::{Mesh, Place, PodName};
use crate::views::pages::Proxy;
use crate::views::status::{Said, State, Status, status};
use crate::views::{Format, show};

/// `fsm proxy status`.
#[derive(Debug, Args)]
#[command(
    after_help = "STATE is Synced (it has the newest configuration), Behind (not yet), Refused (it will not have it), \
    Disconnected (no stream to the control plane: it goes on with what it has), Alone (it follows a file or a repository) or \
    Silent (it does not answer). The exit code is 0 if all are Synced or Alone, else 1."
)]
pub(in crate::commands) struct ShowAll {
    /// A pod, or deploy/NAME [default: all sidecars]
    pod: Option<String>,
    /// Only those of this namespace
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// Only pods with these labels
    #[arg(short = 'l', long)]
    selector: Option<Selector>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true, value_name = "FORMAT")]
    output: Format,
}

impl ShowAll {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<ExitCode> {
        let mesh = choice.reach()?;
        let asked: Vec<PodName> = self.pods(&mesh, choice)?.iter().map(PodName::of).collect();
        let roster = roster(&mesh);
        if let Err(why) = &roster {
            eprintln!("The control plane does not say what sidecars should have: {why:#}");
        }
        let roster = roster.unwrap_or_default();
        let progress = Progress::new("Asking sidecars", asked.len());
        let said = mesh.each(&asked, |mesh, pod| {
            let said = ask(mesh, pod);
            progress.one_more();
            said
        });
        progress.end();
        let now = Timestamp::now();
        let rows: Vec<Status> = asked
            .iter()
            .zip(&said)
            .map(|(pod, said)| {
                let entry = roster.get(&pod.to_string());
                match said {
                    Ok(said) => status(pod, Ok(said), entry, now),
                    Err(why) => status(pod, Err(&format!("{why:#}")), entry, now),
                }
            })
            .collect();
        if rows.is_empty() && matches!(self.output, Format::Table | Format::Wide) {
            eprintln!("No pod of {mesh} has a sidecar: `fsm namespace list` shows which namespaces are in it");
        }
        say(&show(&rows, self.output));
        let well = rows.iter().all(|row| matches!(row.state, State::Synced | State::Alone));
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn pods(&self, mesh: &Mesh, choice: &MeshChoice) -> Result<Vec<Value>> {
        if let Some(target) = &self.pod {
            let scope = crate::commands::select::Scope { namespace: self.namespace.clone() };
            return pods::all(mesh, choice, &scope, target);
        }
        let mut found = mesh.list(&Kind::Pod, self.namespace.as_deref())?;
        found.retain(|pod| pods::has_sidecar(pod) && !pods::is_over(pod));
        found.retain(|pod| self.selector.as_ref().is_none_or(|selector| selector.matches(pod)));
        Ok(found)
    }
}

/// What control says of sidecars, by pod.
fn roster(mesh: &Mesh) -> Result<BTreeMap<String, Proxy>> {
    let proxies: Vec<Proxy> = mesh.read(&Place::Control, "/proxies")?;
    Ok(proxies.into_iter().map(|proxy| (proxy.pod.clone(), proxy)).collect())
}

fn ask(mesh: &Mesh, pod: &PodName) -> Result<Said> {
    let place = Place::Sidecar(pod.clone());
    Ok(Said { config: mesh.read(&place, "/config_status")?, version: mesh.read(&place, "/version")? })
}
