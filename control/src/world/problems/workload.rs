//! Settings of the mesh, services, plugins, imports.

use super::{Findings, World, key};
use crate::world::derive::endpoint_port;
use crate::world::model::{NamespacedName, TargetPort};
use crate::world::objects::by_age;
use fsm_api::resources::Kind;
use fsm_api::resources::multicluster::{GlobalTrafficPolicy, LbType, ServiceImport};
use fsm_api::resources::plugin::{PluginChain, PluginConfig};
use std::net::IpAddr;

/// The chains that have a meaning.
const CHAINS: [&str; 4] = ["inbound-tcp", "inbound-http", "outbound-tcp", "outbound-http"];

impl World {
    pub(super) fn find_in_settings(&self, found: &mut Findings) {
        let counts = NamespacedName::new(&self.settings.fsm_namespace, &self.settings.mesh_config_name);
        let is_there = self.objects.mesh_configs.contains_key(&counts);
        // Beside our own, those of other namespaces are the settings of other meshes.
        let of_others = |name: &NamespacedName| is_there && self.is_of_another_mesh(&name.namespace);
        for name in self.objects.mesh_configs.keys().filter(|name| **name != counts && !of_others(name)) {
            let mut objects = vec![key(&Kind::MeshConfig, name)];
            objects.extend(is_there.then(|| key(&Kind::MeshConfig, &counts)));
            let why = match is_there {
                true => format!(
                    "has no effect because only MeshConfig {counts} counts; move its settings there and remove it"
                ),
                false => format!(
                    "has no effect, and the mesh runs on its default settings, because a MeshConfig only counts \
                        as {counts}; \
                     give it this namespace and name"
                ),
            };
            found.fail(objects, "MeshConfigUnused", why);
        }
    }

    pub(super) fn find_in_services(&self, found: &mut Findings) {
        for service in self.objects.services.values().filter(|service| self.counts(service)) {
            let object = || key(&Kind::Service, &service.key);
            for port in &service.ports {
                let endpoints = self.endpoints(&service.key);
                if let TargetPort::Name(name) = &port.target
                    && self.pods_of_service(&service.key).next().is_some()
                    && endpoints.iter().all(|endpoint| endpoint_port(endpoint, port).is_none())
                    && self
                        .pods_of_service(&service.key)
                        .filter_map(|pod| self.objects.pods.get(pod))
                        .all(|pod| !pod.named_ports.contains_key(name))
                {
                    found.fail(
                        [object()],
                        "UnknownTargetPort",
                        format!(
                            "port {} cannot be reached because none of its pods has a container port named {name:?}; \
                             name a port of the container so, or write a number as targetPort",
                            port.port
                        ),
                    );
                }
            }
        }
    }

    pub(super) fn find_in_isolations(&self, found: &mut Findings) {
        for (name, isolation) in &self.objects.isolations {
            for cidr in isolation.spec.cidrs.iter().filter(|cidr| crate::world::derive::range(cidr).is_none()) {
                found.fail(
                    [key(&Kind::Isolation, name)],
                    "InvalidRange",
                    format!("spec.cidrs: {cidr:?} is no address range and isolates nothing; write it like 10.0.0.0/8"),
                );
            }
        }
    }

    pub(super) fn find_in_plugins(&self, found: &mut Findings) {
        let enabled = self.mesh.features.plugin_policy;
        if !enabled {
            for name in self.objects.plugins.keys() {
                found.disabled(key(&Kind::Plugin, name), "enablePluginPolicy");
            }
        }
        for (name, chain) in self.counting::<PluginChain>(Kind::PluginChain, found) {
            let object = || key(&Kind::PluginChain, name);
            if !enabled {
                found.disabled(object(), "enablePluginPolicy");
                continue;
            }
            for entry in &chain.spec.chains {
                if !CHAINS.contains(&entry.name.as_str()) {
                    found.fail(
                        [object()],
                        "UnknownChain",
                        format!(
                            "there is no chain {:?}, so its plugins do not run; use one of {}",
                            entry.name,
                            CHAINS.join(", ")
                        ),
                    );
                }
                for plugin in entry.plugins.iter().filter(|plugin| self.plugin(plugin).is_none()) {
                    found.fail(
                        [object(), key(&Kind::Plugin, &NamespacedName::new("", plugin))],
                        "MissingPlugin",
                        format!(
                            "chain {} names plugin {plugin:?}, which does not exist and is left out; create \
                            it or mend the name",
                            entry.name
                        ),
                    );
                }
            }
        }
        for (name, config) in self.counting::<PluginConfig>(Kind::PluginConfig, found) {
            let object = || key(&Kind::PluginConfig, name);
            if !enabled {
                found.disabled(object(), "enablePluginPolicy");
                continue;
            }
            if self.plugin(&config.spec.plugin).is_none() {
                found.fail(
                    [object(), key(&Kind::Plugin, &NamespacedName::new("", &config.spec.plugin))],
                    "MissingPlugin",
                    format!("is for plugin {:?}, which does not exist; create it or mend the name", config.spec.plugin),
                );
            }
            for service in crate::world::reference::plugin_config_services(config) {
                if !self.is_there(&service) {
                    found.warn(
                        [object(), key(&Kind::Service, &service)],
                        "UnknownService",
                        format!(
                            "is for service {service}, which does not exist; create it or mend spec.destinationRefs"
                        ),
                    );
                }
            }
        }
    }

    pub(super) fn find_in_imports(&self, found: &mut Findings) {
        for (name, import) in self.counting::<ServiceImport>(Kind::ServiceImport, found) {
            for (position, endpoint) in import.spec.ports.iter().flat_map(|port| &port.endpoints).enumerate() {
                let target = &endpoint.target;
                if target.ip.trim().parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified()) && target.port > 0 {
                    continue;
                }
                found.fail(
                    [key(&Kind::ServiceImport, name)],
                    "InvalidAddress",
                    format!(
                        "endpoint {position} of cluster {:?} is left out because {}:{} is no address and port; \
                            write the address of that \
                         cluster's gateway",
                        endpoint.cluster_key, target.ip, target.port
                    ),
                );
            }
        }
        let policies = self.counting::<GlobalTrafficPolicy>(Kind::GlobalTrafficPolicy, found);
        let named: Vec<_> = policies.collect();
        for policy in by_age(named.iter().map(|(_, policy)| *policy)) {
            let name = crate::world::parse::name_of(&policy.metadata);
            let object = || key(&Kind::GlobalTrafficPolicy, &name);
            let targets = policy.spec.targets.len();
            match policy.spec.lb_type {
                LbType::FailOver if targets == 0 => found.fail(
                    [object()],
                    "NoTargets",
                    "fails over to nothing because spec.targets is empty; name at least one cluster".into(),
                ),
                LbType::Locality if targets > 1 => found.fail(
                    [object()],
                    "TooManyTargets",
                    "stays local: with lbType Locality spec.targets may name at most one cluster; remove the others"
                        .into(),
                ),
                _ => {}
            }
            if !self.is_there(&name) {
                found.warn(
                    [object(), key(&Kind::Service, &name)],
                    "UnknownService",
                    format!(
                        "has no effect because there is neither a Service nor a ServiceImport {name}; its \
                        name must be theirs"
                    ),
                );
            }
        }
    }
}
