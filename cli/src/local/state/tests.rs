#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_mesh_has_one_daemon_at_a_time() {
    let base = tempfile::tempdir().unwrap();
    let state = Home::new(Some(base.path())).mesh("fsm").unwrap();
    assert!(!state.exists() && !state.is_running());
    state.create().unwrap();
    let lock = state.lock().unwrap();
    assert!(lock.is_some() && state.lock().unwrap().is_none() && state.is_running());
    drop(lock);
    // A child that another test is starting has the lock for a moment, too: between fork and exec.
    let patience = Instant::now() + Duration::from_secs(10);
    while state.is_running() {
        assert!(Instant::now() < patience, "still locked");
        std::thread::sleep(Duration::from_millis(1));
    }
    state.remove().unwrap();
    state.remove().unwrap();
    assert!(!state.exists());
}

#[test]
fn only_this_user_can_look_into_a_mesh() {
    let base = tempfile::tempdir().unwrap();
    let state = Home::new(Some(&base.path().join("deep/er"))).mesh("fsm").unwrap();
    state.create().unwrap();
    for part in ["", "tokens", "objects"] {
        assert_eq!(fs::metadata(state.root().join(part)).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let home = Home::new(Some(base.path()));
    assert!(matches!(home.mesh("fsm").unwrap().create(), Err(StateError::Untrusted { .. })));
    assert!(matches!(home.meshes(), Err(StateError::Untrusted { .. })));
}

#[test]
fn meshes_are_listed_by_name_and_nothing_else_is() {
    let base = tempfile::tempdir().unwrap();
    let home = Home::new(Some(base.path()));
    for name in ["two", "one"] {
        home.mesh(name).unwrap().create().unwrap();
    }
    fs::create_dir(base.path().join("Not-a-mesh")).unwrap();
    fs::write(base.path().join("file"), "").unwrap();
    let names: Vec<_> = home.meshes().unwrap().into_iter().map(|state| state.mesh().to_owned()).collect();
    assert_eq!(names, ["one", "two"]);
    for name in ["", "-a", "a-", "A", "a/b", "..", &"a".repeat(64)] {
        assert!(matches!(home.mesh(name), Err(StateError::MeshName { .. })), "{name}");
    }
}
