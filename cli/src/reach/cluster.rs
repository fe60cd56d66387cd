//! A mesh in a cluster: objects from the API server, admin pages through its port-forward.
//!
//! Admin ports are bound to the pods' loopback addresses, so nothing but a port-forward reaches them; whoever may forward
//! ports (`create pods/portforward`) may look. Nothing of it uses a port of this machine.

mod streams;

use std::fmt;
use std::future::Future;
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use fsm_api::resources::{Kind, Scope};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, Portforwarder};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub use self::streams::{Input, InputReceiver, InputSender, input};
use super::{Connection, PROGRAM, Place, PodName, SIDECAR_PORT, SILENCE};
use crate::cluster::{CONTROLLER, Cluster, ControlPlane, Selector, Type, explain, types};

/// Port of fsm-control's admin pages.
const CONTROL_PORT: u16 = 9091;
/// Bytes that are read at once.
const PIECE: usize = 16 << 10;

/// A mesh in a cluster.
#[derive(Clone)]
pub struct InCluster {
    cluster: Arc<Cluster>,
    /// Where its control plane is said to be.
    namespace: String,
    /// Its name, if one was given.
    name: Option<String>,
    /// Where its control plane is.
    home: Arc<OnceLock<String>>,
}

impl InCluster {
    /// The mesh of this name, or any, whose control plane is in this namespace; if there is none, the only one there is.
    #[must_use]
    pub fn new(cluster: Cluster, namespace: &str, name: Option<&str>) -> Self {
        let (namespace, name) = (namespace.to_owned(), name.map(str::to_owned));
        Self { cluster: Arc::new(cluster), namespace, name, home: Arc::default() }
    }

    /// Namespace of the control plane. The first call asks the API server.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.home.get_or_init(|| {
            // Whoever may not look at all namespaces says which one it is.
            let meshes = self.cluster.meshes().unwrap_or_default();
            home(&meshes, &self.namespace, self.name.as_deref()).to_owned()
        })
    }

    /// The cluster itself, for what has no kind here.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>> {
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        Ok(self.cluster.list(kind_of(kind)?, namespace, Selector::default())?)
    }

    pub(super) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Value>> {
        let namespaced = kind.scope() != Some(Scope::Cluster);
        Ok(self.cluster.get(kind_of(kind)?, namespaced.then_some(namespace), name)?)
    }

    pub(super) fn connect(&self, place: &Place) -> Result<Box<dyn Connection>> {
        let (pod, port) = match place {
            Place::Sidecar(pod) => (pod.clone(), SIDECAR_PORT),
            Place::Control => (self.control()?, CONTROL_PORT),
        };
        let forward = self.pods(&pod.namespace);
        let mut forwarder = self
            .ask(forward.portforward(&pod.name, &[port]))
            .with_context(|| format!("cannot forward port {port} of pod {pod} in {self}"))?;
        let stream =
            forwarder.take_stream(port).ok_or_else(|| anyhow!("port {port} of pod {pod} was not forwarded"))?;
        Ok(Box::new(Forwarded {
            cluster: Arc::clone(&self.cluster),
            stream,
            waiting: Waiting { read: Vec::new(), at: 0 },
            patience: Some(SILENCE),
            _forwarder: forwarder,
        }))
    }

    /// Runs a program in a container.
    pub(super) fn run(&self, pod: &PodName, container: &str, command: &[String]) -> Result<(i32, String)> {
        let api = self.pods(&pod.namespace);
        let parameters = AttachParams::default().container(container).stdout(true).stderr(false).stdin(false);
        let running = async {
            let mut attached = api.exec(&pod.name, command, &parameters).await?;
            let mut output = Vec::new();
            if let Some(mut stdout) = attached.stdout() {
                // What was written before it broke still counts.
                let _ = stdout.read_to_end(&mut output).await;
            }
            let status = match attached.take_status() {
                Some(status) => status.await,
                None => None,
            };
            Ok::<_, kube::Error>((output, status))
        };
        let ended = self.cluster.run(async { tokio::time::timeout(PROGRAM, running).await });
        let (output, status) = ended
            .map_err(|_| anyhow!("the program in pod {pod} did not end within {} s", PROGRAM.as_secs()))?
            .map_err(|error| anyhow!("cannot run a program in pod {pod}: {}", explain(&error)))?;
        let code = streams::exit_code(&serde_json::to_value(status).unwrap_or_default())?;
        Ok((code, String::from_utf8_lossy(&output).into_owned()))
    }

    /// A pod of the control plane that is ready.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn control(&self) -> Result<PodName> {
        let namespace = self.namespace();
        let pods = self.cluster.list(types::POD, Some(namespace), Selector::labels(CONTROLLER))?;
        let ready = |pod: &&Value| {
            let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
            conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        pods.iter().find(ready).or(pods.first()).map(PodName::of).ok_or_else(|| {
            anyhow!(
                "there is no control plane in namespace {namespace} of {self}: name its namespace with --fsm-namespace, or \
                 install one with `fsm install`"
            )
        })
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.cluster.client().clone(), namespace)
    }

    fn ask(&self, future: impl Future<Output = kube::Result<Portforwarder>>) -> Result<Portforwarder> {
        match self.cluster.run(async { tokio::time::timeout(SILENCE, future).await }) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(anyhow!("{}", explain(&error))),
            Err(_) => Err(anyhow!("the API server did not answer within {} s", SILENCE.as_secs())),
        }
    }
}

