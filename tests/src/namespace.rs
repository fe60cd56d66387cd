//! A network and mount namespace that lives as long as one resident thread.
//!
//! Nothing is named in the file system, so nothing is left behind: the kernel removes the namespace when the thread,
//! its sockets and its processes are gone, also after `kill -9`.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// A namespace and the thread that lives in it.
pub(crate) struct Namespace {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Option<JoinHandle<()>>,
    handle: File,
}

impl Namespace {
    /// Makes an empty namespace. Each of `files` replaces, for its inhabitants, a file of the machine:
    /// (replacement, replaced).
    pub(crate) fn create(name: &str, files: &[(PathBuf, PathBuf)]) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, made) = mpsc::channel();
        let files = files.to_vec();
        let thread = std::thread::Builder::new()
            .name(format!("pod {name}"))
            .spawn(move || {
                let _ = ready.send(enter_new_namespace(&files));
                while let Ok(job) = queue.recv() {
                    job();
                }
            })
            .expect("a thread can be started");
        let handle = made
            .recv()
            .expect("the thread says how it went")
            .unwrap_or_else(|why| panic!("pod {name}: no namespace of its own: {why}"));
        Self { jobs: Mutex::new(Some(jobs)), thread: Some(thread), handle }
    }

    /// Runs `job` on the thread inside the namespace and returns its result, or its panic.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let jobs = self.jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        jobs.as_ref()
            .expect("present until dropped")
            .send(Box::new(move || {
                let _ = done.send(catch_unwind(AssertUnwindSafe(job)));
            }))
            .expect("the thread runs until dropped");
        drop(jobs);
        match result.recv().expect("a job sends its result") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Runs `ip -batch` with these commands inside the namespace.
    pub(crate) fn ip(&self, commands: &[String]) {
        let script = commands.join("\n") + "\n";
        self.run(move || {
            let mut child = Command::new("ip")
                .args(["-batch", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|why| panic!("`ip` (package iproute2) does not run: {why}"));
            let mut input = child.stdin.take().expect("piped");
            input.write_all(script.as_bytes()).expect("`ip` reads its commands");
            drop(input);
            let output = child.wait_with_output().expect("`ip` ends");
            assert!(
                output.status.success(),
                "`ip` failed: {}of the commands:\n{script}",
                String::from_utf8_lossy(&output.stderr)
            );
        });
    }

    /// A path by which another process can name the namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        *self.jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn enter_new_namespace(files: &[(PathBuf, PathBuf)]) -> std::io::Result<File> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let none: Option<&Path> = None;
    mount(none, Path::new("/"), none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    for (replacement, replaced) in files {
        mount(Some(replacement.as_path()), replaced.as_path(), none, MsFlags::MS_BIND, none)?;
    }
    File::open("/proc/thread-self/ns/net")
}
