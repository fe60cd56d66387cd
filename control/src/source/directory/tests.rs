//! Tests with real files: everything that editors, `kubectl`, ConfigMaps and accidents do to a directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::{Event, Source};
use crate::world::Problem;
use fsm_api::resources::{Kind, Object, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Nothing here takes this long unless something is broken.
const DEADLINE: Duration = Duration::from_secs(20);

/// A directory that is being followed, and what is known of it.
struct Followed {
    directory: TempDir,
    events: mpsc::Receiver<Event>,
    following: Option<super::super::Following>,
    objects: BTreeMap<ObjectKey, Object>,
    problems: BTreeMap<String, Vec<Problem>>,
    log: Vec<String>,
    synced: usize,
    runtime: tokio::runtime::Runtime,
}

impl Followed {
    fn start(directory: TempDir) -> Self {
        let root = directory.path().join("objects");
        Self::start_at(directory, root)
    }

    fn start_at(directory: TempDir, root: PathBuf) -> Self {
        let (sender, events) = mpsc::channel(64);
        let following = Source::Directory(root).follow(None, sender).unwrap();
        Self {
            directory,
            events,
            following: Some(following),
            objects: BTreeMap::new(),
            problems: BTreeMap::new(),
            log: Vec::new(),
            synced: 0,
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
        }
    }

    /// A directory with these files, read once.
    fn with(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("objects")).unwrap();
        for (name, text) in files {
            write(&directory.path().join("objects").join(name), text);
        }
        let mut followed = Self::start(directory);
        followed.until(|followed| followed.synced == 1);
        followed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("objects").join(name)
    }

    /// Takes one event in; `None`: the source has ended.
    fn next(&mut self) -> Option<()> {
        let waiting = async { tokio::time::timeout(DEADLINE, self.events.recv()).await };
        let event =
            self.runtime.block_on(waiting).unwrap_or_else(|_| panic!("nothing happens; so far: {:#?}", self.log))?;
        self.log.push(format!("{event:?}").chars().take(300).collect());
        match event {
            Event::Applied(located) => {
                assert!(located.line > 0);
                self.objects.insert(located.value.key(), located.value);
            }
            Event::Removed(key) => assert!(self.objects.remove(&key).is_some(), "{key} was not there"),
            Event::Synced => self.synced += 1,
            Event::Complete { .. } => panic!("a directory is followed whole"),
            Event::Problems { origin, problems } => {
                self.problems.remove(&*origin);
                if !problems.is_empty() {
                    self.problems.insert(origin.to_string(), problems);
                }
            }
        }
        Some(())
    }

    fn until(&mut self, mut holds: impl FnMut(&Self) -> bool) {
        while !holds(self) {
            self.next().expect("the source goes on");
        }
    }

    /// Waits until everything that was done before has been looked at: until a file made now has come and gone.
    fn settle(&mut self) {
        let path = self.path("zz-marker.yaml");
        write(&path, &account("marker", "settle"));
        self.until(|followed| followed.has("marker"));
        fs::remove_file(path).unwrap();
        self.until(|followed| !followed.has("marker"));
    }

    fn has(&self, name: &str) -> bool {
        self.objects.contains_key(&ObjectKey::new(Kind::ServiceAccount, "default", name))
    }

    /// The label `v` of an account.
    fn value(&self, name: &str) -> Option<String> {
        let object = self.objects.get(&ObjectKey::new(Kind::ServiceAccount, "default", name))?;
        object.metadata()?.labels.as_ref()?.get("v").cloned()
    }

    fn names(&self) -> BTreeSet<&str> {
        self.objects.keys().map(|key| key.name.as_str()).collect()
    }

    fn reasons(&self) -> BTreeSet<(String, &str)> {
        let name = |origin: &str| Path::new(origin).file_name().unwrap().to_string_lossy().into_owned();
        let all = self.problems.iter();
        all.flat_map(|(origin, problems)| problems.iter().map(move |problem| (name(origin), problem.reason))).collect()
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

/// Writes as careful programs do.
fn replace(path: &Path, text: &str) {
    let hidden = path.with_file_name(".writing");
    write(&hidden, text);
    fs::rename(hidden, path).unwrap();
}

fn account(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  labels:\n    v: {value:?}\n")
}

fn accounts(names: &[&str]) -> String {
    names.iter().map(|name| account(name, "1")).collect::<Vec<_>>().join("---\n")
}

#[test]
fn everything_below_is_said_before_synced_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("objects");
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::create_dir_all(root.join(".git")).unwrap();
    write(&root.join("a.yaml"), &accounts(&["a1", "a2"]));
    write(&root.join("deep/b.yml"), &account("b", "1"));
    write(&root.join("deep/er/c.json"), r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"c"}}"#);
    write(&root.join("README.md"), "kind: Nothing");
    write(&root.join(".git/d.yaml"), &account("d", "1"));
    write(&root.join(".e.yaml"), &account("e", "1"));
    let mut followed = Followed::start(directory);
    followed.until(|followed| followed.synced == 1);
    assert_eq!(followed.names(), BTreeSet::from(["a1", "a2", "b", "c"]));
    assert_eq!(followed.reasons(), BTreeSet::new());
}

