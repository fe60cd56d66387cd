//! What policies refer to, read once and in one place: the index, the reach of a change, the reads and the problems all
//! follow the same references.

use super::index::Term;
use super::model::{Account, NamespacedName, ServiceKey};
use super::parse::name_of;
use fsm_api::resources::multicluster::ServiceImport;
use fsm_api::resources::plugin::PluginConfig;
use fsm_api::resources::policy::{
    AccessControl, AccessSource, Egress, EgressGateway, IngressBackend, NamespacedRef, Retry, UpstreamTrafficSetting,
};
use fsm_api::resources::smi::{TrafficSplit, TrafficTarget};
use std::collections::BTreeSet;

/// The kind by which SMI and FSM name accounts.
pub(super) const SERVICE_ACCOUNT: &str = "ServiceAccount";

/// Who the target lets be called; `None` when it is not an account.
pub(super) fn target_destination(target: &TrafficTarget) -> Option<Account> {
    let destination = &target.spec.destination;
    let own = name_of(&target.metadata).namespace;
    let namespace = destination.namespace.clone().filter(|namespace| !namespace.is_empty()).unwrap_or(own);
    (destination.kind == SERVICE_ACCOUNT).then(|| Account::new(namespace, &destination.name))
}

/// Who may call.
pub(super) fn target_sources(target: &TrafficTarget) -> BTreeSet<Account> {
    let own = name_of(&target.metadata).namespace;
    let accounts = target.spec.sources.iter().filter(|source| source.kind == SERVICE_ACCOUNT);
    accounts
        .map(|source| {
            let namespace = source.namespace.clone().filter(|namespace| !namespace.is_empty());
            Account::new(namespace.unwrap_or_else(|| own.clone()), &source.name)
        })
        .collect()
}

/// The HTTPRouteGroups and TCPRoutes that the target names, which are looked up in its own namespace.
pub(super) fn target_routes(target: &TrafficTarget) -> BTreeSet<NamespacedName> {
    let own = name_of(&target.metadata).namespace;
    target.spec.rules.iter().map(|rule| NamespacedName::new(&own, &rule.name)).collect()
}

/// The service that a split shares out.
pub(super) fn split_root(split: &TrafficSplit) -> ServiceKey {
    let own = name_of(&split.metadata).namespace;
    // A host form, `service.namespace` and longer, is understood; the namespace is the split's own whatever it says.
    let name = split.spec.service.split('.').next().unwrap_or_default();
    NamespacedName::new(own, name)
}

/// One backend of a split: a service of its namespace, or `namespace/name`.
pub(super) fn split_backend(split: &TrafficSplit, backend: &str) -> ServiceKey {
    match backend.split_once('/') {
        Some((namespace, name)) => NamespacedName::new(namespace, name),
        None => NamespacedName::new(name_of(&split.metadata).namespace, backend),
    }
}

pub(super) fn split_backends(split: &TrafficSplit) -> BTreeSet<ServiceKey> {
    split.spec.backends.iter().map(|backend| split_backend(split, &backend.service)).collect()
}

pub(super) fn split_services(split: &TrafficSplit) -> BTreeSet<ServiceKey> {
    let mut services = split_backends(split);
    services.insert(split_root(split));
    services
}

/// The HTTPRouteGroups that a split names, in its own namespace.
pub(super) fn split_routes(split: &TrafficSplit) -> BTreeSet<NamespacedName> {
    let own = name_of(&split.metadata).namespace;
    split.spec.matches.iter().map(|found| NamespacedName::new(&own, &found.name)).collect()
}

/// The service that a setting's host names: `<service>.<namespace>`, `<service>.<namespace>.svc` and longer forms up to the
/// trust domain, in the setting's own namespace. `None`: it is no service of that namespace.
pub(super) fn setting_service(setting: &UpstreamTrafficSetting, trust_domain: &str) -> Option<ServiceKey> {
    let own = name_of(&setting.metadata).namespace;
    let service = service_of_host(&setting.spec.host, trust_domain)?;
    (service.namespace == own).then_some(service)
}

/// The service that a host names by namespace; `None` when it has another form.
pub(super) fn service_of_host(host: &str, trust_domain: &str) -> Option<ServiceKey> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let mut parts = host.splitn(3, '.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    let known = match parts.next() {
        None => true,
        Some(rest) => {
            let full = format!("svc.{}", trust_domain.to_ascii_lowercase());
            full == rest || full.strip_prefix(rest).is_some_and(|left| left.starts_with('.'))
        }
    };
    (known && !name.is_empty() && !namespace.is_empty()).then(|| NamespacedName::new(namespace, name))
}

/// The account of a reference; `None` when it is none.
pub(super) fn account_of(reference: &NamespacedRef) -> Option<Account> {
    (reference.kind == SERVICE_ACCOUNT).then(|| Account::new(&reference.namespace, &reference.name))
}

