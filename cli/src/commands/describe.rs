//! `fsm describe`: all of an object, for reading, with what the control plane has against it.

use anyhow::{Result, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::merge::LAST_APPLIED;
use super::problems::{self, Problem};
use super::select::{self, Scope, Selector};
use super::{MeshChoice, say};
use crate::output;

/// `fsm describe`.
#[derive(Debug, Args)]
pub(super) struct Describe {
    /// KIND NAME, KIND/NAME, or KIND for all of it
    #[arg(required = true, value_name = "KIND NAME")]
    words: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// Only objects with these labels
    #[arg(short = 'l', long)]
    selector: Option<Selector>,
}

impl Describe {
    pub(super) fn run(&self, mesh: &MeshChoice) -> Result<()> {
        let state = mesh.state()?;
        let selector = self.selector.clone().unwrap_or_default();
        let problems = problems::all(&state).unwrap_or_default();
        let mut texts = Vec::new();
        for named in select::named(&self.words)? {
            let namespace = self.scope.namespace_of(&named.resource, mesh);
            for object in select::read_with_status(&state, &named, Some(&namespace), &selector)? {
                texts.push(text(&object, &problems, Timestamp::now()));
            }
        }
        if texts.is_empty() {
            bail!("no resources found");
        }
        say(&texts.join("\n\n"));
        Ok(())
    }
}

fn text(object: &Value, problems: &[Problem], now: Timestamp) -> String {
    let field = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (kind, namespace, name) = (field("/kind"), field("/metadata/namespace"), field("/metadata/name"));
    let mut lines = vec![row("Name", name)];
    if !namespace.is_empty() {
        lines.push(row("Namespace", namespace));
    }
    lines.push(pairs("Labels", object.pointer("/metadata/labels")));
    lines.push(pairs("Annotations", object.pointer("/metadata/annotations")));
    lines.push(row("API Version", field("/apiVersion")));
    lines.push(row("Kind", kind));
    lines.push(row("Age", &output::age::since(object.pointer("/metadata/creationTimestamp"), now)));
    let key = if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") };
    let against: Vec<&Problem> = problems.iter().filter(|problem| problem.objects.contains(&key)).collect();
    if !against.is_empty() {
        lines.push("Problems:".to_owned());
        lines.extend(against.iter().map(|problem| format!("  {}: {}", problem.reason, problem.text)));
    }
    for (key, value) in object.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            lines.push(section(kind, key, value));
        }
    }
    lines.join("\n") + "\n"
}

fn row(heading: &str, value: &str) -> String {
    format!("{:<13} {value}", format!("{heading}:")).trim_end().to_owned()
}

fn pairs(heading: &str, map: Option<&Value>) -> String {
    let pairs = map.and_then(Value::as_object).into_iter().flatten().filter(|(key, _)| *key != LAST_APPLIED);
    let pairs: Vec<String> =
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    let joined = pairs.join(&format!("\n{:14}", ""));
    row(heading, if joined.is_empty() { "<none>" } else { &joined })
}

/// A part of the object as YAML; of secrets only how long they are.
fn section(kind: &str, key: &str, value: &Value) -> String {
    let mut heading = key.to_owned();
    if let Some(first) = heading.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let hidden = kind == "Secret" && matches!(key, "data" | "stringData");
    let shown = match value.as_object() {
        Some(map) if hidden => map
            .iter()
            .map(|(key, value)| format!("{key}: {} characters", value.as_str().unwrap_or_default().len()))
            .collect::<Vec<_>>()
            .join("\n"),
        _ => output::yaml(value),
    };
    let indented: Vec<String> = shown.trim_end().lines().map(|line| format!("  {line}")).collect();
    format!("{heading}:\n{}", indented.join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_told_with_its_problems_and_without_its_secrets() {
        let problem =
            serde_json::from_value(json!({"objects": ["Egress n/x"], "reason": "HostConflict", "text": "as n/y"}))
                .unwrap();
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let egress = json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "Egress", "spec": {"hosts": ["h"]},
            "metadata": {"name": "x", "namespace": "n", "labels": {"a": "b", "c": "d"}, "creationTimestamp": "2026-11-21T09:59:00Z",
                         "annotations": {LAST_APPLIED: "{}"}}});
        assert_eq!(
            text(&egress, &[problem], now),
            "Name:         x\nNamespace:    n\nLabels:       a=b\n              c=d\nAnnotations:  <none>\n\
             API Version:  policy.flomesh.io/v1alpha1\nKind:         Egress\nAge:          60s\nProblems:\n  HostConflict: as n/y\n\
             Spec:\n  hosts:\n  - h\n"
        );
        let secret =
            json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"key": "c2VjcmV0"}, "type": "Opaque"});
        let told = text(&secret, &[], now);
        assert!(told.contains("key: 8 characters") && !told.contains("c2VjcmV0"), "{told}");
    }
}
