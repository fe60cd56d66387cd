//! What follows from several objects together: endpoints merged over slices, services of pods, ports, groups. Each is
//! computed anew only for the services and pods that a change touches, always from the objects as they are.

use super::World;
use super::change::in_namespace;
use super::group::Group;
use super::index::Term;
use super::model::{Condition, Endpoint, EndpointPort, MeshService, NamespacedName, Pod, PodKey, Service, ServiceKey};
use super::model::{ServicePort, TargetPort};
use super::parse::{self, Mention};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Which services select which pods, both ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) by_pod: BTreeMap<PodKey, BTreeSet<ServiceKey>>,
    pub(super) by_service: BTreeMap<ServiceKey, BTreeSet<PodKey>>,
}

impl Selected {
    fn set(&mut self, service: &ServiceKey, pod: &PodKey, selected: bool) {
        if selected {
            self.by_pod.entry(pod.clone()).or_default().insert(service.clone());
            self.by_service.entry(service.clone()).or_default().insert(pod.clone());
            return;
        }
        if let Some(services) = self.by_pod.get_mut(pod) {
            services.remove(service);
            if services.is_empty() {
                self.by_pod.remove(pod);
            }
        }
        if let Some(pods) = self.by_service.get_mut(service) {
            pods.remove(pod);
            if pods.is_empty() {
                self.by_service.remove(service);
            }
        }
    }
}

impl World {
    /// Whether a service counts: in a monitored namespace, not excluded, and something that can be reached.
    pub(super) fn counts(&self, service: &Service) -> bool {
        let namespace = self.objects.namespaces.get(&service.key.namespace).filter(|namespace| namespace.monitored);
        namespace.is_some_and(|namespace| !namespace.excluded_services.contains(&service.key.name))
            && !service.excluded
            && service.external_name.is_none()
    }

    pub(super) fn select_for_pod(&mut self, key: &PodKey) {
        let before = self.selected.by_pod.get(key).cloned().unwrap_or_default();
        let after: BTreeSet<ServiceKey> = match self.objects.pods.get(key) {
            Some(pod) => in_namespace(&self.objects.services, &key.namespace)
                .filter(|(_, service)| self.counts(service) && selects(service, pod))
                .map(|(service, _)| service.clone())
                .collect(),
            None => BTreeSet::new(),
        };
        for service in before.union(&after) {
            self.selected.set(service, key, after.contains(service));
        }
    }

    pub(super) fn select_for_service(&mut self, key: &ServiceKey) {
        let before = self.selected.by_service.get(key).cloned().unwrap_or_default();
        let after: BTreeSet<PodKey> = match self.objects.services.get(key).filter(|service| self.counts(service)) {
            Some(service) => in_namespace(&self.objects.pods, &key.namespace)
                .filter(|(_, pod)| selects(service, pod))
                .map(|(pod, _)| pod.clone())
                .collect(),
            None => BTreeSet::new(),
        };
        for pod in before.union(&after) {
            self.selected.set(key, pod, after.contains(pod));
        }
        for pod in before.union(&after) {
            self.regroup(pod);
        }
    }

    /// Merges what all slices of a service say; true when something new came out.
    pub(super) fn derive_endpoints(&mut self, key: &ServiceKey) -> bool {
        let slices: Vec<&Mention> = (self.index.get(&Term::SliceOf(key.clone())))
            .filter_map(|name| self.objects.slices.get(name))
            .flat_map(|slice| &slice.mentions)
            .collect();
        // Kubernetes mirrors old Endpoints into slices: where there are slices, they say everything.
        let mentions = match self.index.has(&Term::SliceOf(key.clone())) {
            true => slices,
            false => self.objects.old_endpoints.get(key).into_iter().flatten().collect(),
        };
        let prefers_ipv6 = self.objects.services.get(key).is_some_and(|service| service.prefers_ipv6);
        let new = merge(mentions, prefers_ipv6);
        let old = self.endpoints.remove(key).unwrap_or_default();
        self.index.remove(endpoint_terms(&old), key);
        self.index.insert(endpoint_terms(&new), key);
        let changed = old != new;
        if !new.is_empty() {
            self.endpoints.insert(key.clone(), new);
        }
        changed
    }

    /// Computes the ports of a service; true when something new came out.
    pub(super) fn derive_ports(&mut self, key: &ServiceKey) -> bool {
        let new = self.ports_of(key);
        let old = match new.is_empty() {
            true => self.ports.remove(key),
            false => self.ports.insert(key.clone(), new.clone()),
        };
        old.unwrap_or_default() != new
    }

