//! Groups of proxies that get the very same document, and what a change asks to be computed anew.

use super::model::{Account, PodKey, ServiceKey, ServicePort, TargetPort};
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
    pub chains: BTreeSet<super::model::NamespacedName>,
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
