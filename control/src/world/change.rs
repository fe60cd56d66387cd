//! Taking in changes, one object at a time.

use super::World;
use super::group::{Dirty, GroupId};
use super::index::Term;
use super::mesh::Mesh;
use super::model::{Namespace, NamespacedName, Pod, PodKey, Service, ServiceKey, TlsSecret};
use super::objects::{Policy, Rederive};
use super::parse::{self, Mention, Slice};
use super::scope::Scope;
use fsm_api::resources::mesh_config::MeshConfig;
use fsm_api::resources::{Kind, Object, ObjectKey};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

impl World {
    /// Takes in an object, new or changed. An object that says nothing new, or that no document depends on, asks for
    /// nothing.
    pub fn apply(&mut self, object: Object) -> Dirty {
        let key = object.key();
        let name = NamespacedName::new(key.namespace, key.name);
        match object {
            Object::Namespace(new) => {
                let new = parse::namespace(&new, &self.settings.mesh_name);
                self.put_namespace(&name.name, Some(new))
            }
            Object::Pod(new) => self.put_pod(&name, Some(parse::pod(&new))),
            Object::Service(new) => self.put_service(&name, Some(parse::service(&new))),
            Object::EndpointSlice(new) => self.put_slice(&name, parse::slice(&new)),
            Object::Endpoints(new) => self.put_endpoints(&name, Some(parse::endpoints(&new))),
            Object::Secret(new) => self.put_secret(&name, parse::tls_secret(&new)),
            Object::IngressClass(new) => {
                let annotations = new.metadata.annotations.as_ref();
                let read = |name: &str| annotations?.get(name).map(String::as_str);
                self.put_ingress_service(&name, parse::ingress_service(read))
            }
            Object::MeshConfig(new) => self.put_mesh_config(&name, Some(new)),
            Object::TrafficTarget(new) => self.put(&name, Some(new)),
            Object::HttpRouteGroup(new) => self.put(&name, Some(new)),
            Object::TcpRoute(new) => self.put(&name, Some(new)),
            Object::TrafficSplit(new) => self.put(&name, Some(new)),
            Object::UpstreamTrafficSetting(new) => self.put(&name, Some(new)),
            Object::Retry(new) => self.put(&name, Some(new)),
            Object::Egress(new) => self.put(&name, Some(new)),
            Object::EgressGateway(new) => self.put(&name, Some(new)),
            Object::IngressBackend(new) => self.put(&name, Some(new)),
            Object::AccessControl(new) => self.put(&name, Some(new)),
            Object::AccessCert(new) => self.put(&name, Some(new)),
            Object::Isolation(new) => self.put(&name, Some(new)),
            Object::Plugin(new) => self.put(&name, Some(new)),
            Object::PluginChain(new) => self.put(&name, Some(new)),
            Object::PluginConfig(new) => self.put(&name, Some(new)),
            Object::TrafficWarmup(new) => self.put(&name, Some(new)),
            Object::ServiceImport(new) => self.put(&name, Some(new)),
            Object::ServiceExport(new) => self.put(&name, Some(new)),
            Object::GlobalTrafficPolicy(new) => self.put(&name, Some(new)),
            Object::NamespacedIngress(new) => self.put(&name, Some(new)),
            _ => Dirty::default(),
        }
    }

