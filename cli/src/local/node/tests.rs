//! The node as root: real namespaces, links, rules and processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod containers;
mod crash;
mod network;
mod redirection;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

/// More than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node and the directory that outlives it.
struct Ground {
    node: Node,
    state: TempDir,
}

/// Makes a node, or says on standard error that the test is skipped and why. Where `CI` is `true` it fails instead.
fn ground() -> Option<Ground> {
    ground_with(|_| {})
}

fn ground_with(adjust: impl FnOnce(&mut NodeOptions)) -> Option<Ground> {
    if !may_run() {
        return None;
    }
    let state = tempfile::Builder::new().prefix("fsm-node-test-").tempdir().unwrap();
    let mut options = NodeOptions::new("test", state.path());
    adjust(&mut options);
    let node = Node::create(options).unwrap();
    Some(Ground { node, state })
}

fn may_run() -> bool {
    if rootless::has_rights() {
        return true;
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test}: namespaces need root");
    // Not `eprintln!`: the test framework would hide it.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: namespaces need root");
    false
}

impl Ground {
    fn pod(&self, namespace: &str, name: &str) -> PodNamespace {
        self.node.add_pod(PodNetwork::new(PodKey::new(namespace, name))).unwrap()
    }

    /// Runs a program in the pod to its end: exit code and output.
    async fn run(&self, pod: &PodNamespace, command: &[&str]) -> (i32, String) {
        self.run_as(pod, command, |_| {}).await
    }

    async fn run_as(
        &self,
        pod: &PodNamespace,
        command: &[&str],
        adjust: impl FnOnce(&mut ContainerProcess),
    ) -> (i32, String) {
        let log = tempfile::NamedTempFile::new_in(self.state.path()).unwrap();
        let mut process = process(command);
        process.output = Output::File(log.path().to_owned());
        adjust(&mut process);
        let container = pod.spawn(process).unwrap();
        let ended = tokio::time::timeout(PATIENCE, container.wait()).await.expect("it ends").unwrap();
        let output = fs::read_to_string(log.path()).unwrap();
        let code = ended.code().unwrap_or_else(|| panic!("{command:?} ended by {ended:?}: {output}"));
        (code, output.trim().to_owned())
    }
}

fn process(command: &[&str]) -> ContainerProcess {
    ContainerProcess {
        program: command[0].into(),
        args: command[1..].iter().map(|word| (*word).to_owned()).collect(),
        ..ContainerProcess::default()
    }
}

/// Says `name` to every connection and closes it, in the pod, until the pod ends.
fn greeter(pod: &PodNamespace, port: u16, name: &str) {
    let listener = pod.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap();
    let name = name.to_owned();
    tokio::spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((mut stream, from)) = listener.accept().await {
            let text = format!("{name} {}", from.ip());
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await;
        }
    });
}

/// What the other end says before it closes.
async fn greeting(stream: io::Result<TcpStream>) -> io::Result<String> {
    let (mut stream, mut text) = (stream?, String::new());
    let read = tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text);
    tokio::time::timeout(PATIENCE, read).await.expect("it answers")?;
    Ok(text)
}

fn endpoint(pod: &PodNamespace, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(pod.address(), port)
}

/// Waits, without guessing how long it takes.
async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let started = Instant::now();
    while !check() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What of the machine's own could be left behind: its mounts, links and rules.
fn machine() -> BTreeSet<String> {
    let mut all: BTreeSet<String> = BTreeSet::new();
    all.extend(fs::read_to_string("/proc/self/mounts").unwrap().lines().map(str::to_owned));
    all.extend(fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()));
    for tool in ["iptables-save", "iptables-legacy-save"] {
        let output = Command::new(services::program(tool)).output().unwrap();
        let rules = String::from_utf8(output.stdout).unwrap();
        all.extend(rules.lines().filter(|line| line.starts_with('-')).map(str::to_owned));
    }
    if let Ok(entries) = fs::read_dir("/run/netns") {
        all.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
    }
    all
}

/// Ids of processes that are in a network namespace other than this program's and have this text in their environment.
fn processes_with(text: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(text)
    };
    ids.filter(has).collect()
}
