//! `fsm check`: is the mesh well, or (`--pre`) can one be installed? One line for each thing, with what to do about it.
//!
//! Only looks. Judging is pure ([`judge`]); what cannot be looked at is a finding of its own, never a silent pass.

mod after;
mod before;
mod certificate;
mod judge;
mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::{MeshChoice, say};
use crate::cluster::{Cluster, ClusterError};
use crate::output::{self, Style};
use report::Report;

pub(super) use judge::room_for;
pub(super) use report::Outcome;

/// `fsm check`.
#[derive(Debug, Args)]
#[command(after_help = "Exit code 0: all well, or only warnings (‼). 1: something does not work (×).")]
pub(super) struct Check {
    /// Look whether a mesh can be installed
    #[arg(long)]
    pre: bool,
    /// How to answer
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Answer,
}

/// How to answer.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Answer {
    Table,
    Json,
}

/// The oldest Kubernetes (1.x) that the mesh runs on.
const OLDEST_MINOR: u32 = 19;

impl Check {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<ExitCode> {
        let mut report = Report::default();
        if let Some(cluster) = api(&mut report, choice)? {
            if self.pre {
                before::look(&mut report, &cluster, choice)?;
            } else {
                after::look(&mut report, &cluster, choice)?;
            }
        }
        match self.output {
            Answer::Table => say(&report.text(Style::detect(false))),
            Answer::Json => say(&output::json(&report.json())),
        }
        Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Is there a cluster to speak to?
fn api(report: &mut Report, choice: &MeshChoice) -> Result<Option<Cluster>> {
    const API: &str = "kubernetes-api";
    let cluster = match Cluster::connect(&choice.access) {
        Ok(cluster) => cluster,
        Err(error) => {
            report.add(API, "can initialize the client", refused(&error));
            return Ok(None);
        }
    };
    report.add(API, "can initialize the client", Outcome::Pass);
    let version = match cluster.text("/version") {
        Ok(version) => version,
        Err(error) => {
            report.add(API, "can query the Kubernetes API", refused(&error));
            return Ok(None);
        }
    };
    report.add(API, format!("can query the Kubernetes API ({})", cluster.server()), Outcome::Pass);
    let (shown, outcome) = judge::version(&version, OLDEST_MINOR);
    let goes_on =
        report.add("kubernetes-version", format!("is Kubernetes 1.{OLDEST_MINOR} or newer ({shown})"), outcome);
    Ok(goes_on.then_some(cluster))
}

/// A failure whose text has the remedy in it already.
fn refused(error: &ClusterError) -> Outcome {
    Outcome::fail(error.to_string(), "choose the cluster with --kubeconfig and --context, as with kubectl")
}

/// Something could not be looked at.
fn unknown(error: &ClusterError) -> Outcome {
    Outcome::warn(
        format!("this could not be looked at: {error}"),
        "look again with the rights that are missing, or when the API server answers",
    )
}
