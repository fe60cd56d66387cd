//! What the rules do to real connections, in network namespaces of their own, for every variant of
//! iptables that works here.
//!
//! Needs root, `ip` and iptables. Without them the tests say `SKIPPED` on standard error, and fail
//! where `CI=true`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "interception/failures.rs"]
mod failures;
#[path = "interception/pod.rs"]
mod pod;
#[path = "interception/runs.rs"]
mod runs;
#[path = "interception/traffic.rs"]
mod traffic;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use pod::{Client, Namespace};

const APPLICATION: Client = Client::Application;
const PROXY: Client = Client::User(1500);

/// The process that plays another user: connects where its environment says and reports.
#[test]
#[ignore = "started by the other tests"]
fn client_process() {
    if let Ok(target) = env::var(pod::CLIENT_TARGET) {
        println!("«{}»", pod::connect(target.parse().unwrap(), None));
    }
}

/// The variants of iptables that work here; empty (after saying so) if the tests cannot run.
fn backends() -> Vec<&'static str> {
    static FOUND: OnceLock<Result<Vec<&'static str>, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        if !nix::unistd::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        if Command::new("ip").arg("-V").output().is_err() {
            return Err("the program ip (iproute2) is not installed".to_owned());
        }
        let namespace = Namespace::new();
        let works = |backend: &str| {
            ["iptables", "ip6tables"].iter().all(|base| {
                let base = base.to_string();
                let backend = backend.to_owned();
                let listed =
                    namespace.run(move || Command::new(format!("{base}-{backend}")).args(["-t", "nat", "-S"]).output());
                listed.is_ok_and(|output| output.status.success())
            })
        };
        let (working, missing): (Vec<_>, Vec<_>) = ["nft", "legacy"].into_iter().partition(|backend| works(backend));
        for backend in missing {
            announce(&format!("the {backend} variant of iptables does not work here"));
        }
        if working.is_empty() {
            return Err("iptables is not installed, or the kernel has no nat table".to_owned());
        }
        Ok(working)
    });
    match found {
        Ok(backends) => backends.clone(),
        Err(why) if env::var("CI").is_ok_and(|ci| ci == "true") => {
            panic!("{why}, and with CI=true these tests must run")
        }
        Err(why) => {
            announce(why);
            Vec::new()
        }
    }
}

/// Straight to standard error: the test harness hides what passing tests print.
fn announce(why: &str) {
    let test = std::thread::current().name().unwrap_or("interception").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// A directory of its own under the system's temporary directory, removed on drop, with these programs in it.
fn scratch(name: &str, programs: &[(&str, &str)]) -> Scratch {
    let directory = env::temp_dir().join(format!("fsm-init-{}-{name}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    for (program, script) in programs {
        let file = directory.join(program);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    Scratch(directory)
}

struct Scratch(PathBuf);

impl Scratch {
    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