    /// Forgets an object. Forgetting one that is not known asks for nothing.
    pub fn remove(&mut self, key: &ObjectKey) -> Dirty {
        use fsm_api::resources::{ingress, multicluster, plugin, policy, smi};
        let name = &NamespacedName::new(&key.namespace, &key.name);
        match key.kind {
            Kind::Namespace => self.put_namespace(&name.name, None),
            Kind::Pod => self.put_pod(name, None),
            Kind::Service => self.put_service(name, None),
            Kind::EndpointSlice => self.put_slice(name, None),
            Kind::Endpoints => self.put_endpoints(name, None),
            Kind::Secret => self.put_secret(name, None),
            Kind::IngressClass => self.put_ingress_service(name, None),
            Kind::MeshConfig => self.put_mesh_config(name, None),
            Kind::TrafficTarget => self.put::<smi::TrafficTarget>(name, None),
            Kind::HttpRouteGroup => self.put::<smi::HttpRouteGroup>(name, None),
            Kind::TcpRoute => self.put::<smi::TcpRoute>(name, None),
            Kind::TrafficSplit => self.put::<smi::TrafficSplit>(name, None),
            Kind::UpstreamTrafficSetting => self.put::<policy::UpstreamTrafficSetting>(name, None),
            Kind::Retry => self.put::<policy::Retry>(name, None),
            Kind::Egress => self.put::<policy::Egress>(name, None),
            Kind::EgressGateway => self.put::<policy::EgressGateway>(name, None),
            Kind::IngressBackend => self.put::<policy::IngressBackend>(name, None),
            Kind::AccessControl => self.put::<policy::AccessControl>(name, None),
            Kind::AccessCert => self.put::<policy::AccessCert>(name, None),
            Kind::Isolation => self.put::<policy::Isolation>(name, None),
            Kind::Plugin => self.put::<plugin::Plugin>(name, None),
            Kind::PluginChain => self.put::<plugin::PluginChain>(name, None),
            Kind::PluginConfig => self.put::<plugin::PluginConfig>(name, None),
            Kind::TrafficWarmup => self.put::<policy::TrafficWarmup>(name, None),
            Kind::ServiceImport => self.put::<multicluster::ServiceImport>(name, None),
            Kind::ServiceExport => self.put::<multicluster::ServiceExport>(name, None),
            Kind::GlobalTrafficPolicy => self.put::<multicluster::GlobalTrafficPolicy>(name, None),
            Kind::NamespacedIngress => self.put::<ingress::NamespacedIngress>(name, None),
            _ => Dirty::default(),
        }
    }

