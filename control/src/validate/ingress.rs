//! NamespacedIngress.

use super::Faults;
use crate::world::World;
use fsm_api::resources::ingress::{IngressPort, NamespacedIngress, NamespacedIngressSpec};

/// Types of Services that lead into a cluster.
const TYPES: [&str; 2] = ["LoadBalancer", "NodePort"];

pub(super) fn namespaced(world: &World, ingress: &NamespacedIngress, faults: &mut Faults) {
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    let own = ingress.metadata.name.as_deref().unwrap_or_default();
    let others = world.namespaced_ingresses_of(namespace);
    if let Some(other) = others.iter().filter_map(|other| other.metadata.name.as_deref()).find(|other| *other != own) {
        let text = format!(
            "Each namespace can have ONLY ONE NamespacedIngress, and {namespace} has NamespacedIngress {namespace}/{other}; \
             change that one, or delete it first"
        );
        faults.add("metadata.namespace", text);
    }
    let spec = &ingress.spec;
    if !TYPES.contains(&spec.service_type.as_str()) {
        let text = format!("{:?} leads nobody into the cluster; write LoadBalancer or NodePort", spec.service_type);
        faults.add("spec.serviceType", text);
    }
    served(spec, faults);
    ports(spec, faults);
}

fn served(spec: &NamespacedIngressSpec, faults: &mut Faults) {
    if !spec.http.enabled && !spec.tls.enabled {
        faults.add("spec.http.enabled", "neither http nor tls is enabled, so nothing is served; enable one of them");
    }
    let without_tls = "has no effect because spec.tls.enabled is false; set that to true, too";
    if spec.tls.mtls && !spec.tls.enabled {
        // Whoever writes it believes that clients are asked for certificates.
        faults.add("spec.tls.mTLS", without_tls);
    }
    if spec.tls.ssl_passthrough.enabled && !spec.tls.enabled {
        faults.add("spec.tls.sslPassthrough.enabled", without_tls);
    }
}

fn ports(spec: &NamespacedIngressSpec, faults: &mut Faults) {
    let sections = [("http", spec.http.enabled, &spec.http.port), ("tls", spec.tls.enabled, &spec.tls.port)];
    for (section, _, port) in sections {
        let numbers = [("port", Some(port.port)), ("targetPort", port.target_port), ("nodePort", port.node_port)];
        for (field, _) in numbers.iter().filter(|(_, number)| *number == Some(0)) {
            faults.add(format!("spec.{section}.port.{field}"), "0 is no port; write one from 1 to 65535");
        }
        if port.protocol != "TCP" {
            let text = format!("HTTP is served over TCP, and not over {:?}; write TCP", port.protocol);
            faults.add(format!("spec.{section}.port.protocol"), text);
        }
    }
    if !spec.http.enabled || !spec.tls.enabled {
        return;
    }
    let (http, tls) = (&spec.http.port, &spec.tls.port);
    let of = |port: &IngressPort| {
        [("port", Some(port.port)), ("targetPort", port.target_port), ("nodePort", port.node_port)]
    };
    for ((field, one), (_, other)) in of(http).into_iter().zip(of(tls)) {
        if let Some(number) = one.filter(|number| *number != 0 && other == Some(*number)) {
            let text = format!("{number} is spec.http.port.{field}, too; give each a port of its own");
            faults.add(format!("spec.tls.port.{field}"), text);
        }
    }
}

/// What is taken, and is better known.
pub(super) fn warnings(ingress: &NamespacedIngress) -> Vec<String> {
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    vec![format!(
        "no ingress is run in namespace {namespace}: this control plane reads and checks NamespacedIngress only"
    )]
}
