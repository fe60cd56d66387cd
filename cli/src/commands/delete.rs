//! `fsm delete`: objects go away, namespaces with all that is in them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use super::kinds::Resource;
use super::manifest::Document;
use super::select::{self, Named, Scope, Selector};
use super::{MeshChoice, manifest, say_line};
use crate::local::state::{Change, ObjectName, Objects};

/// `fsm delete`.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// KIND NAME…, or KIND/NAME…
    #[arg(value_name = "KIND NAME")]
    words: Vec<String>,
    /// The objects in these files, directories, or `-` for the standard input
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", conflicts_with = "words")]
    filenames: Vec<PathBuf>,
    #[command(flatten)]
    scope: Scope,
    /// Only objects with these labels
    #[arg(short = 'l', long)]
    selector: Option<Selector>,
    /// All objects of the kind in the namespace
    #[arg(long)]
    all: bool,
    /// Say nothing of objects that are not there
    #[arg(long, default_missing_value = "true", num_args = 0..=1, require_equals = true, default_value = "false")]
    ignore_not_found: bool,
}

impl Delete {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<ExitCode> {
        let objects = mesh.state()?.objects();
        let mut failed = false;
        let mut targets: Vec<(Resource, ObjectName)> = Vec::new();
        if self.filenames.is_empty() {
            targets = self.named(mesh, &objects)?;
        } else {
            let read = manifest::read_all(&self.filenames)?;
            failed = manifest::tell(&read.errors);
            // As kubectl, in the order of the files; but what lives in a namespace of them before that namespace.
            let is_namespace = |document: &Document| document.resource.kind == "Namespace";
            let (namespaces, others): (Vec<_>, Vec<_>) = read.documents.into_iter().partition(is_namespace);
            for mut document in others.into_iter().chain(namespaces) {
                document.settle(self.scope.namespace.as_deref())?;
                targets.push((document.resource.clone(), document.id()?));
            }
        }
        for (resource, id) in targets {
            match remove(&objects, &resource, &id)? {
                Change::Removed => say_line(format!("{} \"{}\" deleted", resource.singular(), id.name)),
                _ if self.ignore_not_found => {}
                _ => {
                    let label = crate::output::Style::detect(true).bad("Error:");
                    eprintln!("{label} {}", select::not_found(&resource, &id));
                    failed = true;
                }
            }
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn named(&self, mesh: &MeshChoice, objects: &Objects) -> Result<Vec<(Resource, ObjectName)>> {
        let selector = self.selector.clone().unwrap_or_default();
        let mut targets = Vec::new();
        for Named { resource, name } in select::named(&self.words)? {
            let namespace = self.scope.namespace_of(&resource, mesh);
            match name {
                Some(name) => {
                    targets.push((resource.clone(), ObjectName::new(&resource.directory(), &namespace, &name)))
                }
                None if self.selector.is_none() && !self.all => {
                    bail!(
                        "say which {}: by name, by label with -l, or all of namespace {namespace} with --all",
                        resource.plural
                    )
                }
                None => {
                    let all = Named { resource: resource.clone(), name: None };
                    for object in select::read(objects, &all, Some(&namespace), &selector)? {
                        targets.push((resource.clone(), ObjectName::of(&object)?));
                    }
                }
            }
        }
        Ok(targets)
    }
}

fn remove(objects: &Objects, resource: &Resource, id: &ObjectName) -> Result<Change> {
    if resource.kind == "Namespace" && resource.group.is_empty() {
        // The namespace first: whoever would make new objects in it sees that it is gone.
        let change = objects.remove(id)?;
        for kind in objects.kinds()? {
            for object in objects.list(&kind, Some(&id.name))? {
                objects.remove(&ObjectName::of(&object)?)?;
            }
        }
        return Ok(change);
    }
    Ok(objects.remove(id)?)
}
