//! Every object that counts, by name, and what the policies among them bring along: references and reach.

use super::World;
use super::index::Term;
use super::model::{Namespace, NamespacedName, Pod, PodKey, Service, ServiceKey, TlsSecret};
use super::parse::{Mention, Slice, name_of};
use super::reference as refers;
use super::scope::Scope;
use fsm_api::resources::ingress::NamespacedIngress;
use fsm_api::resources::mesh_config::MeshConfig;
use fsm_api::resources::multicluster::{GlobalTrafficPolicy, ServiceExport, ServiceImport};
use fsm_api::resources::plugin::{Plugin, PluginChain, PluginConfig};
use fsm_api::resources::policy::{
    AccessCert, AccessControl, Egress, EgressGateway, IngressBackend, Isolation, Retry, TrafficWarmup,
    UpstreamTrafficSetting,
};
use fsm_api::resources::smi::{HttpRouteGroup, TcpRoute, TrafficSplit, TrafficTarget};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Objects of one kind by name. Cluster-scoped ones have an empty namespace.
pub(super) type Kept<T> = BTreeMap<NamespacedName, Arc<T>>;

/// Every object that counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Objects {
    pub(super) namespaces: BTreeMap<String, Namespace>,
    pub(super) pods: BTreeMap<PodKey, Pod>,
    pub(super) services: BTreeMap<ServiceKey, Service>,
    pub(super) slices: BTreeMap<NamespacedName, Slice>,
    pub(super) old_endpoints: BTreeMap<ServiceKey, Vec<Mention>>,
    pub(super) secrets: BTreeMap<NamespacedName, TlsSecret>,
    pub(super) ingress_services: BTreeMap<NamespacedName, ServiceKey>,
    pub(super) mesh_configs: Kept<MeshConfig>,
    pub(super) targets: Kept<TrafficTarget>,
    pub(super) route_groups: Kept<HttpRouteGroup>,
    pub(super) tcp_routes: Kept<TcpRoute>,
    pub(super) splits: Kept<TrafficSplit>,
    pub(super) settings: Kept<UpstreamTrafficSetting>,
    pub(super) retries: Kept<Retry>,
    pub(super) egresses: Kept<Egress>,
    pub(super) egress_gateways: Kept<EgressGateway>,
    pub(super) ingress_backends: Kept<IngressBackend>,
    pub(super) access_controls: Kept<AccessControl>,
    pub(super) access_certs: Kept<AccessCert>,
    pub(super) isolations: Kept<Isolation>,
    pub(super) plugins: Kept<Plugin>,
    pub(super) plugin_chains: Kept<PluginChain>,
    pub(super) plugin_configs: Kept<PluginConfig>,
    pub(super) warm_ups: Kept<TrafficWarmup>,
    pub(super) imports: Kept<ServiceImport>,
    pub(super) exports: Kept<ServiceExport>,
    pub(super) global_policies: Kept<GlobalTrafficPolicy>,
    pub(super) namespaced_ingresses: Kept<NamespacedIngress>,
}

/// What has to be derived anew after an object of a kind changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rederive {
    Nothing,
    /// The ports of the service of the same name.
    Ports,
    /// The isolated ranges.
    Isolation,
    /// The groups of all pods.
    Groups,
}

/// A kind of policy: how the world keeps it.
pub(super) trait Policy: Sized {
    const REDERIVE: Rederive = Rederive::Nothing;

    fn kept(objects: &Objects) -> &Kept<Self>;
    fn kept_mut(objects: &mut Objects) -> &mut Kept<Self>;
    fn metadata(&self) -> &ObjectMeta;
    /// Whether nothing that counts differs; status and most metadata never do.
    fn same(&self, other: &Self) -> bool;
    /// Under what it is found.
    fn terms(&self, _trust_domain: &str) -> Vec<Term> {
        Vec::new()
    }
    /// Whose documents it may concern.
    fn scope(&self, name: &NamespacedName, world: &World) -> Scope;
}

