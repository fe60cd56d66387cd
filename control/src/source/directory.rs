//! Follows a directory of manifests: every `*.yaml`, `*.yml` and `*.json` below it.
//!
//! Changes are noticed by inotify, and by looking at all files every two seconds, whatever inotify says: so atomic renames,
//! swapped symlinks (as Kubernetes mounts ConfigMaps), network file systems and lost notifications all end well. Names that
//! begin with a dot are passed over.
//!
//! A file that is broken, unreadable or being written keeps the objects in force that it had before. Where two files have
//! the same object, the first in path order wins, and the other one is reported.

#[cfg(test)]
mod tests;
mod tree;
mod walk;

use super::{Event, SourceError};
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc as signals;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tree::Tree;

/// All files are looked at this often, whatever inotify says.
const RESCAN_INTERVAL: Duration = Duration::from_secs(2);

/// A change is read when nothing further happened for this long…
const QUIET: Duration = Duration::from_millis(20);

/// …or when the first one is this old: a writer that never pauses must not keep everything waiting.
const MOST_WAIT: Duration = Duration::from_millis(60);

/// A file that somebody writes is read when it is closed, or after this long: some writers never close.
const WRITING: Duration = Duration::from_secs(1);

/// A directory that is being followed. Dropping it ends that, after the event that is being handed over.
#[derive(Debug)]
pub struct Following {
    signals: signals::Sender<Signal>,
}

#[derive(Debug)]
enum Signal {
    Seen(notify::Result<notify::Event>),
    Stop,
}

impl Drop for Following {
    fn drop(&mut self) {
        // The thread may have ended by itself, when nobody listens any more.
        let _ = self.signals.send(Signal::Stop);
    }
}

/// Follows a directory from a thread of its own (all of it is blocking I/O).
///
/// # Errors
/// The thread cannot be started.
pub fn follow(path: PathBuf, events: mpsc::Sender<Event>) -> Result<Following, SourceError> {
    let (sender, receiver) = signals::channel();
    let watch = sender.clone();
    let directory = path.clone();
    std::thread::Builder::new()
        .name("source-directory".into())
        .spawn(move || Follower::new(directory, watch, events).run(&receiver))
        .map_err(|source| SourceError::Thread { path, source })?;
    Ok(Following { signals: sender })
}

struct Follower {
    root: PathBuf,
    events: mpsc::Sender<Event>,
    signals: signals::Sender<Signal>,
    watcher: Option<RecommendedWatcher>,
    /// The directory that is being watched, as it was resolved: a swapped symlink asks for another watch.
    watched: Option<PathBuf>,
    tree: Tree,
    /// Files that inotify named since the last look: read again even if they look the same.
    touched: BTreeSet<PathBuf>,
    /// Files that are being written, since when.
    writing: BTreeMap<PathBuf, Instant>,
    synced: bool,
    /// When files were last taken for changed that only might be.
    thorough: Instant,
}

impl Follower {
    fn new(root: PathBuf, signals: signals::Sender<Signal>, events: mpsc::Sender<Event>) -> Self {
        Self {
            tree: Tree::new(&root),
            root,
            events,
            signals,
            watcher: None,
            watched: None,
            touched: BTreeSet::new(),
            writing: BTreeMap::new(),
            synced: false,
            thorough: Instant::now(),
        }
    }

    fn run(mut self, signals: &signals::Receiver<Signal>) {
        loop {
            self.watch();
            if self.look().is_none() {
                return;
            }
            if self.wait(signals).is_none() {
                return;
            }
        }
    }

    /// Sees to it that what the path means now is being watched. Failure is no matter: the regular look remains.
    fn watch(&mut self) {
        let resolved = std::fs::canonicalize(&self.root).ok();
        if resolved == self.watched && (self.watcher.is_some() || resolved.is_none()) {
            return;
        }
        self.watched = resolved;
        self.watcher = None;
        let sender = self.signals.clone();
        let handler = move |seen| {
            let _ = sender.send(Signal::Seen(seen));
        };
        let Ok(mut watcher) = RecommendedWatcher::new(handler, notify::Config::default()) else { return };
        if let Err(error) = watcher.watch(&self.root, RecursiveMode::Recursive) {
            tracing::debug!(path = %self.root.display(), %error, "directory is not watched, only looked at regularly");
            return;
        }
        // Where the path itself is replaced, only its parent tells.
        if let Some(parent) = self.root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let _ = watcher.watch(parent, RecursiveMode::NonRecursive);
        }
        self.watcher = Some(watcher);
    }

    /// Looks at all files and says what changed; `None`: nobody listens any more.
    fn look(&mut self) -> Option<()> {
        let now = Instant::now();
        self.writing.retain(|_, since| now.duration_since(*since) < WRITING);
        let touched = std::mem::take(&mut self.touched);
        // The first reading waits for nobody: what is there then is what everything starts from.
        let (synced, writing) = (self.synced, &self.writing);
        let thorough = now.duration_since(self.thorough) >= RESCAN_INTERVAL;
        let look = self.tree.look(&self.root, &touched, thorough, |path| synced && writing.contains_key(path));
        if thorough {
            self.thorough = now;
        }
        for event in look.events {
            self.events.blocking_send(event).ok()?;
        }
        if look.complete && !self.synced {
            self.synced = true;
            self.events.blocking_send(Event::Synced).ok()?;
        }
        Some(())
    }

    /// Waits until it is time to look again; `None`: it is time to end.
    fn wait(&mut self, signals: &signals::Receiver<Signal>) -> Option<()> {
        let start = Instant::now();
        let mut until = start + RESCAN_INTERVAL;
        let mut first: Option<Instant> = None;
        loop {
            if self.events.is_closed() {
                return None;
            }
            let oldest = self.writing.values().min().map(|since| *since + WRITING);
            let deadline = oldest.map_or(until, |oldest| until.min(oldest));
            let left = deadline.saturating_duration_since(Instant::now());
            match signals.recv_timeout(left) {
                Ok(Signal::Stop) | Err(signals::RecvTimeoutError::Disconnected) => return None,
                Err(signals::RecvTimeoutError::Timeout) => return Some(()),
                Ok(Signal::Seen(seen)) => {
                    if self.note(seen) {
                        let now = Instant::now();
                        let first = *first.get_or_insert(now);
                        until = (now + QUIET).min(first + MOST_WAIT).min(start + RESCAN_INTERVAL);
                    }
                }
            }
        }
    }

    /// Notes what inotify says; true when it is worth a look.
    fn note(&mut self, seen: notify::Result<notify::Event>) -> bool {
        let Ok(event) = seen else { return true };
        if event.need_rescan() {
            self.tree.distrust();
            return true;
        }
        let paths = || event.paths.iter().filter(|path| self.concerns(path)).cloned().collect::<Vec<_>>();
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                let paths = paths();
                for path in &paths {
                    self.writing.remove(path);
                }
                self.touch(paths)
            }
            EventKind::Access(_) => false,
            EventKind::Modify(ModifyKind::Data(_)) => {
                for path in paths() {
                    self.writing.entry(path).or_insert_with(Instant::now);
                }
                false
            }
            _ => {
                let paths = paths();
                for path in &paths {
                    // A file that takes the place of one that is being written is whole.
                    self.writing.remove(path);
                }
                self.touch(paths)
            }
        }
    }

    fn touch(&mut self, paths: Vec<PathBuf>) -> bool {
        let any = !paths.is_empty();
        self.touched.extend(paths);
        any
    }

    /// The parent is watched only for the directory itself.
    fn concerns(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }
}
