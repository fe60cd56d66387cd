//! Worker threads, supervised tasks and draining.

pub mod drain;
pub mod workers;

use crate::limits;
use std::cell::Cell;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::task::AbortHandle;

static WORKER_COUNT: AtomicUsize = AtomicUsize::new(1);

thread_local! {
    static WORKER_INDEX: Cell<usize> = const { Cell::new(0) };
    static RANDOM: Cell<u64> = Cell::new(RandomState::new().hash_one(0) | 1);
}

/// How many data workers there are; at least 1.
pub fn worker_count() -> usize {
    WORKER_COUNT.load(Relaxed).max(1)
}

/// Which data worker the caller runs on, from 0; threads that are no data workers are 0 too.
pub fn worker_index() -> usize {
    WORKER_INDEX.get()
}

/// A number of which every bit is random enough for spreading load (xorshift64*, one generator for each thread). Not for
/// secrets.
pub fn random() -> u64 {
    RANDOM.with(|state| {
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    })
}

/// Runs a task on the caller's runtime. The only way in which the data path spawns: a panic ends the task, never the
/// process, and is counted and logged by the hook that the app installs. The handle may be dropped; the task goes on.
pub fn spawn<F>(future: F) -> AbortHandle
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(future).abort_handle()
}

/// Lets the data workers go first from now on, for the calling thread.
pub fn step_back() {
    // Where that is forbidden, nothing is lost but some delay.
    if let Err(error) = rustix::process::nice(limits::BACKGROUND_NICENESS) {
        tracing::debug!(%error, "a thread in the background keeps its priority");
    }
}

#[cfg(test)]
/// Size of the future that a function of so many arguments makes.
pub mod future_size {
    use std::future::Future;

    /// Fails when a future of this size takes more than so many bytes.
    #[track_caller]
    pub fn assert_within(size: usize, bytes: usize) {
        assert!(size <= bytes, "{size} bytes: is something rare not in a box of its own, or carried along twice?");
    }

    /// Of a function of two.
    pub fn of_two<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// Of a function of three.
    pub fn of_three<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }
}
