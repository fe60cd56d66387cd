//! One part of a bug report: where it comes from, and how it is got. A part that cannot be got costs nothing but itself.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use fsm_api::resources::Kind;
use serde_json::Value;

use super::limits::{self, BYTES, Limits};
use super::redact;
use crate::cluster::{Selector, Type, types};
use crate::output::yaml;
use crate::reach::http::Method;
use crate::reach::{Excerpt, InCluster, Mesh, Place, PodName};

/// A file of the report.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Its path in the archive.
    pub(super) path: String,
    /// What will be in it.
    pub(super) what: What,
}

/// What is collected.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// What this program prints.
    Command(Vec<String>),
    /// Objects of a kind, of a namespace or of all.
    Objects(Kind, Option<String>),
    /// Objects of a cluster that have no kind here; all, or those with labels.
    Others(Type, Option<String>, Option<String>),
    /// An object that was read already.
    Object(Box<Value>),
    /// Names of Secrets, and of what is in them.
    Secrets(String),
    /// What happened in a namespace, the newest last.
    Events(String),
    /// An admin page.
    Page(Place, String),
    /// What a container said.
    Log { pod: PodName, container: String, previous: bool },
    /// The end of a file of this machine.
    File(PathBuf),
}

impl Part {
    pub(super) fn new(path: impl Into<String>, what: What) -> Self {
        Self { path: path.into(), what }
    }

    /// Whether it is one of those that grow without end.
    pub(super) fn is_log(&self) -> bool {
        matches!(self.what, What::Log { .. } | What::File(_))
    }

    /// Gets it, without secrets. `arguments` say which mesh is meant.
    pub(super) fn collect(&self, mesh: &Mesh, arguments: &[String], limits: Limits) -> Result<String> {
        match &self.what {
            What::Command(command) => self::command(command, arguments),
            What::Objects(kind, namespace) => Ok(documents(mesh.list(kind, namespace.as_deref())?)),
            What::Others(of, namespace, labels) => {
                let selector = Selector { labels: labels.as_deref(), fields: None };
                Ok(documents(in_cluster(mesh)?.cluster().list(*of, namespace.as_deref(), selector)?))
            }
            What::Object(object) => Ok(documents(vec![(**object).clone()])),
            What::Secrets(namespace) => Ok(secrets(&mesh.list(&Kind::Secret, Some(namespace))?)),
            What::Events(namespace) => {
                let all = in_cluster(mesh)?.cluster().list(types::EVENT, Some(namespace), Selector::default())?;
                Ok(events(all))
            }
            What::Page(place, path) => {
                let page = mesh.page(place, Method::Get, path)?;
                let body = String::from_utf8_lossy(&page.body);
                // That something is not ready is an answer.
                if page.status != 200 && !path.ends_with("ready") {
                    bail!("{place} answers {} to {path}: {}", page.status, body.trim());
                }
                Ok(redact::page(&body))
            }
            What::Log { pod, container, previous } => log(mesh, pod, container, *previous, limits),
            What::File(path) => Ok(redact::text(limits::end(&end_of(path)?, limits.tail, BYTES)).into_owned()),
        }
    }
}

fn in_cluster(mesh: &Mesh) -> Result<&InCluster> {
    match mesh {
        Mesh::Cluster(cluster) => Ok(cluster),
        Mesh::Local(_) => bail!("this is only in a cluster"),
    }
}

/// What a command of this program prints, on both outputs, and how it ended.
fn command(command: &[String], arguments: &[String]) -> Result<String> {
    let program = std::env::current_exe().context("this program is not found")?;
    let run = Command::new(program)
        .args(command)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("fsm {} cannot be run", command.join(" ")))?;
    let mut said = format!("$ fsm {}\n", command.join(" "));
    said.push_str(&String::from_utf8_lossy(&run.stdout));
    said.push_str(&String::from_utf8_lossy(&run.stderr));
    // Writing to a String cannot fail.
    let _ = writeln!(said, "({})", run.status);
    Ok(redact::text(&said).into_owned())
}

fn documents(objects: Vec<Value>) -> String {
    let document = |mut object: Value| {
        redact::object(&mut object);
        format!("---\n{}", yaml(&object))
    };
    objects.into_iter().map(document).collect()
}