    fn ports_of(&self, key: &ServiceKey) -> Vec<MeshService> {
        let monitored = self.objects.namespaces.get(&key.namespace).filter(|namespace| namespace.monitored);
        let mut ports = Vec::new();
        if monitored.is_none() {
            return ports;
        }
        let local = self.objects.services.get(key);
        if let Some(service) = local {
            if !self.counts(service) {
                return ports;
            }
            let endpoints = self.endpoints.get(key).map(Vec::as_slice).unwrap_or_default();
            let hosts: BTreeSet<&String> = match service.headless {
                true => endpoints.iter().filter_map(|endpoint| endpoint.hostname.as_ref()).collect(),
                false => BTreeSet::new(),
            };
            let hosts: Vec<Option<&String>> = match hosts.is_empty() {
                true => vec![None],
                false => hosts.into_iter().map(Some).collect(),
            };
            for host in hosts {
                ports.extend(service.ports.iter().map(|port| MeshService {
                    service: key.clone(),
                    host: host.cloned(),
                    port: port.port,
                    port_name: port.name.clone(),
                    protocol: port.protocol,
                    target_port: self.target_port(service, port, host, endpoints),
                }));
            }
        }
        if let Some(import) = self.objects.imports.get(key) {
            for port in &import.spec.ports {
                if port.port == 0 || ports.iter().any(|known| known.port == port.port) {
                    continue;
                }
                let name = port.name.clone().unwrap_or_default();
                ports.push(MeshService {
                    service: key.clone(),
                    host: None,
                    port: port.port,
                    protocol: parse::protocol(port.app_protocol.as_deref(), &name),
                    port_name: name,
                    target_port: Some(port.port),
                });
            }
        }
        ports.sort();
        ports
    }

    fn target_port(
        &self,
        service: &Service,
        port: &ServicePort,
        host: Option<&String>,
        endpoints: &[Endpoint],
    ) -> Option<u16> {
        let told = endpoints.iter().filter(|endpoint| host.is_none() || endpoint.hostname.as_ref() == host);
        let lowest = told.filter_map(|endpoint| endpoint_port(endpoint, port)).min();
        lowest.or_else(|| match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => self
                .pods_of_service(&service.key)
                .filter_map(|pod| self.objects.pods.get(pod)?.named_ports.get(name).copied())
                .min(),
        })
    }

    pub(super) fn derive_isolated(&mut self) {
        let cidrs = self.objects.isolations.values().flat_map(|isolation| &isolation.spec.cidrs);
        let ranges: BTreeSet<IpNet> = cidrs.filter_map(|text| range(text)).collect();
        self.isolated = ranges.into_iter().collect();
    }

    pub(super) fn regroup_all(&mut self) {
        for pod in self.objects.pods.keys().cloned().collect::<Vec<_>>() {
            self.regroup(&pod);
        }
    }

    pub(super) fn regroup(&mut self, key: &PodKey) {
        let pod = self.objects.pods.get(key).filter(|pod| pod.has_proxy() && self.is_monitored(&pod.key.namespace));
        let group = pod.map(|pod| self.group_for(pod));
        self.groups.assign(key, group, &mut self.pending);
    }

    fn group_for(&self, pod: &Pod) -> Group {
        let services: BTreeSet<ServiceKey> = self.services_of_pod(&pod.key).cloned().collect();
        let mut named_ports = BTreeMap::new();
        let mut headless = false;
        for service in services.iter().filter_map(|key| self.objects.services.get(key)) {
            headless |= service.headless;
            for port in &service.ports {
                if let TargetPort::Name(name) = &port.target
                    && let Some(number) = pod.named_ports.get(name)
                {
                    named_ports.insert(name.clone(), *number);
                }
            }
        }
        Group {
            account: pod.account.clone(),
            services,
            host: pod.hostname.clone().filter(|_| headless),
            named_ports,
            probes: pod.probes.clone(),
            metrics: pod.metrics,
            chains: self.chains_of(pod),
        }
    }

    /// The PluginChains that select a pod. A chain's own namespace does not count (FSM's rule); a selector that is not
    /// there selects everything, one that cannot be understood nothing.
    fn chains_of(&self, pod: &Pod) -> BTreeSet<NamespacedName> {
        if !self.mesh.features.plugin_policy {
            return BTreeSet::new();
        }
        let none = BTreeMap::new();
        let namespace = self.objects.namespaces.get(&pod.key.namespace).map_or(&none, |namespace| &namespace.labels);
        let chains = self.objects.plugin_chains.iter().filter(|(_, chain)| {
            let selectors = &chain.spec.selectors;
            matches(selectors.pod_selector.as_ref(), &pod.labels)
                && matches(selectors.namespace_selector.as_ref(), namespace)
        });
        chains.map(|(name, _)| name.clone()).collect()
    }
}

