//! The programs of this machine.

use super::images::Tools;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where programs are when neither `FSM_TOOLS` nor `PATH` says so.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs in the directories of `FSM_TOOLS`, beside `fsm`, and on `PATH`, in this order.
#[derive(Clone, Debug)]
pub struct MachineTools {
    fsm: PathBuf,
    directories: Vec<PathBuf>,
}

impl MachineTools {
    /// As the environment of this process says.
    pub fn of_environment() -> Self {
        let list = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let fsm = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("fsm"));
        let tools = list("FSM_TOOLS").unwrap_or_default();
        let path = list("PATH").unwrap_or_else(|| USUAL_PATH.into());
        let beside = fsm.parent().map(Path::to_owned);
        let directories = std::env::split_paths(&tools).chain(beside).chain(std::env::split_paths(&path));
        let directories = directories.filter(|directory| directory.is_absolute()).collect();
        Self { fsm, directories }
    }

    /// The same directories as a `PATH`.
    pub fn path(&self) -> String {
        let joined = std::env::join_paths(&self.directories).unwrap_or_default();
        joined.into_string().unwrap_or_else(|_| USUAL_PATH.to_owned())
    }
}

impl Tools for MachineTools {
    fn fsm(&self) -> PathBuf {
        self.fsm.clone()
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        // FSM_PROXY_BIN=… for fsm-proxy, as for the mesh's other programs.
        let variable = format!("{}_BIN", program.replace('-', "_").to_uppercase());
        let named = program.starts_with("fsm-").then(|| std::env::var_os(variable)).flatten().map(PathBuf::from);
        if let Some(named) = named.filter(|path| is_program(path)) {
            return Some(named);
        }
        if program.contains('/') {
            return Some(PathBuf::from(program)).filter(|path| path.is_absolute() && is_program(path));
        }
        self.directories.iter().map(|directory| directory.join(program)).find(|path| is_program(path))
    }
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
