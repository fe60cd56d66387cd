//! The program itself, with a cluster as its source.

use super::{namespace, split};
use fsm_tests::{api_server, binary, eventually};
use serde_json::Value;
use std::fs::File;
use std::process::{Child, Command, Stdio};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn get(address: &str, path: &str) -> Value {
    let url = format!("http://{address}{path}");
    let mut command = Command::new("curl");
    command.args(["-q", "-sS", "--noproxy", "*", "--max-time", "5", &url]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[tokio::test]
async fn fsm_control_becomes_ready_with_the_cluster_as_its_source() {
    let Some(server) = api_server().await else { return };
    server.apply(&(namespace("program", "program") + &split("program", "s", 1))).await;
    let directory = tempfile::tempdir_in(server.directory()).unwrap();
    let ready = directory.path().join("ready");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(binary("fsm-control"));
    command.args(["--source", "kubernetes", "--tokens", "kubernetes:fsm", "--mesh-name", "program"]);
    command.args([
        "--fsm-namespace",
        "program-system",
        "--listen-stream",
        "127.0.0.1:0",
        "--listen-admin",
        "127.0.0.1:0",
    ]);
    command.arg("--state-dir").arg(directory.path().join("state")).arg("--ready-file").arg(&ready);
    command.env("KUBECONFIG", server.kubeconfig()).stdin(Stdio::null());
    let log = directory.path().join("log");
    command.stderr(File::create(&log).unwrap());
    let _running = Running(command.spawn().unwrap());
    let what = format!("fsm-control is ready ({})", log.display());
    eventually(&what, async || ready.exists()).await;
    let addresses: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
    let admin = addresses["admin"].as_str().unwrap();
    assert_eq!(get(admin, "/world").await["monitoredNamespaces"], serde_json::json!(["program"]));
    server.apply(&namespace("program-too", "program")).await;
    eventually("the second namespace is seen", async || {
        get(admin, "/world").await["monitoredNamespaces"].as_array().is_some_and(|names| names.len() == 2)
    })
    .await;
}
