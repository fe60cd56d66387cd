//! What the node needs to know of Services: addresses with their endpoints, and names. Pure.

use super::endpoints;
use super::objects::{Key, Wanted};
use super::pod::Life;
use crate::local::node::{NameRecord, Protocol, ServiceRule};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// The Service addresses of a mesh.
#[derive(Clone, Debug)]
pub struct Addresses {
    range: Ipv4Net,
    reserved: Ipv4Addr,
    /// Given out once; a Service that is written again without its address gets the same one.
    given: BTreeMap<Key, Ipv4Addr>,
}

impl Addresses {
    /// Addresses of this range but for the DNS server's.
    pub fn new(range: Ipv4Net, dns: Ipv4Addr) -> Self {
        Self { range, reserved: dns, given: BTreeMap::new() }
    }

    /// The address that a Service lacks; `None` if it lacks none or there is none left.
    pub fn missing(&mut self, key: &Key, wanted: &Wanted) -> Option<Ipv4Addr> {
        let spec = wanted.services.get(key)?.spec.as_ref()?;
        let is_external = spec.type_.as_deref() == Some("ExternalName");
        if is_external || spec.cluster_ip.as_deref().is_some_and(|address| !address.is_empty()) {
            return None;
        }
        if let Some(address) = self.given.get(key) {
            return Some(*address);
        }
        let written = wanted.services.values().filter_map(|service| address_of(service));
        let taken: BTreeSet<Ipv4Addr> = written.chain(self.given.values().copied()).collect();
        // The first addresses of the range are left to those that users choose.
        let mut free = self.range.hosts().skip(100).chain(self.range.hosts());
        let address = free.find(|address| *address != self.reserved && !taken.contains(address))?;
        self.given.insert(key.clone(), address);
        Some(address)
    }

    /// Forgets a Service that was removed.
    pub fn release(&mut self, key: &Key) {
        self.given.remove(key);
    }

    /// Whether it is an address that a Service can have.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.range.contains(&address) && address != self.reserved
    }
}

/// The slices of a Service that selects pods of its namespace.
pub fn slices_of(lives: &[&Life], key: &Key, service: &Service) -> Vec<EndpointSlice> {
    endpoints::slices(service, lives.iter().copied().filter(|life| life.id().namespace == key.0))
}

/// The rules and names for all Services. Addresses that the node cannot serve (`is_served`) get no rules.
pub fn plan<'a>(
    services: impl Iterator<Item = (&'a Key, &'a Service)>,
    slices: impl Fn(&Key, &Service) -> Vec<EndpointSlice>,
    is_served: impl Fn(Ipv4Addr) -> bool,
    domain: &str,
) -> (Vec<ServiceRule>, Vec<NameRecord>) {
    let (mut rules, mut names) = (Vec::new(), Vec::new());
    for (key, service) in services {
        let Some(spec) = &service.spec else { continue };
        let name = format!("{}.{}.svc.{domain}", key.1, key.0);
        if let (Some("ExternalName"), Some(target)) = (spec.type_.as_deref(), &spec.external_name) {
            names.push(NameRecord::alias(name, target));
            continue;
        }
        let slices = slices(key, service);
        match address_of(service) {
            Some(vip) => {
                names.push(NameRecord::addresses(name.clone(), [IpAddr::V4(vip)]));
                if is_served(vip) {
                    rules.extend(rules_of(service, vip, &slices));
                }
            }
            None if spec.cluster_ip.as_deref() == Some("None") => names.extend(headless(&name, &slices)),
            None => continue,
        }
        for port in spec.ports.iter().flatten() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
            if let (Some(label), Ok(number)) = (&port.name, u16::try_from(port.port)) {
                names.push(NameRecord::port(format!("_{label}._{protocol}.{name}"), number, name.clone()));
            }
        }
    }
    (rules, names)
}

/// The names that a MeshConfig gives to addresses: `sidecar.localDNSProxy.db`, while the section is enabled. FSM's own
/// controller reads them and never answers with them (reference trap 7). What is no name or no address is left out.
pub fn static_names(mesh_config: &Value) -> Vec<NameRecord> {
    let proxy = mesh_config.pointer("/spec/sidecar/localDNSProxy");
    let enabled = proxy.and_then(|proxy| proxy.get("enable")).and_then(Value::as_bool).unwrap_or(false);
    let entries = proxy.filter(|_| enabled).and_then(|proxy| proxy.get("db")).and_then(Value::as_array);
    let record = |entry: &Value| {
        let name = entry.get("dn").and_then(Value::as_str)?;
        let answers = entry.get("ips").and_then(Value::as_array).into_iter().flatten();
        let addresses: Vec<IpAddr> =
            answers.filter_map(|answer| answer.get("ipv4").and_then(Value::as_str)?.parse().ok()).collect();
        (!addresses.is_empty()).then(|| NameRecord::addresses(name, addresses))
    };
    entries.into_iter().flatten().filter_map(record).collect()
}

/// The Service's own address, if it has one.
pub fn address_of(service: &Service) -> Option<Ipv4Addr> {
    service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()
}

fn rules_of(service: &Service, vip: Ipv4Addr, slices: &[EndpointSlice]) -> Vec<ServiceRule> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let protocol = match port.protocol.as_deref() {
                None | Some("TCP") => Protocol::Tcp,
                Some("UDP") => Protocol::Udp,
                Some(_) => return None,
            };
            let name = port.name.as_deref().unwrap_or_default();
            let (mut ready, mut serving) = (Vec::new(), Vec::new());
            for slice in slices {
                let mut numbers = slice.ports.iter().flatten();
                let number = numbers.find(|number| number.name.as_deref().unwrap_or_default() == name)?.port?;
                let number = u16::try_from(number).ok()?;
                for endpoint in slice.endpoints.iter().flatten() {
                    let addresses = ipv4(endpoint).map(|address| SocketAddrV4::new(address, number));
                    match state(endpoint) {
                        (true, _) => ready.extend(addresses),
                        (false, true) => serving.extend(addresses),
                        (false, false) => {}
                    }
                }
            }
            // As kube-proxy: pods that are ending serve as long as there is nobody else.
            let endpoints = if ready.is_empty() { serving } else { ready };
            Some(ServiceRule { vip, port: u16::try_from(port.port).ok()?, protocol, endpoints })
        })
        .collect()
}

fn headless(name: &str, slices: &[EndpointSlice]) -> Vec<NameRecord> {
    let endpoints = || slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let ready: Vec<&Endpoint> = endpoints().filter(|endpoint| state(endpoint).0).collect();
    let addresses = ready.iter().flat_map(|endpoint| ipv4(endpoint)).map(IpAddr::V4);
    let mut records = vec![NameRecord::addresses(name, addresses)];
    records.extend(ready.iter().filter_map(|endpoint| {
        let hostname = endpoint.hostname.as_ref()?;
        Some(NameRecord::addresses(format!("{hostname}.{name}"), ipv4(endpoint).map(IpAddr::V4)))
    }));
    records
}

/// Whether it is ready, and whether it is not but serves while it ends.
fn state(endpoint: &Endpoint) -> (bool, bool) {
    let Some(conditions) = &endpoint.conditions else { return (true, false) };
    let is = |value: Option<bool>| value == Some(true);
    (is(conditions.ready), is(conditions.serving) && is(conditions.terminating))
}

fn ipv4(endpoint: &Endpoint) -> impl Iterator<Item = Ipv4Addr> + '_ {
    endpoint.addresses.iter().filter_map(|address| address.parse().ok())
}

#[cfg(test)]
mod tests;
