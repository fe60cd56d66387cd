//! `fsm env`: what commands go by, as YAML.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{MeshChoice, say};
use crate::output;

/// `fsm env`.
#[derive(Debug, Args)]
pub(super) struct Environment;

impl Environment {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<()> {
        // FSM's form; other kinds of installation than one's own do not exist here.
        let install = json!({"install": {"kind": "self-hosted", "distribution": "", "namespace": mesh.fsm_namespace}});
        say(&format!("---\n{}", output::yaml(&install)));
        Ok(())
    }
}
