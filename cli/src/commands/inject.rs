//! `fsm inject` and `fsm uninject`: manifests with the sidecar, or without it.
//!
//! Shows what the injector's webhook does to the pods of a manifest, by the very same function. Documents without pods are
//! printed as they were written; in the others, what injection does not concern keeps its content and order, while comments
//! are lost. What happened to each object is told on the standard error. If one document cannot be read or injected,
//! nothing is printed at all: half a manifest piped into kubectl would be worse. Never talks to a mesh or a cluster.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use fsm_api::resources::mesh_config::MeshConfigSpec;
use fsm_control::inject::{self, DEFAULT_IMAGE, Decision, NamespaceFacts, Settings};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;

use super::{MeshChoice, say};
use crate::output;

/// Largest text that is read.
const LARGEST: u64 = 32 << 20;

/// `fsm inject`.
#[derive(Debug, Args)]
pub(super) struct Inject {
    /// Files to read; - is the standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true, value_delimiter = ',')]
    filenames: Vec<PathBuf>,
    /// Namespace of objects that name none; it is taken to be in the mesh, with injection enabled
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// Image of the sidecar, where the pod's annotation names none
    #[arg(long, value_name = "IMAGE", default_value = DEFAULT_IMAGE)]
    sidecar_image: String,
    /// Image of the init container
    #[arg(long, value_name = "IMAGE", default_value = DEFAULT_IMAGE)]
    init_image: String,
    /// imagePullPolicy of both
    #[arg(long, value_name = "POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: String,
    /// Inject native sidecars: init containers with restartPolicy: Always, for Kubernetes 1.29 and newer
    #[arg(long)]
    native_sidecars: bool,
}

/// `fsm uninject`.
#[derive(Debug, Args)]
pub(super) struct Uninject {
    /// Files to read; - is the standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true, value_delimiter = ',')]
    filenames: Vec<PathBuf>,
}

impl Inject {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<()> {
        let name = mesh.name.clone().unwrap_or_else(|| "fsm".to_owned());
        let settings = Settings {
            mesh: name,
            fsm_namespace: mesh.fsm_namespace.clone(),
            sidecar_image: self.sidecar_image,
            init_image: self.init_image,
            pull_policy: self.image_pull_policy,
            native_sidecars: self.native_sidecars,
            token_audience: String::new(),
        };
        rewrite(&self.filenames, |pod, owner| add(pod, owner, &self.namespace, &settings))
    }
}

impl Uninject {
    pub(super) fn run(self) -> Result<()> {
        rewrite(&self.filenames, |pod, _| take_away(pod))
    }
}

/// What holds a pod.
struct Owner<'a> {
    kind: &'a str,
    name: &'a str,
    namespace: Option<&'a str>,
}

/// What became of one pod or template: the new one, if it is another, and a word for people.
type Outcome = (Option<Value>, String);

fn add(raw: &Value, owner: &Owner<'_>, namespace: &str, settings: &Settings) -> Result<Outcome> {
    let before: Pod = serde_json::from_value(raw.clone()).context("its pod cannot be read")?;
    let facts = NamespaceFacts {
        name: owner.namespace.unwrap_or(namespace).to_owned(),
        monitored_by: Some(settings.mesh.clone()),
        annotations: [("flomesh.io/sidecar-injection".to_owned(), "enabled".to_owned())].into(),
    };
    let mut owned = before.clone();
    if owner.kind != "Pod" {
        // As its pods will say.
        owned.metadata.owner_references = Some(vec![OwnerReference {
            kind: owner.kind.to_owned(),
            name: owner.name.to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        }]);
    }
    let uuid = inject::new_uuid().map_err(|_| anyhow!("the system has no random numbers"))?;
    match inject::inject(&owned, &facts, &MeshConfigSpec::default(), settings, &uuid)? {
        Decision::Skip(reason) => Ok((None, format!("skipped: {}", reason.text()))),
        Decision::Inject(mut after) => {
            after.metadata.owner_references.clone_from(&before.metadata.owner_references);
            Ok((Some(graft(raw, &before, &after)?), "injected".to_owned()))
        }
    }
}

fn take_away(raw: &Value) -> Result<Outcome> {
    let before: Pod = serde_json::from_value(raw.clone()).context("its pod cannot be read")?;
    let mut after = before.clone();
    let removed = inject::remove(&mut after);
    if !removed.changed {
        return Ok((None, "skipped: it has no sidecar".to_owned()));
    }
    let mut grafted = graft(raw, &before, &after)?;
    if let Some(fields) = grafted.as_object_mut()
        && fields.get("metadata").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
    {
        fields.shift_remove("metadata");
    }
    let guessed = removed.guessed.join(", ");
    let hint = if guessed.is_empty() { String::new() } else { format!("; correct the path of: {guessed}") };
    Ok((Some(grafted), format!("uninjected{hint}")))
}

fn graft(raw: &Value, before: &Pod, after: &Pod) -> Result<Value> {
    Ok(inject::graft(raw, &serde_json::to_value(before)?, &serde_json::to_value(after)?))
}

