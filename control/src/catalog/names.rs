//! Names of services, clusters, rule sets and ranges as documents spell them (FSM's own).

use crate::world::{AccessMode, Mesh, MeshService, ServiceKey};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Who asks for a service, which decides whether its bare name will do.
#[derive(Clone, Copy)]
pub(super) enum Asker<'a> {
    /// Clients in this namespace.
    From(&'a str),
    /// Anyone: a server takes every form that any client may use.
    Anyone,
}

/// Every authority of a service. `name` is `<service>` or `<host>.<service>`.
pub(super) fn authorities(
    mesh: &Mesh,
    name: &str,
    namespace: &str,
    asker: Asker<'_>,
    ports: &BTreeSet<u16>,
    addresses: &BTreeSet<IpAddr>,
) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    if mesh.access_mode != AccessMode::Ip {
        for host in domain_names(mesh, name, namespace, asker) {
            hosts.extend(ports.iter().map(|port| format!("{host}:{port}")));
            if !mesh.access_names.must_with_service_port {
                hosts.insert(host);
            }
        }
    }
    if mesh.access_mode != AccessMode::Domain {
        for &address in addresses {
            hosts.extend(ports.iter().map(|&port| SocketAddr::new(address, port).to_string()));
            if !mesh.access_names.must_with_service_port {
                hosts.insert(match address {
                    IpAddr::V4(address) => address.to_string(),
                    IpAddr::V6(address) => format!("[{address}]"),
                });
            }
        }
    }
    hosts
}

fn domain_names(mesh: &Mesh, name: &str, namespace: &str, asker: Asker<'_>) -> Vec<String> {
    let mut names = Vec::with_capacity(6);
    let bare = match asker {
        Asker::From(from) => from == namespace || !mesh.access_names.must_with_namespace,
        Asker::Anyone => true,
    };
    if bare {
        names.push(name.to_owned());
    }
    names.push(format!("{name}.{namespace}"));
    if mesh.access_names.with_trust_domain {
        let mut host = format!("{name}.{namespace}.svc");
        names.push(host.clone());
        for label in mesh.trust_domain.split('.').filter(|label| !label.is_empty()) {
            host = format!("{host}.{label}");
            names.push(host.clone());
        }
    }
    names
}

/// The cluster of a mesh service: `<namespace>/<service>|<target port>`.
pub(super) fn cluster(port: &MeshService) -> String {
    format!("{}/{}|{}", port.namespace(), port.name(), port.target_port.unwrap_or(port.port))
}

/// The cluster of the group's own application: `<namespace>/<service>|<target port>|local`.
pub(super) fn local_cluster(service: &ServiceKey, target: u16) -> String {
    format!("{service}|{target}|local")
}

/// The rule set of a service: `<service>.<namespace>`.
pub(super) fn rule_set(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}")
}

/// The range that contains just this address.
pub(super) fn range(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// Of two rule sets that claim the same host: FSM gives it to the one with the shorter name, then to the first by the
/// alphabet.
pub(super) fn wins(name: &str, over: &str) -> bool {
    (name.len(), name) < (over.len(), over)
}
