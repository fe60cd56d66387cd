//! Whether everything that is derived is what the objects say.

use super::World;
use super::change::{in_namespace, pod_terms};
use super::index::{Index, Term};
use super::model::{NamespacedName, PodKey};
use super::objects::{Objects, Policy};

impl World {
    /// Compares indexes, endpoints, ports and groups with those of a world that is built anew from the same objects.
    /// Expensive: for tests and for a look at a running control plane.
    ///
    /// # Errors
    /// The first difference, as text. It is always a defect of the world.
    pub fn check_invariants(&self) -> Result<(), String> {
        let anew = self.rebuilt();
        if let Some(difference) = self.index.difference(&anew.index) {
            return Err(format!("index: {difference}"));
        }
        let same = |name: &str, same: bool| if same { Ok(()) } else { Err(format!("{name} differ from a rebuild")) };
        same("settings of the mesh", self.mesh == anew.mesh)?;
        same("endpoints", self.endpoints == anew.endpoints)?;
        same("ports", self.ports == anew.ports)?;
        same("services of pods", self.selected == anew.selected)?;
        same("isolated ranges", self.isolated == anew.isolated)?;
        same("pending changes", self.pending.is_empty())?;
        if self.group_contents() != anew.group_contents() {
            return Err(format!("groups are {:?}, a rebuild says {:?}", self.group_contents(), anew.group_contents()));
        }
        for (id, group) in self.groups() {
            for pod in self.members(id) {
                if self.group_of(pod) != Some(id) {
                    return Err(format!("pod {pod} is a member of {id} but belongs to {:?}", self.group_of(pod)));
                }
            }
            same("groups of accounts", self.groups.of_account(&group.account).any(|found| found == id))?;
            for service in &group.services {
                same("groups of services", self.groups.serving(service).any(|found| found == id))?;
            }
        }
        for service in self.ports.keys() {
            for account in self.accounts_of(service) {
                same("services of accounts", self.services_of_account(&account).contains(service))?;
            }
        }
        Ok(())
    }

    /// The groups without their ids, which differ from world to world.
    fn group_contents(&self) -> Vec<(String, Vec<&PodKey>)> {
        self.groups().map(|(id, group)| (format!("{group:?}"), self.members(id).collect())).collect()
    }

    fn rebuilt(&self) -> World {
        let mut anew = World::new(self.settings.clone());
        anew.objects = self.objects.clone();
        anew.mesh = self.mesh_of(&anew);
        anew.index = references(&self.objects, &self.mesh.trust_domain);
        let names: Vec<NamespacedName> = (self.objects.slices.values().map(|slice| slice.service.clone()))
            .chain(self.objects.old_endpoints.keys().cloned())
            .chain(self.objects.services.keys().cloned())
            .chain(self.objects.imports.keys().cloned())
            .collect();
        for pod in self.objects.pods.keys() {
            anew.select_for_pod(pod);
        }
        for service in &names {
            anew.derive_endpoints(service);
        }
        for service in &names {
            anew.derive_ports(service);
        }
        anew.derive_isolated();
        for namespace in self.objects.namespaces.keys() {
            for (pod, _) in in_namespace(&self.objects.pods, namespace) {
                anew.regroup(pod);
            }
        }
        anew.pending = super::Dirty::default();
        anew
    }

    fn mesh_of(&self, anew: &World) -> super::Mesh {
        super::Mesh::resolve(&self.settings, anew.mesh_config().map(|config| &config.spec))
    }
}

fn references(objects: &Objects, trust_domain: &str) -> Index {
    let mut index = Index::default();
    for (name, pod) in &objects.pods {
        index.insert(pod_terms(pod), name);
    }
    for (name, slice) in &objects.slices {
        index.insert([Term::SliceOf(slice.service.clone())], name);
    }
    for (name, service) in &objects.ingress_services {
        index.insert([Term::IngressOf(service.clone())], name);
    }
    fn add<P: Policy>(index: &mut Index, objects: &Objects, trust_domain: &str) {
        for (name, policy) in P::kept(objects) {
            index.insert(policy.terms(trust_domain), name);
        }
    }
    use fsm_api::resources::{multicluster, plugin, policy, smi};
    add::<smi::TrafficTarget>(&mut index, objects, trust_domain);
    add::<smi::TrafficSplit>(&mut index, objects, trust_domain);
    add::<policy::UpstreamTrafficSetting>(&mut index, objects, trust_domain);
    add::<policy::Retry>(&mut index, objects, trust_domain);
    add::<policy::Egress>(&mut index, objects, trust_domain);
    add::<policy::EgressGateway>(&mut index, objects, trust_domain);
    add::<policy::IngressBackend>(&mut index, objects, trust_domain);
    add::<policy::AccessControl>(&mut index, objects, trust_domain);
    add::<plugin::PluginConfig>(&mut index, objects, trust_domain);
    add::<multicluster::ServiceImport>(&mut index, objects, trust_domain);
    index
}
