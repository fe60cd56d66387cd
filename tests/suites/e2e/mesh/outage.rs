//! The API server is away while there is traffic: nothing fails, and everything converges afterwards.

use super::traffic::Traffic;
use super::{TheMesh, fine, split, until};
use std::time::Duration;

/// How long it is away; a minute where there is time (`FSM_E2E_OUTAGE`, in seconds).
const OUTAGE: Duration = Duration::from_secs(15);

pub(super) async fn the_api_server_is_away(mesh: &TheMesh) {
    let cluster = &mesh.cluster;
    let outage = std::env::var("FSM_E2E_OUTAGE").ok().and_then(|seconds| seconds.parse().ok());
    let outage = outage.map_or(OUTAGE, Duration::from_secs);
    let traffic = Traffic::begin(mesh).await;
    cluster.kill();
    tokio::time::sleep(outage).await;
    cluster.start_again().await;
    // What is said now reaches sidecars.
    cluster.apply(&split("v1", "v2")).await;
    until("a policy that was changed after the outage holds", async || {
        mesh.call("/hostname").await.stdout.contains("server-v1").then_some(())
    })
    .await;
    traffic.ends_well(mesh, &format!("without the API server for {outage:?} of them")).await;
    // And pods that come now are injected and run.
    fine(cluster.kubectl(&["rollout", "restart", "deployment", "-n", "server", "server-v2"], "").await);
    let waiting = ["rollout", "status", "deployment", "-n", "server", "server-v2", "--timeout=60s"];
    fine(cluster.kubectl(&waiting, "").await);
}