/// Whose requests a Retry repeats.
pub(super) fn retry_source(retry: &Retry) -> Option<Account> {
    account_of(&retry.spec.source)
}

/// Towards which services a Retry repeats.
pub(super) fn retry_destinations(retry: &Retry) -> BTreeSet<ServiceKey> {
    let services = retry.spec.destinations.iter().filter(|destination| destination.kind == "Service");
    services.map(|service| NamespacedName::new(&service.namespace, &service.name)).collect()
}

/// Who may use an Egress.
pub(super) fn egress_sources(egress: &Egress) -> BTreeSet<Account> {
    let accounts = egress.spec.sources.iter().filter(|source| source.kind == SERVICE_ACCOUNT);
    accounts.map(|source| Account::new(&source.namespace, &source.name)).collect()
}

/// The objects of one kind that an Egress names in its `matches`, in its own namespace.
pub(super) fn egress_matches(egress: &Egress, kind: &str) -> BTreeSet<NamespacedName> {
    let own = name_of(&egress.metadata).namespace;
    let named = egress.spec.matches.iter().filter(|found| found.kind == kind);
    named.map(|found| NamespacedName::new(&own, &found.name)).collect()
}

/// The Secrets with client certificates that an Egress names.
pub(super) fn egress_secrets(egress: &Egress) -> BTreeSet<NamespacedName> {
    let own = name_of(&egress.metadata).namespace;
    let certificates = egress.spec.sources.iter().filter_map(|source| source.mtls.as_ref()?.cert.as_ref());
    certificates
        .filter_map(|certificate| {
            let namespace = certificate.secret.namespace.clone().filter(|namespace| !namespace.is_empty());
            Some(NamespacedName::new(namespace.unwrap_or_else(|| own.clone()), certificate.secret.name.as_deref()?))
        })
        .collect()
}

/// The services that everything leaving the mesh goes through.
pub(super) fn gateway_services(gateway: &EgressGateway) -> BTreeSet<ServiceKey> {
    gateway.spec.global.iter().map(|target| NamespacedName::new(&target.namespace, &target.service)).collect()
}

/// The services that an IngressBackend opens.
pub(super) fn ingress_backend_services(backend: &IngressBackend) -> BTreeSet<ServiceKey> {
    let own = name_of(&backend.metadata).namespace;
    backend.spec.backends.iter().map(|backend| NamespacedName::new(&own, &backend.name)).collect()
}

/// The services that an AccessControl opens; empty: every one.
pub(super) fn access_control_services(control: &AccessControl) -> BTreeSet<ServiceKey> {
    let own = name_of(&control.metadata).namespace;
    control.spec.backends.iter().map(|backend| NamespacedName::new(&own, &backend.name)).collect()
}

/// The services among the clients that are let in.
pub(super) fn source_services(sources: &[AccessSource], own: &str) -> BTreeSet<ServiceKey> {
    let services = sources.iter().filter(|source| source.kind == "Service");
    services.map(|source| source_service(source, own)).collect()
}

/// The service of one source.
pub(super) fn source_service(source: &AccessSource, own: &str) -> ServiceKey {
    let namespace = source.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    NamespacedName::new(namespace.unwrap_or(own), &source.name)
}

/// The services that a PluginConfig is for.
pub(super) fn plugin_config_services(config: &PluginConfig) -> BTreeSet<ServiceKey> {
    let own = name_of(&config.metadata).namespace;
    let services = config.spec.destination_refs.iter().filter(|reference| reference.kind.as_deref() == Some("Service"));
    services
        .filter_map(|reference| {
            let namespace = reference.namespace.clone().filter(|namespace| !namespace.is_empty());
            Some(NamespacedName::new(namespace.unwrap_or_else(|| own.clone()), reference.name.as_deref()?))
        })
        .collect()
}

/// As whom the pods behind an import run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ImportAccount {
    /// Nobody says: only permissive mode reaches them.
    Unsaid,
    /// Anyone: every TrafficTarget reaches them.
    Any,
    /// This account of the import's namespace.
    Of(Account),
}

pub(super) fn import_account(import: &ServiceImport) -> ImportAccount {
    match import.spec.service_account_name.as_deref().unwrap_or_default() {
        "" => ImportAccount::Unsaid,
        "*" => ImportAccount::Any,
        name => ImportAccount::Of(Account::new(name_of(&import.metadata).namespace, name)),
    }
}

pub(super) fn import_term(import: &ServiceImport) -> Option<Term> {
    match import_account(import) {
        ImportAccount::Unsaid => None,
        ImportAccount::Any => Some(Term::ImportOfAny),
        ImportAccount::Of(account) => Some(Term::ImportOf(account)),
    }
}
