//! `fsm proxy get`: a page of a sidecar, as it is.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::Sidecar;
use crate::commands::select::Scope;
use crate::commands::{MeshChoice, say_bytes};
use crate::reach::http::Method;

/// `fsm proxy get`.
#[derive(Debug, Args)]
#[command(
    after_help = "Pages: config_dump (what the sidecar was told), config_status (whether it took it), stats, stats/prometheus, \
    clusters, listeners, certs, ready (exit code 1 if it is not)\n\nExample: fsm proxy get stats deploy/curl -n curl | grep rate_limited"
)]
pub(in crate::commands) struct Page {
    /// The page, as config_dump or stats
    page: String,
    /// A pod, or deploy/NAME
    pod: String,
    #[command(flatten)]
    scope: Scope,
    /// Write the page to this file
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Accepted for scripts: no port of this machine is needed
    #[arg(short = 'p', long, hide = true)]
    local_port: Option<u16>,
}

impl Page {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<ExitCode> {
        let sidecar = Sidecar::find(mesh, &self.scope, &self.pod)?;
        let path = format!("/{}", self.page.trim_start_matches('/'));
        let page = sidecar.mesh.page(&sidecar.place, Method::Get, &path)?;
        if page.status != 200 && self.page != "ready" {
            let said = String::from_utf8_lossy(&page.body);
            bail!(
                "{} answers {} to {path}: {} (`fsm proxy get --help` lists its pages)",
                sidecar.place,
                page.status,
                said.trim()
            );
        }
        match &self.file {
            Some(file) => fs::write(file, &page.body).with_context(|| format!("cannot write {}", file.display()))?,
            None => say_bytes(&page.body),
        }
        Ok(if page.status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
