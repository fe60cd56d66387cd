//! How commands reach a mesh: its objects, its sidecars' admin pages, and the control plane's.
//!
//! A [`Mesh`] is either on this machine (`fsm up`: objects are files of its state directory, pages come through its
//! daemon) or in a cluster (objects come from the API server, pages through its port-forward). Commands that look at a
//! mesh are written against this type and work with both. Nothing here changes an object.
//!
//! Pages of several pods are fetched side by side ([`Mesh::each`]). Every wait has a deadline; a pod that does not answer
//! costs its own row and nothing else.

mod cluster;
pub mod http;

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use fsm_api::resources::Kind;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::cluster::{InCluster, Input, InputReceiver, InputSender, input};
use self::http::{Method, Page};
use crate::local::daemon::wire::{self, ExecRequest, Frame, Request, Target};
use crate::local::state::{ObjectName, State};

/// Port of a sidecar's admin pages, on its pod's loopback address.
const SIDECAR_PORT: u16 = 15000;
/// How long a page may be silent.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a program in a container may be silent.
const PROGRAM: Duration = Duration::from_secs(30);
/// Pods that are asked at once, at most.
const SIDE_BY_SIDE: usize = 16;

/// A mesh that commands look at.
#[derive(Debug, Clone)]
pub enum Mesh {
    /// One that `fsm up` runs on this machine.
    Local(State),
    /// One in a cluster.
    Cluster(InCluster),
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PodName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Whose admin pages are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// fsm-control's.
    Control,
    /// Those of a pod's sidecar.
    Sidecar(PodName),
}

/// Which part of a container's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// Go on while the container runs.
    pub follow: bool,
    /// That of the container before its last restart.
    pub previous: bool,
    /// Only so many of the last lines.
    pub tail: Option<usize>,
    /// Only what was said in this time, to the second.
    pub since: Option<Duration>,
    /// Not more than so many bytes.
    pub bytes: Option<u64>,
}

/// A connection to an admin port.
pub trait Connection: Read + Write + Send {
    /// How long it may be silent before reading or writing fails; `None`: for ever.
    ///
    /// # Errors
    ///
    /// Those of the system.
    fn set_patience(&mut self, patience: Option<Duration>) -> io::Result<()>;
}

impl Connection for UnixStream {
    fn set_patience(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(patience)?;
        self.set_write_timeout(patience)
    }
}

