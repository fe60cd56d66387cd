//! fsm-control as a child in the node's network: started, and started again whenever it ends. Proxies keep what they
//! have meanwhile.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{ADMIN_PORT, STREAM_PORT};
use crate::local::node::{Container, ContainerProcess, Node, NodeError, Output};
use crate::local::state::State;

/// Pause before it is started again, doubled each time …
const PAUSE: Duration = Duration::from_millis(200);
/// … up to this …
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// … until it has run so long.
const STABLE: Duration = Duration::from_secs(30);
/// How long it may take to end when asked.
const GRACE: Duration = Duration::from_secs(3);

/// What fsm-control is started with.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) program: PathBuf,
    pub(super) state: State,
    pub(super) fsm_namespace: String,
}

impl Options {
    /// File that it makes when it is ready.
    pub(super) fn ready_file(&self) -> PathBuf {
        self.state.control().join("ready")
    }

    /// File with the roots by which sidecars know it.
    pub(super) fn bundle(&self) -> PathBuf {
        self.state.control().join("bundle.pem")
    }

    fn process(&self, node: &Node) -> ContainerProcess {
        let path = |path: PathBuf| path.display().to_string();
        let stream = SocketAddr::from((node.address(), STREAM_PORT));
        let args = [
            ("--source", format!("dir:{}", self.state.objects().path().display())),
            ("--write-objects", self.state.objects().path().display().to_string()),
            ("--tokens", format!("dir:{}", self.state.tokens().display())),
            ("--state-dir", path(self.state.control())),
            ("--listen-stream", stream.to_string()),
            ("--listen-admin", format!("127.0.0.1:{ADMIN_PORT}")),
            ("--mesh-name", self.state.mesh().to_owned()),
            ("--fsm-namespace", self.fsm_namespace.clone()),
            ("--write-ca-bundle", path(self.bundle())),
            ("--ready-file", path(self.ready_file())),
        ];
        ContainerProcess {
            program: self.program.clone(),
            args: args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect(),
            // How much it says, and what a panic tells, is the business of whoever runs the mesh.
            env: std::env::vars().filter(|(name, _)| name.starts_with("FSM_") || name.starts_with("RUST_")).collect(),
            output: Output::File(self.state.control_log()),
            ..ContainerProcess::default()
        }
    }

    async fn start(&self, node: &Node) -> Result<Container, NodeError> {
        let process = self.process(node);
        let node = node.clone();
        match tokio::task::spawn_blocking(move || node.spawn(process)).await {
            Ok(started) => started,
            Err(error) => Err(NodeError::Start { program: "fsm-control".to_owned(), why: error.to_string() }),
        }
    }
}

/// Keeps fsm-control running until it is told to end. Each start is told through `started`.
pub(super) async fn keep(options: Options, node: Node, mut end: watch::Receiver<bool>, started: impl Fn(&Container)) {
    let mut pause = PAUSE;
    loop {
        let since = Instant::now();
        match options.start(&node).await {
            Ok(container) => {
                started(&container);
                tokio::select! {
                    ended = container.wait() => match ended {
                        Ok(status) => tracing::warn!(%status, log = %options.state.control_log().display(), "fsm-control has ended, it is started again"),
                        Err(error) => tracing::warn!(%error, "fsm-control is lost, it is started again"),
                    },
                    () = told(&mut end) => {
                        let _ = container.stop(GRACE).await;
                        return;
                    }
                }
            }
            Err(error) => tracing::error!(%error, "fsm-control cannot be started"),
        }
        pause = if since.elapsed() >= STABLE { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told(&mut end) => return,
        }
    }
}

/// Until the end is wanted.
async fn told(end: &mut watch::Receiver<bool>) {
    // An error means that the daemon has let go of its end: that is the same.
    let _ = end.wait_for(|end| *end).await;
}