#[test]
fn files_come_change_move_and_go() {
    let mut followed = Followed::with(&[("a.yaml", &account("a", "1"))]);
    replace(&followed.path("b.yaml"), &account("b", "1"));
    followed.until(|followed| followed.has("b"));
    replace(&followed.path("a.yaml"), &account("a", "2"));
    followed.until(|followed| followed.value("a").as_deref() == Some("2"));
    write(&followed.path("a.yaml"), &account("a", "3"));
    followed.until(|followed| followed.value("a").as_deref() == Some("3"));
    let before = followed.log.len();
    fs::create_dir(followed.path("new")).unwrap();
    fs::rename(followed.path("b.yaml"), followed.path("new/c.yaml")).unwrap();
    followed.settle();
    assert!(followed.has("b"));
    assert!(!followed.log[before..].iter().any(|event| event.contains("name: \"b\"")), "a move is no change");
    replace(&followed.path("new/c.yaml"), &account("b", "2"));
    followed.until(|followed| followed.value("b").as_deref() == Some("2"));
    fs::remove_file(followed.path("a.yaml")).unwrap();
    followed.until(|followed| !followed.has("a"));
    fs::remove_dir_all(followed.path("new")).unwrap();
    followed.until(|followed| followed.objects.is_empty());
}

#[test]
fn an_object_that_leaves_a_file_is_gone_and_the_others_are_not_said_again() {
    let mut followed = Followed::with(&[("a.yaml", &accounts(&["one", "two", "three"]))]);
    let before = followed.log.len();
    replace(&followed.path("a.yaml"), &accounts(&["three", "one"]));
    followed.until(|followed| !followed.has("two"));
    followed.settle();
    assert!(!followed.log[before..].iter().any(|event| event.contains("\"one\"")), "{:#?}", followed.log);
    assert_eq!(followed.names(), BTreeSet::from(["one", "three"]));
}

#[test]
fn a_broken_file_keeps_what_it_had_and_is_reported_until_it_is_mended() {
    let mut followed = Followed::with(&[("a.yaml", &accounts(&["one", "two"])), ("b.yaml", &account("b", "1"))]);
    replace(&followed.path("a.yaml"), &format!("{}---\nkind: [unfinished\n", account("one", "2")));
    followed.until(|followed| !followed.problems.is_empty());
    followed.settle();
    assert_eq!(followed.names(), BTreeSet::from(["b", "one", "two"]));
    assert_eq!(followed.value("one").as_deref(), Some("2"), "what can be read counts");
    assert_eq!(followed.reasons(), BTreeSet::from([("a.yaml".into(), "BrokenManifest")]));
    replace(&followed.path("a.yaml"), &account("one", "2"));
    followed.until(|followed| followed.problems.is_empty() && !followed.has("two"));
    assert_eq!(followed.names(), BTreeSet::from(["b", "one"]));
}

#[test]
fn a_broken_file_that_is_removed_takes_everything_with_it() {
    let mut followed = Followed::with(&[("a.yaml", &account("one", "1"))]);
    replace(&followed.path("a.yaml"), "kind: [unfinished");
    followed.until(|followed| !followed.problems.is_empty());
    fs::remove_file(followed.path("a.yaml")).unwrap();
    followed.until(|followed| followed.problems.is_empty() && followed.objects.is_empty());
}

#[test]
fn a_file_that_is_no_text_is_reported() {
    let mut followed = Followed::with(&[("a.yaml", &account("one", "1"))]);
    fs::write(followed.path("a.yaml"), b"kind: \xff\xfe").unwrap();
    followed.until(|followed| !followed.problems.is_empty());
    assert!(followed.has("one"));
    assert_eq!(followed.reasons(), BTreeSet::from([("a.yaml".into(), "UnreadableFile")]));
}

