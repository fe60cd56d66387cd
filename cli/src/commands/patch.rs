//! `fsm patch`: some fields of an object change.

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::select::{self, Named, Scope};
use super::{MeshChoice, manifest, merge, say_line};
use crate::local::state::{Change, ObjectName, Objects};

/// `fsm patch`.
#[derive(Debug, Args)]
#[command(after_help = "Example: fsm patch meshconfig fsm-mesh-config --type merge \\\n           \
    -p '{\"spec\":{\"traffic\":{\"enablePermissiveTrafficPolicyMode\":false}}}'\n\n\
    Fields of the patch replace those of the object, null removes a field, lists are replaced as a whole.")]
pub(super) struct Patch {
    /// KIND NAME, or KIND/NAME
    #[arg(required = true, value_name = "KIND NAME")]
    words: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// The patch, as JSON or YAML
    #[arg(short, long)]
    patch: String,
    /// How the patch is laid over the object; `strategic` is here the same as `merge`
    #[arg(long = "type", value_enum, default_value = "merge")]
    kind: Kind,
}

/// Kinds of patches.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// RFC 7396
    Merge,
    /// Accepted for scripts; lists are replaced, not merged
    Strategic,
}

impl Patch {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<()> {
        // Both replace lists: see the help.
        let (Kind::Merge | Kind::Strategic) = self.kind;
        let patch: Value = serde_saphyr::from_str(&self.patch).context("the patch is neither JSON nor YAML")?;
        if !patch.is_object() {
            bail!("the patch is no map of fields: write it as in -p '{{\"spec\":{{…}}}}'");
        }
        let objects = mesh.state()?.objects();
        for named in select::named(&self.words)? {
            let Named { resource, name: Some(name) } = &named else {
                bail!("say which {} by name", named.resource.plural)
            };
            let id = ObjectName::new(&resource.directory(), &self.scope.namespace_of(resource, mesh), name);
            let change = change(&objects, &named, &id, |object| merge::patch(object, &patch))?;
            let remark = if change == Change::Unchanged { " (no change)" } else { "" };
            say_line(format!("{} patched{remark}", resource.answer(name)));
        }
        Ok(())
    }
}

/// Changes an object that must be there, if it is still a valid one afterwards.
pub(super) fn change(
    objects: &Objects,
    named: &Named,
    id: &ObjectName,
    edit: impl FnOnce(&mut Value),
) -> Result<Change> {
    let mut found = false;
    let mut wrong = Ok(());
    let change = objects.update(id, |live| {
        let live = live?;
        found = true;
        let mut object = live.clone();
        edit(&mut object);
        wrong = unmoved(&live, &object).and_then(|()| manifest::check(&object));
        Some(if wrong.is_ok() { object } else { live })
    })?;
    if !found {
        return Err(select::not_found(&named.resource, id));
    }
    wrong.with_context(|| format!("{} would not be valid, and stays as it was", named.resource.answer(&id.name)))?;
    Ok(change)
}

/// An object cannot be changed into another one.
fn unmoved(before: &Value, after: &Value) -> Result<()> {
    for field in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"] {
        if before.pointer(field) != after.pointer(field) {
            bail!("{} cannot be changed", field[1..].replace('/', "."));
        }
    }
    Ok(())
}
