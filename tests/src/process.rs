//! A program running in a pod, and what it says.
#![allow(unsafe_code)]

use crate::{Pod, eventually};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

/// A running program. Killed when dropped; its output is shown when that happens because the test failed.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
    exited: Option<ExitStatus>,
    // Last: the pod's thread must outlive the child, which would otherwise die with it.
    _pod: Pod,
}

impl Process {
    /// Starts a program inside the pod.
    pub fn start(pod: &Pod, mut command: Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        let name = program.rsplit('/').next().unwrap_or(&program).to_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: the closure makes one system call and neither allocates nor locks.
        unsafe {
            // A test run that is killed leaves no processes: they die with the pod's thread.
            command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
        }
        let mut child = pod
            .enter(move || command.spawn())
            .unwrap_or_else(|why| panic!("{}: {program} does not start: {why}", pod.name()));
        let output = Arc::default();
        collect(child.stdout.take().expect("piped"), &output);
        collect(child.stderr.take().expect("piped"), &output);
        Self { name: format!("{name} in {}", pod.name()), child, output, exited: None, _pod: pod.clone() }
    }

    /// Everything the program has said so far, line by line.
    pub fn output(&self) -> Vec<String> {
        self.output.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Waits until the program has said a line that contains `text`.
    pub async fn says(&self, text: &str) {
        eventually(&format!("{} says {text:?}", self.name), async || {
            self.output().iter().any(|line| line.contains(text))
        })
        .await;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap_or_else(|why| panic!("{}: no {signal}: {why}", self.name));
    }

    /// How the program ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().expect("the child is ours");
        }
        self.exited
    }

    /// Waits for the program's end.
    pub async fn exit(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, async || self.exit_status().is_some()).await;
        self.exited.expect("it has ended")
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit_status().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let mut report = format!("--- {} said:\n", self.name);
            let lines = self.output();
            for line in &lines[lines.len().saturating_sub(60)..] {
                report.push_str(line);
                report.push('\n');
            }
            eprint!("{report}");
        }
    }
}

fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let echo = std::env::var_os("FSM_TEST_ECHO").is_some();
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if echo {
                let _ = writeln!(std::io::stderr(), "{line}");
            }
            into.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(line);
        }
    });
}
