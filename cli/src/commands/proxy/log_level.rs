//! `fsm proxy log-level`: how much a sidecar logs.

use anyhow::Result;
use clap::Args;

use super::Sidecar;
use crate::commands::select::Scope;
use crate::commands::{MeshChoice, say_line};
use crate::reach::http::Method;

/// `fsm proxy log-level`.
#[derive(Debug, Args)]
#[command(
    after_help = "The level of all sidecars, and of those to come, is `sidecar.logLevel` of the MeshConfig; what is set here ends \
    with the sidecar.\nExample: fsm proxy log-level deploy/curl debug -n curl"
)]
pub(in crate::commands) struct LogLevel {
    /// A pod, or deploy/NAME
    pod: String,
    /// The level to set; without it the level is shown
    #[arg(value_parser = ["trace", "debug", "info", "warn", "error", "disabled"])]
    level: Option<String>,
    #[command(flatten)]
    scope: Scope,
}

impl LogLevel {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<()> {
        let sidecar = Sidecar::find(mesh, &self.scope, &self.pod)?;
        let answer = match &self.level {
            Some(level) => sidecar.ask(Method::Post, &format!("/logging?level={level}"))?,
            None => sidecar.text("/logging")?,
        };
        let level = answer.lines().find_map(|line| line.strip_prefix("level: ")).unwrap_or(answer.trim());
        let is = if self.level.is_some() { "now logs" } else { "logs" };
        say_line(format!("The sidecar of pod {} {is} at level {level}", sidecar.pod));
        Ok(())
    }
}
