//! The API server is away while there is traffic: nothing fails, and everything converges afterwards.

use super::{TheMesh, fine, split, until};
use std::time::Duration;

/// How long it is away; a minute where there is time (`FSM_E2E_OUTAGE`, in seconds).
const OUTAGE: Duration = Duration::from_secs(15);

pub(super) async fn the_api_server_is_away(mesh: &TheMesh) {
    let cluster = &mesh.cluster;
    let outage = std::env::var("FSM_E2E_OUTAGE").ok().and_then(|seconds| seconds.parse().ok());
    let outage = outage.map_or(OUTAGE, Duration::from_secs);
    let pod = cluster.pod_of("client", "client").await;
    // Runs in the pod, without the API server; what it has seen is read afterwards.
    let script = "rm -f /tmp/fsm-e2e-stop; (while [ ! -e /tmp/fsm-e2e-stop ]; do \
                  curl -s -m 5 -o /dev/null -w '%{http_code}\\n' http://server.server:14001/get; sleep 0.05; \
                  done > /tmp/fsm-e2e-seen) > /dev/null 2>&1 &";
    assert_eq!(cluster.exec("client", &pod, "client", &["sh", "-c", script]).await.code, 0);
    cluster.kill();
    tokio::time::sleep(outage).await;
    cluster.start_again().await;
    // What is said now reaches sidecars.
    cluster.apply(&split("v1", "v2")).await;
    until("a policy that was changed after the outage holds", async || {
        mesh.call("/hostname").await.stdout.contains("server-v1").then_some(())
    })
    .await;
    let count = "touch /tmp/fsm-e2e-stop; sleep 0.3; sort /tmp/fsm-e2e-seen | uniq -c; rm -f /tmp/fsm-e2e-seen";
    let seen = fine(cluster.exec("client", &pod, "client", &["sh", "-c", count]).await);
    let lines: Vec<&str> = seen.lines().map(str::trim).collect();
    let [only] = lines.as_slice() else { panic!("not all requests were answered alike: {lines:?}") };
    let (number, status) = only.split_once(' ').unwrap_or_else(|| panic!("{only}"));
    assert_eq!(status, "200");
    let number: u64 = number.parse().unwrap_or_else(|why| panic!("{why}: {only}"));
    eprintln!("{number} requests during an outage of {outage:?}, none of them failed");
    assert!(number > outage.as_secs() * 2, "the client must not have stood still: {number}");
    // And pods that come now are injected and run.
    fine(cluster.kubectl(&["rollout", "restart", "deployment", "-n", "server", "server-v2"], "").await);
    let waiting = ["rollout", "status", "deployment", "-n", "server", "server-v2", "--timeout=60s"];
    fine(cluster.kubectl(&waiting, "").await);
}