#[test]
fn of_two_files_with_one_object_the_first_counts_and_the_second_is_reported() {
    let mut followed = Followed::with(&[("b.yaml", &account("one", "b"))]);
    replace(&followed.path("c.yaml"), &account("one", "c"));
    followed.until(|followed| !followed.problems.is_empty());
    assert_eq!(followed.value("one").as_deref(), Some("b"));
    assert_eq!(followed.reasons(), BTreeSet::from([("c.yaml".into(), "DuplicateObject")]));
    let text = followed.problems.values().next().unwrap()[0].text.clone();
    assert!(text.contains("c.yaml:1") && text.contains("b.yaml:1"), "both are named: {text}");
    replace(&followed.path("a.yaml"), &account("one", "a"));
    followed.until(|followed| followed.value("one").as_deref() == Some("a") && followed.reasons().len() == 2);
    fs::remove_file(followed.path("a.yaml")).unwrap();
    followed.until(|followed| followed.value("one").as_deref() == Some("b"));
    fs::remove_file(followed.path("b.yaml")).unwrap();
    followed.until(|followed| followed.value("one").as_deref() == Some("c") && followed.problems.is_empty());
    fs::remove_file(followed.path("c.yaml")).unwrap();
    followed.until(|followed| followed.objects.is_empty());
}

#[test]
fn an_object_twice_in_one_file_is_reported() {
    let twice = format!("{}---\n{}", account("one", "1"), account("one", "2"));
    let followed = Followed::with(&[("a.yaml", &twice)]);
    assert_eq!(followed.value("one").as_deref(), Some("1"));
    assert_eq!(followed.reasons(), BTreeSet::from([("a.yaml".into(), "DuplicateObject")]));
}

#[test]
fn a_file_that_is_being_written_is_read_when_it_is_closed() {
    let mut followed = Followed::with(&[("a.yaml", &accounts(&["one", "two"]))]);
    let start = Instant::now();
    let mut file = fs::File::create(followed.path("a.yaml")).unwrap();
    file.write_all(account("one", "2").as_bytes()).unwrap();
    followed.settle();
    // On a machine that is so busy the writer counts as one that never closes its file.
    let busy = start.elapsed() >= super::WRITING;
    assert!(busy || followed.names() == BTreeSet::from(["one", "two"]), "half a file is no file");
    file.write_all(format!("---\n{}", account("two", "2")).as_bytes()).unwrap();
    drop(file);
    followed.until(|followed| followed.value("two").as_deref() == Some("2"));
    assert_eq!(followed.value("one").as_deref(), Some("2"));
    assert!(
        !followed.log.iter().any(|event| event.contains("Removed") && event.contains("two")),
        "{:#?}",
        followed.log
    );
}

#[test]
fn a_file_whose_writer_never_closes_it_is_read_all_the_same() {
    let mut followed = Followed::with(&[("a.yaml", &account("one", "1"))]);
    let mut file = fs::File::create(followed.path("a.yaml")).unwrap();
    file.write_all(account("one", "2").as_bytes()).unwrap();
    followed.until(|followed| followed.value("one").as_deref() == Some("2"));
    drop(file);
}

