//! Clients outside of the mesh that may call the group's application: IngressBackend, AccessControl, and ServiceExport for
//! the ingress through which other clusters come.
//!
//! They are known by their address and, where the policy asks for TLS, by the names in their certificate. Policies add up:
//! a range that several of them let in alike admits the principals of all of them.
//!
//! An AccessControl without backends opens every service of *its namespace*; FSM opened every service of the mesh, so that
//! anyone who may write in one namespace opened all others. In the control plane's own namespace it still means the mesh.

use super::problems::{Problems, described, object};
use super::view::{Served, View};
use crate::world::NamespacedName;
use fsm_api::config::SourceIpRange;
use fsm_api::resources::policy::{AccessSource, Backend};
use fsm_api::resources::{Kind, ObjectKey};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Ranges that are let in, and by whom.
#[derive(Default)]
pub(super) struct Sources {
    ranges: BTreeMap<String, (Option<SourceIpRange>, ObjectKey)>,
}

impl Sources {
    /// The ranges as a document has them.
    pub(super) fn ranges(&self) -> BTreeMap<String, Option<SourceIpRange>> {
        self.ranges.iter().map(|(range, (how, _))| (range.clone(), how.clone())).collect()
    }

    /// Lets in what another service of the same port lets in too.
    pub(super) fn extend(&mut self, other: Self, problems: &mut Problems) {
        for (range, (how, by)) in other.ranges {
            self.add(range, how, by, problems);
        }
    }

    /// Whether nobody is let in.
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    fn add(&mut self, range: String, how: Option<SourceIpRange>, by: ObjectKey, problems: &mut Problems) {
        let Some((known, first)) = self.ranges.get_mut(&range) else {
            self.ranges.insert(range, (how, by));
            return;
        };
        match (known, how) {
            (None, None) => {}
            (Some(known), Some(how)) if known.skip_client_cert_validation == how.skip_client_cert_validation => {
                known.authenticated_principals =
                    match (known.authenticated_principals.take(), how.authenticated_principals) {
                        (Some(some), Some(more)) => {
                            let names: BTreeSet<String> = some.into_iter().chain(more).collect();
                            Some(names.into_iter().collect())
                        }
                        _ => None,
                    };
            }
            _ => {
                if *first == by {
                    return;
                }
                let text = format!(
                    "lets {range} in, but asks another way of coming in of it than {first}, which holds. Let both ask the \
                     same, or give them different ranges"
                );
                problems.error(vec![by, first.clone()], "SourceConflict", text);
            }
        }
    }
}

/// Who outside of the mesh may call one port of a service.
pub(super) fn sources(view: &View<'_>, served: Served<'_>, problems: &mut Problems) -> Sources {
    let mut sources = Sources::default();
    let service = &served.service.key;
    for policy in view.world.ingress_backends_of(service) {
        let name = described(Kind::IngressBackend, &policy.metadata);
        if !view.mesh.features.ingress_backend_policy {
            problems.switched_off(name, view.mesh_config(), "enableIngressBackendPolicy");
            continue;
        }
        for backend in policy.spec.backends.iter().filter(|backend| backend.name == service.name) {
            if is_meant(view, served, backend, &name, problems) {
                let how = HowToCome::of_backend(backend, &policy.spec.sources);
                admit(view, &mut sources, &service.namespace, &policy.spec.sources, &how, &name, problems);
            }
        }
    }
    for policy in view.world.access_controls_of(service) {
        let name = described(Kind::AccessControl, &policy.metadata);
        if !view.mesh.features.access_control_policy {
            problems.switched_off(name, view.mesh_config(), "enableAccessControlPolicy");
            continue;
        }
        for backend in policy.spec.backends.iter().filter(|backend| backend.name == service.name) {
            if is_meant(view, served, backend, &name, problems) {
                let how = HowToCome::of_backend(backend, &policy.spec.sources);
                admit(view, &mut sources, &service.namespace, &policy.spec.sources, &how, &name, problems);
            }
        }
    }
    for policy in view.world.access_controls_everywhere() {
        let own = policy.metadata.namespace.clone().unwrap_or_default();
        if own != service.namespace && own != view.mesh.fsm_namespace {
            continue;
        }
        let name = described(Kind::AccessControl, &policy.metadata);
        if !view.mesh.features.access_control_policy {
            problems.switched_off(name, view.mesh_config(), "enableAccessControlPolicy");
            continue;
        }
        let how = HowToCome::of_any_port(&policy.spec.sources);
        admit(view, &mut sources, &own, &policy.spec.sources, &how, &name, problems);
    }
    add_importers(view, served, &mut sources, problems);
    sources
}

/// How clients come in.
enum HowToCome {
    Plaintext,
    /// With TLS, and any certificate or none.
    AnyCertificate,
    /// With TLS and a certificate of the mesh with one of these names.
    Principals(Vec<String>),
}

impl HowToCome {
    fn of_backend(backend: &Backend, sources: &[AccessSource]) -> Self {
        let https = backend.port.protocol.eq_ignore_ascii_case("https");
        match &backend.tls {
            Some(tls) if tls.skip_client_cert_validation => Self::AnyCertificate,
            Some(_) => Self::Principals(principals(sources)),
            None if https => Self::Principals(principals(sources)),
            None => Self::Plaintext,
        }
    }

