//! fortio, server and load client of FSM's demos.

use crate::commands::{Outcome, execute};
use crate::{Pod, Process, eventually, tool};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

const INSTALL: &str = "install it: GOBIN=$PWD/target/tools go install fortio.org/fortio@v1.65.0";

/// The installed program.
#[derive(Clone, Debug)]
pub struct Fortio {
    program: PathBuf,
}

/// What a load run counted.
#[derive(Clone, Debug)]
pub struct Load {
    /// How often each result came: status codes as `200`, TCP results as `tcp OK`.
    pub results: BTreeMap<String, u32>,
    /// Connections that were opened.
    pub sockets: u32,
    /// Everything that was said.
    pub outcome: Outcome,
}

impl Fortio {
    /// Finds the program; `None`, said aloud, when it is not installed.
    pub fn find() -> Option<Self> {
        Some(Self { program: tool("fortio", INSTALL)? })
    }

    /// Starts the server in a pod: HTTP at port 8080, TCP echo at port 8078.
    pub async fn serve(&self, pod: &Pod) -> Process {
        let mut command = Command::new(&self.program);
        command.args(["server", "-http-port", "8080", "-tcp-port", "8078"]);
        command.args(["-grpc-port", "disabled", "-udp-port", "disabled", "-redirect-port", "disabled"]);
        let server = Process::start(pod, command);
        eventually("fortio's server listens", async || {
            for port in [8080, 8078] {
                if pod.connect(([127, 0, 0, 1], port).into()).await.is_err() {
                    return false;
                }
            }
            true
        })
        .await;
        server
    }

    /// Runs `fortio load` with these arguments, separated by spaces.
    pub async fn load(&self, pod: &Pod, arguments: &str) -> Load {
        let mut all = vec!["load"];
        all.extend(arguments.split_whitespace());
        let outcome = execute(pod, &self.program, &all).await;
        // The report goes to standard error; standard output is for JSON.
        let lines = || outcome.stdout.lines().chain(outcome.stderr.lines());
        let results = lines().filter_map(result).collect();
        let sockets = lines().find_map(|line| line.strip_prefix("Sockets used: ")?.split(' ').next()?.parse().ok());
        assert!(lines().any(|line| line.starts_with("All done")), "fortio did not finish: {outcome:?}");
        Load { results, sockets: sockets.unwrap_or(0), outcome }
    }
}

impl Load {
    /// How often this result came.
    pub fn count(&self, result: &str) -> u32 {
        self.results.get(result).copied().unwrap_or(0)
    }

    /// All results with their counts, for comparing at once.
    pub fn counts(&self) -> Vec<(&str, u32)> {
        self.results.iter().map(|(result, &count)| (result.as_str(), count)).collect()
    }
}

/// `Code 200 : 804 (80.4 %)`, `tcp short read : 7 (70.0 %)`
fn result(line: &str) -> Option<(String, u32)> {
    let (name, rest) = line.split_once(" : ")?;
    let name = name.trim();
    let known = name.strip_prefix("Code ").or_else(|| name.starts_with("tcp ").then_some(name))?;
    Some((known.trim().to_owned(), rest.split(' ').next()?.parse().ok()?))
}