    fn put<P: Policy>(&mut self, name: &NamespacedName, new: Option<Arc<P>>) -> Dirty {
        let old = P::kept(&self.objects).get(name).cloned();
        let same = match (&old, &new) {
            (Some(old), Some(new)) => old.same(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if same {
            // The newest is kept all the same: its status and resource version are of use to those who answer it.
            if let Some(new) = new {
                P::kept_mut(&mut self.objects).insert(name.clone(), new);
            }
            return Dirty::default();
        }
        let mut groups = BTreeSet::new();
        if let Some(old) = &old {
            groups.extend(self.resolve(&old.scope(name, self)));
            self.index.remove(old.terms(&self.mesh.trust_domain), name);
            P::kept_mut(&mut self.objects).remove(name);
        }
        if let Some(new) = &new {
            self.index.insert(new.terms(&self.mesh.trust_domain), name);
            P::kept_mut(&mut self.objects).insert(name.clone(), new.clone());
        }
        match P::REDERIVE {
            Rederive::Nothing => {}
            Rederive::Ports => {
                self.derive_ports(name);
            }
            Rederive::Isolation => self.derive_isolated(),
            Rederive::Groups => self.regroup_all(),
        }
        if let Some(new) = &new {
            groups.extend(self.resolve(&new.scope(name, self)));
        }
        self.finish(groups)
    }

    fn put_namespace(&mut self, name: &str, new: Option<Namespace>) -> Dirty {
        let old = self.objects.namespaces.remove(name);
        if let Some(new) = &new {
            self.objects.namespaces.insert(name.to_owned(), new.clone());
        }
        let decides = |namespace: &Option<Namespace>| {
            namespace
                .as_ref()
                .filter(|namespace| namespace.monitored)
                .map(|namespace| (namespace.excluded_services.clone(), namespace.warm_up))
        };
        if old == new || (decides(&old).is_none() && decides(&new).is_none()) {
            return Dirty::default();
        }
        let all = decides(&old) != decides(&new);
        let services: Vec<ServiceKey> =
            in_namespace(&self.objects.services, name).map(|(key, _)| key.clone()).collect();
        let imports: Vec<ServiceKey> = in_namespace(&self.objects.imports, name).map(|(key, _)| key.clone()).collect();
        let pods: Vec<PodKey> = in_namespace(&self.objects.pods, name).map(|(key, _)| key.clone()).collect();
        for pod in &pods {
            self.select_for_pod(pod);
        }
        for service in services.iter().chain(&imports) {
            self.derive_ports(service);
        }
        for pod in &pods {
            self.regroup(pod);
        }
        // Who is in the mesh concerns everybody; labels alone only concern the pods' own groups.
        let groups = if all { self.groups.ids().collect() } else { BTreeSet::new() };
        self.finish(groups)
    }

    fn put_pod(&mut self, key: &PodKey, new: Option<Pod>) -> Dirty {
        let old = self.objects.pods.get(key);
        let same = match (old, &new) {
            (Some(old), Some(new)) => {
                // Endpoints say who takes traffic, so readiness decides nothing here.
                let (ready, terminating, uid) = (old.ready, old.terminating, old.uid.clone());
                *old == Pod { ready, terminating, uid, ..new.clone() }
            }
            (old, new) => old.is_none() && new.is_none(),
        };
        if same {
            if let Some(new) = new {
                self.objects.pods.insert(key.clone(), new);
            }
            return Dirty::default();
        }
        // An address passes from pod to pod, and with it those who may call the services that have it as an endpoint.
        let at = self.services_at(old.into_iter().chain(&new).flat_map(|pod| &pod.ips));
        let before = self.pod_scope(key).and(at.clone());
        let mut groups = self.resolve(&before);
        if let Some(old) = self.objects.pods.remove(key) {
            self.index.remove(pod_terms(&old), key);
        }
        if let Some(new) = new {
            self.index.insert(pod_terms(&new), key);
            self.objects.pods.insert(key.clone(), new);
        }
        self.select_for_pod(key);
        let after = self.pod_scope(key).and(at);
        for service in before.about.union(&after.about) {
            self.derive_ports(service);
        }
        self.regroup(key);
        groups.extend(self.resolve(&after));
        self.finish(groups)
    }

    /// Whom a pod concerns: everybody around its services; and everybody at all where addresses stand in for identities.
    fn pod_scope(&self, key: &PodKey) -> Scope {
        let referred = self.index.get(&Term::EndpointAt(key.clone())).cloned();
        if !self.objects.pods.contains_key(key) {
            return Scope::about(referred);
        }
        let selected = self.services_of_pod(key).cloned();
        Scope::about(selected.chain(referred)).and(Scope::all_if(!self.mesh.mtls))
    }

    /// Everybody around the services that have these addresses as endpoints.
    fn services_at<'a>(&self, ips: impl Iterator<Item = &'a IpAddr>) -> Scope {
        Scope::about(ips.flat_map(|ip| self.index.get(&Term::EndpointIp(*ip))).cloned())
    }

    fn put_service(&mut self, key: &ServiceKey, new: Option<Service>) -> Dirty {
        if self.objects.services.get(key) == new.as_ref() {
            return Dirty::default();
        }
        let scope = Scope::about([key.clone()]);
        let mut groups = self.resolve(&scope);
        match new {
            Some(new) => self.objects.services.insert(key.clone(), new),
            None => self.objects.services.remove(key),
        };
        self.select_for_service(key);
        self.derive_endpoints(key);
        self.derive_ports(key);
        groups.extend(self.resolve(&scope));
        self.finish(groups)
    }

    fn put_slice(&mut self, name: &NamespacedName, new: Option<Slice>) -> Dirty {
        let old = self.objects.slices.get(name);
        if old == new.as_ref() {
            return Dirty::default();
        }
        let services: BTreeSet<ServiceKey> =
            old.iter().copied().chain(&new).map(|slice| slice.service.clone()).collect();
        let before = self.resolve(&Scope::about(services.clone()));
        if let Some(old) = self.objects.slices.remove(name) {
            self.index.remove([Term::SliceOf(old.service)], name);
        }
        if let Some(new) = new {
            self.index.insert([Term::SliceOf(new.service.clone())], name);
            self.objects.slices.insert(name.clone(), new);
        }
        self.endpoints_changed(services, before)
    }

    fn put_endpoints(&mut self, key: &ServiceKey, new: Option<Vec<Mention>>) -> Dirty {
        if self.objects.old_endpoints.get(key) == new.as_ref() {
            return Dirty::default();
        }
        let before = self.resolve(&Scope::about([key.clone()]));
        match new {
            Some(new) => self.objects.old_endpoints.insert(key.clone(), new),
            None => self.objects.old_endpoints.remove(key),
        };
        self.endpoints_changed([key.clone()].into(), before)
    }

    fn endpoints_changed(&mut self, services: BTreeSet<ServiceKey>, before: BTreeSet<GroupId>) -> Dirty {
        let mut changed = false;
        for service in &services {
            changed |= self.derive_endpoints(service);
            changed |= self.derive_ports(service);
        }
        // Slices are written more often than they say something new.
        let mut groups = BTreeSet::new();
        if changed {
            groups = before;
            groups.extend(self.resolve(&Scope::about(services)));
        }
        self.finish(groups)
    }

    fn put_secret(&mut self, name: &NamespacedName, new: Option<TlsSecret>) -> Dirty {
        if self.objects.secrets.get(name) == new.as_ref() {
            return Dirty::default();
        }
        match new {
            Some(new) => self.objects.secrets.insert(name.clone(), new),
            None => self.objects.secrets.remove(name),
        };
        let egresses = self.index.get(&Term::EgressSecret(name.clone()));
        let egresses = egresses.filter_map(|name| self.objects.egresses.get(name));
        let scope = Scope::accounts(egresses.flat_map(|egress| super::reference::egress_sources(egress)));
        let groups = self.resolve(&scope);
        self.finish(groups)
    }

    fn put_ingress_service(&mut self, name: &NamespacedName, new: Option<ServiceKey>) -> Dirty {
        let old = match new.clone() {
            Some(new) => self.objects.ingress_services.insert(name.clone(), new),
            None => self.objects.ingress_services.remove(name),
        };
        if old == new {
            return Dirty::default();
        }
        self.index.remove(old.map(Term::IngressOf), name);
        self.index.insert(new.map(Term::IngressOf), name);
        let groups = self.resolve(&Scope::serving(self.objects.exports.keys().cloned()));
        self.finish(groups)
    }

    fn put_mesh_config(&mut self, name: &NamespacedName, new: Option<Arc<MeshConfig>>) -> Dirty {
        match new {
            Some(new) => self.objects.mesh_configs.insert(name.clone(), new),
            None => self.objects.mesh_configs.remove(name),
        };
        let mesh = Mesh::resolve(&self.settings, self.mesh_config().map(|config| &config.spec));
        if mesh == self.mesh {
            return Dirty::default();
        }
        let plugins = mesh.features.plugin_policy != self.mesh.features.plugin_policy;
        self.mesh = mesh;
        if plugins {
            self.regroup_all();
        }
        let groups = self.groups.ids().collect();
        let mut dirty = self.finish(groups);
        dirty.mesh = true;
        dirty
    }

    /// Adds what happened to the groups themselves.
    fn finish(&mut self, groups: BTreeSet<GroupId>) -> Dirty {
        let mut dirty = std::mem::take(&mut self.pending);
        dirty.groups.extend(groups);
        dirty.groups.retain(|&group| self.groups.get(group).is_some());
        dirty
    }
}

pub(super) fn pod_terms(pod: &Pod) -> Vec<Term> {
    let mut terms = vec![Term::PodOf(pod.account.clone())];
    if !pod.host_network && !pod.phase.is_over() {
        terms.extend(pod.ips.iter().map(|ip| Term::PodAt(*ip)));
    }
    terms
}

/// The entries of one namespace.
pub(super) fn in_namespace<'a, T>(
    map: &'a std::collections::BTreeMap<NamespacedName, T>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a NamespacedName, &'a T)> {
    let first = NamespacedName::new(namespace, "");
    map.range(first..).take_while(move |(name, _)| name.namespace == namespace)
}