fn rewrite(files: &[PathBuf], change: impl Fn(&Value, &Owner<'_>) -> Result<Outcome>) -> Result<()> {
    let mut whole = String::new();
    let mut told = Vec::new();
    for file in files {
        let (origin, text) = read(file)?;
        if !whole.is_empty() && !starts_document(text.lines().next().unwrap_or_default()) {
            whole.push_str("---\n");
        }
        for document in Document::all(&text) {
            let origin = format!("{origin}:{}", document.line);
            whole.push_str(&document.rewritten(&origin, &change, &mut told)?);
        }
        if !whole.is_empty() && !whole.ends_with('\n') {
            whole.push('\n');
        }
    }
    if told.is_empty() {
        eprintln!("there is no pod and nothing that makes pods in what was given");
    }
    for line in told {
        eprintln!("{line}");
    }
    say(&whole);
    Ok(())
}

/// One document of a file, with the line that separates it from the one before.
struct Document<'a> {
    separator: &'a str,
    text: &'a str,
    /// From 1.
    line: usize,
}

/// A line that begins with three hyphens begins a document, wherever it is: YAML's own rule.
fn starts_document(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

impl<'a> Document<'a> {
    fn all(text: &'a str) -> Vec<Self> {
        let mut documents = vec![Document { separator: "", text: "", line: 1 }];
        let mut begin = 0;
        let mut end = 0;
        for (line, number) in text.split_inclusive('\n').zip(1..) {
            if starts_document(line) {
                let rest = line[3..].trim();
                // A document may begin right behind the hyphens.
                let length = if rest.is_empty() || rest.starts_with('#') { line.len() } else { 3 };
                documents.push(Document { separator: &text[end..end + length], text: "", line: number });
                begin = end + length;
            }
            end += line.len();
            if let Some(last) = documents.last_mut() {
                last.text = &text[begin..end];
            }
        }
        documents
    }

    fn rewritten(
        &self,
        origin: &str,
        change: &impl Fn(&Value, &Owner<'_>) -> Result<Outcome>,
        told: &mut Vec<String>,
    ) -> Result<String> {
        let as_written = || format!("{}{}", self.separator, self.text);
        if self.text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(as_written());
        }
        let mut object: Value = serde_saphyr::from_str(self.text)
            .with_context(|| format!("{origin}: this is neither YAML nor JSON of one object"))?;
        if !rewrite_object(&mut object, change, told).with_context(|| origin.to_owned())? {
            return Ok(as_written());
        }
        let json = self.text.trim_start().starts_with('{');
        let text = if json { output::json(&object) } else { output::yaml(&object) };
        let separator = if self.separator.is_empty() || self.separator.ends_with('\n') { "" } else { "\n" };
        Ok(format!("{}{separator}{text}", self.separator))
    }
}

/// Whether the object is another now.
fn rewrite_object(
    object: &mut Value,
    change: &impl Fn(&Value, &Owner<'_>) -> Result<Outcome>,
    told: &mut Vec<String>,
) -> Result<bool> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if kind.ends_with("List")
        && let Some(items) = object.get_mut("items").and_then(Value::as_array_mut)
    {
        let mut changed = false;
        for item in items {
            changed |= rewrite_object(item, change, told)?;
        }
        return Ok(changed);
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let place = match (group, kind.as_str()) {
        ("", "Pod") => "",
        ("", "ReplicationController") | ("batch", "Job") => "/spec/template",
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => "/spec/template",
        ("batch", "CronJob") => "/spec/jobTemplate/spec/template",
        _ => return Ok(false),
    };
    let metadata = |field: &str| object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str);
    let name = metadata("name").or_else(|| metadata("generateName")).unwrap_or("<unnamed>").to_owned();
    let namespace = metadata("namespace").map(str::to_owned);
    let subject = format!("{}/{name}", kind.to_lowercase());
    let owner = Owner { kind: &kind, name: &name, namespace: namespace.as_deref() };
    let Some(pod) = object.pointer_mut(place) else {
        bail!("{subject} has no pod template: write one at {}", place.trim_start_matches('/').replace('/', "."))
    };
    let (changed, word) = change(pod, &owner).with_context(|| subject.clone())?;
    told.push(format!("{subject} {word}"));
    let Some(changed) = changed else { return Ok(false) };
    *pod = changed;
    Ok(true)
}

fn read(file: &Path) -> Result<(String, String)> {
    let mut text = String::new();
    let origin = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    if origin.starts_with("http://") || origin.starts_with("https://") {
        bail!("fsm fetches nothing from the network: run `curl -sfL {origin} | fsm inject -f -`");
    }
    let mut source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(fs::File::open(file).with_context(|| format!("cannot read {origin}"))?)
    };
    let length = source.as_mut().take(LARGEST + 1).read_to_string(&mut text);
    if length.with_context(|| format!("cannot read {origin}"))? as u64 > LARGEST {
        bail!("{origin} is longer than {LARGEST} bytes: split it");
    }
    Ok((origin, text))
}

#[cfg(test)]
mod tests;
