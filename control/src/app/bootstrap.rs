//! The bootstrap: prepares the cluster, keeps running, and with reconciling keeps the definitions as they should be.
//!
//! Ready means: all definitions are served, and MeshConfig is there (or another replica is at it).

use super::standing::{Standing, listen};
use crate::admin::Vitals;
use crate::bootstrap::Bootstrap;
use crate::bootstrap::definitions::definition_resource;
use crate::bootstrap::preset::Preset;
use crate::options::BootstrapOptions;
use crate::push::Roster;
use crate::reconcile::{Cluster, Keeper, wake_on_changes};
use crate::source::kubernetes;
use crate::telemetry::Telemetry;
use crate::webhook::configuration::{NAME, NAME_LABEL};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Notify;

/// The Lease of the replica that writes.
const LEASE: &str = "fsm-bootstrap.flomesh.io";

pub(super) async fn run(options: BootstrapOptions) -> anyhow::Result<()> {
    let standing = Standing::default();
    let client = kubernetes::connect().await?;
    let cluster = Cluster::new(client.clone());
    let telemetry = Arc::new(Telemetry::new(&Arc::new(Roster::default())));
    let admin_port = listen(options.operation.listen_admin, "--listen-admin")?;
    let addresses = json!({"pid": std::process::id(), "admin": admin_port.local_addr()?.to_string()});

    let mut presets = vec![Preset::mesh_config(&options.mesh.fsm_config_name)];
    if options.enable_mesh_root_certificate {
        presets.push(Preset::root_certificate());
    }
    let reconciled = options.upkeep.enable_reconciler;
    let bootstrap = Bootstrap::new(cluster.clone(), reconciled, presets, &options.mesh.fsm_namespace);
    let leadership = standing.candidate(client, LEASE, &options.mesh);
    let wake = Arc::new(Notify::new());
    let (keeper, ready) = Keeper::new(bootstrap, wake.clone(), leadership, telemetry.clone());
    standing.tasks.spawn(keeper.run(standing.stop.clone()));
    if reconciled {
        let labels = format!("{NAME_LABEL}={NAME}");
        let stop = standing.stop.clone();
        standing.tasks.spawn(wake_on_changes(cluster, definition_resource(), labels, wake, stop));
    }
    let waits_for = "the definitions of custom resources or MeshConfig are not there yet, see the log";
    let vitals = Vitals { telemetry, ready: ready.clone(), waits_for };
    standing.tasks.spawn(vitals.serve(admin_port, standing.stop.clone()));

    standing.stand(ready, &addresses, &options.operation).await?;
    standing.end().await;
    Ok(())
}