impl Mesh {
    /// The objects of a kind, by namespace and name; `namespace` `None` means all.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>> {
        match self {
            Self::Local(state) => Ok(state.objects().list(&kind.qualified(), namespace)?),
            Self::Cluster(cluster) => cluster.list(kind, namespace),
        }
    }

    /// One object; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or the name is none.
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Value>> {
        match self {
            Self::Local(state) => Ok(state.objects().get(&ObjectName::new(&kind.qualified(), namespace, name))?),
            Self::Cluster(cluster) => cluster.get(kind, namespace, name),
        }
    }

    /// Namespace of the mesh's own objects, which is said to be this one.
    #[must_use]
    pub fn home<'a>(&'a self, said: &'a str) -> &'a str {
        match self {
            Self::Local(_) => said,
            Self::Cluster(cluster) => cluster.namespace(),
        }
    }

    /// Opens a connection to an admin port.
    ///
    /// # Errors
    ///
    /// If the mesh does not run, or nothing answers there.
    pub fn connect(&self, place: &Place) -> Result<Box<dyn Connection>> {
        match self {
            Self::Local(state) => {
                let target = match place {
                    Place::Control => Target::Control,
                    Place::Sidecar(PodName { namespace, name }) => {
                        Target::Pod { namespace: namespace.clone(), pod: name.clone(), port: SIDECAR_PORT }
                    }
                };
                Ok(Box::new(wire::ask(state, &Request::Connect(target))?))
            }
            Self::Cluster(cluster) => cluster.connect(place),
        }
    }

    /// Fetches a page, whatever its status.
    ///
    /// # Errors
    ///
    /// If nothing answers, or with something that is no page.
    pub fn page(&self, place: &Place, method: Method, path: &str) -> Result<Page> {
        let mut connection = self.connect(place)?;
        connection.set_patience(Some(SILENCE)).with_context(|| self.silent(place))?;
        http::page(connection, method, path).map_err(in_words).with_context(|| self.silent(place))
    }

    /// Fetches a page of JSON.
    ///
    /// # Errors
    ///
    /// As [`Mesh::page`]; also if it is refused, or is not what is expected of it.
    pub fn read<T: DeserializeOwned>(&self, place: &Place, path: &str) -> Result<T> {
        let page = self.page(place, Method::Get, path)?;
        if page.status != 200 {
            let said = String::from_utf8_lossy(&page.body);
            let said = said.lines().next().unwrap_or_default();
            anyhow::bail!("{place} answers {} to {path}: {said}{}", page.status, older(page.status));
        }
        serde_json::from_slice(&page.body)
            .with_context(|| format!("{place} answers {path} with something that this fsm does not understand"))
    }

    /// Runs a program in a container, without input, and gives its exit code and what it wrote to its standard output.
    ///
    /// # Errors
    ///
    /// If the container does not run, or its end is not learned.
    pub fn run(&self, pod: &PodName, container: &str, command: &[String]) -> Result<(i32, String)> {
        match self {
            Self::Local(state) => {
                let request = Request::Exec(ExecRequest {
                    namespace: pod.namespace.clone(),
                    pod: pod.name.clone(),
                    container: container.to_owned(),
                    command: command.to_vec(),
                    stdin: false,
                    terminal: None,
                });
                let mut connection = wire::ask(state, &request)?;
                connection.set_patience(Some(PROGRAM))?;
                let mut output = Vec::new();
                loop {
                    match Frame::read(&mut connection).context("the program's end was not learned")? {
                        Some(Frame::Output(bytes)) => output.extend(bytes),
                        Some(Frame::Exit(code)) => return Ok((code, String::from_utf8_lossy(&output).into_owned())),
                        Some(_) => {}
                        None => anyhow::bail!("the daemon hung up before the program had ended"),
                    }
                }
            }
            Self::Cluster(cluster) => cluster.run(pod, container, command),
        }
    }

    /// Asks several places, side by side, and gives their answers in the order of `places`.
    pub fn each<P: Sync, T: Send>(&self, places: &[P], ask: impl Fn(&Self, &P) -> T + Sync) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let mut answers: Vec<(usize, T)> = std::thread::scope(|scope| {
            let worker = || {
                let mut mine = Vec::new();
                loop {
                    let index = next.fetch_add(1, Relaxed);
                    let Some(place) = places.get(index) else { return mine };
                    mine.push((index, ask(self, place)));
                }
            };
            let workers: Vec<_> = (0..places.len().min(SIDE_BY_SIDE)).map(|_| scope.spawn(worker)).collect();
            let joined = workers.into_iter().map(|worker| worker.join());
            joined.flat_map(|mine| mine.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        answers.sort_by_key(|(index, _)| *index);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    fn silent(&self, place: &Place) -> String {
        match (self, place) {
            (Self::Local(_), Place::Control) => format!("{place} does not answer: see `fsm logs control`"),
            (Self::Local(_), Place::Sidecar(pod)) => {
                format!("{place} does not answer: see `fsm logs {} -n {} -c sidecar`", pod.name, pod.namespace)
            }
            (Self::Cluster(cluster), Place::Control) => {
                format!("{place} does not answer: see `kubectl logs -l app=fsm-controller -n {}`", cluster.namespace())
            }
            (Self::Cluster(_), Place::Sidecar(pod)) => {
                format!("{place} does not answer: see `kubectl logs {} -n {} -c sidecar`", pod.name, pod.namespace)
            }
        }
    }
}

/// What a socket calls "temporarily unavailable" is a deadline that has passed.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {} s", SILENCE.as_secs()))
        }
        _ => error,
    }
}

/// Pages come and go with versions.
fn older(status: u16) -> &'static str {
    if status == 404 { "; it may be of an older version than this fsm" } else { "" }
}

/// As errors begin: `the mesh [fsm] on this machine`.
impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(state) => write!(f, "the mesh [{}] on this machine", state.mesh()),
            Self::Cluster(cluster) => write!(f, "{cluster}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("fsm-control"),
            Self::Sidecar(pod) => write!(f, "the sidecar of pod {pod}"),
        }
    }
}

impl PodName {
    /// The pod `name` of `namespace`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The name of a pod's object.
    #[must_use]
    pub fn of(pod: &Value) -> Self {
        let text = |path| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
        Self::new(text("/metadata/namespace"), text("/metadata/name"))
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
