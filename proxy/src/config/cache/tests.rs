#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

fn url(name: &str) -> String {
    format!("http://controller:6060/repo/fsm-sidecar/{name}/")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn document_comes_back_as_it_was() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("not/yet/there");
    let cache = Cache::open(&directory, &url("a")).unwrap();
    assert_eq!(cache.load(), None);
    cache.save(b"first");
    cache.save(b"\x1f\x8b second");
    let (bytes, path) = Cache::open(&directory, &url("a")).unwrap().load().unwrap();
    assert_eq!(bytes, b"\x1f\x8b second");
    assert_eq!(path, directory.join("config.json"));
}

#[test]
fn nobody_else_can_read_the_keys() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    Cache::open(&directory, &url("a")).unwrap().save(b"keys");
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("config.json")), 0o600);
    let names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no temporary file stays behind: {names:?}");
}

#[test]
fn directory_open_to_others_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for open in [0o755, 0o750, 0o701, 0o777] {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(open)).unwrap();
        let error = Cache::open(directory.path(), &url("a")).unwrap_err();
        assert!(matches!(error, CacheError::Public { mode, .. } if mode == open), "{error}");
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    Cache::open(directory.path(), &url("a")).unwrap();
}

#[test]
fn path_that_cannot_be_a_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Cache::open(&file.join("cache"), &url("a")).unwrap_err();
    assert!(matches!(error, CacheError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("--cache-dir"), "{error}");
}

#[test]
fn document_of_another_codebase_is_not_used() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    Cache::open(&directory, &url("a")).unwrap().save(b"identity of a");
    Cache::open(&directory, &url("a")).unwrap().save_file(IDENTITY, b"key of a");
    let other = Cache::open(&directory, &url("b")).unwrap();
    assert_eq!(other.load(), None);
    assert_eq!(other.load_file(IDENTITY), None);
    other.save(b"identity of b");
    assert_eq!(other.load().unwrap().0, b"identity of b");
    assert_eq!(other.load_file(IDENTITY), None, "a new label takes nothing of the old one over");
    assert_eq!(Cache::open(&directory, &url("a")).unwrap().load(), None);
}

#[test]
fn label_without_document_is_an_empty_cache() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    let cache = Cache::open(&directory, &url("a")).unwrap();
    cache.save(b"document");
    fs::remove_file(directory.join("config.json")).unwrap();
    assert_eq!(cache.load(), None);
}

#[test]
fn document_without_label_is_not_used() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    let cache = Cache::open(&directory, &url("a")).unwrap();
    cache.save(b"document");
    fs::remove_file(directory.join("source")).unwrap();
    assert_eq!(cache.load(), None);
}

#[test]
fn leftover_of_a_crash_does_not_hinder_and_is_not_followed() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    let cache = Cache::open(&directory, &url("a")).unwrap();
    let victim = parent.path().join("victim");
    fs::write(&victim, b"untouched").unwrap();
    symlink(&victim, directory.join("config.new")).unwrap();
    cache.save(b"document");
    assert_eq!(cache.load().unwrap().0, b"document");
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
}

#[test]
fn failing_to_save_keeps_what_is_there() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    let cache = Cache::open(&directory, &url("a")).unwrap();
    cache.save(b"document");
    // A directory in the place of the temporary file cannot be replaced by one.
    fs::create_dir(directory.join("config.new")).unwrap();
    cache.save(b"another");
    assert_eq!(cache.load().unwrap().0, b"document");
}
