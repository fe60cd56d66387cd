//! One binary under four names: FSM's pod template calls them from hooks, and its containers start `pipy`.

use fsm_tests::{Pair, Process, Sidecar, SidecarOptions};
use std::process::Command;

fn hook(pair: &Pair, name: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(Sidecar::installed_as(&pair.scene.server, name));
    command.args(arguments).env_clear();
    Process::start(&pair.scene.server, command)
}

#[tokio::test]
async fn wait_pipy_holds_until_the_proxy_is_ready() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    let mut ready = hook(&pair, "wait-pipy", &[]);
    assert!(ready.exit().await.success(), "{:?}", ready.output());

    // While there is no document it waits …
    pair.server_sidecar.kill().await;
    pair.server_sidecar = Sidecar::launch(&pair.scene.server, b"", &SidecarOptions::default());
    let mut early = hook(&pair, "wait-pipy", &["--timeout", "1"]);
    let status = early.exit().await;
    assert_eq!(status.code(), Some(1), "{:?}", early.output());
    early.says("not ready within 1 s").await;
    let mut waiting = hook(&pair, "wait-pipy", &[]);
    assert!(waiting.exit_status().is_none());
    // … and no longer.
    pair.server_sidecar.replace(&serde_json::to_vec(pair.scene.server_document.json()).unwrap());
    assert!(waiting.exit().await.success(), "{:?}", waiting.output());
    pair.assert_healthy().await;
}

#[tokio::test]
async fn gkill_drains_the_proxy_and_returns_when_it_is_gone() {
    let Some(mut scene) = fsm_tests::Scene::new() else {
        return;
    };
    scene.options.proxy = ["--drain-min", "1"].map(str::to_owned).to_vec();
    let mut pair = scene.start().await;
    pair.assert_healthy().await;
    let mut drain = hook(&pair, "gkill", &[]);
    let status = drain.exit().await;
    assert!(status.success(), "{:?}", drain.output());
    assert!(pair.server_sidecar.exit().await.success());
    // Of a proxy that is gone already nothing is wanted.
    let mut again = hook(&pair, "gkill", &[]);
    assert!(again.exit().await.success(), "{:?}", again.output());
    let mut wait = hook(&pair, "wait-pipy", &["--timeout", "1"]);
    assert!(!wait.exit().await.success());
}
