//! `fsm-init` and `fsm-proxy` in a pod, as a pod's sidecar runs them.

use crate::{DEADLINE, Message, Pod, Process, Wire, binary, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};

/// The user whose traffic the redirect rules leave alone.
const PROXY_UID: u32 = 1500;

/// The proxy's own endpoints, inside the pod only.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);

/// What to add to the command lines.
#[derive(Clone, Debug, Default)]
pub struct SidecarOptions {
    /// Arguments of `fsm-proxy` between `--cache-dir DIR` and `--config FILE`.
    pub proxy: Vec<String>,
    /// Arguments of `fsm-init`.
    pub init: Vec<String>,
    /// Environment of `fsm-proxy`.
    pub environment: Vec<(String, String)>,
}

/// A fsm-control that a proxy follows, and who the proxy is.
#[derive(Clone, Debug)]
pub struct Control {
    /// Where its stream is, as seen from the pod.
    pub address: SocketAddr,
    /// The name in its certificate.
    pub name: String,
    /// PEM of the roots that its certificate hangs on.
    pub roots: String,
    /// The pod's token.
    pub token: String,
    /// Namespace, name and uid of the pod's object.
    pub pod: (String, String, String),
}

/// A running sidecar. Killed when dropped.
pub struct Sidecar {
    process: Process,
    pod: Pod,
}

impl Sidecar {
    /// Redirects the pod's traffic, starts the proxy on `document` and waits until it is ready.
    pub async fn start(pod: &Pod, document: &Value) -> Self {
        Self::start_with(pod, document, &SidecarOptions::default()).await
    }

    /// The same with options.
    pub async fn start_with(pod: &Pod, document: &Value, options: &SidecarOptions) -> Self {
        let sidecar = Self::launch(pod, &stamped(document), options);
        sidecar.ready().await;
        sidecar
    }

    /// Redirects the pod's traffic and starts the proxy on whatever bytes, without waiting.
    pub fn launch(pod: &Pod, document: &[u8], options: &SidecarOptions) -> Self {
        let config = pod.directory().join("config.json");
        write_atomically(&config, document);
        Self::launch_at(pod, &config, options)
    }

    /// Redirects the pod's traffic and starts the proxy on a file that the test looks after, without waiting.
    pub fn launch_at(pod: &Pod, config: &Path, options: &SidecarOptions) -> Self {
        let arguments = ["--config".to_owned(), config.to_string_lossy().into_owned()];
        Self::spawn(pod, &binary("fsm-proxy"), &arguments, options)
    }

    /// Redirects the pod's traffic and starts the proxy on FSM's repository, by Pipy's name and with Pipy's command
    /// line, without waiting.
    pub fn launch_from_repository(pod: &Pod, url: &str) -> Self {
        let arguments = ["--log-level=info", "--admin-port=6060", url].map(str::to_owned);
        Self::spawn(pod, &Self::installed_as(pod, "pipy"), &arguments, &SidecarOptions::default())
    }

    /// Redirects the pod's traffic and starts the proxy on fsm-control's stream, without waiting.
    pub fn launch_from_control(pod: &Pod, control: &Control) -> Self {
        let write = |name: &str, text: &str| {
            let path = pod.directory().join(name);
            write_atomically(&path, text.as_bytes());
            path.to_string_lossy().into_owned()
        };
        let arguments = [
            ("--control", format!("https://{}", control.address)),
            ("--control-name", control.name.clone()),
            ("--control-ca", write("control-ca.pem", &control.roots)),
            ("--control-token", write("control-token", &control.token)),
        ];
        let arguments: Vec<String> = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let (namespace, name, uid) = control.pod.clone();
        let environment = [("POD_NAMESPACE", namespace), ("POD_NAME", name), ("POD_UID", uid)];
        let environment = environment.map(|(variable, value)| (variable.to_owned(), value)).to_vec();
        let options = SidecarOptions { environment, ..SidecarOptions::default() };
        Self::spawn(pod, &binary("fsm-proxy"), &arguments, &options)
    }

    /// The proxy's binary under another name, as images install it.
    pub fn installed_as(pod: &Pod, name: &str) -> PathBuf {
        let link = pod.directory().join(name);
        if !link.is_symlink() {
            std::os::unix::fs::symlink(binary("fsm-proxy"), &link).expect("the pod's directory is ours");
        }
        link
    }

