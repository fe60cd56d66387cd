//! Which objects a command is about: `KIND NAME`, `KIND/NAME`, labels.

use std::str::FromStr;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use super::MeshChoice;
use super::kinds::Resource;
use crate::local::state::{ObjectName, Objects, State};

/// Which namespace, as every command takes it.
#[derive(Debug, Clone, Args)]
pub(super) struct Scope {
    /// Namespace [default: default; for a MeshConfig that of the mesh]
    #[arg(short, long, value_name = "NS")]
    pub(super) namespace: Option<String>,
}

impl Scope {
    /// The namespace of objects of this kind; empty for kinds that have none.
    pub(super) fn namespace_of(&self, resource: &Resource, mesh: &MeshChoice) -> String {
        match &self.namespace {
            _ if !resource.namespaced => String::new(),
            Some(namespace) => namespace.clone(),
            // There is one MeshConfig, and it is there.
            None if resource.kind == "MeshConfig" => mesh.fsm_namespace.clone(),
            None => "default".to_owned(),
        }
    }
}

/// Objects given as `KIND NAME…`, `KIND/NAME…` or `KIND,KIND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) resource: Resource,
    /// `None`: all of the kind.
    pub(super) name: Option<String>,
}

/// Understands the words after a command.
pub(super) fn named(words: &[String]) -> Result<Vec<Named>> {
    let Some((first, names)) = words.split_first() else {
        bail!("say which kind of object, as in `fsm get pods` or `fsm get svc,trafficsplit -A`");
    };
    if words.iter().any(|word| word.contains('/')) {
        let one = |word: &String| match word.split_once('/') {
            Some((kind, name)) if !name.is_empty() => {
                Ok(Named { resource: Resource::find(kind)?, name: Some(name.to_owned()) })
            }
            _ => bail!("`{word}` is no KIND/NAME: the two forms `KIND NAME` and `KIND/NAME` cannot be mixed"),
        };
        return words.iter().map(one).collect();
    }
    let mut found = Vec::new();
    for kind in first.split(',').filter(|kind| !kind.is_empty()) {
        for resource in if kind == "all" { workloads()? } else { vec![Resource::find(kind)?] } {
            match names {
                [] => found.push(Named { resource, name: None }),
                names => {
                    found.extend(
                        names.iter().map(|name| Named { resource: resource.clone(), name: Some(name.clone()) }),
                    );
                }
            }
        }
    }
    Ok(found)
}

/// What kubectl means by `all`.
fn workloads() -> Result<Vec<Resource>> {
    ["pods", "services", "daemonsets", "deployments", "replicasets", "statefulsets", "jobs"]
        .into_iter()
        .map(Resource::find)
        .collect()
}

/// Labels that objects must have: `a=b,c!=d,e,!f,g in (h,i)`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    /// `None`: the key must be there, or (negated) must not.
    values: Option<Vec<String>>,
    negated: bool,
}

impl Selector {
    /// Whether the object has such labels.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.0.iter().all(|requirement| {
            let label = labels.and_then(|labels| labels.get(&requirement.key)).and_then(Value::as_str);
            let met = match &requirement.values {
                None => label.is_some(),
                Some(values) => label.is_some_and(|label| values.iter().any(|value| value == label)),
            };
            met != requirement.negated
        })
    }

    /// Both must match.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Exactly these labels, from a map of an object.
    pub(super) fn of_labels(labels: Option<&Value>) -> Self {
        let requirement = |(key, value): (&String, &Value)| Requirement {
            key: key.clone(),
            values: Some(vec![value.as_str().unwrap_or_default().to_owned()]),
            negated: false,
        };
        Self(labels.and_then(Value::as_object).into_iter().flatten().map(requirement).collect())
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            requirements.push(requirement(part.trim()).ok_or_else(|| {
                format!("`{part}` is no label selector: use KEY=VALUE, KEY!=VALUE, KEY, !KEY or `KEY in (A,B)`, joined by commas")
            })?);
        }
        Ok(Self(requirements))
    }
}

fn requirement(text: &str) -> Option<Requirement> {
    let key = |key: &str| {
        let key = key.trim();
        let good = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        good.then(|| key.to_owned())
    };
    let set = |values: &str| {
        let values = values.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(values.split(',').map(|value| value.trim().to_owned()).collect())
    };
    let one = |value: &str| Some(vec![value.trim().to_owned()]);
    let (key, values, negated) = if let Some((name, values)) = text.split_once(" notin ") {
        (key(name)?, Some(set(values)?), true)
    } else if let Some((name, values)) = text.split_once(" in ") {
        (key(name)?, Some(set(values)?), false)
    } else if let Some((name, value)) = text.split_once("!=") {
        (key(name)?, one(value), true)
    } else if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key(name)?, one(value), false)
    } else if let Some(name) = text.strip_prefix('!') {
        (key(name)?, None, true)
    } else {
        (key(text)?, None, false)
    };
    Some(Requirement { key, values, negated })
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let parts = text.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    parts.filter(|part| !part.trim().is_empty()).collect()
}

/// Reads the objects that are meant, of one kind.
///
/// `namespace` is `None` for all namespaces. A name that is not there is an error.
pub(super) fn read(
    objects: &Objects,
    named: &Named,
    namespace: Option<&str>,
    selector: &Selector,
) -> Result<Vec<Value>> {
    let resource = &named.resource;
    let mut found = match &named.name {
        Some(name) => {
            let id = ObjectName::new(&resource.directory(), namespace.unwrap_or_default(), name);
            vec![objects.get(&id)?.ok_or_else(|| not_found(resource, &id))?]
        }
        None => objects.list(&resource.directory(), namespace)?,
    };
    found.retain(|object| selector.matches(object));
    Ok(found)
}

/// The same for showing them: policies with the `status` that fsm-control gives them, which is not in the users' files.
pub(super) fn read_with_status(
    state: &State,
    named: &Named,
    namespace: Option<&str>,
    selector: &Selector,
) -> Result<Vec<Value>> {
    let mut found = read(&state.objects(), named, namespace, selector)?;
    let statuses = state.statuses();
    for object in &mut found {
        // It is fsm-control that writes there; what cannot be read is not known yet.
        let status = ObjectName::of(object).ok().and_then(|name| statuses.get(&name).ok().flatten());
        if let (Some(status), Some(object)) = (status, object.as_object_mut()) {
            object.insert("status".to_owned(), status);
        }
    }
    Ok(found)
}

/// `pods "x" not found`, with where was looked.
pub(super) fn not_found(resource: &Resource, id: &ObjectName) -> anyhow::Error {
    match id.namespace.as_str() {
        "" => anyhow::anyhow!(
            "{} \"{}\" not found: `fsm get {}` lists those there are",
            resource.plural,
            id.name,
            resource.plural
        ),
        namespace => anyhow::anyhow!(
            "{} \"{}\" not found in namespace {namespace}: `fsm get {} -A` lists those of all namespaces",
            resource.plural,
            id.name,
            resource.plural
        ),
    }
}

#[cfg(test)]
mod tests;
