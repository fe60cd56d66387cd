//! The threads that carry traffic.
//!
//! With one worker a `current_thread` runtime: no synchronisation at all. With more, either a runtime per core with its
//! own listener (`SO_REUSEPORT`; tasks never move), or tokio's work stealing (one listener, tasks move to idle threads), which
//! costs 50 to 150 % more for a request (docs/performance.md). The admin thread is not among them, so a stalled scrape never delays a request and vice versa.

use super::{WORKER_COUNT, WORKER_INDEX};
use crate::limits;
use anyhow::Context;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// How work is spread over more than one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// One runtime whose threads take tasks from each other.
    WorkStealing,
    /// One single-threaded runtime for each worker.
    PerCore,
}

/// The running data workers.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<Handle>,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

/// Keeps a runtime until it is told to stop, with a pulse of its own.
///
/// A runtime that sleeps until some far deadline is woken whenever a nearer one is set, also by itself: a system call and
/// one more turn of its loop. Without the pulse nearly every request would pay that for its response's deadline, as long as
/// no other request is under way.
async fn run_until(stop: &CancellationToken) {
    let pulse = async {
        loop {
            tokio::time::sleep(limits::WORKER_PULSE).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = pulse => {}
    }
}

impl Workers {
    /// Starts `count` workers.
    ///
    /// # Errors
    /// When the kernel refuses threads or descriptors.
    pub fn start(count: NonZeroUsize, scheduling: Scheduling) -> anyhow::Result<Self> {
        WORKER_COUNT.store(count.get(), Relaxed);
        let stop = CancellationToken::new();
        let mut workers = Self { handles: Vec::new(), threads: Vec::new(), stop };
        if count.get() > 1 && scheduling == Scheduling::WorkStealing {
            workers.start_stealing(count.get())?;
        } else {
            for index in 0..count.get() {
                workers.start_single(index)?;
            }
        }
        Ok(workers)
    }

    fn start_stealing(&mut self, count: usize) -> anyhow::Result<()> {
        let next = AtomicUsize::new(0);
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name("fsm-data")
            .on_thread_start(move || WORKER_INDEX.set(next.fetch_add(1, Relaxed) % count))
            .enable_all()
            .build()
            .context("cannot start the data workers")?;
        self.handles.push(runtime.handle().clone());
        let stop = self.stop.clone();
        self.spawn_thread("fsm-data-main", move || runtime.block_on(run_until(&stop)))
    }

    fn start_single(&mut self, index: usize) -> anyhow::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot start a data worker")?;
        self.handles.push(runtime.handle().clone());
        let stop = self.stop.clone();
        self.spawn_thread(&format!("fsm-data-{index}"), move || {
            WORKER_INDEX.set(index);
            runtime.block_on(run_until(&stop));
        })
    }

    fn spawn_thread(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).context("cannot start a thread")?;
        self.threads.push(thread);
        Ok(())
    }

    /// How many listeners an address needs: one for each runtime.
    pub fn runtimes(&self) -> usize {
        self.handles.len()
    }

    /// Runs a task on the runtime with this index (modulo their number).
    pub fn spawn<F>(&self, runtime: usize, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.handles[runtime % self.handles.len()].spawn(future);
    }

    /// Runs `f` in the context of a runtime, so that sockets made in it belong to its reactor.
    pub fn enter<R>(&self, runtime: usize, f: impl FnOnce() -> R) -> R {
        let _context = self.handles[runtime % self.handles.len()].enter();
        f()
    }

    /// Ends the workers and everything that still runs on them.
    pub fn stop(mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
