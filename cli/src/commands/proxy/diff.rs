//! `fsm proxy diff`: what control wants a sidecar to do, and what it does.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use super::{One, Sidecar};
use crate::commands::{MeshChoice, say, say_line};
use crate::reach::Place;
use crate::views::pages::Proxy;
use crate::views::{Format, diff, show};

/// `fsm proxy diff`.
#[derive(Debug, Args)]
#[command(after_help = "Secrets are redacted on both sides, so another key alone is no difference.")]
pub(in crate::commands) struct Diff {
    #[command(flatten)]
    one: One,
}

impl Diff {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<ExitCode> {
        let sidecar = self.one.find(mesh)?;
        let wanted: Value = sidecar
            .mesh
            .read(&Place::Control, &format!("/config?pod={}", sidecar.pod))
            .context("it is not known what the sidecar is to do")?;
        let actual: Value = sidecar.read("/config_dump")?;
        let found = diff::documents(&wanted, &actual);
        let table = matches!(self.one.output, Format::Table | Format::Wide);
        match (found.is_empty(), table) {
            (true, true) => {
                say_line(format!("The sidecar of pod {} does what the control plane wants it to do.", sidecar.pod));
            }
            _ => say(&show(&found, self.one.output)),
        }
        if !found.is_empty() && table {
            eprintln!("{}", verdict(&sidecar, found.len()));
        }
        Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What differences mean.
fn verdict(sidecar: &Sidecar, count: usize) -> String {
    let (pod, differences) = (&sidecar.pod, if count == 1 { "difference" } else { "differences" });
    // If control does not tell, the general sentence names the command that says why not.
    let proxies: Vec<Proxy> = sidecar.mesh.read(&Place::Control, "/proxies").unwrap_or_default();
    let entry = proxies.iter().find(|entry| entry.pod == pod.to_string());
    let logs = format!("`fsm logs {} -n {} -c sidecar`", pod.name, pod.namespace);
    match entry.and_then(Proxy::refusal) {
        Some(reason) => format!(
            "{count} {differences}: the sidecar refuses the newest configuration and goes on with the last one that it took.\n\
             Why: {reason}\n{logs} says more."
        ),
        None => format!(
            "{count} {differences}. If they stay for more than a moment: `fsm proxy status` says why, and {logs} more."
        ),
    }
}
