//! A document on disk, followed when it changes.
//!
//! The *directory* is watched, not the file: an atomic replacement and a ConfigMap's swap of the `..data` link put
//! another file in its place. Changes are taken up when the file has been quiet for a moment, and a document that does
//! not parse is read once more before it is reported, because in-place writers are seen half-way. inotify loses events
//! (overflow, network file systems, a directory made anew), so the file is also looked at every
//! [`limits::FILE_POLL_INTERVAL`].
//!
//! A missing or unreadable file is logged once with the remedy and waited for; a deleted file leaves the last good
//! document in force. Files are read on a blocking thread. Never writes.

use crate::config::store::{Applied, Origin, Store};
use crate::limits;
use crate::telemetry::Telemetry;
use fsm_api::config::MAX_DOCUMENT_BYTES;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

/// A changed file is read when nothing happened in its directory for so long …
const QUIET: Duration = Duration::from_millis(50);

/// … or, in a directory that is never quiet, after so long.
const QUIET_AT_MOST: Duration = Duration::from_millis(500);

/// Follows a file for ever.
pub async fn follow(path: PathBuf, store: Arc<Store>, telemetry: Arc<Telemetry>) {
    // Failures are counted by the store; the file source has no counters of its own.
    drop(telemetry);
    let changed = Arc::new(Notify::new());
    let mut watch = DirectoryWatch::new(&path, changed.clone());
    let mut reader = Reader { path: Arc::new(path), store, seen: None, doubtful: false };
    loop {
        watch.renew();
        reader.look().await;
        // A document that did not parse is read again soon, whether or not another event arrives.
        let pause = if reader.doubtful { QUIET } else { limits::FILE_POLL_INTERVAL };
        if timeout(pause, changed.notified()).await.is_ok() {
            settle(&changed).await;
        }
    }
}

/// Waits until no change arrives for [`QUIET`].
async fn settle(changed: &Notify) {
    let latest = Instant::now() + QUIET_AT_MOST;
    loop {
        let quiet = (Instant::now() + QUIET).min(latest);
        tokio::select! {
            () = sleep_until(quiet) => return,
            () = changed.notified() => {}
        }
    }
}

/// Reads the file when it is another one than last time.
struct Reader {
    path: Arc<PathBuf>,
    store: Arc<Store>,
    /// The file as it was when it was last read to the end of the matter.
    seen: Option<Stamp>,
    /// The last reading did not parse and is to be repeated before it is reported.
    doubtful: bool,
}

/// What became of one look at the file.
enum Look {
    Same,
    Doubtful,
    Settled(Stamp),
    Failed(io::Error),
}

impl Reader {
    async fn look(&mut self) {
        let (path, store) = (self.path.clone(), self.store.clone());
        let (seen, last_try) = (self.seen, self.doubtful);
        let look = tokio::task::spawn_blocking(move || look(&path, &store, seen, last_try)).await;
        self.doubtful = false;
        match look {
            Ok(Look::Same) => self.store.source_recovered(),
            Ok(Look::Doubtful) => self.doubtful = true,
            Ok(Look::Settled(stamp)) => {
                self.seen = Some(stamp);
                self.store.source_recovered();
            }
            Ok(Look::Failed(error)) => {
                // The same file put back is news again.
                self.seen = None;
                self.store.source_failed(&explain(&self.path, &error, self.store.load().is_some()));
            }
            Err(error) => self.store.source_failed(&format!("reading {} failed: {error}", self.path.display())),
        }
    }
}

/// Looks at the file and puts it in force when it is new.
fn look(path: &Path, store: &Store, seen: Option<Stamp>, last_try: bool) -> Look {
    let (bytes, stamp) = match read(path, seen) {
        Ok(Some(read)) => read,
        Ok(None) => return Look::Same,
        Err(error) => return Look::Failed(error),
    };
    match store.read(&bytes, &Origin::File(path.to_owned())) {
        Err(_) if !last_try => return Look::Doubtful,
        Err(rejected) => {
            store.reject(rejected);
        }
        Ok(document) => {
            if let Ok(Applied::Unchanged) = store.put_in_force(document) {
                debug!("{} was written anew and says the same", path.display());
            }
        }
    }
    Look::Settled(stamp)
}

/// Reads the file unless it is the one seen before. The stamp is that of the opened file, taken before its bytes, so
/// that a later change is noticed.
fn read(path: &Path, seen: Option<Stamp>) -> io::Result<Option<(Vec<u8>, Stamp)>> {
    let metadata = fs::metadata(path)?;
    // Opening a FIFO would block for ever.
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if seen == Some(Stamp::of(&metadata)) {
        return Ok(None);
    }
    let file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB"));
    }
    Ok(Some((bytes, stamp)))
}

fn explain(path: &Path, error: &io::Error, has_config: bool) -> String {
    let consequence = match has_config {
        true => "the last good configuration stays in force",
        false => "the proxy is not ready until it can be read",
    };
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "put a document there or correct --config",
        io::ErrorKind::PermissionDenied => "let the proxy's user read it",
        _ => "put a readable document there",
    };
    format!("configuration file {} cannot be read: {error}; {consequence}; {remedy}", path.display())
}

/// Tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// inotify on the directory of the file.
struct DirectoryWatch {
    directory: PathBuf,
    changed: Arc<Notify>,
    /// The watch and the directory it is on; `None` while there is none.
    watching: Option<(RecommendedWatcher, (u64, u64))>,
    complained: bool,
}

impl DirectoryWatch {
    fn new(path: &Path, changed: Arc<Notify>) -> Self {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self { directory, changed, watching: None, complained: false }
    }

    /// Sets the watch when there is none, or when the directory is another one than it was.
    fn renew(&mut self) {
        let identity = fs::metadata(&self.directory).map(|metadata| (metadata.dev(), metadata.ino())).ok();
        if self.watching.as_ref().map(|(_, watched)| *watched) == identity {
            return;
        }
        self.watching = None;
        let Some(identity) = identity else { return };
        match self.watch() {
            Ok(watcher) => self.watching = Some((watcher, identity)),
            Err(error) if !self.complained => {
                self.complained = true;
                warn!(
                    "changes in {} are not notified ({error}); the configuration file is looked at every {} s instead",
                    self.directory.display(),
                    limits::FILE_POLL_INTERVAL.as_secs()
                );
            }
            Err(_) => {}
        }
    }

    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let changed = self.changed.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                changed.notify_one();
            }
        })?;
        watcher.watch(&self.directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// Our own reading shows up as an event too; an error (queue overflow) may hide a change.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => matches!(access, AccessKind::Close(AccessMode::Write)),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
