//! A running process: to wait for, to send signals to, never to be mistaken for another.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::sys;

/// How long a killed process is waited for: it can only be late if it waits for a device.
pub(super) const DEATH: Duration = Duration::from_secs(5);

/// A child of this program.
#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    /// Keeps the exit status once the process has been waited for.
    child: Mutex<Child>,
    descriptor: OwnedFd,
}

impl Process {
    /// Takes a child over. If that fails the child is ended.
    pub(super) fn new(mut child: Child) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        match sys::process_descriptor(pid) {
            Ok(descriptor) => Ok(Self { pid, child: Mutex::new(child), descriptor }),
            Err(why) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(why)
            }
        }
    }

    /// Its id, as this program sees it.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten()
    }

    /// Waits for its end. Any number of callers may.
    pub(super) async fn wait(&self) -> io::Result<ExitStatus> {
        let descriptor = sys::watch(self.descriptor.try_clone()?)?;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            descriptor.readable().await?.clear_ready();
        }
    }

    /// The same for threads, up to some seconds.
    pub(super) fn wait_blocking(&self) -> Option<ExitStatus> {
        let started = Instant::now();
        loop {
            let left = DEATH.saturating_sub(started.elapsed());
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if left.is_zero() {
                return None;
            }
            sys::wait_readable(self.descriptor.as_fd(), left);
        }
    }

    /// Waits for its end, however late.
    pub(super) fn wait_forever(&self) {
        while self.ended().is_none() {
            sys::wait_readable(self.descriptor.as_fd(), Duration::MAX);
        }
    }

    /// Has a thread of its own wait for the end. The first process of a namespace cannot end before somebody has waited
    /// for every other one in it, so that must not depend on who still cares for them.
    pub(super) fn reap(process: &Arc<Self>) -> io::Result<()> {
        let process = Arc::clone(process);
        let wait = move || process.wait_forever();
        std::thread::Builder::new().name("fsm-reap".to_owned()).spawn(wait).map(drop)
    }

    /// Sends a signal; tells whether it still ran.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // While the lock is held nobody waits for it, so its id cannot be given to another process.
        matches!(child.try_wait(), Ok(None)) && kill(Pid::from_raw(self.pid), signal).is_ok()
    }

    /// Whether the process would notice the signal: as the first of its namespace it ignores those it does not handle.
    pub(super) fn handles(&self, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        caught >> (signal as i32 - 1) & 1 == 1
    }
}
