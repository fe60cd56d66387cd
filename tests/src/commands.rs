//! Programs that a pod runs to their end: curl, nc, fortio.

use crate::Pod;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a program may run. Load runs of fortio take seconds by design, and test machines stall.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a program said, and how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program inside the pod to its end, while the test's own servers go on.
pub async fn execute<A: AsRef<OsStr>>(pod: &Pod, program: impl AsRef<Path>, arguments: &[A]) -> Outcome {
    let program = program.as_ref().to_owned();
    let name = format!("{} in {}", program.display(), pod.name());
    // A test run that is killed leaves no processes: they die with the pod's thread.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = pod.enter(move || command.spawn()).unwrap_or_else(|why| panic!("{name} does not start: {why}"));
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{name}: still running after {PATIENCE:?}"))
        .expect("waiting does not panic")
        .unwrap_or_else(|why| panic!("{name}: {why}"));
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs curl inside the pod. Arguments are separated by spaces.
pub async fn curl(pod: &Pod, arguments: &str) -> Outcome {
    // Whatever proxy or configuration the machine has for itself is none of the pod's.
    let mut all = vec!["-q", "--show-error", "--noproxy", "*", "--max-time", "30"];
    all.extend(arguments.split_whitespace());
    execute(pod, "curl", &all).await
}

impl Outcome {
    /// The status line's code of the last response that curl showed with `-i` or `-I`.
    pub fn status(&self) -> u16 {
        let mut lines = self.stdout.lines().rev();
        let line = lines.find(|line| line.starts_with("HTTP/"));
        let code = line.and_then(|line| line.split(' ').nth(1)?.parse().ok());
        code.unwrap_or_else(|| panic!("no response: {self:?}"))
    }

    /// Value of a header that curl showed with `-i` or `-I`.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.stdout.lines().take_while(|line| !line.trim().is_empty());
        fields.find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}
