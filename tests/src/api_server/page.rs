//! Commands of FSM's documentation, typed as they are written there: `kubectl`, `fsm` and `helm` mean this cluster.

use super::ApiServer;
use crate::{HELM, Outcome, binary, tool};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long one script may take: installing waits for pods, and test machines stall.
const PATIENCE: Duration = Duration::from_secs(180);

impl ApiServer {
    /// Runs a script of a page in bash, as the administrator. `FSM_NAMESPACE` and `fsm_namespace` are `fsm-system`, `CHART`
    /// is the chart's directory.
    pub async fn page(&self, script: &str) -> Outcome {
        let fsm = binary("fsm");
        let helm = tool("helm", HELM);
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/fsm");
        let mut path = vec![fsm.parent().expect("a program lies in a directory").to_owned()];
        path.extend(helm.as_ref().and_then(|helm| helm.parent()).map(Path::to_owned));
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("set -u\nfsm_namespace=fsm-system\n{script}"));
        command.env("PATH", std::env::join_paths(path).expect("no path has a colon in it"));
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", self.directory());
        command.env("FSM_STATE_DIR", self.directory().join("meshes")).env("FSM_NAMESPACE", "fsm-system");
        command.env("CHART", chart).envs(helm.map(|helm| ("FSM_HELM", helm)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let run = tokio::task::spawn_blocking(move || command.output().expect("bash runs"));
        let output = tokio::time::timeout(PATIENCE, run).await;
        let output = output.unwrap_or_else(|_| panic!("still running after {PATIENCE:?}: {script}")).expect("no panic");
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a script of a page and gives what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub async fn shows(&self, script: &str) -> String {
        let outcome = self.page(script).await;
        assert_eq!(outcome.code, 0, "{script}\n{outcome:#?}");
        outcome.stdout
    }
}
