//! Services of the cluster: addresses with their endpoints for the node, names for its DNS, variables for containers.
//!
//! Endpoints are what the API server's EndpointSlices say. The Service of the API server itself leads to the node's relay.

use super::follow::{Change, Object};
use super::roster::{Variables, key_of};
use crate::local::node::{NameRecord, Node, ServiceRule};
use crate::local::workload::endpoints::SERVICE_LABEL;
use crate::local::workload::network;
use crate::local::workload::objects::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

pub(super) struct Table {
    node: Node,
    /// Where the API server is reached.
    api_server: SocketAddrV4,
    services: BTreeMap<Key, Service>,
    /// By namespace and name of the slice.
    slices: BTreeMap<Key, EndpointSlice>,
    variables: Variables,
    is_changed: bool,
    /// What the node was told last.
    told: Option<(Vec<ServiceRule>, Vec<NameRecord>)>,
}

impl Table {
    pub(super) fn new(node: Node, api_server: SocketAddrV4) -> Self {
        Self {
            node,
            api_server,
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            variables: Variables::new(),
            is_changed: true,
            told: None,
        }
    }

    pub(super) fn take_in(&mut self, change: &Change) {
        self.is_changed |= match change {
            Change::Applied(Object::Service(service)) => {
                self.services.insert(key_of(&service.metadata), Service::clone(service));
                true
            }
            Change::Removed(Object::Service(service)) => self.services.remove(&key_of(&service.metadata)).is_some(),
            Change::Applied(Object::Slice(slice)) => {
                self.slices.insert(key_of(&slice.metadata), EndpointSlice::clone(slice));
                true
            }
            Change::Removed(Object::Slice(slice)) => self.slices.remove(&key_of(&slice.metadata)).is_some(),
            _ => false,
        };
    }

    /// Variables as of the last [`Table::tell_node`].
    pub(super) fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Gives the node its rules and names, if they have changed. What it refuses is told to the log and tried again with
    /// the next change.
    pub(super) fn tell_node(&mut self) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        self.variables = variables(&self.services);
        let options = self.node.options();
        let mut of_service: BTreeMap<Key, Vec<EndpointSlice>> = BTreeMap::new();
        for (key, slice) in &self.slices {
            let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_LABEL));
            if let Some(service) = label.filter(|_| slice.address_type == "IPv4") {
                of_service.entry((key.0.clone(), service.clone())).or_default().push(slice.clone());
            }
        }
        let slices = |key: &Key, _: &Service| of_service.get(key).cloned().unwrap_or_default();
        let is_ours = |address: Ipv4Addr| options.service_cidr.contains(&address) && address != self.node.dns_address();
        let services = self.services.iter();
        let (mut rules, names) = network::plan(services, slices, is_ours, &options.cluster_domain);
        for rule in &mut rules {
            let api_server = self.services.get(&("default".to_owned(), "kubernetes".to_owned()));
            if api_server.and_then(network::address_of) == Some(rule.vip) {
                rule.endpoints = vec![self.api_server];
            }
        }
        let told = Some((rules, names));
        if self.told == told {
            return;
        }
        let Some((rules, names)) = &told else { return };
        for refused in self.node.set_names(names.clone()) {
            tracing::warn!("{} cannot be a DNS name", refused.name);
        }
        // Some milliseconds, and in order.
        match tokio::task::block_in_place(|| self.node.set_services(rules)) {
            Ok(()) => self.told = told,
            Err(why) => tracing::error!("Services are as they were: {why}"),
        }
    }
}

/// `NAME_SERVICE_HOST` and `NAME_SERVICE_PORT` of the Services of each namespace; those of the API server for everybody.
fn variables(services: &BTreeMap<Key, Service>) -> Variables {
    let mut variables = Variables::new();
    for (key, service) in services {
        let Some(address) = network::address_of(service) else { continue };
        let name = key.1.to_uppercase().replace('-', "_");
        let is_api_server = key.0 == "default" && key.1 == "kubernetes";
        let of_namespace = variables.entry(if is_api_server { String::new() } else { key.0.clone() }).or_default();
        of_namespace.push((format!("{name}_SERVICE_HOST"), address.to_string()));
        let ports: Vec<_> = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).collect();
        let first = ports.first().map(|port| (format!("{name}_SERVICE_PORT"), port.port.to_string()));
        of_namespace.extend(first);
        of_namespace.extend(ports.iter().filter_map(|port| {
            let of_port = port.name.as_ref()?.to_uppercase().replace('-', "_");
            Some((format!("{name}_SERVICE_PORT_{of_port}"), port.port.to_string()))
        }));
    }
    variables
}

#[cfg(test)]
mod tests;