    /// Without backends nothing says what is spoken; who names principals wants them checked.
    fn of_any_port(sources: &[AccessSource]) -> Self {
        let principals = principals(sources);
        if principals.is_empty() { Self::Plaintext } else { Self::Principals(principals) }
    }

    fn range(&self) -> Option<SourceIpRange> {
        let tls = |skip, principals| {
            Some(SourceIpRange { mtls: true, skip_client_cert_validation: skip, authenticated_principals: principals })
        };
        match self {
            Self::Plaintext => None,
            Self::AnyCertificate => tls(true, None),
            Self::Principals(names) if names.iter().any(|name| name == "*") => tls(false, None),
            Self::Principals(names) => tls(false, Some(names.clone())),
        }
    }
}

fn principals(sources: &[AccessSource]) -> Vec<String> {
    let named = sources.iter().filter(|source| source.kind == "AuthenticatedPrincipal");
    let names: BTreeSet<String> = named.map(|source| source.name.clone()).collect();
    names.into_iter().collect()
}

/// Whether a policy's backend means this port. Its number is the application's port (`targetPort`); a number that is only the
/// Service's own is understood and reported.
fn is_meant(
    view: &View<'_>,
    served: Served<'_>,
    backend: &Backend,
    policy: &ObjectKey,
    problems: &mut Problems,
) -> bool {
    let number = backend.port.number;
    let of_service: Vec<Served<'_>> =
        view.served().into_iter().filter(|other| other.service.key == served.service.key).collect();
    if of_service.iter().any(|other| other.target == number) {
        return served.target == number;
    }
    let objects = vec![policy.clone(), object(Kind::Service, &served.service.key)];
    if of_service.iter().any(|other| other.port.port == number) {
        if served.port.port == number {
            let text = format!(
                "port {number} is the Service's own port; `port.number` is the application's. {} is taken instead. Write it \
                 down, because the other reading may be given up",
                served.target
            );
            problems.warning(objects, "ServicePortNamed", text);
        }
        return served.port.port == number;
    }
    let known: BTreeSet<String> = of_service.iter().map(|other| other.target.to_string()).collect();
    let known: Vec<String> = known.into_iter().collect();
    let text = format!(
        "{} has no port {number}: nobody is let in by it. Its pods serve {}",
        objects[1],
        if known.is_empty() { "no port".to_owned() } else { known.join(", ") }
    );
    problems.error(objects, "MissingPort", text);
    false
}

fn admit(
    view: &View<'_>,
    admitted: &mut Sources,
    own: &str,
    sources: &[AccessSource],
    how: &HowToCome,
    policy: &ObjectKey,
    problems: &mut Problems,
) {
    if let HowToCome::Principals(names) = how
        && names.is_empty()
    {
        let text = "asks for client certificates but names no AuthenticatedPrincipal, so that no certificate will do. Name \
                    the principals (`*` for any), or set `tls.skipClientCertValidation`";
        problems.error(vec![policy.clone()], "NoPrincipal", text);
    }
    if !matches!(how, HowToCome::Plaintext) && !view.mesh.mtls {
        let text = "asks for TLS, which proxies cannot speak while `spec.sidecar.sidecarDisabledMTLS` is set: nobody is let in";
        problems.error(vec![policy.clone(), view.mesh_config()], "NoCertificates", text);
    }
    for source in sources {
        match source.kind.as_str() {
            "Service" => {
                let namespace = source.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(own);
                let service = NamespacedName::new(namespace, &source.name);
                let addresses = view.world.addresses_of(&service);
                if addresses.is_empty() {
                    let objects = vec![policy.clone(), object(Kind::Service, &service)];
                    let text = format!("endpoints not found for service {service}: none of its pods is let in yet");
                    problems.warning(objects, "NoEndpoints", text);
                }
                for address in addresses {
                    admitted.add(super::names::range(address), how.range(), policy.clone(), problems);
                }
            }
            "IPRange" => match parse_range(&source.name) {
                Some(range) => admitted.add(range.to_string(), how.range(), policy.clone(), problems),
                None => {
                    let text = format!("`{}` is no range like 10.0.0.0/8; it lets nobody in", source.name);
                    problems.error(vec![policy.clone()], "BadRange", text);
                }
            },
            "AuthenticatedPrincipal" => {}
            other => {
                let text = format!(
                    "source kind `{other}` is none of Service, IPRange and AuthenticatedPrincipal; it lets nobody in"
                );
                problems.error(vec![policy.clone()], "BadSource", text);
            }
        }
    }
}

/// The ingress of this cluster brings the calls of other clusters to an exported service, in plaintext.
fn add_importers(view: &View<'_>, served: Served<'_>, sources: &mut Sources, problems: &mut Problems) {
    let Some(export) = view.world.service_export(&served.service.key) else { return };
    let conditions = export.status.iter().flat_map(|status| &status.conditions);
    let mut refused = false;
    for condition in conditions {
        refused |= condition.type_ == "Valid" && condition.status == "False";
        refused |= condition.type_ == "Conflict" && condition.status == "True";
    }
    if refused || !export.spec.rules.iter().any(|rule| rule.port_number == Some(served.port.port)) {
        return;
    }
    let name = described(Kind::ServiceExport, &export.metadata);
    for address in view.world.ingress_controller_addresses() {
        sources.add(super::names::range(address), None, name.clone(), problems);
    }
}

/// A range, or a single address.
pub(super) fn parse_range(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok().map(|range| range.trunc())
}
