//! The loop of the daemon: follows the objects, moves the cluster along, carries out its actions, writes its objects,
//! and tells the node of Services and names.
//!
//! Objects are written by a thread of their own, in order: writers of the state directory exclude each other, and a
//! command that holds the lock must not hold up the pods.

use super::cluster::{Cluster, ClusterOptions, Publication};
use super::follow::{Change, Follower};
use super::inject::Mesh;
use super::network::{self, Addresses};
use super::objects::Key;
use super::on_node::{LocalTokens, NodeRuntime, NodeRuntimeOptions, Prober};
use super::pod::Life;
use super::runtime::{Report, Runtime};
use super::tools::MachineTools;
use crate::local::daemon::Containers;
use crate::local::node::{NameRecord, Node, ServiceRule};
use crate::local::state::{ObjectName, Objects, State};
use fsm_api::resources::mesh_config::MeshConfigSpec;
use notify::{RecursiveMode, Watcher};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// How often the objects are looked at although nothing was noticed.
const LOOK: Duration = Duration::from_secs(2);

/// A directory that has just been made is not watched yet when the first file comes into it: so a second look follows
/// each notice.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// Packet mark of the sidecar's own traffic where it cannot have a user id of its own.
const SIDECAR_MARK: u32 = 0x539;

/// What the pods of a mesh are run with.
#[derive(Clone)]
pub struct RunOptions {
    /// The mesh's state directory.
    pub state: State,
    /// Where pods live.
    pub node: Node,
    /// Running containers are entered here.
    pub containers: Containers,
    /// FSM's own namespace.
    pub fsm_namespace: String,
    /// Where pods reach fsm-control.
    pub control: Ipv4Addr,
    /// The name by which they do, without the cluster's domain; its certificate has it too.
    pub control_name: String,
    /// The bundle by which sidecars know fsm-control; it may come later and change.
    pub control_ca: PathBuf,
}

/// Why the pods cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The operating system refused something.
    #[error("cannot {action}: {why}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What it said.
        why: String,
    },
}

/// Runs the pods until `end` becomes true or its sender is gone. Pods that run then are left to the node.
///
/// # Errors
/// [`RunError`], only at the start.
pub async fn run(options: RunOptions, mut end: watch::Receiver<bool>) -> Result<(), RunError> {
    let (noticed, mut notices) = mpsc::channel(1);
    let _watcher = watch_objects(options.state.objects(), noticed)?;
    let (reports, mut reported) = mpsc::unbounded_channel();
    let mut pods = Pods::new(options, reports)?;
    let mut second_look = None;
    pods.look();
    loop {
        pods.advance();
        let wake = pods.wake();
        let look = second_look.unwrap_or(LOOK);
        tokio::select! {
            _ = end.wait_for(|end| *end) => return Ok(()),
            Some(report) = reported.recv() => {
                pods.learn(&report);
                while let Ok(report) = reported.try_recv() {
                    pods.learn(&report);
                }
            }
            Some(()) = notices.recv() => {
                pods.look();
                second_look = Some(SECOND_LOOK);
            }
            () = tokio::time::sleep(look) => {
                pods.look();
                second_look = None;
            }
            () = sleep(wake) => {}
        }
    }
}

struct Pods {
    options: RunOptions,
    start: Instant,
    cluster: Cluster,
    follower: Follower,
    runtime: NodeRuntime,
    addresses: Addresses,
    writer: blocking::Sender<Write>,
    /// What the node was told last.
    services: Option<Vec<ServiceRule>>,
    names: Option<Vec<NameRecord>>,
    /// The control plane's certificates as sidecars were given them last.
    bundle: String,
    /// Told to the log already.
    problems: BTreeMap<String, String>,
}

/// A change of the state directory.
enum Write {
    Publish(Publication),
    Address(Key, Ipv4Addr),
}

