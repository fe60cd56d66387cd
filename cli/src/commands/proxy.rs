//! `fsm proxy get`: what a sidecar says of itself.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use super::select::Scope;
use super::{MeshChoice, pods};
use crate::local::daemon::wire::{self, Target};

/// Port of the sidecar's admin pages, on its pod's loopback address.
const ADMIN_PORT: u16 = 15000;
/// How long a page may keep us waiting.
const DEADLINE: Duration = Duration::from_secs(10);

/// `fsm proxy`.
#[derive(Debug, Subcommand)]
pub(super) enum Proxy {
    /// Print a page of a pod's sidecar
    Get(Page),
}

/// `fsm proxy get`.
#[derive(Debug, Args)]
#[command(
    after_help = "Pages: config_dump (what the sidecar was told), config_status (whether it took it), stats, stats/prometheus, \
    clusters, listeners, certs, ready (exit code 1 if it is not)\n\nExample: fsm proxy get stats deploy/curl -n curl | grep rate_limited"
)]
pub(super) struct Page {
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

impl Proxy {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<ExitCode> {
        let Self::Get(page) = self;
        let state = mesh.state()?;
        let pod = pods::find(&state.objects(), mesh, &page.scope, &page.pod)?;
        let (namespace, name) = pods::name(&pod);
        if !pods::containers(&pod).iter().any(|container| container == pods::SIDECAR) {
            bail!(
                "Pod {name} in namespace {namespace} is not a part of a mesh: after `fsm namespace add {namespace}` its \
                 workload has to be restarted with `fsm rollout restart`"
            );
        }
        let target = Target::Pod { namespace: namespace.clone(), pod: name.clone(), port: ADMIN_PORT };
        let path = format!("/{}", page.page.trim_start_matches('/'));
        let (status, body) = wire::get(&state, target, &path, DEADLINE).with_context(|| {
            format!(
                "the sidecar of pod {namespace}/{name} does not answer: see `fsm logs {name} -n {namespace} -c sidecar`"
            )
        })?;
        if status != 200 && page.page != "ready" {
            let said = String::from_utf8_lossy(&body);
            bail!(
                "the sidecar of pod {namespace}/{name} answers {status} to {path}: {} (`fsm proxy get --help` lists its pages)",
                said.trim()
            );
        }
        match &page.file {
            Some(file) => fs::write(file, &body).with_context(|| format!("cannot write {}", file.display()))?,
            None => super::say_bytes(&body),
        }
        Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
