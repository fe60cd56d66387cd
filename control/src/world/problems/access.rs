//! Ways into the mesh: IngressBackend and AccessControl.

use super::{Counts, Findings, World, key, losers};
use crate::world::model::{NamespacedName, ServiceKey};
use crate::world::reference as refers;
use fsm_api::resources::policy::{AccessControl, AccessSource, Backend, IngressBackend};
use fsm_api::resources::{Kind, ObjectKey};

impl World {
    pub(super) fn find_in_ingress_backends(&self, found: &mut Findings) {
        for (name, backend) in self.counting::<IngressBackend>(Kind::IngressBackend, found) {
            let object = key(&Kind::IngressBackend, name);
            if !self.mesh.features.ingress_backend_policy {
                found.disabled(object, "enableIngressBackendPolicy");
                continue;
            }
            self.find_in_backends(&object, &backend.spec.backends, &["http", "https", "grpc"], found);
            self.find_in_sources(&object, &backend.spec.sources, found);
        }
        let backends = self.objects.ingress_backends.iter().filter(|(name, _)| self.policy_counts(name));
        let claims = |backend: &IngressBackend| claimed_ports(&backend.spec.backends, &backend.metadata);
        for (loser, winner, (service, port)) in losers(backends, Counts::Oldest, claims) {
            found.warn(
                [key(&Kind::IngressBackend, loser), key(&Kind::IngressBackend, winner)],
                "BackendConflict",
                format!(
                    "opens port {port} of service {service}, which IngressBackend {winner} opens too: whoever either of them \
                        lets in comes in; if that is not meant, remove the port from one of them"
                ),
            );
        }
    }

    pub(super) fn find_in_access_controls(&self, found: &mut Findings) {
        for (name, control) in self.counting::<AccessControl>(Kind::AccessControl, found) {
            let object = key(&Kind::AccessControl, name);
            if !self.mesh.features.access_control_policy {
                found.disabled(object, "enableAccessControlPolicy");
                continue;
            }
            self.find_in_backends(&object, &control.spec.backends, &["http", "https", "grpc", "tcp"], found);
            self.find_in_sources(&object, &control.spec.sources, found);
        }
        let all = || self.objects.access_controls.iter().filter(|(name, _)| self.policy_counts(name));
        let claims = |control: &AccessControl| claimed_ports(&control.spec.backends, &control.metadata);
        for (loser, winner, (service, port)) in losers(all(), Counts::Oldest, claims) {
            found.warn(
                [key(&Kind::AccessControl, loser), key(&Kind::AccessControl, winner)],
                "BackendConflict",
                format!(
                    "opens port {port} of service {service}, which AccessControl {winner} opens too: whoever either of them \
                        lets in comes in; if that is not meant, remove the port from one of them"
                ),
            );
        }
        // Each holds for the services of its own namespace.
        let everywhere = |control: &AccessControl| match control.spec.backends.is_empty() {
            true => vec![crate::world::parse::name_of(&control.metadata).namespace],
            false => Vec::new(),
        };
        for (loser, winner, namespace) in losers(all(), Counts::Oldest, everywhere) {
            let of = match namespace == self.settings.fsm_namespace {
                true => "the mesh".to_owned(),
                false => format!("namespace {namespace}"),
            };
            found.warn(
                [key(&Kind::AccessControl, loser), key(&Kind::AccessControl, winner)],
                "EverywhereConflict",
                format!(
                    "has no spec.backends and so opens every service of {of}, which AccessControl {winner} does too: \
                        whoever either of them lets in comes in; if that is not meant, merge them or name backends"
                ),
            );
        }
    }

    fn find_in_backends(&self, object: &ObjectKey, backends: &[Backend], protocols: &[&str], found: &mut Findings) {
        for backend in backends {
            let service = NamespacedName::new(&object.namespace, &backend.name);
            let port = &backend.port;
            if !protocols.contains(&port.protocol.to_ascii_lowercase().as_str()) {
                found.fail(
                    [object.clone()],
                    "UnknownProtocol",
                    format!(
                        "backend {:?} stays closed because {:?} is no protocol here; write one of {}",
                        backend.name,
                        port.protocol,
                        protocols.join(", ")
                    ),
                );
            }
            let ports = self.mesh_services_of(&service);
            if ports.is_empty() {
                found.fail(
                    [object.clone(), key(&Kind::Service, &service)],
                    "UnknownBackend",
                    format!(
                        "backend {:?} stays closed because there is no service {service} in the mesh; \
                        create it or mend the name",
                        backend.name
                    ),
                );
            } else if !ports.iter().any(|known| known.target_port == Some(port.number) || known.port == port.number) {
                let known: Vec<String> =
                    ports.iter().filter_map(|port| port.target_port).map(|port| port.to_string()).collect();
                found.fail(
                    [object.clone(), key(&Kind::Service, &service)],
                    "UnknownPort",
                    format!(
                        "backend {:?} stays closed because no port of service {service} leads to port {} of \
                        its pods; write one of {}",
                        backend.name,
                        port.number,
                        known.join(", ")
                    ),
                );
            }
        }
    }

    fn find_in_sources(&self, object: &ObjectKey, sources: &[AccessSource], found: &mut Findings) {
        for source in sources {
            match source.kind.as_str() {
                "Service" => {
                    let service = refers::source_service(source, &object.namespace);
                    if self.endpoints(&service).is_empty() {
                        found.fail(
                            [object.clone(), key(&Kind::Service, &service)],
                            "NoEndpoints",
                            format!(
                                "endpoints not found for service {service}, so its pods are not let in; see \
                                that it exists and has ready pods"
                            ),
                        );
                    }
                }
                "IPRange" if crate::world::derive::range(&source.name).is_none() => found.fail(
                    [object.clone()],
                    "InvalidRange",
                    format!(
                        "source {:?} is no address range and lets nobody in; write it like 10.0.0.0/8",
                        source.name
                    ),
                ),
                "IPRange" | "AuthenticatedPrincipal" => {}
                other => found.fail(
                    [object.clone()],
                    "UnknownKind",
                    format!(
                        "source {:?} lets nobody in because it is of kind {other:?}; write Service, IPRange \
                        or AuthenticatedPrincipal",
                        source.name
                    ),
                ),
            }
        }
    }
}

fn claimed_ports(
    backends: &[Backend],
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> Vec<(ServiceKey, u16)> {
    let own = crate::world::parse::name_of(metadata).namespace;
    backends.iter().map(|backend| (NamespacedName::new(&own, &backend.name), backend.port.number)).collect()
}
