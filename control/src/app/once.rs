//! Roles that do one thing and end.

use crate::bootstrap::cleanup::{self, Mesh};
use crate::bootstrap::preinstall::{self, Wanted};
use crate::options::{CleanupOptions, PreinstallOptions};
use crate::reconcile::Cluster;
use crate::source::kubernetes;
use anyhow::bail;
use tracing::{error, info, warn};

/// Checks that a mesh can be installed. All checks run; each failure is logged.
pub(super) async fn preinstall(options: PreinstallOptions) -> anyhow::Result<()> {
    let cluster = Cluster::new(kubernetes::connect().await?);
    let wanted = Wanted { namespace: options.fsm_namespace, only_one: options.enforce_single_mesh };
    let found = preinstall::look(&cluster).await?;
    let findings = preinstall::judge(&found, &wanted);
    for warning in &findings.warnings {
        warn!("{warning}");
    }
    for failure in &findings.failures {
        error!("{failure}");
    }
    if !findings.failures.is_empty() {
        bail!("checks failed: {}; nothing was changed", findings.failures.join("; "));
    }
    info!("all checks passed");
    Ok(())
}

/// Removes what the control plane made in the cluster. What fails does not keep the rest from being removed.
pub(super) async fn cleanup(options: CleanupOptions) -> anyhow::Result<()> {
    let cluster = Cluster::new(kubernetes::connect().await?);
    let mesh = Mesh {
        name: options.mesh.mesh_name,
        namespace: options.mesh.fsm_namespace,
        config_name: options.mesh.fsm_config_name,
        ca_bundle: options.ca_bundle_secret_name,
    };
    let outcome = cleanup::clean(&cluster, &mesh).await;
    for removed in &outcome.removed {
        info!("removed {removed}");
    }
    for failure in &outcome.failures {
        error!("{failure}");
    }
    if !outcome.failures.is_empty() {
        bail!("not everything was removed: {}; run it again, or delete these objects", outcome.failures.join("; "));
    }
    Ok(())
}
