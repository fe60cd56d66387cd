//! Groups of proxies that get the very same document, and what a change asks to be computed anew.

use super::model::{Account, NamespacedName, PodKey, ServiceKey, ServicePort, TargetPort};
use fsm_api::config::Probes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The name of a [`Group`] as long as one [`World`](super::World) lives. A number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group-{}", self.0)
    }
}

/// Everything about a pod that its document depends on. Pods that are equal in this get the very same document.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Whose certificate the proxies have. Its namespace is the pods' namespace.
    pub account: Account,
    /// The services whose selector takes these pods; excluded services are not among them.
    pub services: BTreeSet<ServiceKey>,
    /// The pod's name below its headless services, where one of [`Group::services`] gives its pods names of their own.
    pub host: Option<String>,
    /// Numbers of those named container ports that a service refers to.
    pub named_ports: BTreeMap<String, u16>,
    /// Probes that the proxies answer.
    pub probes: Arc<Probes>,
    /// The pods ask for scraping of metrics.
    pub metrics: bool,
    /// PluginChain objects that select these pods, by namespace and name. Empty unless plugins are enabled.
    pub chains: BTreeSet<NamespacedName>,
}

impl Group {
    /// The namespace of the pods.
    pub fn namespace(&self) -> &str {
        &self.account.namespace
    }

    /// The port on which the group's application serves a port of one of its services; `None` when a named port has no
    /// container port of that name.
    pub fn local_port(&self, port: &ServicePort) -> Option<u16> {
        match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => self.named_ports.get(name).copied(),
        }
    }
}

/// What must be done after a change. Merging two asks for everything that either asks for.
///
/// More groups than necessary may be named, never fewer: a group that is not named has the same document as before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Groups whose document must be computed anew; new groups are among them.
    pub groups: BTreeSet<GroupId>,
    /// Groups without pods, whose document may be forgotten.
    pub gone: BTreeSet<GroupId>,
    /// Pods that came to another group, got their first one or have none any more
    /// ([`World::group_of`](super::World::group_of) tells which).
    pub pods: BTreeSet<PodKey>,
    /// The settings of the mesh changed, which also concerns certificates and the push itself. All groups are named too.
    pub mesh: bool,
}

impl Dirty {
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.gone.is_empty() && self.pods.is_empty() && !self.mesh
    }

    /// Takes over what `later`, a change after this one, asks for.
    pub fn merge(&mut self, later: Dirty) {
        self.groups.extend(later.groups);
        self.gone.extend(later.gone);
        self.pods.extend(later.pods);
        self.mesh |= later.mesh;
        self.groups.retain(|group| !self.gone.contains(group));
    }
}

/// All groups and who is in them.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    last: u64,
    by_id: BTreeMap<GroupId, Entry>,
    /// By the group's whole content as text, which also is the order in which groups are listed.
    by_content: BTreeMap<Arc<str>, GroupId>,
    of_pod: BTreeMap<PodKey, GroupId>,
    by_account: BTreeMap<Account, BTreeSet<GroupId>>,
    by_service: BTreeMap<ServiceKey, BTreeSet<GroupId>>,
}

#[derive(Clone, Debug)]
struct Entry {
    group: Group,
    content: Arc<str>,
    pods: BTreeSet<PodKey>,
}

impl Groups {
    pub(super) fn ids(&self) -> impl Iterator<Item = GroupId> {
        self.by_id.keys().copied()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.by_content.values().filter_map(|&id| Some((id, self.get(id)?)))
    }

    pub(super) fn get(&self, id: GroupId) -> Option<&Group> {
        self.by_id.get(&id).map(|entry| &entry.group)
    }

    pub(super) fn members(&self, id: GroupId) -> impl Iterator<Item = &PodKey> {
        self.by_id.get(&id).into_iter().flat_map(|entry| &entry.pods)
    }

    pub(super) fn of_pod(&self, pod: &PodKey) -> Option<GroupId> {
        self.of_pod.get(pod).copied()
    }

    /// All pods that have a group.
    pub(super) fn pods(&self) -> impl Iterator<Item = &PodKey> {
        self.of_pod.keys()
    }

    pub(super) fn of_account(&self, account: &Account) -> impl Iterator<Item = GroupId> {
        self.by_account.get(account).into_iter().flatten().copied()
    }

    pub(super) fn serving(&self, service: &ServiceKey) -> impl Iterator<Item = GroupId> {
        self.by_service.get(service).into_iter().flatten().copied()
    }

    /// Puts a pod into the group that it belongs to, and notes what has to be done about it.
    pub(super) fn assign(&mut self, pod: &PodKey, group: Option<Group>, dirty: &mut Dirty) {
        let content: Option<Arc<str>> = group.as_ref().map(|group| format!("{group:?}").into());
        let before = self.of_pod.get(pod).copied();
        let after = content.as_ref().and_then(|content| self.by_content.get(content).copied());
        if before == after && (before.is_some() || group.is_none()) {
            return;
        }
        dirty.pods.insert(pod.clone());
        if let Some(before) = before {
            self.leave(pod, before, dirty);
        }
        if let (Some(group), Some(content)) = (group, content) {
            let id = match after {
                Some(id) => id,
                None => self.found(group, content, dirty),
            };
            self.of_pod.insert(pod.clone(), id);
            if let Some(entry) = self.by_id.get_mut(&id) {
                entry.pods.insert(pod.clone());
            }
        }
    }

    fn leave(&mut self, pod: &PodKey, id: GroupId, dirty: &mut Dirty) {
        self.of_pod.remove(pod);
        let Some(entry) = self.by_id.get_mut(&id) else { return };
        entry.pods.remove(pod);
        if !entry.pods.is_empty() {
            return;
        }
        let Some(entry) = self.by_id.remove(&id) else { return };
        self.by_content.remove(&entry.content);
        forget(&mut self.by_account, &entry.group.account, id);
        for service in &entry.group.services {
            forget(&mut self.by_service, service, id);
        }
        dirty.groups.remove(&id);
        dirty.gone.insert(id);
    }

    fn found(&mut self, group: Group, content: Arc<str>, dirty: &mut Dirty) -> GroupId {
        self.last += 1;
        let id = GroupId(self.last);
        self.by_account.entry(group.account.clone()).or_default().insert(id);
        for service in &group.services {
            self.by_service.entry(service.clone()).or_default().insert(id);
        }
        self.by_content.insert(content.clone(), id);
        self.by_id.insert(id, Entry { group, content, pods: BTreeSet::new() });
        dirty.groups.insert(id);
        id
    }
}

fn forget<K: Ord>(map: &mut BTreeMap<K, BTreeSet<GroupId>>, key: &K, id: GroupId) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
