//! The world: everything that decides what proxies do, indexed, in one owner's hands.
//!
//! [`World::apply`] and [`World::remove`] take objects one by one, in any order, and tell which groups of proxies must get
//! their document computed anew. The same objects give the same world, whatever order they came in. Nothing here waits,
//! reads a file or looks at a clock; broken objects become [`Problem`]s and harm nothing else.
//!
//! Policies are kept as the user wrote them (`Arc` of the types of `fsm_api::resources`). Reads of them, all in the order
//! of age (creation, then namespace and name), so that the first one wins wherever only one may hold:
//! `targets_to(&Account)`, `targets_from(&Account)`, `route_group(namespace, name)`, `tcp_route(namespace, name)`,
//! `splits_of_root(&ServiceKey)`, `splits_of_backend(&ServiceKey)`, `upstream_setting(&ServiceKey)` (by host),
//! `upstream_setting_named(namespace, name)`, `retries_of(&Account)`, `egress_of(&Account)`, `egress_gateway()`,
//! `ingress_backends_of(&ServiceKey)`, `access_controls_of(&ServiceKey)`, `access_controls_everywhere()`,
//! `access_certs()`, `plugins()`, `plugin(name)`, `plugin_chain(namespace, name)`, `plugin_configs_of(&ServiceKey)`,
//! `service_import(&ServiceKey)`, `service_export(&ServiceKey)`, `global_traffic_policy(&ServiceKey)`.

mod group;
mod mesh;
mod model;
mod problem;

pub use group::{Dirty, Group, GroupId};
pub use mesh::{
    AccessMode, AccessNames, ClusterSet, EgressGatewaySettings, Features, LocalProxyMode, Mesh, PluginChains,
    RemoteLogging, Stage, Tracing,
};
pub use model::{
    Account, Condition, Endpoint, EndpointPort, MeshService, Namespace, NamespacedName, Phase, Pod, PodKey, Protocol,
    Range, RemoteTarget, Service, ServiceKey, ServicePort, Target, TargetPort, TlsSecret, WarmUp, WarmUpChoice,
};
pub use problem::{Problem, Severity};

use std::collections::BTreeSet;
use std::net::IpAddr;

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

/// Everything that decides what proxies do.
#[derive(Debug)]
pub struct World {
    settings: Settings,
    mesh: Mesh,
}

impl World {
    /// An empty world with the default settings of the mesh.
    pub fn new(settings: Settings) -> Self {
        let mesh = Mesh::defaults(&settings);
        Self { settings, mesh }
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The settings of the mesh.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Conflicting and broken objects, in a fixed order.
    pub fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// All groups that have pods, in a fixed order.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        std::iter::empty()
    }

    /// One group.
    pub fn group(&self, _id: GroupId) -> Option<&Group> {
        None
    }

    /// The group of a pod; `None` for a pod without proxy, that is over, or outside the mesh.
    pub fn group_of(&self, _pod: &PodKey) -> Option<GroupId> {
        None
    }

    /// The pods of a group.
    pub fn members(&self, _group: GroupId) -> impl Iterator<Item = &PodKey> {
        std::iter::empty()
    }

    /// A namespace.
    pub fn namespace(&self, _name: &str) -> Option<&Namespace> {
        None
    }

    /// Whether a namespace is in the mesh.
    pub fn is_monitored(&self, namespace: &str) -> bool {
        self.namespace(namespace).is_some_and(|namespace| namespace.monitored)
    }

    /// A pod, in the mesh or not.
    pub fn pod(&self, _key: &PodKey) -> Option<&Pod> {
        None
    }

    /// All pods, in the mesh or not.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        std::iter::empty()
    }

    /// A Service, in the mesh or not.
    pub fn service(&self, _key: &ServiceKey) -> Option<&Service> {
        None
    }

    /// Every port of every service of the mesh: of monitored namespaces, not excluded, no ExternalName; and imported ones.
    pub fn mesh_services(&self) -> impl Iterator<Item = &MeshService> {
        std::iter::empty()
    }

    /// The ports of one service of the mesh; empty when it is not in the mesh.
    pub fn mesh_services_of(&self, _service: &ServiceKey) -> &[MeshService] {
        &[]
    }

    /// Where a port of a service is dialled inside this cluster: the ready endpoints, or for want of one those that are
    /// being ended and still serve. Isolated addresses are left out. Ordered by address.
    pub fn targets(&self, _port: &MeshService) -> Vec<Target<'_>> {
        Vec::new()
    }

    /// Where a port of a service is dialled in other clusters, whatever its GlobalTrafficPolicy says.
    pub fn remote_targets(&self, _port: &MeshService) -> Vec<RemoteTarget> {
        Vec::new()
    }

    /// All addresses of all endpoints of a service, ready or not: what clients of an IngressBackend come from, and what
    /// destination ranges contain besides cluster addresses.
    pub fn addresses_of(&self, _service: &ServiceKey) -> BTreeSet<IpAddr> {
        BTreeSet::new()
    }

    /// The accounts whose certificates the pods behind a service may present; those of imports included.
    pub fn accounts_of(&self, _service: &ServiceKey) -> BTreeSet<Account> {
        BTreeSet::new()
    }

    /// The services of the mesh that pods of an account serve.
    pub fn services_of_account(&self, _account: &Account) -> BTreeSet<ServiceKey> {
        BTreeSet::new()
    }

    /// The pods of an account, in the mesh or not.
    pub fn pods_of_account(&self, _account: &Account) -> impl Iterator<Item = &Pod> {
        std::iter::empty()
    }

    /// The services of the mesh whose selector takes a pod.
    pub fn services_of_pod(&self, _pod: &PodKey) -> impl Iterator<Item = &ServiceKey> {
        std::iter::empty()
    }

    /// The pods that a service selects.
    pub fn pods_of_service(&self, _service: &ServiceKey) -> impl Iterator<Item = &PodKey> {
        std::iter::empty()
    }

    /// Addresses of all proxies with their account, isolated ones left out.
    pub fn proxy_addresses(&self) -> impl Iterator<Item = (IpAddr, &Account)> {
        std::iter::empty()
    }

    /// Whether an Isolation keeps everybody from an address.
    pub fn is_isolated(&self, _ip: IpAddr) -> bool {
        false
    }

    /// Addresses of this cluster's ingress controller, from which calls of other clusters come (IngressClass annotation
    /// `meta.flomesh.io/ingress-pipy-svc`).
    pub fn ingress_controller_addresses(&self) -> BTreeSet<IpAddr> {
        BTreeSet::new()
    }

    /// How new endpoints of a service are warmed up: its TrafficWarmup, else its namespace's annotations, else the mesh's
    /// setting; `None`: not at all.
    pub fn warm_up(&self, _service: &ServiceKey) -> Option<WarmUp> {
        None
    }

    /// The certificate of a Secret, where it has one.
    pub fn tls_secret(&self, _namespace: &str, _name: &str) -> Option<&TlsSecret> {
        None
    }
}
