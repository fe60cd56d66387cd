//! A whole mesh on this machine, run by `fsm up` and talked to as a page of FSM's documentation talks to a cluster.

use crate::commands::Outcome;
use crate::{Mesh, binary};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long one script may take. Pods have to start, and test machines stall.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the scripts of pages rely on: `kubectl` is `fsm`, and the manifests that pages fetch lie in a directory.
const PRELUDE: &str = r#"
set -u
kubectl() {
    local arguments=()
    for argument in "$@"; do
        case $argument in
            https://*/manifests/*) argument="$MANIFESTS/${argument##*/}" ;;
        esac
        arguments+=("$argument")
    done
    fsm "${arguments[@]}"
}
fsm_namespace=fsm-system
FSM_NAMESPACE=fsm-system
pod_of() { kubectl get pod -n "$1" -l "app=$1" -o jsonpath='{.items[0].metadata.name}'; }
"#;

/// A script that runs until it is dropped, with everything that it started.
pub struct Background(Child);

/// A mesh that runs until it is dropped.
pub struct LocalMesh {
    directory: TempDir,
}

impl LocalMesh {
    /// A mesh of these manifests (file name, text); `None`, said aloud, where tests have no right to network namespaces.
    pub async fn up(manifests: &[(&str, &str)]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in manifests {
            std::fs::create_dir_all(directory.path().join("manifests")).expect("a directory");
            std::fs::write(directory.path().join("manifests").join(name), text).expect("a file");
        }
        Self::up_in(directory).await
    }

    /// A mesh of a directory of this repository, such as `examples/bookstore`.
    pub async fn up_example(name: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let from = from.canonicalize().unwrap_or_else(|why| panic!("{}: {why}", from.display()));
        std::os::unix::fs::symlink(from, directory.path().join("manifests")).expect("a link");
        Self::up_in(directory).await
    }

    /// A place for a mesh that a script brings up by itself; the same conditions, and the same end.
    pub async fn not_yet() -> Option<Self> {
        // The check whether this test may run here, and the way to say that it may not.
        Mesh::create()?;
        Some(Self { directory: tempfile::tempdir().expect("a temporary directory") })
    }

    async fn up_in(directory: TempDir) -> Option<Self> {
        Mesh::create()?;
        std::fs::create_dir_all(directory.path().join("manifests")).expect("a directory");
        let mesh = Self { directory };
        let up = mesh.fsm(&["up", &mesh.path("manifests").display().to_string(), "--detach"]).await;
        assert_eq!(up.code, 0, "{up:?}");
        Some(mesh)
    }

    /// Runs `fsm` with these arguments.
    pub async fn fsm(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(binary("fsm"));
        command.args(arguments);
        self.run(command).await
    }

    /// Runs a script of a page, in bash: `kubectl` means `fsm`.
    pub async fn page(&self, script: &str) -> Outcome {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("{PRELUDE}\n{script}"));
        self.run(command).await
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

    /// Starts a script of a page that has no end of its own. What it says is not looked at.
    pub fn in_background(&self, script: &str) -> Background {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("{PRELUDE}\n{script}"));
        self.environment(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Background(command.spawn().unwrap_or_else(|why| panic!("bash does not start: {why}")))
    }

    /// Repeats a script until it prints something that `wanted` likes: policies take a moment to reach the proxies.
    pub async fn eventually(&self, script: &str, wanted: impl Fn(&Outcome) -> bool) -> Outcome {
        let started = std::time::Instant::now();
        loop {
            let outcome = self.page(script).await;
            if wanted(&outcome) {
                return outcome;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{script}\n{outcome:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A path in the mesh's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn run(&self, mut command: Command) -> Outcome {
        self.environment(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let what = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|why| panic!("{what} does not start: {why}"));
        let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
        let output = tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("{what}: still running after {PATIENCE:?}"))
            .expect("waiting does not panic")
            .unwrap_or_else(|why| panic!("{what}: {why}"));
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn environment(&self, command: &mut Command) {
        let fsm = binary("fsm");
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
        let own = fsm.parent().expect("a program lies in a directory").display();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{own}:{}:{path}", tools.display()))
            .env("FSM_STATE_DIR", self.path("state"))
            .env("FSM_CONTROL_BIN", binary("fsm-control"))
            .env("FSM_PROXY_BIN", binary("fsm-proxy"))
            .env("MANIFESTS", Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/manifests"));
    }
}

impl Background {
    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("the child is ours").is_none()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // The group is its own: whatever the script started belongs to it.
        let _ = killpg(Pid::from_raw(i32::try_from(self.0.id()).expect("a process id")), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

impl Drop for LocalMesh {
    fn drop(&mut self) {
        let mut command = Command::new(binary("fsm"));
        command.args(["down", "--all"]).stdout(Stdio::null());
        self.environment(&mut command);
        let _ = command.status();
    }
}