impl Pods {
    fn new(options: RunOptions, reports: mpsc::UnboundedSender<Report>) -> Result<Self, RunError> {
        let tools = MachineTools::of_environment();
        let node = &options.node;
        let mesh = Mesh {
            name: options.state.mesh().to_owned(),
            fsm_namespace: options.fsm_namespace.clone(),
            mark: (!node.can_switch_users()).then_some(SIDECAR_MARK),
            config: MeshConfigSpec::default(),
        };
        let runtime = NodeRuntimeOptions {
            node: node.clone(),
            state: options.state.clone(),
            containers: options.containers.clone(),
            tokens: Arc::new(LocalTokens::new(options.state.clone())),
            probes: Prober::Pod,
            path: tools.path(),
        };
        let cluster = ClusterOptions { mesh, epoch: jiff::Timestamp::now(), seed: seed(), tools: Arc::new(tools) };
        Ok(Self {
            start: Instant::now(),
            cluster: Cluster::new(cluster),
            follower: Follower::new(options.state.objects()),
            runtime: NodeRuntime::new(runtime, reports),
            addresses: Addresses::new(node.options().service_cidr, node.dns_address()),
            writer: start_writer(options.state.clone())?,
            services: None,
            names: None,
            bundle: String::new(),
            problems: BTreeMap::new(),
            options,
        })
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wake(&self) -> Option<Duration> {
        let now = self.now();
        self.cluster.wake(now).map(|at| at.saturating_sub(now))
    }

    fn learn(&mut self, report: &Report) {
        let now = self.now();
        self.cluster.learn(report, now);
    }

    /// Takes in what users and others have written.
    fn look(&mut self) {
        let now = self.now();
        let mut is_content_changed = self.look_at_bundle();
        for change in self.follower.look() {
            match change {
                Change::Applied { kind, key, object } => {
                    is_content_changed |= ["ConfigMap", "Secret"].contains(&kind);
                    if let Err(error) = self.cluster.apply(kind, key.clone(), &object) {
                        tracing::warn!("{kind} {}/{} is not followed: {error}; correct it", key.0, key.1);
                        continue;
                    }
                    if kind == "Service"
                        && let Some(address) = self.addresses.missing(&key, self.cluster.wanted())
                    {
                        let _ = self.writer.send(Write::Address(key, address));
                    }
                }
                Change::Removed { kind, key, uid } => {
                    // A pod of the same name that has come meanwhile is another.
                    let lives = |life: &Life| life.id().namespace == key.0 && life.id().name == key.1;
                    let is_other = self.cluster.lives().any(|life| lives(life) && life.id().uid != uid);
                    if kind != "Pod" || !is_other {
                        self.cluster.remove(kind, &key, now);
                    }
                    if kind == "Service" {
                        self.addresses.release(&key);
                    }
                }
            }
        }
        if is_content_changed {
            self.cluster.retry(now);
            for (pod, volumes) in self.cluster.volumes() {
                self.runtime.refresh(pod, volumes);
            }
        }
    }

    /// Whether the control plane's certificates are others than before.
    fn look_at_bundle(&mut self) -> bool {
        let Ok(bundle) = std::fs::read_to_string(&self.options.control_ca) else { return false };
        if bundle.is_empty() || bundle == self.bundle {
            return false;
        }
        self.cluster.trust(bundle.clone());
        self.bundle = bundle;
        true
    }

    fn advance(&mut self) {
        for action in self.cluster.step(self.now()) {
            self.runtime.begin(action);
        }
        let publications = self.cluster.publish();
        let named = self.names.as_deref().unwrap_or_default().starts_with(self.cluster.static_names());
        if !publications.is_empty() || self.services.is_none() || !named {
            self.tell_node();
        }
        for publication in publications {
            let _ = self.writer.send(Write::Publish(publication));
        }
        for (object, why) in self.cluster.problems() {
            if self.problems.get(object) != Some(why) {
                tracing::error!("{object} gets no pods: {why}");
            }
        }
        self.problems.clone_from(self.cluster.problems());
    }

    fn tell_node(&mut self) {
        let lives: Vec<&Life> = self.cluster.lives().collect();
        let domain = self.options.node.options().cluster_domain.clone();
        let wanted = self.cluster.wanted().services.iter().map(|(key, service)| (key, service.as_ref()));
        let slices = |key: &Key, service: &_| network::slices_of(&lives, key, service);
        let is_served = |address| self.addresses.contains(address);
        let (services, of_services) = network::plan(wanted, slices, is_served, &domain);
        let control = format!("{}.{domain}", self.options.control_name);
        let control = NameRecord::addresses(control, [IpAddr::V4(self.options.control)]);
        let names = [self.cluster.static_names(), &[control], &of_services].concat();
        if self.names.as_ref() != Some(&names) {
            for refused in self.options.node.set_names(names.clone()) {
                tracing::warn!("{} cannot be a DNS name", refused.name);
            }
            self.names = Some(names);
        }
        if self.services.as_ref() != Some(&services) {
            // Some milliseconds, and in order.
            let tell = || self.options.node.set_services(&services).map_err(|why| why.to_string());
            let told = tokio::task::block_in_place(tell);
            match told {
                Ok(()) => self.services = Some(services),
                Err(why) => {
                    tracing::error!("Services for clients outside of the mesh are as they were: {why}");
                    self.services.get_or_insert_default();
                }
            }
        }
    }
}

fn start_writer(state: State) -> Result<blocking::Sender<Write>, RunError> {
    let (sender, writes) = blocking::channel();
    let write = move || {
        let objects = state.objects();
        for write in writes {
            let outcome = match &write {
                Write::Publish(publication) => publish(&objects, &state, publication),
                Write::Address(key, address) => give_address(&objects, key, *address),
            };
            if let Err(error) = outcome {
                tracing::error!("{error}");
            }
        }
    };
    let system = |error: std::io::Error| RunError::System { action: "start a thread", why: error.to_string() };
    std::thread::Builder::new().name("object-writer".to_owned()).spawn(write).map_err(system)?;
    Ok(sender)
}

fn publish(objects: &Objects, state: &State, publication: &Publication) -> Result<(), crate::local::state::StateError> {
    match publication {
        Publication::Put { kind, key, object } => {
            let name = ObjectName::new(kind, &key.0, &key.1);
            let uid = |object: &Value| object.pointer("/metadata/uid").cloned();
            // An object keeps its uid as long as it is there: another pod of this name is another object.
            if *kind == "Pod" && objects.get(&name)?.is_some_and(|old| uid(&old) != uid(object)) {
                objects.remove(&name)?;
            }
            objects.put(object)?;
        }
        Publication::Remove { kind, key } => {
            // Files first: whoever sees that a pod is gone finds nothing of it any more.
            if *kind == "Pod" {
                let directory = state.pod(&key.0, &key.1);
                if let Err(error) = std::fs::remove_dir_all(&directory)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    tracing::warn!("cannot remove {}: {error}", directory.display());
                }
            }
            objects.remove(&ObjectName::new(kind, &key.0, &key.1))?;
        }
        Publication::Status { kind, key, status } => {
            objects.update(&ObjectName::new(kind, &key.0, &key.1), |object| {
                let mut object = object?;
                object["status"] = status.clone();
                Some(object)
            })?;
        }
    }
    Ok(())
}

fn give_address(objects: &Objects, key: &Key, address: Ipv4Addr) -> Result<(), crate::local::state::StateError> {
    objects.update(&ObjectName::new("Service", &key.0, &key.1), |object| {
        let mut object = object?;
        let spec = object.get_mut("spec").and_then(Value::as_object_mut);
        if let Some(spec) = spec.filter(|spec| spec.get("clusterIP").and_then(Value::as_str).is_none_or(str::is_empty))
        {
            spec.insert("clusterIP".to_owned(), json!(address));
            spec.insert("clusterIPs".to_owned(), json!([address]));
        }
        Some(object)
    })?;
    Ok(())
}

fn watch_objects(objects: Objects, noticed: mpsc::Sender<()>) -> Result<notify::RecommendedWatcher, RunError> {
    let system = |error: notify::Error| RunError::System { action: "watch the objects", why: error.to_string() };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is no news, and our own looks would never end.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            // One notice that was not taken yet is as good as many.
            let _ = noticed.try_send(());
        }
    })
    .map_err(system)?;
    watcher.watch(objects.path(), RecursiveMode::Recursive).map_err(system)?;
    Ok(watcher)
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Names of pods need not be unforeseeable, only different from run to run.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
