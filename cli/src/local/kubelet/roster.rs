//! The pods of this node: which there are, how far each is, and what the API server is to be told of them. Pure.
//!
//! A pod that nobody has scheduled is taken ([`Order::Bind`]); one that is ours gets a [`Life`]. Two pods of one name never
//! live at once: the second begins when nothing is left of the first.

use super::follow::{Change, Object};
use crate::local::workload::images::Tools;
use crate::local::workload::objects::{Key, Wanted};
use crate::local::workload::pod::{Calendar, Life, Refusal, Resolve};
use crate::local::workload::process::{self, Host, Settings};
use crate::local::workload::runtime::{Action, PodId, Process, Report, Volume};
use crate::local::workload::volumes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Container, HostIP, Pod, PodStatus, Secret};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What the API server is to be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    /// The pod is to be ours.
    Bind(PodId),
    /// How the pod is.
    Status(PodId, Box<PodStatus>),
    /// Nothing is left of the pod.
    Delete(PodId),
}

/// Variables of Services, by namespace; those of the API server under the empty name.
pub(super) type Variables = BTreeMap<String, Vec<(String, String)>>;

pub(super) struct Roster {
    surroundings: Surroundings,
    tools: Arc<dyn Tools + Send + Sync>,
    calendar: Calendar,
    lives: BTreeMap<Key, Entry>,
    orders: Vec<Order>,
    /// Of whom nothing is left; their files can go.
    gone: Vec<PodId>,
}

struct Entry {
    life: Life,
    /// The API server does not have it any more.
    is_forgotten: bool,
    told: Option<PodStatus>,
    /// The pod of the same name that comes after it.
    next: Option<Box<Pod>>,
}

struct Surroundings {
    host: Host,
    objects: Wanted,
    variables: Variables,
}

struct Resolver<'a> {
    surroundings: &'a Surroundings,
    tools: &'a (dyn Tools + Send + Sync),
}

impl Roster {
    /// No pods yet; `epoch` is the date of time zero.
    pub(super) fn new(host: Host, tools: Arc<dyn Tools + Send + Sync>, epoch: Timestamp) -> Self {
        let surroundings = Surroundings { host, objects: Wanted::default(), variables: Variables::new() };
        Self {
            surroundings,
            tools,
            calendar: Calendar { epoch },
            lives: BTreeMap::new(),
            orders: Vec::new(),
            gone: Vec::new(),
        }
    }

    pub(super) fn set_service_variables(&mut self, variables: &Variables) {
        self.surroundings.variables.clone_from(variables);
    }

    pub(super) fn take_in(&mut self, change: Change, now: Duration) {
        let objects = &mut self.surroundings.objects;
        match change {
            Change::Applied(Object::Pod(pod)) => self.apply(pod, now),
            Change::Removed(Object::Pod(pod)) => self.remove(&id_of(&pod), now),
            Change::Applied(Object::ConfigMap(map)) => {
                objects.config_maps.insert(key_of(&map.metadata), Arc::new(*map));
            }
            Change::Removed(Object::ConfigMap(map)) => drop(objects.config_maps.remove(&key_of(&map.metadata))),
            Change::Applied(Object::Secret(secret)) => {
                objects.secrets.insert(key_of(&secret.metadata), Arc::new(*secret));
            }
            Change::Removed(Object::Secret(secret)) => drop(objects.secrets.remove(&key_of(&secret.metadata))),
            Change::Applied(_) | Change::Removed(_) => {}
        }
    }

    /// ConfigMaps or Secrets have changed: containers that wait for one are tried again.
    pub(super) fn retry(&mut self, now: Duration) {
        self.lives.values_mut().for_each(|entry| entry.life.retry(now));
    }

    pub(super) fn learn(&mut self, report: &Report, now: Duration) {
        let pod = match report {
            Report::PodUp { pod, .. } | Report::PodFailed { pod, .. } | Report::Gone { pod } => pod,
            Report::Started { id }
            | Report::StartFailed { id, .. }
            | Report::Exited { id, .. }
            | Report::Checked { id, .. } => &id.pod,
        };
        if let Some(entry) = self.lives.get_mut(&(pod.namespace.clone(), pod.name.clone())) {
            entry.life.learn(report, now);
        }
    }

    /// Everything that is to be done now.
    pub(super) fn step(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        loop {
            let resolver = Resolver { surroundings: &self.surroundings, tools: self.tools.as_ref() };
            let mut over = Vec::new();
            for (key, entry) in &mut self.lives {
                actions.extend(entry.life.advance(now, &resolver));
                if entry.life.is_over() {
                    over.push(key.clone());
                }
            }
            if over.is_empty() {
                return actions;
            }
            for key in over {
                let Some(entry) = self.lives.remove(&key) else { continue };
                self.gone.push(entry.life.id().clone());
                if !entry.is_forgotten {
                    self.orders.push(Order::Delete(entry.life.id().clone()));
                }
                if let Some(next) = entry.next {
                    self.apply(next, now);
                }
            }
        }
    }

