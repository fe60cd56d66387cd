//! `fsm dashboard`: leads to the Grafana of a mesh, through `kubectl port-forward`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, anyhow, bail};
use clap::Args;

use super::{MeshChoice, say_line};
use crate::cluster::{Selector, types};

/// `fsm dashboard`.
#[derive(Debug, Args)]
pub(super) struct Dashboard {
    /// Port of this machine
    #[arg(short = 'p', long, default_value_t = 3000)]
    local_port: u16,
    /// Port of Grafana
    #[arg(short = 'r', long, default_value_t = 3000)]
    remote_port: u16,
    /// Accepted for scripts: open the address that is printed
    #[arg(short = 'b', long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    open_browser: Option<bool>,
}

impl Dashboard {
    /// Returns only if it fails: kubectl takes the place of this program.
    pub(super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let cluster = choice.cluster()?;
        let (mesh, namespace) = choice.release(&cluster)?;
        let running = Selector { labels: Some("app=fsm-grafana"), fields: Some("status.phase=Running") };
        if cluster.list(types::POD, Some(&namespace), running)?.is_empty() {
            bail!(
                "no pod of Grafana runs in namespace [{namespace}]: `fsm mesh upgrade --mesh-name {mesh} --set \
                 fsm.deployGrafana=true,fsm.deployPrometheus=true` makes one"
            );
        }
        say_line("[+] Starting Dashboard forwarding");
        say_line(format!("[+] Open http://localhost:{} in a browser; Ctrl-C ends", self.local_port));
        let mut kubectl = Command::new("kubectl");
        kubectl.args(choice.access.arguments("--context"));
        kubectl.args(["port-forward", "--namespace", &namespace, "service/fsm-grafana"]);
        kubectl.arg(format!("{}:{}", self.local_port, self.remote_port));
        let why = kubectl.exec();
        Err(anyhow!("kubectl cannot be run: {why}; install it (https://kubernetes.io/docs/tasks/tools)"))
    }
}
