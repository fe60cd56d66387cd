//! Prepares a cluster for the mesh, checks before an installation that it can be one, and cleans up after it.
//!
//! Everything is idempotent, and what is planned is pure. Objects of users are never overwritten.

pub mod cleanup;
pub mod definitions;
mod migrate;
pub mod preinstall;
pub mod preset;

use crate::reconcile::{Cluster, Upkeep};
use definitions::{DefinitionError, Definitions};
use preset::{Preset, PresetError};
use thiserror::Error;

/// Why a cluster is not prepared.
#[derive(Debug, Error)]
pub enum BootstrapError {
    /// Definitions.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// MeshConfig and MeshRootCertificate.
    #[error(transparent)]
    Preset(#[from] PresetError),
}

/// Prepares a cluster, and keeps its definitions.
#[derive(Debug)]
pub struct Bootstrap {
    cluster: Cluster,
    definitions: Definitions,
    /// Made once.
    presets: Vec<Preset>,
    fsm_namespace: String,
}

impl Bootstrap {
    /// Prepares this cluster as soon as it is asked to.
    pub fn new(cluster: Cluster, reconciled: bool, presets: Vec<Preset>, fsm_namespace: &str) -> Self {
        let definitions = Definitions::new(cluster.clone(), reconciled);
        Self { cluster, definitions, presets, fsm_namespace: fsm_namespace.to_owned() }
    }
}

impl Upkeep for Bootstrap {
    type Error = BootstrapError;

    fn kind(&self) -> &'static str {
        self.definitions.kind()
    }

    async fn bring(&mut self) -> Result<usize, BootstrapError> {
        let written = self.definitions.bring().await?;
        while let Some(preset) = self.presets.last() {
            preset.bring(&self.cluster, &self.fsm_namespace).await?;
            self.presets.pop();
        }
        Ok(written)
    }
}