#[test]
fn swapped_links_of_a_config_map_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("objects");
    for (version, value) in [("..1", "1"), ("..2", "2")] {
        fs::create_dir_all(root.join(version)).unwrap();
        write(&root.join(version).join("a.yaml"), &account("one", value));
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    let mut followed = Followed::start(directory);
    followed.until(|followed| followed.synced == 1);
    assert_eq!(followed.value("one").as_deref(), Some("1"));
    symlink("..2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    followed.until(|followed| followed.value("one").as_deref() == Some("2"));
    assert!(followed.problems.is_empty());
}

#[test]
fn the_directory_itself_may_be_a_link_that_is_swapped() {
    let directory = tempfile::tempdir().unwrap();
    for (version, value) in [("1", "1"), ("2", "2")] {
        fs::create_dir_all(directory.path().join(version)).unwrap();
        write(&directory.path().join(version).join("a.yaml"), &account("one", value));
    }
    let root = directory.path().join("current");
    symlink("1", &root).unwrap();
    let mut followed = Followed::start_at(directory, root.clone());
    followed.until(|followed| followed.value("one").as_deref() == Some("1"));
    symlink("2", root.with_file_name("next")).unwrap();
    fs::rename(root.with_file_name("next"), &root).unwrap();
    followed.until(|followed| followed.value("one").as_deref() == Some("2"));
    write(&followed.directory.path().join("2/b.yaml"), &account("two", "1"));
    followed.until(|followed| followed.has("two"));
}

#[test]
fn a_directory_that_is_not_there_is_waited_for_and_one_that_vanishes_is_remembered() {
    let mut followed = Followed::start(tempfile::tempdir().unwrap());
    followed.until(|followed| !followed.problems.is_empty());
    assert_eq!(followed.synced, 0);
    fs::create_dir(followed.path("")).unwrap();
    write(&followed.path("a.yaml"), &account("one", "1"));
    followed.until(|followed| followed.synced == 1 && followed.has("one"));
    assert!(followed.problems.is_empty());
    fs::rename(followed.path(""), followed.directory.path().join("elsewhere")).unwrap();
    followed.until(|followed| !followed.problems.is_empty());
    assert!(followed.has("one"), "an unmounted disk must not empty the mesh");
    fs::rename(followed.directory.path().join("elsewhere"), followed.path("")).unwrap();
    followed.until(|followed| followed.problems.is_empty());
    assert_eq!(followed.synced, 1);
}

#[test]
fn links_in_circles_end() {
    let followed = {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("objects");
        fs::create_dir_all(root.join("deep")).unwrap();
        symlink("..", root.join("deep/circle")).unwrap();
        symlink("nowhere", root.join("lost.yaml")).unwrap();
        write(&root.join("deep/a.yaml"), &account("one", "1"));
        let mut followed = Followed::start(directory);
        followed.until(|followed| followed.synced == 1);
        followed
    };
    assert_eq!(followed.names(), BTreeSet::from(["one"]));
    assert!(followed.problems.is_empty(), "{:?}", followed.problems);
}

#[test]
fn an_unreadable_directory_keeps_what_was_below_it() {
    let mut followed = Followed::with(&[("a.yaml", &account("one", "1"))]);
    fs::create_dir(followed.path("deep")).unwrap();
    write(&followed.path("deep/b.yaml"), &account("two", "1"));
    followed.until(|followed| followed.has("two"));
    fs::set_permissions(followed.path("deep"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(followed.path("deep")).is_ok() {
        return; // root reads everything; there is nothing to see
    }
    followed.until(|followed| !followed.problems.is_empty());
    assert!(followed.has("two"));
    fs::set_permissions(followed.path("deep"), fs::Permissions::from_mode(0o755)).unwrap();
    followed.until(|followed| followed.problems.is_empty());
}

#[test]
fn a_thousand_files_are_read_quickly_and_one_of_them_is_noticed_quickly() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("objects");
    fs::create_dir(&root).unwrap();
    for number in 0..1000 {
        write(&root.join(format!("{number:04}.yaml")), &account(&format!("n{number}"), "1"));
    }
    let start = Instant::now();
    let mut followed = Followed::start(directory);
    followed.until(|followed| followed.synced == 1);
    assert_eq!(followed.objects.len(), 1000);
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    // Other work on the machine may delay any one change; the best of some shows what the source itself takes.
    let quickest = (0..8).map(|round| {
        let start = Instant::now();
        let value = format!("r{round}");
        replace(&followed.path("0500.yaml"), &account("n500", &value));
        followed.until(|followed| followed.value("n500").as_ref() == Some(&value));
        start.elapsed()
    });
    let quickest = quickest.min().unwrap();
    assert!(quickest < Duration::from_millis(100), "a change takes {quickest:?}");
}

#[test]
fn a_burst_of_changes_ends_in_the_last_state() {
    let mut followed = Followed::with(&[]);
    for round in 0..50 {
        for name in ["a", "b", "c"] {
            write(&followed.path(&format!("{name}.yaml")), &account(name, &round.to_string()));
        }
    }
    fs::remove_file(followed.path("b.yaml")).unwrap();
    followed.until(|followed| {
        let last = |name| followed.value(name).as_deref() == Some("49");
        last("a") && last("c") && !followed.has("b")
    });
}

#[test]
fn dropping_what_follows_ends_it() {
    let mut followed = Followed::with(&[("a.yaml", &account("one", "1"))]);
    drop(followed.following.take());
    while followed.next().is_some() {}
}

#[test]
fn sources_are_named_by_flags() {
    assert_eq!("dir:/etc/x".parse(), Ok(Source::Directory("/etc/x".into())));
    assert_eq!("kubernetes".parse(), Ok(Source::Kubernetes));
    for wrong in ["", "dir:", "/etc/x", "file:/x"] {
        assert!(wrong.parse::<Source>().is_err(), "{wrong}");
    }
}