    /// When to call [`Roster::step`] again if nothing else happens.
    pub(super) fn wake(&self, now: Duration) -> Option<Duration> {
        self.lives.values().filter_map(|entry| entry.life.wake(now)).min()
    }

    /// What the API server is to be told since the last time.
    pub(super) fn orders(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        for entry in self.lives.values_mut() {
            if !entry.life.take_change() || entry.is_forgotten {
                continue;
            }
            let status =
                with_host(entry.life.object(self.calendar).status.unwrap_or_default(), &self.surroundings.host);
            if entry.told.as_ref() != Some(&status) {
                orders.push(Order::Status(entry.life.id().clone(), Box::new(status.clone())));
                entry.told = Some(status);
            }
        }
        orders.append(&mut self.orders);
        orders
    }

    /// Pods of which nothing is left, since the last time.
    pub(super) fn take_gone(&mut self) -> Vec<PodId> {
        std::mem::take(&mut self.gone)
    }

    /// What the volumes of pods that have an address should show now.
    pub(super) fn volumes(&self) -> Vec<(PodId, Vec<Volume>)> {
        let up = self.lives.values().map(|entry| &entry.life).filter(|life| !life.addresses().is_empty());
        let of_pod =
            |life: &Life| (life.id().clone(), volumes::current(life.pod(), life.addresses(), &self.surroundings));
        up.map(of_pod).collect()
    }

    fn apply(&mut self, pod: Box<Pod>, now: Duration) {
        let id = id_of(&pod);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty());
        let is_ending = pod.metadata.deletion_timestamp.is_some();
        match node {
            None if is_ending => return,
            None => return self.orders.push(Order::Bind(id)),
            Some(node) if node != self.surroundings.host.name => return,
            Some(_) => {}
        }
        let key = (id.namespace.clone(), id.name.clone());
        let grace = pod.metadata.deletion_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        match self.lives.get_mut(&key) {
            Some(entry) if *entry.life.id() == id => {
                if is_ending {
                    entry.life.terminate(grace.map(Duration::from_secs), now);
                }
            }
            Some(entry) => {
                entry.is_forgotten = true;
                entry.life.terminate(Some(Duration::ZERO), now);
                entry.next = Some(pod);
            }
            // Nothing of it runs here: it is of an earlier run of this program.
            None if is_ending => self.orders.push(Order::Delete(id)),
            None if has_ended(&pod) => {}
            None => {
                let life = Life::new(Arc::new(*pod), now);
                self.lives.insert(key, Entry { life, is_forgotten: false, told: None, next: None });
            }
        }
    }

    fn remove(&mut self, id: &PodId, now: Duration) {
        let Some(entry) = self.lives.get_mut(&(id.namespace.clone(), id.name.clone())) else { return };
        if entry.life.id() == id {
            entry.is_forgotten = true;
            entry.life.terminate(Some(Duration::ZERO), now);
        }
        entry.next.take_if(|next| id_of(next) == *id);
    }
}

impl Settings for Surroundings {
    fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMap> {
        self.objects.config_map(namespace, name)
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<&Secret> {
        self.objects.secret(namespace, name)
    }

    fn host(&self) -> Option<&Host> {
        Some(&self.host)
    }

    fn service_variables(&self, namespace: &str, links: bool) -> Vec<(String, String)> {
        let of = |name: &str| self.variables.get(name).into_iter().flatten().cloned();
        let linked = links.then(|| of(namespace)).into_iter().flatten();
        linked.chain(of("")).collect()
    }
}

impl Resolve for Resolver<'_> {
    fn process(&self, pod: &Pod, container: &Container, addresses: &[IpAddr]) -> Result<Process, Refusal> {
        process::of_container(pod, container, addresses, self.surroundings, self.tools)
    }
}

fn with_host(mut status: PodStatus, host: &Host) -> PodStatus {
    status.host_ip = Some(host.address.to_string());
    status.host_ips = Some(vec![HostIP { ip: host.address.to_string() }]);
    status
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

pub(super) fn key_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Key {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn id_of(pod: &Pod) -> PodId {
    let (namespace, name) = key_of(&pod.metadata);
    PodId { namespace, name, uid: pod.metadata.uid.clone().unwrap_or_default() }
}

#[cfg(test)]
mod tests;
