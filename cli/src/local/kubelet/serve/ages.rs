//! How old what a log says is: `kubectl logs --since`.
//!
//! Containers write into their log files themselves, so no line has a time. The lengths of the files are looked at again
//! and again instead, and remembered while they grow. What is given is never too little; it is too much by what was written
//! within one [`LOOK`], or all of it where the node was started after the container. Memory is bounded: of a log that grows
//! for long, what is old is known less finely.

use crate::local::state::State;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How often lengths are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Lengths that are remembered of one log, at the most.
const MOST: usize = 1024;

/// The ages of all logs of a node.
#[derive(Clone, Default)]
pub(super) struct Ages(Arc<Mutex<HashMap<PathBuf, Marks>>>);

/// When a file had which length.
#[derive(Debug, Default)]
struct Marks(Vec<Mark>);

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: SystemTime,
    length: u64,
}

impl Ages {
    /// Looks at all logs of a node, as long as the process lives.
    pub(super) fn watch(&self, state: &State) {
        let (ages, pods) = (self.clone(), state.pods());
        tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                let (ages, pods) = (ages.clone(), pods.clone());
                let _ = tokio::task::spawn_blocking(move || ages.look(&pods)).await;
            }
        });
    }

    /// Where in a log that begins which is not older than this.
    pub(super) fn since(&self, log: &Path, time: SystemTime) -> u64 {
        self.lock().get(log).map_or(0, |marks| marks.since(time))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Marks>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, pods: &Path) {
        let now = SystemTime::now();
        let found = logs(pods);
        let mut ages = self.lock();
        ages.retain(|log, _| found.contains_key(log));
        for (log, length) in found {
            ages.entry(log).or_default().note(now, length);
        }
    }
}

/// Every log, and how long it is: `pods/NAMESPACE/POD/CONTAINER.log`.
fn logs(pods: &Path) -> HashMap<PathBuf, u64> {
    let below = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = below(pods).flat_map(|namespace| below(&namespace)).flat_map(|pod| below(&pod));
    let logs = files.filter(|file| file.extension().is_some_and(|extension| extension == "log"));
    // What is gone meanwhile belonged to a pod that is gone.
    logs.filter_map(|log| fs::metadata(&log).ok().map(|found| (log, found.len()))).collect()
}

impl Marks {
    fn note(&mut self, now: SystemTime, length: u64) {
        match self.0.last() {
            Some(last) if last.length == length => return,
            // Another file of the same name.
            Some(last) if last.length > length => self.0.clear(),
            _ => {}
        }
        self.0.push(Mark { at: now, length });
        if self.0.len() > MOST {
            let mut place = 0;
            self.0.retain(|_| {
                place += 1;
                place > MOST / 2 || place % 2 == 0
            });
        }
    }

    /// What is before this place was written before then.
    fn since(&self, time: SystemTime) -> u64 {
        let before = self.0.partition_point(|mark| mark.at <= time);
        before.checked_sub(1).and_then(|last| self.0.get(last)).map_or(0, |mark| mark.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_given_since_a_time_was_not_there_before_it() {
        let mut marks = Marks::default();
        for (seconds, length) in [(10, 0), (11, 5), (12, 5), (13, 5), (14, 20)] {
            marks.note(at(seconds), length);
        }
        for (seconds, from) in [(1, 0), (10, 0), (11, 5), (13, 5), (14, 20), (99, 20)] {
            assert_eq!(marks.since(at(seconds)), from, "since {seconds}");
        }
        marks.note(at(15), 3);
        assert_eq!((marks.since(at(14)), marks.since(at(15))), (0, 3), "another file of the same name");
    }

    #[test]
    fn a_log_that_grows_for_ever_takes_bounded_memory_and_no_line_is_lost() {
        let mut marks = Marks::default();
        for second in 0..10_000 {
            marks.note(at(second), second * 10);
            assert!(marks.0.len() <= MOST);
        }
        for second in (0..10_000).step_by(37) {
            let from = marks.since(at(second));
            assert!(from <= second * 10, "since {second}: {from}");
        }
        assert_eq!(marks.since(at(9_999)), 99_990);
        assert!(marks.since(at(9_000)) > 80_000, "what is new is known finely");
    }
}
