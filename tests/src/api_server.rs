//! A real API server of Kubernetes (etcd and kube-apiserver), one for all tests of a run, with the mesh's definitions.
//!
//! Its programs come from the directory that `KUBEBUILDER_ASSETS` names (the layout of envtest), or are made by
//! `../shared/kube/assets` where that is there, into `target/kubernetes`. Without either a test is skipped loudly; with
//! `CI=true` it fails where they could have been made.
//!
//! Everything listens on loopback, on ports that were free. The programs die with the test run, however it ends, and its
//! directory is removed after that. A test that stops the server has it [alone](api_server_alone).

pub(crate) mod credentials;
mod page;
pub(crate) mod programs;

use crate::Outcome;
use crate::binaries::tool;
use fsm_api::resources::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use nix::fcntl::{Flock, FlockArg};
use programs::{Keeper, Ports, controllers, etcd, kube_apiserver};
use std::fs::File;
use std::io::Write as _;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How long a server may take until it is ready: three seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Somebody else may take a port that was free a moment ago.
const ATTEMPTS: usize = 3;

static SERVER: OnceCell<Option<ApiServer>> = OnceCell::const_new();
static TURNS: RwLock<()> = RwLock::const_new(());

/// The server of this run, as long as somebody uses it.
pub struct Session {
    server: &'static ApiServer,
    _turn: Turn,
}

#[allow(dead_code)] // Held, not looked at.
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// What is wanted of a server.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// The mesh's definitions are installed.
    pub(crate) has_definitions: bool,
    /// It reaches Services, pods and nodes through a node of [`crate::cluster`].
    pub(crate) has_node: bool,
}

const SHARED: Shape = Shape { has_definitions: true, has_node: false };

/// An API server.
pub struct ApiServer {
    shape: Shape,
    assets: PathBuf,
    directory: PathBuf,
    ports: Ports,
    keeper: Keeper,
    etcd: Mutex<Child>,
    server: Mutex<Child>,
    controllers: Mutex<Option<Child>>,
    // Its end (with this process) has the directory removed.
    _remover: Child,
}

/// The server, together with other tests; `None`, said aloud, where there is none.
pub async fn api_server() -> Option<Session> {
    let server = SERVER.get_or_init(|| ApiServer::start(SHARED)).await.as_ref()?;
    Some(Session { server, _turn: Turn::Shared(TURNS.read().await) })
}

/// The server for a test that others must not meet, because it stops it or takes definitions away.
pub async fn api_server_alone() -> Option<Session> {
    let server = SERVER.get_or_init(|| ApiServer::start(SHARED)).await.as_ref()?;
    Some(Session { server, _turn: Turn::Alone(TURNS.write().await) })
}

impl Deref for Session {
    type Target = ApiServer;

    fn deref(&self) -> &ApiServer {
        self.server
    }
}

impl ApiServer {
    /// Another server than that of the run; it ends with its handle.
    pub(crate) async fn start(shape: Shape) -> Option<Self> {
        let assets = tokio::task::spawn_blocking(assets).await.expect("looking for programs does not panic")?;
        tool("kubectl", "install it, https://kubernetes.io/docs/tasks/tools says how")?;
        for attempt in 1..=ATTEMPTS {
            match Self::attempt(&assets, shape).await {
                Ok(server) => return Some(server),
                Err(why) if attempt < ATTEMPTS => eprintln!("the API server did not start: {why}; once more"),
                Err(why) => panic!("the API server does not start: {why}"),
            }
        }
        None
    }

