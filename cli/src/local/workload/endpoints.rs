//! EndpointSlices of Services that select pods.
//!
//! One slice for each set of port numbers: pods of one Service may give the same port name different numbers. Pods
//! without an address and pods that have ended are left out; a pod that ends is listed as terminating until it is gone.

use super::pod::Life;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The label by which a slice names its Service.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The slices of a Service, given the pods of its namespace. None for a Service without a selector: its endpoints are
/// the user's business.
pub fn slices<'a>(service: &Service, lives: impl Iterator<Item = &'a Life>) -> Vec<EndpointSlice> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let Some(selector) = spec.selector.as_ref().filter(|selector| !selector.is_empty()) else { return Vec::new() };
    let selected: Vec<&Life> = lives.filter(|life| life.is_reachable() && selects(selector, life.pod())).collect();
    let families: &[&str] = match &spec.ip_families {
        Some(families) if families.iter().any(|family| family == "IPv6") => match families.len() {
            1 => &["IPv6"],
            _ => &["IPv4", "IPv6"],
        },
        _ => &["IPv4"],
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let always_ready = spec.publish_not_ready_addresses == Some(true);
    let mut slices = Vec::new();
    for family in families {
        let mut by_ports: BTreeMap<Vec<Option<u16>>, Vec<Endpoint>> = BTreeMap::new();
        for life in &selected {
            let is_of_family = |address: &&IpAddr| address.is_ipv6() == (*family == "IPv6");
            if let Some(address) = life.addresses().iter().find(is_of_family) {
                let numbers = ports.iter().map(|port| target_port(port, life.pod())).collect();
                let endpoint = endpoint(life, *address, &service.metadata, always_ready);
                by_ports.entry(numbers).or_default().push(endpoint);
            }
        }
        if by_ports.is_empty() {
            // Numbers that need no pod to be known are told all the same.
            let numbers = ports.iter().map(|port| target_port(port, &Pod::default())).collect();
            by_ports.insert(numbers, Vec::new());
        }
        for (numbers, endpoints) in by_ports {
            let name = format!("{}-fsm{}", service.metadata.name.as_deref().unwrap_or_default(), slices.len() + 1);
            slices.push(slice(service, &name, family, ports, &numbers, endpoints));
        }
    }
    slices
}

/// Whether all labels of a selector are those of the pod.
pub fn selects(selector: &BTreeMap<String, String>, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.iter().all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value))
}

/// The number of the pod's port that a Service's port means; `None` if the pod has no port of that name.
pub fn target_port(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut named = containers
                .flat_map(|container| container.ports.iter().flatten())
                .filter(|candidate| candidate.name.as_deref() == Some(name));
            match named.next() {
                Some(found) => u16::try_from(found.container_port).ok(),
                None => name.parse().ok(),
            }
        }
    }
}

fn endpoint(life: &Life, address: IpAddr, service: &ObjectMeta, always_ready: bool) -> Endpoint {
    let serving = life.ready_since().is_some();
    let spec = life.pod().spec.as_ref();
    let is_member = spec.and_then(|spec| spec.subdomain.as_ref()) == service.name.as_ref();
    let hostname = spec.and_then(|spec| spec.hostname.clone()).filter(|_| is_member);
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(always_ready || (serving && !life.is_terminating())),
            serving: Some(serving),
            terminating: Some(life.is_terminating()),
        }),
        hostname,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(life.id().namespace.clone()),
            name: Some(life.id().name.clone()),
            uid: Some(life.id().uid.clone()),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

fn slice(
    service: &Service,
    name: &str,
    family: &str,
    ports: &[ServicePort],
    numbers: &[Option<u16>],
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let resolved = ports.iter().zip(numbers).filter_map(|(port, number)| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(i32::from((*number)?)),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
    });
    let metadata = &service.metadata;
    let service_name = metadata.name.clone().unwrap_or_default();
    let mut labels = metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.to_owned(), service_name.clone());
    labels.insert("endpointslice.kubernetes.io/managed-by".to_owned(), "fsm-up".to_owned());
    EndpointSlice {
        address_type: family.to_owned(),
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Service".to_owned(),
                name: service_name,
                uid: metadata.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        endpoints: Some(endpoints),
        ports: Some(resolved.collect()),
    }
}

#[cfg(test)]
mod tests;
