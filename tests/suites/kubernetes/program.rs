//! fsm-control as a program, in one of its roles, with the cluster's administrator as its account.

use fsm_tests::{ApiServer, Outcome, binary, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use tempfile::TempDir;

/// A role that keeps running. Killed when it is dropped.
pub(crate) struct Running {
    child: Mutex<Child>,
    /// Where it listens.
    pub(crate) addresses: Value,
    directory: TempDir,
}

impl Running {
    /// Starts it and waits until it is ready. Without the name of a role first it is the controller.
    pub(crate) async fn start(server: &ApiServer, mesh: &str, arguments: &[&str]) -> Self {
        Self::start_as(&server.kubeconfig(), server, mesh, arguments).await
    }

    /// The same with the rights that this file gives.
    pub(crate) async fn start_as(kubeconfig: &Path, server: &ApiServer, mesh: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir_in(server.directory()).unwrap();
        let ready = directory.path().join("ready");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(binary("fsm-control")).args(arguments);
        command.args(["--listen-admin", "127.0.0.1:0"]).arg("--ready-file").arg(&ready);
        command.args(["--mesh-name", mesh, "--fsm-namespace", &format!("{mesh}-system")]);
        command.env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
        let log = directory.path().join("log");
        command.stderr(File::create(&log).unwrap());
        let mut running = Self { child: Mutex::new(command.spawn().unwrap()), addresses: Value::Null, directory };
        eventually(&format!("fsm-control is ready ({})", log.display()), async || ready.exists()).await;
        running.addresses = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        running
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// One of its addresses.
    pub(crate) fn address(&self, name: &str) -> &str {
        self.addresses[name].as_str().unwrap()
    }

    /// Its memory, in kB.
    pub(super) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.lock().unwrap().id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let process = Pid::from_raw(i32::try_from(self.child.lock().unwrap().id()).unwrap());
        kill(process, Signal::SIGTERM).unwrap();
    }
}

impl Running {
    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(self) {
        self.terminate();
        eventually("fsm-control ends", async || self.child.lock().unwrap().try_wait().unwrap().is_some()).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Runs a role that does one thing and ends.
pub(crate) async fn once(server: &ApiServer, arguments: &[&str]) -> Outcome {
    once_as(&server.kubeconfig(), arguments).await
}

/// The same with the rights that this file gives.
pub(crate) async fn once_as(kubeconfig: &Path, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(binary("fsm-control"));
    command.args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Asks a port for JSON.
pub(crate) async fn get(address: &str, path: &str) -> Value {
    serde_json::from_str(&page(address, path).await).unwrap_or(Value::Null)
}

/// Asks a port for a page.
pub(crate) async fn page(address: &str, path: &str) -> String {
    let url = format!("http://{address}{path}");
    let mut command = Command::new("curl");
    command.args(["-q", "-sS", "--noproxy", "*", "--max-time", "5", &url]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
