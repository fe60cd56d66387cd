//! Where the mesh's other programs are.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program that was not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} is neither beside fsm ({}) nor on the PATH: build it (`cargo build --bins`), install it there, or name it with \
     {variable}=FILE", beside.display()
)]
pub struct Missing {
    name: &'static str,
    variable: String,
    beside: PathBuf,
}

/// Finds one of the mesh's programs: named by a variable of the environment (`FSM_CONTROL_BIN` for `fsm-control`), beside
/// this program, or on the PATH.
///
/// # Errors
///
/// [`Missing`], also if the variable names no program.
pub fn find(name: &'static str) -> Result<PathBuf, Missing> {
    let variable = format!("{}_BIN", name.replace('-', "_").to_uppercase());
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().unwrap_or(Path::new("/")).to_owned();
    let named = std::env::var_os(&variable).filter(|value| !value.is_empty());
    let path = std::env::var_os("PATH").unwrap_or_default();
    among(name, named.as_deref(), &beside, &path).ok_or(Missing { name, variable, beside })
}

fn among(name: &str, named: Option<&OsStr>, beside: &Path, path: &OsStr) -> Option<PathBuf> {
    if let Some(named) = named {
        // Somebody who names a file wants that one and no other.
        return std::path::absolute(named).ok().filter(|path| is_program(path));
    }
    let directories = std::iter::once(beside.to_owned()).chain(std::env::split_paths(path));
    directories
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::fs;

    use super::*;

    fn program(directory: &Path, name: &str, mode: u32) -> PathBuf {
        fs::create_dir_all(directory).unwrap();
        let path = directory.join(name);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn the_one_named_comes_before_the_one_beside_and_that_before_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let (beside, other) = (directory.path().join("a"), directory.path().join("b"));
        assert_eq!(among("x", None, &beside, other.as_os_str()), None);
        let on_path = program(&other, "x", 0o755);
        assert_eq!(among("x", None, &beside, other.as_os_str()), Some(on_path.clone()));
        program(&beside, "x", 0o644);
        assert_eq!(among("x", None, &beside, other.as_os_str()), Some(on_path.clone()));
        let own = program(&beside, "x", 0o755);
        assert_eq!(among("x", None, &beside, other.as_os_str()), Some(own));
        assert_eq!(among("x", Some(on_path.as_os_str()), &beside, OsStr::new("")), Some(on_path));
        assert_eq!(among("x", Some(OsStr::new("/nonexistent")), &beside, other.as_os_str()), None);
    }
}
