//! `fsm apply`: objects become as the files say. As with kubectl, a bad document does not stop the good ones.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::manifest::{self, Document};
use super::{MeshChoice, merge, say_line};
use crate::local::state::{Change, ObjectName, Objects};

/// `fsm apply`.
#[derive(Debug, Args)]
#[command(after_help = "For each object one line tells what became of it: created, configured or unchanged.\n\
    Objects that are valid are applied even if others are not; the exit code is then 1.\n\
    Lists are replaced as a whole. Fields that left the file leave the object.")]
pub(super) struct Apply {
    /// Files, directories with all below them, or `-` for the standard input
    #[arg(short, long = "filename", required = true, value_name = "FILE|DIR|-")]
    filenames: Vec<PathBuf>,
    /// Namespace of objects that name none [default: default]
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
}

impl Apply {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<ExitCode> {
        let state = mesh.state()?;
        let objects = state.objects();
        let read = manifest::read_all(&self.filenames)?;
        let mut failed = manifest::tell(&read.errors);
        if read.documents.is_empty() && !failed {
            return Err(anyhow!(
                "there is no object in what was given (of directories, *.yaml, *.yml and *.json below them are read)"
            ));
        }
        for mut document in read.documents {
            match apply(&objects, &mut document, self.namespace.as_deref()) {
                Ok(change) => say_line(format!("{} {}", document.name(), word(change))),
                Err(error) => {
                    eprintln!("{} {error:#}", crate::output::Style::detect(true).bad("Error:"));
                    failed = true;
                }
            }
        }
        if !state.is_running() {
            eprintln!(
                "Warning: mesh {} does not run, so nobody follows these objects: `fsm down` removes what is left of it, \
                 `fsm up DIR` starts it anew",
                state.mesh()
            );
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// As kubectl says it.
pub(super) const fn word(change: Change) -> &'static str {
    match change {
        Change::Created => "created",
        Change::Configured => "configured",
        Change::Unchanged => "unchanged",
        Change::Removed => "deleted",
    }
}

/// Applies one object.
pub(super) fn apply(objects: &Objects, document: &mut Document, namespace: Option<&str>) -> Result<Change> {
    document.settle(namespace)?;
    let id = document.id()?;
    require_namespace(objects, &id).map_err(|error| anyhow!("{}: {}: {error}", document.origin, document.name()))?;
    let wanted = document.value.clone();
    let change = objects.update(&id, |live| Some(merge::apply(live, &wanted)))?;
    if document.resource.kind == "Namespace" && document.resource.group.is_empty() {
        finish_namespace(objects, &id.name)?;
    }
    Ok(change)
}

/// Objects live in namespaces that are there.
pub(super) fn require_namespace(objects: &Objects, id: &ObjectName) -> Result<()> {
    if id.namespace.is_empty() || objects.get(&ObjectName::new("Namespace", "", &id.namespace))?.is_some() {
        return Ok(());
    }
    let namespace = &id.namespace;
    Err(anyhow!("namespaces \"{namespace}\" not found: create it with `fsm create namespace {namespace}`"))
}

/// What Kubernetes puts into every new namespace.
pub(super) fn finish_namespace(objects: &Objects, name: &str) -> Result<()> {
    objects.update(&ObjectName::new("Namespace", "", name), |live| {
        let mut namespace = live?;
        let label =
            json!({"metadata": {"labels": {"kubernetes.io/metadata.name": name}}, "status": {"phase": "Active"}});
        merge::patch(&mut namespace, &label);
        Some(namespace)
    })?;
    let account: Value =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}});
    objects.update(&ObjectName::new("ServiceAccount", name, "default"), |live| Some(live.unwrap_or(account)))?;
    Ok(())
}