/// Keeps a kind: its field, its references and its reach.
macro_rules! policy {
    ($kind:ident, $field:ident, $rederive:ident, $terms:expr, $scope:expr) => {
        impl Policy for $kind {
            const REDERIVE: Rederive = Rederive::$rederive;

            fn kept(objects: &Objects) -> &Kept<Self> {
                &objects.$field
            }

            fn kept_mut(objects: &mut Objects) -> &mut Kept<Self> {
                &mut objects.$field
            }

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn same(&self, other: &Self) -> bool {
                self.spec == other.spec && self.metadata.creation_timestamp == other.metadata.creation_timestamp
            }

            fn terms(&self, trust_domain: &str) -> Vec<Term> {
                let terms: fn(&$kind, &str) -> Vec<Term> = $terms;
                terms(self, trust_domain)
            }

            fn scope(&self, name: &NamespacedName, world: &World) -> Scope {
                let scope: fn(&$kind, &NamespacedName, &World) -> Scope = $scope;
                scope(self, name, world)
            }
        }
    };
}

fn target_scope(target: &TrafficTarget) -> Scope {
    Scope::accounts(refers::target_sources(target).into_iter().chain(refers::target_destination(target)))
}

fn targets_scope(world: &World, route: &NamespacedName) -> Scope {
    let targets = world.index.get(&Term::TargetRoute(route.clone())).filter_map(|name| world.objects.targets.get(name));
    targets.fold(Scope::nothing(), |scope, target| scope.and(target_scope(target)))
}

fn egress_scope(world: &World, term: &Term) -> Scope {
    let egresses = world.index.get(term).filter_map(|name| world.objects.egresses.get(name));
    Scope::accounts(egresses.flat_map(|egress| refers::egress_sources(egress)))
}

