//! `fsm scale`: more pods, or fewer.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;

use super::select::{self, Named, Scope};
use super::{MeshChoice, merge, patch, say_line};
use crate::local::state::ObjectName;

/// `fsm scale`.
#[derive(Debug, Args)]
pub(super) struct Scale {
    /// deploy/NAME or deployment NAME; also statefulset and replicaset
    #[arg(required = true, value_name = "KIND/NAME")]
    words: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// How many pods there shall be
    #[arg(long, value_name = "COUNT")]
    replicas: u16,
}

impl Scale {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<()> {
        let objects = mesh.state()?.objects();
        for named in select::named(&self.words)? {
            let Named { resource, name: Some(name) } = &named else {
                bail!("say which {} by name", named.resource.plural)
            };
            if !matches!(resource.kind.as_str(), "Deployment" | "StatefulSet" | "ReplicaSet") {
                bail!("{} have no replicas: only deployments, statefulsets and replicasets do", resource.plural);
            }
            let id = ObjectName::new(&resource.directory(), &self.scope.namespace_of(resource, mesh), name);
            patch::change(&objects, &named, &id, |object| {
                merge::patch(object, &json!({"spec": {"replicas": self.replicas}}));
            })?;
            say_line(format!("{} scaled", resource.answer(name)));
        }
        Ok(())
    }
}
