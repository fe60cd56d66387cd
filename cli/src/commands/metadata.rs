//! `fsm label` and `fsm annotate`.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::select::{self, Named, Scope};
use super::{MeshChoice, merge, patch, say_line};
use crate::local::state::{Change as Outcome, ObjectName};

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Labels,
    Annotations,
}

/// `fsm label` and `fsm annotate`.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// KIND NAME KEY=VALUE… KEY-…; `KEY-` removes
    #[arg(required = true, value_name = "KIND NAME KEY=VALUE")]
    words: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// Replace values that are there
    #[arg(long)]
    overwrite: bool,
}

impl Change {
    pub(super) fn run(self, mesh: &MeshChoice, part: Part) -> Result<()> {
        let change = |word: &str| word.contains('=') || (word.ends_with('-') && !word.contains('/'));
        let (changes, words): (Vec<String>, Vec<String>) = self.words.iter().cloned().partition(|word| change(word));
        if changes.is_empty() {
            bail!("say what to change: KEY=VALUE adds, KEY- removes");
        }
        let (field, done) = match part {
            Part::Labels => ("labels", "labeled"),
            Part::Annotations => ("annotations", "annotated"),
        };
        let pairs: Vec<(&str, Option<&str>)> = changes
            .iter()
            .map(|change| match change.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (change.trim_end_matches('-'), None),
            })
            .collect();
        let objects = mesh.state()?.objects();
        for named in select::named(&words)? {
            let Named { resource, name: Some(name) } = &named else {
                bail!("say which {} by name", named.resource.plural)
            };
            let id = ObjectName::new(&resource.directory(), &self.scope.namespace_of(resource, mesh), name);
            let live = objects.get(&id)?.ok_or_else(|| select::not_found(resource, &id))?;
            let before = live.pointer(&format!("/metadata/{field}"));
            for (key, value) in &pairs {
                let old = before.and_then(|map| map.get(key)).and_then(Value::as_str);
                if let (Some(old), Some(new), false) = (old, value, self.overwrite)
                    && old != *new
                {
                    bail!("{} already has {key}={old}: replace it with --overwrite", resource.answer(name));
                }
            }
            let map: serde_json::Map<_, _> =
                pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
            let wanted = json!({"metadata": {field: map}});
            let outcome = patch::change(&objects, &named, &id, |object| merge::patch(object, &wanted))?;
            let done = if outcome == Outcome::Unchanged { format!("not {done}") } else { done.to_owned() };
            say_line(format!("{} {done}", resource.answer(name)));
        }
        Ok(())
    }
}
