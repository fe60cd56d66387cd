//! Ways into the mesh: IngressBackend, AccessControl, AccessCert, Isolation.

use super::Faults;
use crate::world::{NamespacedName, World};
use fsm_api::resources::policy::{AccessCert, AccessControl, AccessSource, Backend, IngressBackend, Isolation};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::sync::Arc;

const PRINCIPAL: &str = "AuthenticatedPrincipal";

pub(super) fn ingress_backend(world: &World, backend: &IngressBackend, faults: &mut Faults) {
    let (own, spec) = (name_of(backend.metadata.namespace.as_deref(), backend.metadata.name.as_deref()), &backend.spec);
    duplicates(&spec.backends, faults);
    for (index, backend) in spec.backends.iter().enumerate() {
        let protocol = backend.port.protocol.to_ascii_lowercase();
        let field = format!("spec.backends[{index}].port.protocol");
        if !["http", "https", "grpc"].contains(&protocol.as_str()) {
            let expected = "Expected 'port.protocol' to be 'http', 'https' or 'grpc'";
            faults.add(&field, format!("{expected}, got: {:?}", backend.port.protocol));
        }
        needs_principal(&field, backend, &protocol, &spec.sources, faults);
        let others =
            |service: &NamespacedName| world.ingress_backends_of(service).into_iter().map(Arc::clone).collect();
        let others: Vec<Arc<IngressBackend>> = others(&NamespacedName::new(&own.namespace, &backend.name));
        let claimed = others.iter().filter(|other| other.spec.backends.iter().any(|one| same(one, backend)));
        for other in claimed.filter_map(|other| other.metadata.name.as_deref()).filter(|other| *other != own.name) {
            conflict(index, backend, &format!("IngressBackend {}/{other}", own.namespace), faults);
        }
    }
    sources(&spec.sources, faults);
}

pub(super) fn access_control(world: &World, control: &AccessControl, faults: &mut Faults) {
    if !world.mesh().features.access_control_policy {
        prohibited("AccessControl policies", "enableAccessControlPolicy", faults);
    }
    let (own, spec) = (name_of(control.metadata.namespace.as_deref(), control.metadata.name.as_deref()), &control.spec);
    duplicates(&spec.backends, faults);
    for (index, backend) in spec.backends.iter().enumerate() {
        let protocol = backend.port.protocol.to_ascii_lowercase();
        let field = format!("spec.backends[{index}].port.protocol");
        needs_principal(&field, backend, &protocol, &spec.sources, faults);
        let service = NamespacedName::new(&own.namespace, &backend.name);
        let others = world.access_controls_of(&service);
        let claimed = others.iter().filter(|other| other.spec.backends.iter().any(|one| same(one, backend)));
        for other in claimed.filter_map(|other| other.metadata.name.as_deref()).filter(|other| *other != own.name) {
            conflict(index, backend, &format!("AccessControl {}/{other}", own.namespace), faults);
        }
    }
    sources(&spec.sources, faults);
}

pub(super) fn access_cert(world: &World, certificate: &AccessCert, faults: &mut Faults) {
    if !world.mesh().features.access_cert_policy {
        faults.add(
            "kind",
            "FSM is prohibited to issue certificates for external services: set \
             spec.featureFlags.enableAccessCertPolicy of the MeshConfig to true first",
        );
    }
    if certificate.spec.subject_alt_names.is_empty() {
        faults.add(
            "spec.subjectAltNames",
            "a certificate needs at least one name; the first one is its common name, too",
        );
    }
    if certificate.spec.secret.name.as_deref().unwrap_or_default().is_empty() {
        faults.add("spec.secret.name", "name the Secret that the certificate is put into");
    }
}

pub(super) fn isolation(isolation: &Isolation, faults: &mut Faults) {
    for (index, range) in isolation.spec.cidrs.iter().enumerate() {
        if range.parse::<IpNet>().is_err() {
            let expected = "Expected CIDR notation 'a.b.c.d/x'";
            faults.add(format!("spec.cidrs[{index}]"), format!("{expected}, got: {range:?}"));
        }
    }
}

fn name_of(namespace: Option<&str>, name: Option<&str>) -> NamespacedName {
    NamespacedName::new(namespace.unwrap_or_default(), name.unwrap_or_default())
}

fn same(one: &Backend, other: &Backend) -> bool {
    one.name == other.name && one.port.number == other.port.number
}

fn duplicates(backends: &[Backend], faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, Backend { name, port, .. }) in backends.iter().enumerate() {
        if !seen.insert((name, port.number)) {
            faults.add(
                format!("spec.backends[{index}]"),
                format!(
                    "Duplicate backends detected with service name: {name} and port: {}; remove one of them",
                    port.number
                ),
            );
        }
    }
}

fn conflict(index: usize, backend: &Backend, other: &str, faults: &mut Faults) {
    faults.add(
        format!("spec.backends[{index}]"),
        format!(
            "duplicate backends detected: {other} already says who may reach port {} of service {}; change that one, or \
             take the backend out of one of them",
            backend.port.number, backend.name
        ),
    );
}

/// Whoever wants client certificates to be checked must say whose.
fn needs_principal(field: &str, backend: &Backend, protocol: &str, sources: &[AccessSource], faults: &mut Faults) {
    let checked = backend.tls.as_ref().is_some_and(|tls| !tls.skip_client_cert_validation);
    let secured = ["https", "grpc"].contains(&protocol);
    if checked && secured && !sources.iter().any(|source| source.kind == PRINCIPAL) {
        faults.add(
            field,
            format!(
                "{protocol} with client certificates needs a source of kind {PRINCIPAL} that says whose certificates are let \
                 in; add one, or set tls.skipClientCertValidation to true"
            ),
        );
    }
}

fn sources(sources: &[AccessSource], faults: &mut Faults) {
    for (index, source) in sources.iter().enumerate() {
        let field = |name: &str| format!("spec.sources[{index}].{name}");
        let namespace = source.namespace.as_deref().unwrap_or_default();
        match source.kind.as_str() {
            "Service" if source.name.is_empty() => faults.add(field("name"), "'source.name' not specified for source kind Service"),
            "Service" if namespace.is_empty() => {
                faults.add(field("namespace"), "'source.namespace' not specified for source kind Service");
            }
            PRINCIPAL if source.name.is_empty() => faults.add(
                field("name"),
                format!("'source.name' not specified for source kind {PRINCIPAL}; \"*\" lets every certificate in"),
            ),
            "IPRange" if source.name.parse::<IpNet>().is_err() => {
                let expected = "Invalid 'source.name' value specified for IPRange. Expected CIDR notation 'a.b.c.d/x'";
                faults.add(field("name"), format!("{expected}, got: {:?}", source.name));
            }
            "Service" | "IPRange" | PRINCIPAL => {}
            other => faults.add(
                field("kind"),
                format!("Invalid 'source.kind' value specified. Must be one of: Service, {PRINCIPAL}, IPRange; got: {other:?}"),
            ),
        }
    }
}

fn prohibited(what: &str, flag: &str, faults: &mut Faults) {
    faults.add(
        "kind",
        format!("FSM is prohibited to apply {what}: set spec.featureFlags.{flag} of the MeshConfig to true first"),
    );
}