    fn spawn(pod: &Pod, program: &Path, arguments: &[String], options: &SidecarOptions) -> Self {
        let mut init = Command::new(binary("fsm-init"));
        init.args(&options.init);
        let output = pod.run(init);
        assert!(
            output.status.success(),
            "{}: fsm-init failed: {}",
            pod.name(),
            String::from_utf8_lossy(&output.stderr)
        );
        let cache = pod.directory().join("cache");
        fs::create_dir_all(&cache).expect("the pod's directory is ours");
        // The proxy caches keys there, and only where nobody else can read them.
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).expect("the directory is ours");
        std::os::unix::fs::chown(&cache, Some(PROXY_UID), Some(PROXY_UID)).expect("root may");
        let mut command = Command::new(program);
        command
            .arg("--cache-dir")
            .arg(&cache)
            .args(&options.proxy)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RUST_BACKTRACE", "1")
            .envs(options.environment.iter().cloned())
            .uid(PROXY_UID)
            .gid(PROXY_UID);
        Self { process: Process::start(pod, command), pod: pod.clone() }
    }

    /// Waits until the proxy says that it is ready.
    pub async fn ready(&self) {
        eventually(
            &format!("{}: the proxy is ready", self.pod.name()),
            async || matches!(self.try_admin("/ready").await, Some(reply) if reply.status() == 200),
        )
        .await;
    }

    /// Replaces the document and waits until the proxy works by it.
    pub async fn update(&self, document: &Value) {
        let bytes = stamped(document);
        let written: Value = serde_json::from_slice(&bytes).expect("just written");
        self.replace(&bytes);
        let what = format!("{}: the new document is in force", self.pod.name());
        eventually(&what, async || self.version().await == written["Version"]).await;
    }

    /// Replaces the document by any bytes, atomically, without waiting.
    pub fn replace(&self, bytes: &[u8]) {
        write_atomically(&self.pod.directory().join("config.json"), bytes);
    }

    /// The version of the document in force.
    pub async fn version(&self) -> Value {
        let dump = self.admin("/config_dump").await;
        let dump: Value = serde_json::from_slice(&dump.body)
            .unwrap_or_else(|why| panic!("/config_dump is not JSON ({why}): {}", dump.text()));
        dump["Version"].clone()
    }

    /// Asks the proxy's admin port inside the pod.
    pub async fn admin(&self, path: &str) -> Message {
        match self.try_admin(path).await {
            Some(reply) => reply,
            None => panic!("{}: no answer to {path} from {ADMIN}", self.pod.name()),
        }
    }

    /// The proxy's counters in Envoy's form, as `/stats` has them.
    pub async fn stats(&self) -> String {
        self.admin("/stats").await.text()
    }

    /// The proxy's metrics, from the scrape port.
    pub async fn prometheus(&self) -> String {
        let at = SocketAddr::new(self.pod.ip(), 15010);
        let mut wire = Wire::connect(&self.pod, at).await;
        wire.send("GET /stats/prometheus HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        wire.response("GET").await.text()
    }

    /// The sum of all series of a metric whose labels contain all of `labels` (`name="value"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.prometheus().await;
        let series = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Everything the proxy has written, line by line.
    pub fn log(&self) -> Vec<String> {
        self.process.output()
    }

    /// Waits until the proxy has written a line that contains `text`.
    pub async fn logs(&self, text: &str) {
        self.process.says(text).await;
    }

    /// Memory that the proxy occupies now, in bytes.
    pub fn resident_bytes(&self) -> usize {
        let path = format!("/proc/{}/status", self.process.pid());
        let status = fs::read_to_string(&path).expect("the proxy runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = resident.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
        kibibytes.unwrap_or_else(|| panic!("{path} does not tell the resident memory: {status}")) << 10
    }

    /// Asks the proxy to end (SIGTERM).
    pub fn terminate(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Whether the proxy still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.exit_status().is_none()
    }

    /// Waits for the proxy's end.
    pub async fn exit(&mut self) -> ExitStatus {
        self.process.exit().await
    }

    /// Asks the proxy to end and waits for it.
    pub async fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.exit().await
    }

    /// Ends the proxy at once, without a drain.
    pub async fn kill(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.exit().await;
    }

    async fn try_admin(&self, path: &str) -> Option<Message> {
        let mut wire = Wire::new(self.pod.connect(ADMIN).await.ok()?);
        wire.offer(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await;
        tokio::time::timeout(DEADLINE, wire.try_response("GET")).await.ok()?.ok()
    }
}

/// Every document gets a version of its own, by which [`Sidecar::update`] knows that it has arrived.
fn stamped(document: &Value) -> Vec<u8> {
    static VERSIONS: AtomicU64 = AtomicU64::new(1_000_000);
    let mut document = document.clone();
    document["Version"] = VERSIONS.fetch_add(1, Ordering::Relaxed).to_string().into();
    serde_json::to_vec_pretty(&document).expect("JSON")
}

fn write_atomically(path: &Path, bytes: &[u8]) {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes).expect("the pod's directory is ours");
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o644)).expect("the file is ours");
    fs::rename(&aside, path).expect("the pod's directory is ours");
}
