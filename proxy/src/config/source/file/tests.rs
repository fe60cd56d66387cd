#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use flate2::{Compression, write::GzEncoder};
use std::io::Write;
use std::os::unix::fs::symlink;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Far above anything a healthy test needs; reached only by a failing one.
const PATIENCE: Duration = Duration::from_secs(30);

fn document(version: &str) -> String {
    format!(r#"{{"Version":"{version}","Spec":{{"ServiceIdentity":"web.shop"}}}}"#)
}

fn new_store() -> Arc<Store> {
    Arc::new(Store::new(Arc::new(Telemetry::new())))
}

/// A file that is being followed.
struct Followed {
    directory: TempDir,
    path: PathBuf,
    store: Arc<Store>,
    watch: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Followed {
    /// Follows `config.json` in a new directory, which `prepare` may fill before.
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let path = directory.path().join("config.json");
        let store = new_store();
        let watch = store.subscribe();
        let task = tokio::spawn(follow(path.clone(), store.clone(), Arc::default()));
        Self { directory, path, store, watch, task }
    }

    /// Follows a file that holds `version`, which is in force on return.
    async fn with(version: &str) -> Self {
        let mut followed =
            Self::start(|directory| fs::write(directory.join("config.json"), document(version)).unwrap());
        followed.reaches(version).await;
        followed
    }

    /// Waits until a version is in force.
    async fn reaches(&mut self, version: &str) {
        let store = self.store.clone();
        let reached = self.watch.wait_for(|_| store.snapshot().is_some_and(|snapshot| snapshot.version == version));
        let outcome = timeout(PATIENCE, reached).await.map(|reached| reached.is_ok());
        assert_eq!(outcome.ok(), Some(true), "version {version} is not in force: {:?}", self.store.status());
    }

    /// Waits until the status satisfies a condition; it has no watch of its own.
    async fn status(&self, condition: impl Fn(&crate::config::store::Status) -> bool) {
        let reached = async {
            while !condition(&self.store.status()) {
                tokio::task::yield_now().await;
            }
        };
        let outcome = timeout(PATIENCE, reached).await;
        assert!(outcome.is_ok(), "the status stays {:?}", self.store.status());
    }

    fn write(&self, content: &str) {
        fs::write(&self.path, content).unwrap();
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn file_is_taken_up_and_rewritten_in_place() {
    let mut followed = Followed::with("1").await;
    followed.write(&document("2"));
    followed.reaches("2").await;
    assert_eq!(followed.store.source(), format!("file {}", followed.path.display()));
}

#[tokio::test]
async fn file_is_replaced_atomically() {
    let mut followed = Followed::with("1").await;
    for version in ["2", "3", "4"] {
        let new = followed.directory.path().join(".config.json.tmp");
        fs::write(&new, document(version)).unwrap();
        fs::rename(&new, &followed.path).unwrap();
        followed.reaches(version).await;
    }
}

#[tokio::test]
async fn config_map_swaps_its_data_link() {
    let publish = |directory: &Path, stamp: &str, version: &str| {
        fs::create_dir(directory.join(stamp)).unwrap();
        fs::write(directory.join(stamp).join("config.json"), document(version)).unwrap();
        symlink(stamp, directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    };
    let mut followed = Followed::start(|directory| {
        publish(directory, "..2026_01", "1");
        symlink("..data/config.json", directory.join("config.json")).unwrap();
    });
    followed.reaches("1").await;
    publish(followed.directory.path(), "..2026_02", "2");
    fs::remove_dir_all(followed.directory.path().join("..2026_01")).unwrap();
    followed.reaches("2").await;
    assert_eq!(followed.store.status().generation, 2);
}

#[tokio::test]
async fn compressed_file_is_accepted() {
    let mut followed = Followed::with("1").await;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(document("2").as_bytes()).unwrap();
    fs::write(&followed.path, encoder.finish().unwrap()).unwrap();
    followed.reaches("2").await;
}

#[tokio::test]
async fn deleted_file_leaves_the_last_good_document_and_may_return() {
    let mut followed = Followed::with("1").await;
    fs::remove_file(&followed.path).unwrap();
    followed.status(|status| status.source_failure.is_some()).await;
    let failure = followed.store.failure().unwrap();
    assert!(failure.contains("the last good configuration stays in force"), "{failure}");
    assert_eq!(followed.store.snapshot().unwrap().version, "1");
    followed.write(&document("2"));
    followed.reaches("2").await;
    followed.status(|status| status.source_failure.is_none()).await;
}

#[tokio::test]
async fn missing_file_is_waited_for() {
    let mut followed = Followed::start(|_| {});
    followed.status(|status| status.source_failure.is_some()).await;
    let failure = followed.store.failure().unwrap();
    assert!(failure.contains("not ready") && failure.contains("--config"), "{failure}");
    followed.write(&document("1"));
    followed.reaches("1").await;
}

#[tokio::test]
async fn broken_document_is_reported_and_replaced_later() {
    let mut followed = Followed::with("1").await;
    followed.write("{\"Version\":");
    followed.status(|status| status.rejected.is_some()).await;
    assert_eq!(followed.store.snapshot().unwrap().version, "1");
    assert_eq!(followed.store.status().rejected.unwrap().count, 1, "it is reported once, not at every look");
    followed.write(&document("2"));
    followed.reaches("2").await;
    assert_eq!(followed.store.status().rejected, None);
}

#[tokio::test]
async fn directory_in_the_place_of_the_file_is_reported() {
    let followed = Followed::start(|directory| fs::create_dir(directory.join("config.json")).unwrap());
    followed.status(|status| status.source_failure.is_some()).await;
    let failure = followed.store.failure().unwrap();
    assert!(failure.contains("not a regular file"), "{failure}");
}

/// Paused time: the pauses between looks pass at once, so only looking (not inotify) finds these changes.
#[tokio::test(start_paused = true)]
async fn change_that_is_not_notified_is_found_by_looking() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("document");
    fs::write(&target, document("1")).unwrap();
    let mut followed = Followed::start(|directory| symlink(&target, directory.join("config.json")).unwrap());
    let patient = |followed: &mut Followed| {
        let mut watch = followed.watch.clone();
        async move { timeout(Duration::from_secs(36_000), watch.changed()).await.unwrap().unwrap() }
    };
    patient(&mut followed).await;
    followed.watch.mark_unchanged();
    fs::write(&target, document("2")).unwrap();
    patient(&mut followed).await;
    assert_eq!(followed.store.snapshot().unwrap().version, "2");
}

#[tokio::test(start_paused = true)]
async fn directory_made_anew_is_watched_again() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("fsm");
    let path = directory.join("config.json");
    let mut watch = DirectoryWatch::new(&path, Arc::default());
    watch.renew();
    assert!(watch.watching.is_none(), "there is no directory yet");
    fs::create_dir(&directory).unwrap();
    watch.renew();
    let first = watch.watching.as_ref().map(|(_, identity)| *identity);
    assert!(first.is_some());
    fs::rename(&directory, parent.path().join("old")).unwrap();
    fs::create_dir(&directory).unwrap();
    watch.renew();
    let second = watch.watching.as_ref().map(|(_, identity)| *identity);
    assert!(second.is_some() && second != first);
}

#[test]
fn half_written_document_is_read_once_more_before_it_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let store = new_store();
    let whole = document("1");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(look(&path, &store, None, false), Look::Doubtful));
    assert_eq!(store.status().rejected, None);

    fs::write(&path, &whole).unwrap();
    let Look::Settled(stamp) = look(&path, &store, None, true) else { panic!("the whole document is good") };
    assert_eq!(store.snapshot().unwrap().version, "1");
    assert!(matches!(look(&path, &store, Some(stamp), false), Look::Same));

    fs::write(&path, "garbage").unwrap();
    assert!(matches!(look(&path, &store, Some(stamp), false), Look::Doubtful));
    assert!(matches!(look(&path, &store, Some(stamp), true), Look::Settled(_)));
    assert_eq!(store.status().rejected.unwrap().count, 1);
}

#[test]
fn fifo_is_refused_instead_of_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    assert!(matches!(look(&path, &new_store(), None, false), Look::Failed(_)));
}

#[test]
fn own_reading_is_no_change() {
    use notify::event::{CreateKind, ModifyKind};
    assert!(!is_change(EventKind::Access(AccessKind::Open(AccessMode::Any))));
    assert!(!is_change(EventKind::Access(AccessKind::Close(AccessMode::Read))));
    assert!(is_change(EventKind::Access(AccessKind::Close(AccessMode::Write))));
    assert!(is_change(EventKind::Create(CreateKind::Any)));
    assert!(is_change(EventKind::Modify(ModifyKind::Any)));
}
