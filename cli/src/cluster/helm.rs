//! Drives the `helm` program, so that what is installed is a real release: `helm list`, `helm get manifest`, `helm rollback`
//! work on it.
//!
//! Helm is not part of this program: it is found in `FSM_HELM`, or in the `PATH`. Nothing is asked of it when it is too old.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use super::Access;

/// The oldest version that can keep values on an upgrade and still take new defaults (`--reset-then-reuse-values`).
const OLDEST: (u32, u32) = (3, 14);

/// What can go wrong with helm.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    /// There is none.
    #[error(
        "helm is needed for this and is not there: install Helm {}.{} or newer (https://helm.sh/docs/intro/install), put it \
         into the PATH, or name it in FSM_HELM (a mesh on this machine, `fsm up`, needs none)", OLDEST.0, OLDEST.1
    )]
    Missing,
    /// It is too old.
    #[error("{} is Helm {found}, and {}.{} or newer is needed: https://helm.sh/docs/intro/install", path.display(), OLDEST.0, OLDEST.1)]
    Old {
        /// Where it is.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// It cannot be started or heard.
    #[error("{} cannot be run: {source}", path.display())]
    Run {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It failed.
    #[error("{said}")]
    Failed {
        /// What it says, without its `Error:`.
        said: String,
    },
}

/// The helm program, for one cluster.
#[derive(Debug, Clone)]
pub struct Helm {
    path: PathBuf,
    access: Vec<String>,
}

/// A run of helm that goes on.
#[derive(Debug)]
pub struct Running {
    path: PathBuf,
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

impl Helm {
    /// Finds helm, and looks whether it is new enough.
    ///
    /// # Errors
    /// It is not there, too old, or does not run.
    pub fn find(access: &Access) -> Result<Self, HelmError> {
        let path = find().ok_or(HelmError::Missing)?;
        let helm = Self { path, access: access.arguments("--kube-context") };
        let said = helm.run_plain(["version", "--template", "{{.Version}}"])?;
        match version(&said) {
            Some(found) if found >= OLDEST => Ok(helm),
            _ => Err(HelmError::Old { path: helm.path, found: said.trim().to_owned() }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Runs it to its end; what it prints.
    ///
    /// # Errors
    /// It does not run, or fails.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String, HelmError> {
        self.start(arguments)?.finish()
    }

    /// Starts it.
    ///
    /// # Errors
    /// It does not run.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Running, HelmError> {
        let mut all: Vec<OsString> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        all.extend(self.access.iter().map(OsString::from));
        self.spawn(&all)
    }

    fn run_plain<const N: usize>(&self, arguments: [&str; N]) -> Result<String, HelmError> {
        self.spawn(&arguments.map(OsString::from))?.finish()
    }

    fn spawn(&self, arguments: &[OsString]) -> Result<Running, HelmError> {
        let mut command = Command::new(&self.path);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| HelmError::Run { path: self.path.clone(), source })?;
        // Both are read all the time: helm must never wait for us.
        let stdout = read(child.stdout.take());
        let stderr = read(child.stderr.take());
        Ok(Running { path: self.path.clone(), child, stdout, stderr })
    }
}

impl Running {
    /// Whether it has ended.
    pub fn is_done(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; what it printed.
    ///
    /// # Errors
    /// It failed.
    pub fn finish(mut self) -> Result<String, HelmError> {
        let status = self.child.wait().map_err(|source| HelmError::Run { path: self.path.clone(), source })?;
        let (said, complained) = (self.stdout.join().unwrap_or_default(), self.stderr.join().unwrap_or_default());
        if status.success() { Ok(said) } else { Err(HelmError::Failed { said: cause(&complained, &said) }) }
    }
}

fn read(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before a failure is worth something.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What helm complains about, without warnings and its own `Error:`.
fn cause(complained: &str, said: &str) -> String {
    let lines: Vec<_> = complained.lines().filter(|line| !line.starts_with("WARNING:") && !line.is_empty()).collect();
    let begins = lines.iter().position(|line| line.starts_with("Error:")).unwrap_or(0);
    let text = lines.get(begins..).unwrap_or_default().join("\n");
    let text = text.trim_start_matches("Error:").trim();
    if text.is_empty() { said.trim().to_owned() } else { text.to_owned() }
}

/// `FSM_HELM`, else the first `helm` in the `PATH`.
fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os("FSM_HELM").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join("helm")).find(|file| file.is_file())
}

/// `v3.19.5` as (3, 19).
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn versions_are_understood() {
        assert_eq!(version("v3.19.5"), Some((3, 19)));
        assert_eq!(version("v4.0.0-rc.1\n"), Some((4, 0)));
        assert_eq!(version("nonsense"), None);
        assert!(version("v3.9.0") < Some(OLDEST));
    }

    #[test]
    fn the_cause_is_what_helm_says_last() {
        let text =
            "WARNING: the file is readable by others\nError: values don't meet the specifications\n- (root): x\n";
        assert_eq!(cause(text, ""), "values don't meet the specifications\n- (root): x");
        assert_eq!(cause("", "said\n"), "said");
    }
}
