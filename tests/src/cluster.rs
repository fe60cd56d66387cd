//! A whole cluster of Kubernetes on this machine: an API server, the controller manager, and `fsm node`, which runs pods
//! as network namespaces.
//!
//! One for all tests of a run, and each test has it alone: some stop its API server. Everything dies with the run, however
//! it ends. Skipped, or failed in CI, where there is no API server or no root.

use crate::api_server::Shape;
use crate::api_server::credentials::EGRESS_SOCKET;
use crate::api_server::programs::SERVICES;
use crate::{ApiServer, Mesh, Outcome, binary, eventually, tool, within};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use std::fs::File;
use std::io::Write as _;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// How long one run of `fsm` may take: installing waits for pods, and test machines stall.
const PATIENCE: Duration = Duration::from_secs(180);

/// What to do where helm is missing.
pub const HELM: &str = "https://helm.sh/docs/intro/install says how to install it";

const SHAPE: Shape = Shape { has_definitions: false, has_node: true };

static CLUSTER: OnceCell<Option<Cluster>> = OnceCell::const_new();
static TURN: Mutex<()> = Mutex::const_new(());

/// A cluster with one node.
pub struct Cluster {
    server: ApiServer,
}

/// The cluster of this run, as long as somebody uses it.
pub struct ClusterSession {
    cluster: &'static Cluster,
    _turn: MutexGuard<'static, ()>,
}

/// The cluster, alone; `None`, said aloud, where there can be none.
pub async fn cluster() -> Option<ClusterSession> {
    // The check whether this test may make network namespaces, and the way to say that it may not.
    Mesh::create()?;
    let turn = TURN.lock().await;
    let cluster = CLUSTER.get_or_init(Cluster::start).await.as_ref()?;
    Some(ClusterSession { cluster, _turn: turn })
}

impl Deref for ClusterSession {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

impl Deref for Cluster {
    type Target = ApiServer;

    fn deref(&self) -> &ApiServer {
        &self.server
    }
}

impl Cluster {
    async fn start() -> Option<Self> {
        let server = ApiServer::start(SHAPE).await?;
        server.start_controllers();
        let ready = server.directory().join("node.ready");
        // Nobody waits for it: it ends when the run ends.
        drop(server.spawn(Self::node(&server)));
        let log = server.directory().join("node.log");
        eventually(&format!("the node is there ({})", log.display()), async || ready.exists()).await;
        Some(Self { server })
    }

    fn node(server: &ApiServer) -> Command {
        let directory = server.directory();
        // Its containers die with it, and it with the run.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(binary("fsm")).args([
            "node",
            "--isolated",
            "--service-cidr",
            SERVICES,
        ]);
        command.arg("--kubeconfig").arg(server.kubeconfig()).arg("--node-dir").arg(directory.join("node"));
        command.arg("--egress-socket").arg(directory.join(EGRESS_SOCKET));
        command.arg("--ready-file").arg(directory.join("node.ready"));
        for program in ["fsm-proxy", "fsm-control", "fsm-init"] {
            command.env(format!("{}_BIN", program.replace('-', "_").to_uppercase()), binary(program));
        }
        let log = File::create(directory.join("node.log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        command
    }

    /// What the node says.
    pub fn node_log(&self) -> PathBuf {
        self.directory().join("node.log")
    }

    /// Runs `fsm` as an operator with the administrator's kubeconfig.
    pub async fn fsm(&self, arguments: &[&str]) -> Outcome {
        self.fsm_with(arguments, "").await
    }

    /// The same, with this text on its standard input.
    pub async fn fsm_with(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut command = Command::new(binary("fsm"));
        command.args(arguments).env("KUBECONFIG", self.kubeconfig()).env("HOME", self.directory());
        if let Some(helm) = tool("helm", HELM) {
            command.env("FSM_HELM", helm);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let run = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("fsm runs");
            // It may end without reading.
            let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
            child.wait_with_output().expect("fsm ends")
        });
        let output = tokio::time::timeout(PATIENCE, run).await.expect("fsm ends in time").expect("no panic");
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command in a container, as `kubectl exec` does, through the API server.
    pub async fn exec(&self, namespace: &str, pod: &str, container: &str, command: &[&str]) -> Outcome {
        let pods: Api<Pod> = Api::namespaced(self.client().await, namespace);
        let parameters = AttachParams::default().container(container).stdin(false);
        let mut running = match within("exec begins", pods.exec(pod, command.to_vec(), &parameters)).await {
            Ok(running) => running,
            Err(error) => return Outcome { code: -1, stdout: String::new(), stderr: error.to_string() },
        };
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let (mut out, mut err) = (running.stdout().expect("asked for"), running.stderr().expect("asked for"));
        let status = running.take_status().expect("asked for");
        let reading = async { tokio::join!(out.read_to_string(&mut stdout), err.read_to_string(&mut stderr), status) };
        let (_, _, status) = within("exec ends", reading).await;
        let status = status.expect("it says how it ended");
        let code = match status.status.as_deref() {
            Some("Success") => 0,
            _ => {
                let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
                let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
                code.and_then(|cause| cause.message.as_ref()?.parse().ok()).unwrap_or(-1)
            }
        };
        Outcome { code, stdout, stderr }
    }

    /// Makes a namespace, and waits until pods can be made in it.
    pub async fn namespace(&self, name: &str) {
        let made = self.kubectl(&["create", "namespace", name], "").await;
        assert_eq!(made.code, 0, "{made:?}");
        eventually(&format!("the namespace {name} has its service account"), async || {
            self.kubectl(&["get", "serviceaccount", "default", "-n", name], "").await.code == 0
        })
        .await;
    }

    /// The name of the one pod with this label `app` that is not about to end.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn pod_of(&self, namespace: &str, app: &str) -> String {
        let pods: Api<Pod> = Api::namespaced(self.client().await, namespace);
        let mut found = String::new();
        eventually(&format!("{namespace} has a pod of {app} that is ready"), async || {
            let parameters = kube::api::ListParams::default().labels(&format!("app={app}"));
            let Ok(list) = pods.list(&parameters).await else { return false };
            let is_ready = |pod: &&Pod| {
                let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
                pod.metadata.deletion_timestamp.is_none()
                    && conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
            };
            let name = list.items.iter().find(is_ready).and_then(|pod| pod.metadata.name.clone());
            name.map(|name| found = name).is_some()
        })
        .await;
        found
    }
}
