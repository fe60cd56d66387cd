//! Questions about workloads, services and groups.

use super::World;
use super::derive::endpoint_port;
use super::group::{Group, GroupId};
use super::index::Term;
use super::model::{
    Account, Condition, Endpoint, MeshService, Namespace, NamespacedName, Pod, PodKey, RemoteTarget, Service,
    ServiceKey, Target, TlsSecret, WarmUp, WarmUpChoice,
};
use super::parse::MONITORED_BY;
use super::reference::{self, ImportAccount};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl World {
    /// All groups that have pods, in a fixed order.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.groups.all()
    }

    /// One group.
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id)
    }

    /// The group of a pod; `None` for a pod without proxy, that is over, or outside the mesh.
    pub fn group_of(&self, pod: &PodKey) -> Option<GroupId> {
        self.groups.of_pod(pod)
    }

    /// The pods of a group.
    pub fn members(&self, group: GroupId) -> impl Iterator<Item = &PodKey> {
        self.groups.members(group)
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.objects.namespaces.get(name)
    }

    /// All namespaces, in the mesh or not.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.objects.namespaces.values()
    }

    /// Whether a namespace is in the mesh.
    pub fn is_monitored(&self, namespace: &str) -> bool {
        self.namespace(namespace).is_some_and(|namespace| namespace.monitored)
    }

    /// Whether a namespace belongs to another mesh of the same cluster: it says so, or that mesh's control plane is in it.
    /// What is in there is none of our business.
    pub fn is_of_another_mesh(&self, namespace: &str) -> bool {
        if namespace == self.settings.fsm_namespace {
            return false;
        }
        match self.namespace(namespace).and_then(|namespace| namespace.labels.get(MONITORED_BY)) {
            Some(mesh) => *mesh != self.settings.mesh_name,
            None => self.objects.mesh_configs.keys().any(|config| config.namespace == namespace),
        }
    }

    /// A pod, in the mesh or not.
    pub fn pod(&self, key: &PodKey) -> Option<&Pod> {
        self.objects.pods.get(key)
    }

    /// All pods, in the mesh or not.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.objects.pods.values()
    }

    /// A Service, in the mesh or not.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.objects.services.get(key)
    }

    /// All Services, in the mesh or not.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.objects.services.values()
    }

    /// Every port of every service of the mesh: of monitored namespaces, not excluded, no ExternalName; and imported ones.
    pub fn mesh_services(&self) -> impl Iterator<Item = &MeshService> {
        self.ports.values().flatten()
    }

    /// The ports of one service of the mesh; empty when it is not in the mesh.
    pub fn mesh_services_of(&self, service: &ServiceKey) -> &[MeshService] {
        self.ports.get(service).map(Vec::as_slice).unwrap_or_default()
    }

    /// The endpoints of a service as they are, in the mesh or not, ready or not. Ordered by address.
    pub fn endpoints(&self, service: &ServiceKey) -> &[Endpoint] {
        self.endpoints.get(service).map(Vec::as_slice).unwrap_or_default()
    }

    /// How many endpoints of each service take traffic, in the mesh or not.
    pub fn ready_endpoints(&self) -> impl Iterator<Item = (&ServiceKey, usize)> {
        let ready = |endpoints: &[Endpoint]| endpoints.iter().filter(|one| one.condition == Condition::Ready).count();
        self.endpoints.iter().map(move |(service, endpoints)| (service, ready(endpoints)))
    }

    /// Where a port of a service is dialled inside this cluster: the ready endpoints, or for want of one those that are
    /// being ended and still serve. Isolated addresses are left out. Ordered by address.
    pub fn targets(&self, port: &MeshService) -> Vec<Target<'_>> {
        let service = self.objects.services.get(&port.service);
        let Some(service_port) = service.and_then(|service| service.ports.iter().find(|found| found.port == port.port))
        else {
            return Vec::new();
        };
        let of_host = |endpoint: &&Endpoint| port.host.is_none() || endpoint.hostname == port.host;
        let all = || self.endpoints(&port.service).iter().filter(of_host);
        let with = |condition: Condition| -> Vec<Target<'_>> {
            let chosen = all().filter(|endpoint| endpoint.condition == condition);
            chosen
                .filter(|endpoint| !addresses(endpoint).any(|ip| self.is_isolated(ip)))
                .filter_map(|endpoint| {
                    Some(self.target(&port.service, endpoint, endpoint_port(endpoint, service_port)?))
                })
                .collect()
        };
        let ready = with(Condition::Ready);
        if ready.is_empty() { with(Condition::Serving) } else { ready }
    }

    fn target<'a>(&'a self, service: &ServiceKey, endpoint: &'a Endpoint, port: u16) -> Target<'a> {
        let pod = self.pod_behind(service, endpoint);
        Target {
            ip: endpoint.ip,
            port,
            ips: addresses(endpoint).collect(),
            pod: pod.map(|pod| &pod.key),
            account: pod.map(|pod| &pod.account),
            has_proxy: pod.is_some_and(|pod| pod.has_proxy() && self.is_monitored(&pod.key.namespace)),
            started: pod.and_then(|pod| pod.started),
        }
    }

    /// The pod of an endpoint: the one that it refers to, else the one of the service's namespace that has its address.
    fn pod_behind(&self, service: &ServiceKey, endpoint: &Endpoint) -> Option<&Pod> {
        if let Some(pod) = &endpoint.pod {
            return self.objects.pods.get(pod);
        }
        let at = addresses(endpoint).flat_map(|ip| self.index.get(&Term::PodAt(ip)));
        let mut same = at.filter(|pod| pod.namespace == service.namespace);
        same.next().and_then(|pod| self.objects.pods.get(pod))
    }

    /// Where a port of a service is dialled in other clusters, whatever its GlobalTrafficPolicy says.
    pub fn remote_targets(&self, port: &MeshService) -> Vec<RemoteTarget> {
        let Some(import) = self.objects.imports.get(&port.service).filter(|_| port.host.is_none()) else {
            return Vec::new();
        };
        let ports = import.spec.ports.iter().filter(|found| found.port == port.port);
        let targets: BTreeSet<RemoteTarget> = ports
            .flat_map(|port| &port.endpoints)
            .filter_map(|endpoint| {
                let ip: IpAddr = endpoint.target.ip.trim().parse().ok()?;
                (!ip.is_unspecified() && endpoint.target.port > 0).then(|| RemoteTarget {
                    cluster: endpoint.cluster_key.clone(),
                    ip,
                    port: endpoint.target.port,
                    path: endpoint.target.path.clone(),
                })
            })
            .collect();
        targets.into_iter().collect()
    }

    /// All addresses of all endpoints of a service, in the mesh or not, ready or not: what clients of an IngressBackend
    /// come from, and what destination ranges contain besides cluster addresses.
    pub fn addresses_of(&self, service: &ServiceKey) -> BTreeSet<IpAddr> {
        self.endpoints(service).iter().flat_map(addresses).collect()
    }

    /// The accounts whose certificates the pods behind a service may present; that of its import included.
    pub fn accounts_of(&self, service: &ServiceKey) -> BTreeSet<Account> {
        let behind = self.endpoints(service).iter().filter_map(|endpoint| self.pod_behind(service, endpoint));
        let selected = self.pods_of_service(service).filter_map(|pod| self.objects.pods.get(pod));
        let mut accounts: BTreeSet<Account> =
            behind.chain(selected).filter(|pod| !pod.phase.is_over()).map(|pod| pod.account.clone()).collect();
        if let Some(ImportAccount::Of(account)) = self.import_account(service) {
            accounts.insert(account);
        }
        accounts
    }

    /// The services of the mesh that pods of an account serve, or that are imported as served by it.
    pub fn services_of_account(&self, account: &Account) -> BTreeSet<ServiceKey> {
        let mut services: BTreeSet<ServiceKey> = self.index.get(&Term::ImportOf(account.clone())).cloned().collect();
        for pod in self.pods_of_account(account).filter(|pod| !pod.phase.is_over()) {
            services.extend(self.services_of_pod(&pod.key).cloned());
            services.extend(self.index.get(&Term::EndpointAt(pod.key.clone())).cloned());
            let at = pod.ips.iter().flat_map(|ip| self.index.get(&Term::EndpointIp(*ip)));
            services.extend(at.filter(|service| service.namespace == account.namespace).cloned());
        }
        // An address may have passed from pod to pod; who is behind an endpoint is decided in one place only.
        services.retain(|service| self.ports.contains_key(service) && self.accounts_of(service).contains(account));
        services
    }

    /// The services that an account may call: every one of the mesh in permissive mode, otherwise those of the destinations
    /// of TrafficTargets with this source, and those that a TrafficSplit shares out to one of them.
    pub fn callable_services(&self, account: &Account) -> BTreeSet<ServiceKey> {
        if self.mesh.permissive {
            return self.ports.keys().cloned().collect();
        }
        let mut services = BTreeSet::new();
        let mut any = false;
        for target in self.targets_from(account) {
            if let Some(destination) = reference::target_destination(target) {
                services.extend(self.services_of_account(&destination));
                any = true;
            }
        }
        if any {
            let imports = self.index.get(&Term::ImportOfAny).filter(|import| self.ports.contains_key(import));
            services.extend(imports.cloned());
        }
        let roots: BTreeSet<ServiceKey> = (services.iter())
            .flat_map(|service| self.index.get(&Term::SplitBackend(service.clone())))
            .filter_map(|split| self.objects.splits.get(split))
            .map(|split| reference::split_root(split))
            .filter(|root| self.ports.contains_key(root))
            .collect();
        services.extend(roots);
        services
    }

    /// Whether a service is imported as served by any account (`serviceAccountName: "*"`).
    pub fn is_imported_for_anyone(&self, service: &ServiceKey) -> bool {
        self.import_account(service) == Some(ImportAccount::Any)
    }

    fn import_account(&self, service: &ServiceKey) -> Option<ImportAccount> {
        self.objects.imports.get(service).map(|import| reference::import_account(import))
    }

    /// The pods of an account, in the mesh or not.
    pub fn pods_of_account(&self, account: &Account) -> impl Iterator<Item = &Pod> {
        self.index.get(&Term::PodOf(account.clone())).filter_map(|name| self.objects.pods.get(name))
    }

    /// The services of the mesh whose selector takes a pod.
    pub fn services_of_pod(&self, pod: &PodKey) -> impl Iterator<Item = &ServiceKey> {
        self.selected.by_pod.get(pod).into_iter().flatten()
    }

    /// The pods that a service of the mesh selects.
    pub fn pods_of_service(&self, service: &ServiceKey) -> impl Iterator<Item = &PodKey> {
        self.selected.by_service.get(service).into_iter().flatten()
    }

    /// Addresses of all proxies with their account, isolated ones left out.
    pub fn proxy_addresses(&self) -> impl Iterator<Item = (IpAddr, &Account)> {
        let pods = self.groups.pods().filter_map(|pod| self.objects.pods.get(pod));
        let addresses = pods.flat_map(|pod| pod.ips.iter().map(move |ip| (*ip, &pod.account)));
        addresses.filter(|(ip, _)| !self.is_isolated(*ip))
    }

    /// Whether an Isolation keeps everybody from an address.
    pub fn is_isolated(&self, ip: IpAddr) -> bool {
        self.isolated.iter().any(|range| range.contains(&ip))
    }

    /// Addresses of this cluster's ingress controller, from which calls of other clusters come (IngressClass annotation
    /// `meta.flomesh.io/ingress-pipy-svc`).
    pub fn ingress_controller_addresses(&self) -> BTreeSet<IpAddr> {
        self.objects.ingress_services.values().flat_map(|service| self.addresses_of(service)).collect()
    }

    /// How new endpoints of a service are warmed up: its TrafficWarmup, else its namespace's annotations, else the mesh's
    /// setting; `None`: not at all.
    pub fn warm_up(&self, service: &ServiceKey) -> Option<WarmUp> {
        if !self.mesh.features.traffic_warmup_policy {
            return None;
        }
        if let Some(own) = self.objects.warm_ups.get(service) {
            let spec = &own.spec;
            return spec.enable.then(|| super::mesh::warm_up(spec));
        }
        match self.namespace(&service.namespace).map_or(WarmUpChoice::Unsaid, |namespace| namespace.warm_up) {
            WarmUpChoice::Unsaid => self.mesh.warm_up,
            WarmUpChoice::Off => None,
            WarmUpChoice::On(warm_up) => Some(warm_up),
        }
    }

    /// The certificate of a Secret, where an Egress refers to it and it has one.
    pub fn tls_secret(&self, namespace: &str, name: &str) -> Option<&TlsSecret> {
        let name = NamespacedName::new(namespace, name);
        self.objects.secrets.get(&name).filter(|_| self.index.has(&Term::EgressSecret(name.clone())))
    }
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> {
    std::iter::once(endpoint.ip).chain(endpoint.other_ips.iter().copied())
}
