//! The whole of it: objects in, pods and their lives, actions and published objects out. Pure.
//!
//! Use: tell it of objects ([`Cluster::apply`], [`Cluster::remove`]) and reports ([`Cluster::learn`]), then call
//! [`Cluster::step`] and carry out what it says, write what [`Cluster::publish`] gives, and come back at
//! [`Cluster::wake`] at the latest. A step brings everything as far as it gets without the node.

mod owners;
mod publish;

pub use publish::Publication;

use super::images::Tools;
use super::inject::{self, Mesh};
use super::names::Names;
use super::network;
use super::objects::{Key, Wanted};
use super::pod::{Life, Refusal, Resolve};
use super::process;
use super::runtime::{Action, PodId, Process, Report, Volume};
use super::volumes;
use crate::local::node::NameRecord;
use fsm_api::resources::mesh_config::{MeshConfig, MeshConfigSpec};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod};
use owners::Owner;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Marks pods that were written by this program, in their annotations.
pub const MANAGED: &str = "local.flomesh.io/managed";

/// How many times a step plans anew because its own changes ask for it. More than the longest chain there is.
const ROUNDS: usize = 8;

/// What a cluster is made with.
pub struct ClusterOptions {
    /// The mesh that sidecars join.
    pub mesh: Mesh,
    /// The date of time zero on the cluster's clock.
    pub epoch: Timestamp,
    /// Makes names random, and a simulation repeatable.
    pub seed: u64,
    /// Programs of this machine.
    pub tools: Arc<dyn Tools + Send + Sync>,
}

/// Everything that runs or shall run.
pub struct Cluster {
    options: ClusterOptions,
    wanted: Wanted,
    entries: BTreeMap<Key, Entry>,
    names: Names,
    /// When a workload's plan shall be looked at again.
    plan_again: Option<Duration>,
    problems: BTreeMap<String, String>,
    publisher: publish::Publisher,
    jobs: BTreeMap<Key, owners::JobRecord>,
    /// The workloads as they were read last; `None`: to be read again.
    workloads: Option<Arc<Vec<owners::Workload>>>,
    /// Until the first step pods that this program has written are those of an earlier run.
    is_adopting: bool,
    /// Whether something else than pods has changed since the last publication.
    is_publishing_due: bool,
    /// Names that MeshConfig gives to addresses.
    static_names: Vec<NameRecord>,
}

/// A pod and whose it is.
struct Entry {
    life: Life,
    owner: Option<Owner>,
    revision: String,
}

impl Cluster {
    /// A cluster without objects.
    pub fn new(options: ClusterOptions) -> Self {
        Self {
            names: Names::new(options.seed),
            publisher: publish::Publisher::new(options.epoch),
            options,
            wanted: Wanted::default(),
            entries: BTreeMap::new(),
            plan_again: None,
            problems: BTreeMap::new(),
            jobs: BTreeMap::new(),
            static_names: Vec::new(),
            workloads: None,
            is_adopting: true,
            is_publishing_due: true,
        }
    }

    /// Takes an object that was created or changed. Pods that this program has written mean nothing, unless they come
    /// before the first step and so are of an earlier run: then they are started again if they are nobody's, and
    /// otherwise published as gone.
    ///
    /// # Errors
    /// The field that does not have the form of its kind. The object as it was before stays.
    pub fn apply(&mut self, kind: &str, key: Key, object: &Value) -> Result<(), serde_json::Error> {
        self.note_change();
        match kind {
            "MeshConfig.config.flomesh.io" => {
                if key.0 == self.options.mesh.fsm_namespace && key.1 == "fsm-mesh-config" {
                    self.options.mesh.config = MeshConfig::deserialize(object)?.spec;
                    self.static_names = network::static_names(object);
                }
                Ok(())
            }
            "Pod" => self.apply_pod(key, object),
            _ => self.wanted.apply(kind, key, object),
        }
    }

    /// Takes the certificates by which sidecars know the control plane; they may change.
    pub fn trust(&mut self, bundle: String) {
        let data = BTreeMap::from([("ca.crt".to_owned(), bundle)]);
        self.wanted.trust_bundle = Some(Arc::new(ConfigMap { data: Some(data), ..ConfigMap::default() }));
    }

    /// ConfigMaps or Secrets have changed: containers that wait for one are tried again.
    pub fn retry(&mut self, now: Duration) {
        self.entries.values_mut().for_each(|entry| entry.life.retry(now));
    }

    /// What volumes of the pods that have an address should show now.
    pub fn volumes(&self) -> impl Iterator<Item = (PodId, Vec<Volume>)> {
        let up = self.entries.values().map(|entry| &entry.life).filter(|life| !life.addresses().is_empty());
        up.map(|life| (life.id().clone(), volumes::current(life.pod(), life.addresses(), &self.wanted)))
    }

    /// Names that MeshConfig gives to addresses (`sidecar.localDNSProxy.db`).
    pub fn static_names(&self) -> &[NameRecord] {
        &self.static_names
    }

    /// Takes the removal of an object. A pod that is removed ends, whoever it belongs to.
    pub fn remove(&mut self, kind: &str, key: &Key, now: Duration) {
        self.note_change();
        self.wanted.remove(kind, key);
        if kind == "MeshConfig.config.flomesh.io" && key.1 == "fsm-mesh-config" {
            self.options.mesh.config = MeshConfigSpec::default();
            self.static_names.clear();
        }
        if kind == "Pod"
            && let Some(entry) = self.entries.get_mut(key)
        {
            entry.life.terminate(None, now);
        }
    }