policy!(
    TrafficTarget,
    targets,
    Nothing,
    |target, _| {
        let mut terms: Vec<Term> = refers::target_sources(target).into_iter().map(Term::TargetFrom).collect();
        terms.extend(refers::target_destination(target).map(Term::TargetTo));
        terms.extend(refers::target_routes(target).into_iter().map(Term::TargetRoute));
        terms
    },
    |target, _, _| target_scope(target)
);
policy!(HttpRouteGroup, route_groups, Nothing, |_, _| Vec::new(), |_, name, world| {
    let splits = world.index.get(&Term::SplitRoute(name.clone())).filter_map(|name| world.objects.splits.get(name));
    targets_scope(world, name)
        .and(egress_scope(world, &Term::EgressRoute(name.clone())))
        .and(Scope::about(splits.flat_map(|split| refers::split_services(split))))
});
policy!(TcpRoute, tcp_routes, Nothing, |_, _| Vec::new(), |_, name, world| targets_scope(world, name));
policy!(
    TrafficSplit,
    splits,
    Nothing,
    |split, _| {
        let mut terms = vec![Term::SplitRoot(refers::split_root(split))];
        terms.extend(refers::split_backends(split).into_iter().map(Term::SplitBackend));
        terms.extend(refers::split_routes(split).into_iter().map(Term::SplitRoute));
        terms
    },
    |split, _, _| Scope::about(refers::split_services(split))
);
policy!(
    UpstreamTrafficSetting,
    settings,
    Nothing,
    |setting, trust_domain| {
        refers::setting_service(setting, trust_domain).into_iter().map(Term::SettingOf).collect()
    },
    |setting, name, world| {
        let service = refers::setting_service(setting, &world.mesh.trust_domain);
        Scope::about(service).and(egress_scope(world, &Term::EgressSetting(name.clone())))
    }
);
policy!(
    Retry,
    retries,
    Nothing,
    |retry, _| refers::retry_source(retry).into_iter().map(Term::RetryFrom).collect(),
    |retry, _, _| Scope::accounts(refers::retry_source(retry))
);
policy!(
    Egress,
    egresses,
    Nothing,
    |egress, _| {
        let mut terms: Vec<Term> = refers::egress_sources(egress).into_iter().map(Term::EgressFrom).collect();
        terms.extend(refers::egress_matches(egress, "HTTPRouteGroup").into_iter().map(Term::EgressRoute));
        terms.extend(refers::egress_matches(egress, "UpstreamTrafficSetting").into_iter().map(Term::EgressSetting));
        terms.extend(refers::egress_secrets(egress).into_iter().map(Term::EgressSecret));
        terms
    },
    |egress, _, _| Scope::accounts(refers::egress_sources(egress))
);
policy!(
    EgressGateway,
    egress_gateways,
    Nothing,
    |gateway, _| refers::gateway_services(gateway).into_iter().map(Term::GatewayOf).collect(),
    |_, _, _| Scope::all()
);
policy!(
    IngressBackend,
    ingress_backends,
    Nothing,
    |backend, _| {
        let own = name_of(&backend.metadata).namespace;
        let mut terms: Vec<Term> =
            refers::ingress_backend_services(backend).into_iter().map(Term::IngressBackendOf).collect();
        terms.extend(refers::source_services(&backend.spec.sources, &own).into_iter().map(Term::IngressBackendFrom));
        terms
    },
    |backend, _, _| Scope::serving(refers::ingress_backend_services(backend))
);
policy!(
    AccessControl,
    access_controls,
    Nothing,
    |control, _| {
        let own = name_of(&control.metadata).namespace;
        let backends = refers::access_control_services(control);
        let mut terms: Vec<Term> = match backends.is_empty() {
            true => vec![Term::AccessControlOfAll],
            false => backends.into_iter().map(Term::AccessControlOf).collect(),
        };
        terms.extend(refers::source_services(&control.spec.sources, &own).into_iter().map(Term::AccessControlFrom));
        terms
    },
    |control, _, _| {
        let backends = refers::access_control_services(control);
        Scope::all_if(backends.is_empty()).and(Scope::serving(backends))
    }
);
policy!(AccessCert, access_certs, Nothing, |_, _| Vec::new(), |_, _, _| Scope::nothing());
policy!(Isolation, isolations, Isolation, |_, _| Vec::new(), |_, _, _| Scope::all());
policy!(Plugin, plugins, Nothing, |_, _| Vec::new(), |_, _, world| Scope::all_if(world.mesh.features.plugin_policy));
policy!(PluginChain, plugin_chains, Groups, |_, _| Vec::new(), |_, _, world| {
    Scope::all_if(world.mesh.features.plugin_policy)
});
policy!(
    PluginConfig,
    plugin_configs,
    Nothing,
    |config, _| refers::plugin_config_services(config).into_iter().map(Term::PluginConfigOf).collect(),
    |config, _, world| match world.mesh.features.plugin_policy {
        true => Scope::about(refers::plugin_config_services(config)),
        false => Scope::nothing(),
    }
);
policy!(TrafficWarmup, warm_ups, Nothing, |_, _| Vec::new(), |_, name, _| Scope::about([name.clone()]));
policy!(
    ServiceImport,
    imports,
    Ports,
    |import, _| refers::import_term(import).into_iter().collect(),
    |import, name, _| {
        let anyone = refers::import_account(import) == refers::ImportAccount::Any;
        Scope::all_if(anyone).and(Scope::about([name.clone()]))
    }
);
policy!(GlobalTrafficPolicy, global_policies, Nothing, |_, _| Vec::new(), |_, name, _| Scope::about([name.clone()]));

policy!(NamespacedIngress, namespaced_ingresses, Nothing, |_, _| Vec::new(), |_, _, _| Scope::nothing());

impl Policy for ServiceExport {
    fn kept(objects: &Objects) -> &Kept<Self> {
        &objects.exports
    }

    fn kept_mut(objects: &mut Objects) -> &mut Kept<Self> {
        &mut objects.exports
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    /// Its conditions decide whether it holds.
    fn same(&self, other: &Self) -> bool {
        self.spec == other.spec
            && self.status == other.status
            && self.metadata.creation_timestamp == other.metadata.creation_timestamp
    }

    fn scope(&self, name: &NamespacedName, _world: &World) -> Scope {
        Scope::serving([name.clone()])
    }
}

/// Orders by age: oldest first, objects without a creation time last, then by namespace and name. So the first of several
/// that exclude each other is always the same one.
pub(super) fn by_age<'a, P: Policy>(policies: impl Iterator<Item = &'a Arc<P>>) -> Vec<&'a Arc<P>> {
    let mut policies: Vec<&Arc<P>> = policies.collect();
    policies.sort_by_cached_key(|policy| age_key(policy.metadata()));
    policies
}

pub(super) fn age_key(metadata: &ObjectMeta) -> (bool, Option<jiff::Timestamp>, NamespacedName) {
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created.is_none(), created, name_of(metadata))
}