/// Namespace, name, type, and the names of what is in it; never what that is.
fn secrets(objects: &[Value]) -> String {
    let line = |secret: &Value| {
        let keys: Vec<_> = secret["data"].as_object().into_iter().flat_map(|data| data.keys().cloned()).collect();
        let kind = secret["type"].as_str().unwrap_or("Opaque");
        format!("{} ({kind}): {}\n", text(secret, "/metadata/name"), keys.join(", "))
    };
    objects.iter().map(line).collect()
}

/// As `kubectl get events` shows them.
fn events(mut all: Vec<Value>) -> String {
    let time = |event: &Value| {
        let of = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
        of.iter().map(|path| text(event, path)).find(|time| !time.is_empty()).unwrap_or_default().to_owned()
    };
    all.sort_by_key(time);
    let line = |event: &Value| {
        let count = event["count"].as_u64().unwrap_or(1);
        format!(
            "{} {} {} {}/{} ({count}x): {}\n",
            time(event),
            text(event, "/type"),
            text(event, "/reason"),
            text(event, "/involvedObject/kind"),
            text(event, "/involvedObject/name"),
            redact::text(text(event, "/message")).trim_end()
        )
    };
    all.iter().map(line).collect()
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn log(mesh: &Mesh, pod: &PodName, container: &str, previous: bool, limits: Limits) -> Result<String> {
    let said = match mesh {
        Mesh::Local(state) => {
            let end = end_of(&state.log(&pod.namespace, &pod.name, container))?;
            limits::end(&end, limits.tail, BYTES).to_owned()
        }
        Mesh::Cluster(cluster) => {
            let mut last = Last::default();
            let which = Excerpt { previous, tail: Some(limits.tail), since: limits.since, ..Excerpt::default() };
            cluster.log(pod, container, which, &mut last)?;
            last.text()
        }
    };
    Ok(redact::text(&said).into_owned())
}

/// Keeps the last bytes that are written.
#[derive(Default)]
struct Last(Vec<u8>);

impl Last {
    fn text(mut self) -> String {
        self.shorten(BYTES);
        String::from_utf8_lossy(&self.0).into_owned()
    }

    fn shorten(&mut self, to: usize) {
        let over = self.0.len().saturating_sub(to);
        self.0.drain(..over);
    }
}

impl Write for Last {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(piece);
        if self.0.len() > 2 * BYTES {
            self.shorten(BYTES);
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn end_of(path: &Path) -> Result<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES as u64)))?;
        let mut end = Vec::new();
        file.take(BYTES as u64).read_to_end(&mut end)?;
        Ok(end)
    };
    let end = read().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn of_secrets_only_names_are_told() {
        let secret = json!({"kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "web"},
            "data": {"tls.crt": "Y2VydA==", "tls.key": "a2V5"}});
        assert_eq!(secrets(std::slice::from_ref(&secret)), "web (kubernetes.io/tls): tls.crt, tls.key\n");
        assert!(!documents(vec![secret]).contains("a2V5"));
    }

    #[test]
    fn events_are_in_the_order_in_which_they_happened() {
        let event = |time: &str, reason: &str| {
            json!({"lastTimestamp": time, "type": "Warning", "reason": reason, "count": 2, "message": "Bearer abcdefgh\n",
                "involvedObject": {"kind": "Pod", "name": "p"}})
        };
        let told = events(vec![event("2026-01-02T00:00:00Z", "Later"), event("2026-01-01T00:00:00Z", "Sooner")]);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines[0], "2026-01-01T00:00:00Z Warning Sooner Pod/p (2x): Bearer REDACTED");
        assert!(lines[1].contains("Later"));
    }

    #[test]
    fn of_a_long_log_the_end_is_kept() {
        let mut last = Last::default();
        for _ in 0..5 {
            last.write_all(&vec![b'x'; BYTES]).unwrap();
        }
        last.write_all(b"the end").unwrap();
        let text = last.text();
        assert_eq!(text.len(), BYTES);
        assert!(text.ends_with("xthe end"));
    }
}