    /// Takes a report of the runtime.
    pub fn learn(&mut self, report: &Report, now: Duration) {
        let pod = match report {
            Report::PodUp { pod, .. } | Report::PodFailed { pod, .. } | Report::Gone { pod } => pod,
            Report::Started { id }
            | Report::StartFailed { id, .. }
            | Report::Exited { id, .. }
            | Report::Checked { id, .. } => &id.pod,
        };
        if let Some(entry) = self.entries.get_mut(&key_of(pod)) {
            entry.life.learn(report, now);
        }
    }

    /// Ends a pod, as `kubectl delete pod --grace-period` does; says whether there is one.
    pub fn terminate(&mut self, key: &Key, grace: Option<Duration>, now: Duration) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        entry.life.terminate(grace, now);
        true
    }

    /// Everything that is to be done now.
    pub fn step(&mut self, now: Duration) -> Vec<Action> {
        self.is_adopting = false;
        let mut actions = Vec::new();
        for _ in 0..ROUNDS {
            let is_changed = self.plan(now);
            let mut is_over = false;
            for entry in self.entries.values_mut() {
                let resolve = Resolver { wanted: &self.wanted, tools: self.options.tools.as_ref() };
                actions.extend(entry.life.advance(now, &resolve));
                is_over |= entry.life.is_over();
            }
            self.entries.retain(|_, entry| !entry.life.is_over());
            self.is_publishing_due |= is_changed | is_over;
            if !is_changed && !is_over {
                break;
            }
        }
        actions
    }

    /// When to call [`Cluster::step`] again if nothing else happens; later than `now`, when it was called last.
    pub fn wake(&self, now: Duration) -> Option<Duration> {
        let lives = self.entries.values().filter_map(|entry| entry.life.wake(now));
        lives.chain(self.plan_again.filter(|at| *at > now)).min()
    }

    /// What has changed since the last time in the objects that this program writes.
    pub fn publish(&mut self) -> Vec<Publication> {
        let changed: BTreeSet<Key> =
            self.entries.iter_mut().filter_map(|(key, entry)| entry.life.take_change().then(|| key.clone())).collect();
        if changed.is_empty() && !std::mem::take(&mut self.is_publishing_due) {
            return Vec::new();
        }
        self.is_publishing_due = false;
        let statuses = self.statuses();
        let lives: Vec<&Life> = self.entries.values().map(|entry| &entry.life).collect();
        self.publisher.publish(&self.wanted, &lives, &changed, statuses)
    }

    /// All pods, by namespace and name.
    pub fn lives(&self) -> impl Iterator<Item = &Life> {
        self.entries.values().map(|entry| &entry.life)
    }

    /// What users have asked for.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Workloads whose pods cannot be made, and why.
    pub fn problems(&self) -> &BTreeMap<String, String> {
        &self.problems
    }

    fn note_change(&mut self) {
        self.workloads = None;
        self.is_publishing_due = true;
    }

    fn apply_pod(&mut self, key: Key, object: &Value) -> Result<(), serde_json::Error> {
        let managed = object.pointer("/metadata/annotations").and_then(|all| all.get(MANAGED)).is_some();
        if !managed {
            return self.wanted.apply("Pod", key, object);
        }
        // Later they are its own of a moment ago, whatever has become of the pod meanwhile.
        if !self.is_adopting {
            return Ok(());
        }
        self.publisher.adopt(&key);
        let is_owned = object.pointer("/metadata/ownerReferences").is_some();
        if is_owned {
            return Ok(());
        }
        let mut pod = Pod::deserialize(object)?;
        inject::strip(&mut pod);
        pod.status = None;
        pod.metadata.deletion_timestamp = None;
        if let Some(annotations) = &mut pod.metadata.annotations {
            annotations.remove(MANAGED);
        }
        self.wanted.pods.insert(key, Arc::new(pod));
        Ok(())
    }

    /// Adds a pod. Its name must be free.
    fn add(&mut self, mut pod: Pod, owner: Option<Owner>, revision: String, now: Duration) -> Result<(), String> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        // A pod that a user has written has one already.
        let uid = self.names.uuid();
        pod.metadata.uid.get_or_insert(uid);
        let proxy = self.names.uuid();
        let object = self.wanted.namespaces.get(&namespace).map(Arc::as_ref);
        inject::inject(&mut pod, object, &self.options.mesh, &proxy).map_err(|error| error.to_string())?;
        pod.metadata.annotations.get_or_insert_default().insert(MANAGED.to_owned(), "true".to_owned());
        let spec = pod.spec.get_or_insert_default();
        spec.service_account_name.get_or_insert_with(|| "default".to_owned());
        spec.node_name = Some("local".to_owned());
        let key = (namespace, pod.metadata.name.clone().unwrap_or_default());
        let life = Life::new(Arc::new(pod), now);
        self.entries.insert(key, Entry { life, owner, revision });
        Ok(())
    }
}

struct Resolver<'a> {
    wanted: &'a Wanted,
    tools: &'a (dyn Tools + Send + Sync),
}

impl Resolve for Resolver<'_> {
    fn process(&self, pod: &Pod, container: &Container, addresses: &[IpAddr]) -> Result<Process, Refusal> {
        process::of_container(pod, container, addresses, self.wanted, self.tools)
    }
}

fn key_of(pod: &PodId) -> Key {
    (pod.namespace.clone(), pod.name.clone())
}

#[cfg(test)]
mod tests;
