//! The world: everything that decides what proxies do, indexed, in one owner's hands.
//!
//! [`World::apply`] and [`World::remove`] take objects one by one, in any order, and tell which groups of proxies must get
//! their document computed anew. The same objects give the same world, whatever order they came in. Nothing here waits,
//! reads a file or looks at a clock; broken objects become [`Problem`]s and harm nothing else.
//!
//! Policies are kept as the user wrote them. Reads of them come in the order of age (creation, then namespace and name),
//! so that the first one wins wherever only one may hold.

mod change;
mod check;
mod derive;
mod group;
mod index;
mod inspect;
mod local_names;
mod mesh;
mod model;
mod objects;
mod parse;
mod policies;
mod problem;
mod problems;
mod read;
mod reference;
mod scope;
#[cfg(test)]
mod tests;

pub use group::{Dirty, Group, GroupId};
pub use local_names::LocalNames;
pub use mesh::{
    AccessMode, AccessNames, ClusterSet, EgressGatewaySettings, Features, LocalProxyMode, Mesh, PluginChains,
    RemoteLogging, Stage, Tracing,
};
pub use model::{
    Account, Condition, Endpoint, EndpointPort, MeshService, Namespace, NamespacedName, Phase, Pod, PodKey, Protocol,
    RemoteTarget, Service, ServiceKey, ServicePort, Target, TargetPort, TlsSecret, WarmUp, WarmUpChoice,
};
pub(crate) use parse::ingress_service;
pub use problem::{Problem, Severity};

use derive::Selected;
use fsm_api::resources::Kind;
use group::Groups;
use index::Index;
use ipnet::IpNet;
use objects::Objects;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the world is told at its start and never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of the mesh (`--mesh-name`): namespaces labelled `flomesh.io/monitored-by: <name>` are in it.
    pub mesh_name: String,
    /// Namespace of the control plane (`--fsm-namespace`).
    pub fsm_namespace: String,
    /// Trust domain (`--trust-domain`).
    pub trust_domain: String,
    /// Name of the MeshConfig that counts, in the namespace of the control plane.
    pub mesh_config_name: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mesh_name: "fsm".into(),
            fsm_namespace: "fsm-system".into(),
            trust_domain: "cluster.local".into(),
            mesh_config_name: "fsm-mesh-config".into(),
        }
    }
}

/// Everything that decides what proxies do. A copy shares the policies.
#[derive(Clone, Debug)]
pub struct World {
    settings: Settings,
    mesh: Mesh,
    objects: Objects,
    index: Index,
    /// Endpoints of every service, merged over its slices.
    endpoints: BTreeMap<ServiceKey, Vec<Endpoint>>,
    /// Ports of every service of the mesh.
    ports: BTreeMap<ServiceKey, Vec<MeshService>>,
    selected: Selected,
    isolated: Vec<IpNet>,
    groups: Groups,
    /// Of kinds that are not followed everywhere: the namespaces of which everything is here.
    complete: BTreeMap<Kind, Arc<BTreeSet<String>>>,
    /// What happened to groups during the change that is being taken in.
    pending: Dirty,
}

impl World {
    /// An empty world with the default settings of the mesh.
    pub fn new(settings: Settings) -> Self {
        Self {
            mesh: Mesh::defaults(&settings),
            settings,
            objects: Objects::default(),
            index: Index::default(),
            endpoints: BTreeMap::new(),
            ports: BTreeMap::new(),
            selected: Selected::default(),
            isolated: Vec::new(),
            groups: Groups::default(),
            complete: BTreeMap::new(),
            pending: Dirty::default(),
        }
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The settings of the mesh.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }
}
