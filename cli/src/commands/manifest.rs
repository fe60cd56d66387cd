//! Objects from files, directories and the standard input.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fsm_api::resources::manifest;
use fsm_api::resources::{ManifestError, Severity};
use serde_json::Value;

use super::kinds::Resource;
use crate::local::state::ObjectName;

/// Largest text that is read from a file or the standard input: etcd would not take objects near that size.
const LARGEST: u64 = 64 << 20;

/// An object as a user wrote it, and where.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) resource: Resource,
    pub(super) value: Value,
    pub(super) origin: String,
}

impl Document {
    /// Puts the object into a namespace, if it is of a kind that has one and names none itself.
    ///
    /// # Errors
    ///
    /// If it names another than the one that was asked for.
    pub(super) fn settle(&mut self, asked: Option<&str>) -> Result<()> {
        let name = self.name();
        let Some(metadata) = self.value.get_mut("metadata").and_then(Value::as_object_mut) else {
            bail!("{}: the object has no metadata", self.origin)
        };
        if !self.resource.namespaced {
            metadata.shift_remove("namespace");
            return Ok(());
        }
        let own = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
        match (own, asked) {
            ("", asked) => {
                metadata.insert("namespace".to_owned(), Value::from(asked.unwrap_or("default")));
                Ok(())
            }
            (own, Some(asked)) if own != asked => bail!(
                "{}: {name} is in namespace {own} and was to go to {asked}: leave -n out, or change the object",
                self.origin
            ),
            _ => Ok(()),
        }
    }

    /// What names it; only after [`Document::settle`] is the namespace the right one.
    pub(super) fn id(&self) -> Result<ObjectName> {
        let namespace = self.value.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        let name = self.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        Ok(ObjectName::new(&self.resource.directory(), namespace, name))
    }

    /// `service/httpbin`.
    pub(super) fn name(&self) -> String {
        self.resource.answer(self.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("<unnamed>"))
    }
}

/// What was read, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    pub(super) documents: Vec<Document>,
    pub(super) errors: Vec<ManifestError>,
}

/// Reads all of these: files, directories (with all below them), `-` for the standard input.
///
/// # Errors
///
/// If one of them cannot be read at all; what is wrong *in* them is in the result.
pub(super) fn read_all(sources: &[PathBuf]) -> Result<Manifests> {
    let mut all = Manifests::default();
    for source in sources {
        for (origin, text) in texts(source)? {
            read(&text, &origin, &mut all);
        }
    }
    // Files of a directory may come in any order; what others live in has to be there first.
    all.documents.sort_by_key(|document| match document.resource.kind.as_str() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        _ => 2,
    });
    Ok(all)
}

fn read(text: &str, origin: &str, all: &mut Manifests) {
    let (objects, errors) = manifest::read(text, origin);
    all.errors.extend(errors);
    for located in objects {
        let resource = Resource::of(&located.value.kind());
        // Types only make JSON of what JSON can hold.
        let Ok(mut value) = serde_json::to_value(&located.value) else { continue };
        prune(&mut value);
        let origin = format!("{}:{}", located.origin, located.line);
        all.documents.push(Document { resource, value, origin });
    }
}

/// Whether something was wrong enough that the object does not count; told on the standard error in any case.
pub(super) fn tell(errors: &[ManifestError]) -> bool {
    for error in errors {
        let label = match error.severity {
            Severity::Error => crate::output::Style::detect(true).bad("Error:"),
            Severity::Warning => "Warning:".to_owned(),
        };
        eprintln!("{label} {error}");
    }
    errors.iter().any(|error| error.severity == Severity::Error)
}

/// Checks an object that a command has made or changed, as if it came from a file.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn check(object: &Value) -> Result<()> {
    let (_, errors) = manifest::read(&object.to_string(), "the changed object");
    match errors.into_iter().find(|error| error.severity == Severity::Error) {
        Some(error) => bail!("{}: {}; {}", error.field, error.reason, error.remedy),
        None => Ok(()),
    }
}

/// `null` says nothing in an object, and types write it for what is not there.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

fn texts(source: &Path) -> Result<Vec<(String, String)>> {
    if source == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().take(LARGEST).read_to_string(&mut text).context("cannot read the standard input")?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    let shown = source.display().to_string();
    if shown.starts_with("http://") || shown.starts_with("https://") {
        bail!("fsm fetches nothing from the network: run `curl -sfL {shown} | fsm apply -f -`");
    }
    let meta = fs::metadata(source).with_context(|| format!("cannot read {shown}"))?;
    if !meta.is_dir() {
        return Ok(vec![(shown, text_of(source)?)]);
    }
    let mut files = Vec::new();
    collect(source, 0, &mut files)?;
    files.sort();
    files.iter().map(|file| Ok((file.display().to_string(), text_of(file)?))).collect()
}

fn text_of(file: &Path) -> Result<String> {
    let mut text = String::new();
    let opened = fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    opened.take(LARGEST).read_to_string(&mut text).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text)
}

fn collect(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    // A link may lead back up.
    if depth > 32 {
        bail!("{} is nested more than 32 deep: is there a link to a directory above?", directory.display());
    }
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", directory.display()))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let manifest = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json");
        if hidden {
            continue;
        } else if path.is_dir() {
            collect(&path, depth + 1, files)?;
        } else if manifest {
            files.push(path);
        }
    }
    Ok(())
}
