//! `fsm logs`: what containers said.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use fsm_api::resources::Kind;
use serde_json::Value;

use super::kinds::Resource;
use super::select::{Scope, Selector};
use super::{MeshChoice, pods};
use crate::local::state::{ObjectName, State};
use crate::reach::{Excerpt, InCluster, Mesh, PodName};

/// Container of the control plane in its pod.
const CONTROL: &str = "fsm-controller";

/// How often a followed log is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// `fsm logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fsm logs deploy/curl -n curl -c sidecar --tail 20\n  fsm logs -l app=curl -n curl -f\n  \
    fsm logs control      what the control plane of the mesh said\n  fsm logs daemon       what the program that runs the pods said"
)]
pub(super) struct Logs {
    /// A pod, deploy/NAME, `control`, or `daemon`
    #[arg(required_unless_present = "selector")]
    target: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// Container [default: the first one that is not the sidecar]
    #[arg(short, long)]
    container: Option<String>,
    /// Go on until Ctrl-C, or until the pod is gone
    #[arg(short, long)]
    follow: bool,
    /// Only so many of the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    /// The pods with these labels
    #[arg(short = 'l', long, conflicts_with = "target")]
    selector: Option<Selector>,
}

impl Logs {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let mesh = choice.reach()?;
        let whose = self.target.as_deref().filter(|name| matches!(*name, "control" | "daemon"));
        match (&mesh, whose) {
            (Mesh::Local(state), Some("control")) => return self.print(&state.control_log(), || state.is_running()),
            (Mesh::Local(state), Some(_)) => return self.print(&state.daemon_log(), || state.is_running()),
            (Mesh::Cluster(cluster), Some("control")) => {
                let pod = cluster.control()?;
                return self.fetch(cluster, &pod, CONTROL);
            }
            (Mesh::Cluster(_), Some(_)) => {
                bail!("there is no daemon in a cluster: `kubectl describe pod` shows what its kubelet did with a pod")
            }
            (_, None) => {}
        }
        let found = self.pods(&mesh, choice)?;
        if self.follow && found.len() > 1 {
            bail!("{} pods match: follow one of them, as logs would be mixed up", found.len());
        }
        for pod in found {
            let container = pods::container(&pod, self.container.as_deref())?;
            match &mesh {
                Mesh::Local(state) => self.read(state, &pod, &container)?,
                Mesh::Cluster(cluster) => self.fetch(cluster, &PodName::of(&pod), &container)?,
            }
        }
        Ok(())
    }

    /// Prints what the file of a container of this machine has.
    fn read(&self, state: &State, pod: &Value, container: &str) -> Result<()> {
        let (namespace, name) = pods::name(pod);
        let log = state.log(&namespace, &name, container);
        let id = ObjectName::new("Pod", &namespace, &name);
        let there = || state.is_running() && matches!(state.objects().get(&id), Ok(Some(_)));
        if !self.follow && !log.exists() {
            let status = waiting(pod, container).unwrap_or_else(|| "it has not been started".to_owned());
            bail!("container {container} of pod {namespace}/{name} has no log: {status}");
        }
        self.print(&log, there)
    }

    /// Prints what the API server has.
    fn fetch(&self, cluster: &InCluster, pod: &PodName, container: &str) -> Result<()> {
        let which = Excerpt { follow: self.follow, tail: self.tail, ..Excerpt::default() };
        match cluster.log(pod, container, which, &mut io::stdout().lock()) {
            Err(error) if is_broken_pipe(&error) => Ok(()),
            outcome => outcome,
        }
    }

    fn pods(&self, mesh: &Mesh, choice: &MeshChoice) -> Result<Vec<Value>> {
        let Some(selector) = &self.selector else {
            let target = self.target.as_deref().unwrap_or_default();
            return Ok(vec![pods::find(mesh, choice, &self.scope, target)?]);
        };
        let namespace = self.scope.namespace_of(&Resource::of(&Kind::Pod), choice);
        let mut found = mesh.list(&Kind::Pod, Some(&namespace))?;
        found.retain(|pod| selector.matches(pod));
        if found.is_empty() {
            bail!("no pod of namespace {namespace} has such labels");
        }
        Ok(found)
    }

    /// Prints a log, and while `there` what is added to it.
    fn print(&self, path: &Path, there: impl Fn() -> bool) -> Result<()> {
        let mut file = loop {
            match File::open(path) {
                Ok(file) => break file,
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.follow && there() => {
                    std::thread::sleep(INTERVAL);
                }
                Err(error) => return Err(error).with_context(|| format!("cannot read the log {}", path.display())),
            }
        };
        if let Some(lines) = self.tail {
            skip_to_last(&mut file, lines).with_context(|| format!("cannot read the log {}", path.display()))?;
        }
        loop {
            // Asked before reading: what was written before the end is still printed.
            let more = self.follow && there();
            match io::copy(&mut file, &mut io::stdout().lock()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                copied => copied.with_context(|| format!("cannot print the log {}", path.display()))?,
            };
            if !more {
                return Ok(());
            }
            std::thread::sleep(INTERVAL);
        }
    }
}

/// Whoever reads our output may have seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Moves on to where the last `lines` lines begin, reading backwards.
fn skip_to_last(file: &mut File, lines: usize) -> io::Result<()> {
    const BLOCK: u64 = 64 * 1024;
    let mut position = file.seek(SeekFrom::End(0))?;
    let end = position;
    let mut breaks = 0;
    let mut block = Vec::new();
    while position > 0 {
        let start = position.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.by_ref().take(position - start).read_to_end(&mut block)?;
        for (offset, byte) in block.iter().enumerate().rev() {
            let at = start + offset as u64;
            // The last line's own end begins no line.
            if *byte == b'\n' && at + 1 < end {
                breaks += 1;
            }
            if *byte == b'\n' && (breaks == lines && at + 1 < end || lines == 0) {
                file.seek(SeekFrom::Start(if lines == 0 { end } else { at + 1 }))?;
                return Ok(());
            }
        }
        position = start;
    }
    file.seek(SeekFrom::Start(if lines == 0 { end } else { 0 }))?;
    Ok(())
}

/// Why a container does not run.
fn waiting(pod: &Value, container: &str) -> Option<String> {
    ["/status/containerStatuses", "/status/initContainerStatuses"]
        .into_iter()
        .filter_map(|path| pod.pointer(path).and_then(Value::as_array))
        .flatten()
        .filter(|status| status["name"] == container)
        .find_map(|status| {
            let waiting = status.pointer("/state/waiting")?;
            let text = |field: &str| waiting.get(field).and_then(Value::as_str).unwrap_or_default();
            Some(format!("{} {}", text("reason"), text("message")))
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::io::Write;

    use super::*;

    #[test]
    fn the_last_lines_are_found() {
        let long = "x".repeat(100_000);
        let text = format!("one\ntwo\n{long}\nfour");
        for (text, lines, expected) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\nb\n", 0, ""),
            ("", 3, ""),
            ("\n\n\n", 1, "\n"),
            (text.as_str(), 2, &text[8..]),
            (text.as_str(), 3, &text[4..]),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            skip_to_last(&mut file, lines).unwrap();
            let mut rest = String::new();
            file.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, expected, "{lines} of {}", text.len());
        }
    }
}
