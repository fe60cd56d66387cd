//! Where the programs under test are.
//!
//! `FSM_BIN_DIR` names the directory; without it, it is the one the test executable's own profile builds into.
//! A program that is not there fails the test with the command that makes it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use tempfile::TempDir;

/// The path of a built program (`fsm-proxy`, `fsm-init`), executable by every user.
pub fn binary(name: &str) -> PathBuf {
    static FOUND: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);
    let mut found = FOUND.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(path) = found.get(name) {
        return path.clone();
    }
    let built = directory().join(name);
    assert!(
        built.is_file(),
        "the program under test is not built: {} does not exist; run `make build`, or name its directory in FSM_BIN_DIR",
        built.display()
    );
    let path = if reachable_by_everyone(&built) { built } else { copied(&built) };
    found.insert(name.to_owned(), path.clone());
    path
}

fn directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("FSM_BIN_DIR") {
        return directory.into();
    }
    let executable = std::env::current_exe().expect("a process knows its executable");
    let profile = executable.parent().and_then(|deps| match deps.file_name() {
        Some(name) if name == OsStr::new("deps") => deps.parent(),
        _ => Some(deps),
    });
    profile.expect("an executable lies in a directory").to_owned()
}

/// The proxy runs as its own user, who cannot enter, say, root's home directory.
fn reachable_by_everyone(path: &Path) -> bool {
    path.ancestors().skip(1).all(|directory| match fs::metadata(directory) {
        Ok(metadata) => metadata.permissions().mode() & 0o001 != 0,
        Err(_) => false,
    })
}

fn copied(built: &Path) -> PathBuf {
    // Kept for the whole run, and left to the process's end: statics are not dropped, so the directory is removed by
    // the next run's operating system, like everything in the temporary directory.
    static COPIES: LazyLock<TempDir> = LazyLock::new(|| {
        let directory =
            tempfile::Builder::new().prefix("fsm-binaries-").tempdir().expect("a temporary directory can be made");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        directory
    });
    let copy = COPIES.path().join(built.file_name().expect("a program has a name"));
    fs::copy(built, &copy).expect("the program can be copied where every user may run it");
    copy
}