impl fmt::Display for InCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cluster.describe())
    }
}

impl fmt::Debug for InCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InCluster").field("cluster", &self.cluster.describe()).finish_non_exhaustive()
    }
}

/// Where the control plane of the mesh that is meant is.
fn home<'a>(meshes: &'a [ControlPlane], said: &'a str, name: Option<&str>) -> &'a str {
    let mut fitting = meshes.iter().filter(|mesh| name.is_none_or(|name| mesh.mesh == name));
    match (fitting.clone().any(|mesh| mesh.namespace == said), fitting.next(), fitting.next()) {
        (false, Some(only), None) => &only.namespace,
        _ => said,
    }
}

/// The type that the API server knows a kind by.
fn kind_of(kind: &Kind) -> Result<Type> {
    let names = kind.names().ok_or_else(|| anyhow!("{kind} is no kind that the mesh looks at"))?;
    let version = names.versions.first().copied().unwrap_or("v1");
    Ok(Type { group: names.group, version, kind: names.kind, plural: names.plural })
}

/// A forwarded port, read and written by a thread that waits.
struct Forwarded {
    cluster: Arc<Cluster>,
    stream: DuplexStream,
    waiting: Waiting,
    patience: Option<Duration>,
    /// The forwarding ends with it.
    _forwarder: Portforwarder,
}

impl Forwarded {
    fn wait<T>(
        cluster: &Cluster,
        patience: Option<Duration>,
        work: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let Some(patience) = patience else { return cluster.run(work) };
        let ended = cluster.run(async { tokio::time::timeout(patience, work).await });
        ended.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came in time")))
    }
}

/// What has come and was not asked for yet, from `at` on.
struct Waiting {
    read: Vec<u8>,
    at: usize,
}

impl Waiting {
    /// Gives what is there, or has more come by `fill`.
    fn read(&mut self, buffer: &mut [u8], fill: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.at == self.read.len() {
            let mut piece = vec![0; PIECE];
            let count = fill(&mut piece)?;
            piece.truncate(count);
            (self.read, self.at) = (piece, 0);
        }
        let count = buffer.len().min(self.read.len() - self.at);
        buffer[..count].copy_from_slice(&self.read[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

impl Read for Forwarded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (cluster, stream, patience) = (&self.cluster, &mut self.stream, self.patience);
        self.waiting.read(buffer, |piece| Self::wait(cluster, patience, stream.read(piece)))
    }
}

impl Write for Forwarded {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Self::wait(&self.cluster, self.patience, self.stream.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::wait(&self.cluster, self.patience, self.stream.flush())
    }
}

impl Connection for Forwarded {
    fn set_patience(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.patience = patience;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
