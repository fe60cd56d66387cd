//! Worker threads, supervised tasks and draining.

pub mod drain;
pub mod workers;

use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::task::AbortHandle;

static WORKER_COUNT: AtomicUsize = AtomicUsize::new(1);

thread_local! {
    static WORKER_INDEX: Cell<usize> = const { Cell::new(0) };
}

/// How many data workers there are; at least 1.
pub fn worker_count() -> usize {
    WORKER_COUNT.load(Relaxed).max(1)
}

/// Which data worker the caller runs on, from 0; threads that are no data workers are 0 too.
pub fn worker_index() -> usize {
    WORKER_INDEX.get()
}

/// Runs a task on the caller's runtime. The only way in which the data path spawns: a panic ends the task, never the
/// process, and is counted and logged by the hook that the app installs. The handle may be dropped; the task goes on.
pub fn spawn<F>(future: F) -> AbortHandle
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(future).abort_handle()
}