    async fn attempt(assets: &Path, shape: Shape) -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("fsm-api-server-").tempdir().expect("a directory").keep();
        // Reads until this process ends, whatever ends it. The programs die at the same moment, and may still write.
        let script = r#"cat >/dev/null; until rm -rf "$0"; do sleep 0.1; done"#;
        let mut remover = Command::new("sh");
        remover.args(["-c", script]).arg(&directory).stdin(Stdio::piped());
        let remover = remover.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh runs");
        let ports = Ports::free();
        credentials::write(&directory, ports);
        let keeper = Keeper::start();
        let etcd = keeper.spawn(etcd(assets, &directory, ports));
        let server = keeper.spawn(kube_apiserver(assets, &directory, ports, shape));
        let server = Self {
            shape,
            assets: assets.to_owned(),
            directory,
            ports,
            keeper,
            etcd: Mutex::new(etcd),
            server: Mutex::new(server),
            controllers: Mutex::new(None),
            _remover: remover,
        };
        server.wait().await?;
        if shape.has_definitions {
            server.install_definitions().await;
        }
        Ok(server)
    }

    /// A directory that is removed after the run.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The kubeconfig file of the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("admin.kubeconfig")
    }

    /// `host:port` of the server.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.server)
    }

    /// The administrator's configuration.
    pub async fn config(&self) -> Config {
        let read = Kubeconfig::read_from(self.kubeconfig()).expect("it was written");
        Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("it is complete")
    }

    /// The configuration of whoever has this token.
    pub async fn config_with_token(&self, token: &str) -> Config {
        let admin = self.config().await;
        let mut config = Config::new(admin.cluster_url.clone());
        config.root_cert = admin.root_cert;
        config.auth_info.token = Some(token.to_owned().into());
        config
    }

    /// A kubeconfig file of whoever has this token, under a name of its own.
    pub fn kubeconfig_with_token(&self, name: &str, token: &str) -> PathBuf {
        let mut read = Kubeconfig::read_from(self.kubeconfig()).expect("it was written");
        for user in &mut read.auth_infos {
            user.auth_info = Some(kube::config::AuthInfo {
                token: Some(token.to_owned().into()),
                ..kube::config::AuthInfo::default()
            });
        }
        // Tokens are not written when what was read is written.
        let mut text = serde_json::to_value(&read).expect("it is plain");
        for user in text["users"].as_array_mut().into_iter().flatten() {
            user["user"]["token"] = token.into();
        }
        let file = self.directory.join(format!("{name}.kubeconfig"));
        std::fs::write(&file, text.to_string()).expect("the directory can be written");
        file
    }

    /// The administrator's client.
    pub async fn client(&self) -> Client {
        Client::try_from(self.config().await).expect("a client can be made")
    }

    /// Runs kubectl as the administrator, with this text on its standard input.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.kubeconfig()).arg("--cache-dir").arg(self.directory.join("cache"));
        command.args(arguments).env("HOME", &self.directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Several JSON documents are YAML, which kubectl does not notice by itself.
        let input = if input.is_empty() { String::new() } else { format!("---\n{input}") };
        let run = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("kubectl runs");
            // kubectl may end without reading everything.
            let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
            child.wait_with_output().expect("kubectl ends")
        });
        let output = tokio::time::timeout(PATIENCE, run).await.expect("kubectl ends in time").expect("no panic");
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Applies manifests as `kubectl apply -f` does.
    ///
    /// # Panics
    /// When one of them is refused.
    pub async fn apply(&self, manifests: &str) {
        let outcome = self.kubectl(&["apply", "--validate=false", "-f", "-"], manifests).await;
        assert_eq!(outcome.code, 0, "{manifests}\n{outcome:#?}");
    }

    /// Deletes what these words name, without waiting.
    ///
    /// # Panics
    /// When it is not there.
    pub async fn delete(&self, words: &str) {
        let mut arguments = vec!["delete", "--wait=false"];
        arguments.extend(words.split_whitespace());
        let outcome = self.kubectl(&arguments, "").await;
        assert_eq!(outcome.code, 0, "delete {words}: {outcome:#?}");
    }

    /// Kills the server. Only for a session that has it [alone](api_server_alone).
    pub fn kill(&self) {
        end(&self.server);
    }

    /// Starts the server that was killed, and waits until it is ready.
    pub async fn start_again(&self) {
        *lock(&self.server) = self.keeper.spawn(kube_apiserver(&self.assets, &self.directory, self.ports, self.shape));
        self.wait().await.unwrap_or_else(|why| panic!("the API server does not start again: {why}"));
    }

    /// Starts another program that ends with this one, however that ends.
    pub(crate) fn spawn(&self, command: std::process::Command) -> Child {
        self.keeper.spawn(command)
    }

    /// Starts the controller manager, once: whoever turns Services into EndpointSlices and Deployments into Pods.
    pub fn start_controllers(&self) {
        let mut running = lock(&self.controllers);
        if running.is_none() {
            *running = Some(self.keeper.spawn(controllers(&self.assets, &self.directory, self.ports)));
        }
    }

    async fn wait(&self) -> Result<(), String> {
        let client = self.client().await;
        let give_up = Instant::now() + PATIENCE;
        loop {
            for (name, child) in [("etcd", &self.etcd), ("kube-apiserver", &self.server)] {
                if let Ok(Some(status)) = lock(child).try_wait() {
                    return Err(format!("{name} ended ({status}):\n{}", self.log(name)));
                }
            }
            let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
            let ready = tokio::time::timeout(Duration::from_secs(2), client.request_text(request)).await;
            if matches!(ready, Ok(Ok(_))) {
                return Ok(());
            }
            if Instant::now() > give_up {
                return Err(format!("it is not ready after {PATIENCE:?}:\n{}", self.log("kube-apiserver")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn log(&self, name: &str) -> String {
        let text = std::fs::read(self.directory.join(format!("{name}.log"))).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    async fn install_definitions(&self) {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client().await);
        for definition in crds() {
            definitions.create(&PostParams::default(), &definition).await.expect("the API server accepts a definition");
        }
        self.wait_for_definitions().await;
    }

    /// Waits until the server knows all kinds of the mesh.
    pub async fn wait_for_definitions(&self) {
        let mut arguments = vec!["wait", "--for=condition=Established", "--timeout=60s"];
        let names: Vec<String> =
            crds().into_iter().map(|crd| format!("crd/{}", crd.metadata.name.expect("a name"))).collect();
        arguments.extend(names.iter().map(String::as_str));
        let outcome = self.kubectl(&arguments, "").await;
        assert_eq!(outcome.code, 0, "{outcome:#?}");
    }
}

/// The directory with the programs.
fn assets() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("KUBEBUILDER_ASSETS") {
        let named = PathBuf::from(named);
        for name in ["etcd", "kube-apiserver"] {
            assert!(named.join(name).is_file(), "KUBEBUILDER_ASSETS: there is no {name} in {}", named.display());
        }
        return Some(named);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace");
    let maker = root.join("../shared/kube/assets");
    let missing = "there is no API server; name a directory with etcd and kube-apiserver in KUBEBUILDER_ASSETS";
    if maker.is_file() {
        let directory = root.join("target/kubernetes");
        std::fs::create_dir_all(&directory).expect("target can be written");
        // Test programs may run at the same time.
        let lock = File::create(directory.join(".lock")).expect("target can be written");
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, why)| why).expect("a lock");
        let made = Command::new(&maker).arg(&directory).output().expect("assets runs");
        if made.status.success() {
            return Some(directory);
        }
        let why = format!("{missing}: {} failed: {}", maker.display(), String::from_utf8_lossy(&made.stderr));
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Not `eprintln!`: the test framework would hide it.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {missing}");
    None
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(controllers) = lock(&self.controllers).as_mut() {
            let _ = controllers.kill();
            let _ = controllers.wait();
        }
        end(&self.server);
        end(&self.etcd);
    }
}

fn end(child: &Mutex<Child>) {
    let mut child = lock(child);
    let _ = child.kill();
    let _ = child.wait();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