/// The port of an endpoint that belongs to a port of its service: the one of the same name; a single one without a name,
/// or for a service port without one; without any ports what the service itself says.
pub(super) fn endpoint_port(endpoint: &Endpoint, port: &ServicePort) -> Option<u16> {
    if let Some(found) = endpoint.ports.iter().find(|found| found.name == port.name) {
        return Some(found.port);
    }
    match (&*endpoint.ports, &port.target) {
        ([single], _) if single.name.is_empty() || port.name.is_empty() => Some(single.port),
        ([], TargetPort::Number(number)) => Some(*number),
        _ => None,
    }
}

/// A CIDR; a single address is the range of itself.
pub(super) fn range(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn selects(service: &Service, pod: &Pod) -> bool {
    !service.selector.is_empty() && service.selector.iter().all(|(name, value)| pod.labels.get(name) == Some(value))
}

fn matches(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return true };
    let equal = selector.match_labels.iter().flatten().all(|(name, value)| labels.get(name) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|expression| {
            let value = labels.get(&expression.key);
            let listed = value.is_some_and(|value| expression.values.iter().flatten().any(|other| other == value));
            match expression.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

fn endpoint_terms(endpoints: &[Endpoint]) -> Vec<Term> {
    let terms = endpoints.iter().flat_map(|endpoint| match &endpoint.pod {
        Some(pod) => vec![Term::EndpointAt(pod.clone())],
        None => std::iter::once(&endpoint.ip).chain(&endpoint.other_ips).map(|ip| Term::EndpointIp(*ip)).collect(),
    });
    terms.collect()
}

/// One endpoint for each pod, or for each address that belongs to none, however often slices mention it: while endpoints
/// move between slices both mention them, and each family of a dual-stack service has slices of its own.
fn merge(mentions: Vec<&Mention>, prefers_ipv6: bool) -> Vec<Endpoint> {
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
    enum Who {
        Pod(PodKey),
        Address(IpAddr),
    }
    struct Merged {
        ips: BTreeSet<IpAddr>,
        hostname: Option<String>,
        ports: BTreeSet<EndpointPort>,
        condition: Condition,
    }
    let owners: BTreeMap<IpAddr, &PodKey> = mentions
        .iter()
        .filter_map(|mention| mention.pod.as_ref().map(|pod| mention.ips.iter().map(move |ip| (*ip, pod))))
        .flatten()
        .collect();
    let mut all: BTreeMap<Who, Merged> = BTreeMap::new();
    for mention in mentions {
        let owner = mention.pod.as_ref().or_else(|| mention.ips.iter().find_map(|ip| owners.get(ip).copied()));
        let who = match (owner, mention.ips.first()) {
            (Some(pod), _) => Who::Pod(pod.clone()),
            (None, Some(ip)) => Who::Address(*ip),
            (None, None) => continue,
        };
        let merged = all.entry(who).or_insert_with(|| Merged {
            ips: BTreeSet::new(),
            hostname: None,
            ports: BTreeSet::new(),
            condition: Condition::NotReady,
        });
        merged.ips.extend(&mention.ips);
        merged.hostname = merged.hostname.take().max(mention.hostname.clone());
        merged.ports.extend(mention.ports.iter().cloned());
        merged.condition = merged.condition.min(mention.condition);
    }
    let mut endpoints: Vec<Endpoint> = all
        .into_iter()
        .filter_map(|(who, merged)| {
            let mut ips: Vec<IpAddr> = merged.ips.into_iter().collect();
            ips.sort_by_key(|ip| (ip.is_ipv6() != prefers_ipv6, *ip));
            Some(Endpoint {
                ip: *ips.first()?,
                other_ips: ips.split_off(1),
                hostname: merged.hostname,
                pod: match who {
                    Who::Pod(pod) => Some(pod),
                    Who::Address(_) => None,
                },
                ports: merged.ports.into_iter().collect::<Arc<[_]>>(),
                condition: merged.condition,
            })
        })
        .collect();
    endpoints.sort();
    endpoints
}
