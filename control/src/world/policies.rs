//! Questions about policies. Several are always given oldest first.
//!
//! Only objects in monitored namespaces count, except those of the whole cluster and the EgressGateway's services.
//! Feature flags are *not* looked at here: they are the business of whoever acts upon a policy.

use super::World;
use super::index::Term;
use super::model::{Account, NamespacedName, ServiceKey};
use super::objects::{Kept, Policy, by_age};
use fsm_api::resources::ingress::NamespacedIngress;
use fsm_api::resources::mesh_config::MeshConfig;
use fsm_api::resources::multicluster::{GlobalTrafficPolicy, ServiceExport, ServiceImport};
use fsm_api::resources::plugin::{Plugin, PluginChain, PluginConfig};
use fsm_api::resources::policy::{
    AccessCert, AccessControl, Egress, EgressGateway, IngressBackend, Retry, UpstreamTrafficSetting,
};
use fsm_api::resources::smi::{HttpRouteGroup, TcpRoute, TrafficSplit, TrafficTarget};
use std::sync::Arc;

impl World {
    /// The MeshConfig that counts.
    pub fn mesh_config(&self) -> Option<&Arc<MeshConfig>> {
        let settings = &self.settings;
        self.objects.mesh_configs.get(&NamespacedName::new(&settings.fsm_namespace, &settings.mesh_config_name))
    }

    /// TrafficTargets that let an account be called. Only those in the namespace of their destination count: whoever may
    /// write in one namespace must not open another.
    pub fn targets_to(&self, account: &Account) -> Vec<&Arc<TrafficTarget>> {
        self.traffic_targets(&Term::TargetTo(account.clone()))
    }

    /// TrafficTargets that let an account call; see [`World::targets_to`].
    pub fn targets_from(&self, account: &Account) -> Vec<&Arc<TrafficTarget>> {
        self.traffic_targets(&Term::TargetFrom(account.clone()))
    }

    fn traffic_targets(&self, term: &Term) -> Vec<&Arc<TrafficTarget>> {
        self.found(term, |target: &TrafficTarget, name| {
            super::reference::target_destination(target).is_some_and(|to| to.namespace == name.namespace)
        })
    }

    /// An HTTPRouteGroup.
    pub fn route_group(&self, namespace: &str, name: &str) -> Option<&Arc<HttpRouteGroup>> {
        self.objects.route_groups.get(&NamespacedName::new(namespace, name))
    }

    /// A TCPRoute.
    pub fn tcp_route(&self, namespace: &str, name: &str) -> Option<&Arc<TcpRoute>> {
        self.objects.tcp_routes.get(&NamespacedName::new(namespace, name))
    }

    /// The TrafficSplits of a service.
    pub fn splits_of_root(&self, service: &ServiceKey) -> Vec<&Arc<TrafficSplit>> {
        self.found(&Term::SplitRoot(service.clone()), |_, _| true)
    }

    /// The TrafficSplits with a service among their backends.
    pub fn splits_of_backend(&self, service: &ServiceKey) -> Vec<&Arc<TrafficSplit>> {
        self.found(&Term::SplitBackend(service.clone()), |_, _| true)
    }

    /// The service that a TrafficSplit shares out.
    pub fn split_root(&self, split: &TrafficSplit) -> ServiceKey {
        super::reference::split_root(split)
    }

    /// The backends of a TrafficSplit with their weights, in the order written; unknown services included.
    pub fn split_backends(&self, split: &TrafficSplit) -> Vec<(ServiceKey, u32)> {
        let backends = split.spec.backends.iter();
        backends.map(|backend| (super::reference::split_backend(split, &backend.service), backend.weight)).collect()
    }

    /// The UpstreamTrafficSetting whose host is a service, in that service's namespace: the newest one, because users
    /// change a limit by applying another object (FSM's page on rate limits of connections does).
    pub fn upstream_setting(&self, service: &ServiceKey) -> Option<&Arc<UpstreamTrafficSetting>> {
        self.found(&Term::SettingOf(service.clone()), |_, _| true).pop()
    }

    /// An UpstreamTrafficSetting by name, as an Egress refers to it.
    pub fn upstream_setting_named(&self, namespace: &str, name: &str) -> Option<&Arc<UpstreamTrafficSetting>> {
        self.objects.settings.get(&NamespacedName::new(namespace, name))
    }

    /// The Retries of an account.
    pub fn retries_of(&self, account: &Account) -> Vec<&Arc<Retry>> {
        self.found(&Term::RetryFrom(account.clone()), |_, _| true)
    }

    /// The Egresses of an account.
    pub fn egress_of(&self, account: &Account) -> Vec<&Arc<Egress>> {
        self.found(&Term::EgressFrom(account.clone()), |_, _| true)
    }

    /// The EgressGateway with `global` that counts: the oldest one.
    pub fn egress_gateway(&self) -> Option<&Arc<EgressGateway>> {
        let all = self
            .objects
            .egress_gateways
            .iter()
            .filter(|(name, gateway)| !gateway.spec.global.is_empty() && self.policy_counts(name));
        by_age(all.map(|(_, gateway)| gateway)).into_iter().next()
    }

    /// The IngressBackends with a service among their backends.
    pub fn ingress_backends_of(&self, service: &ServiceKey) -> Vec<&Arc<IngressBackend>> {
        self.found(&Term::IngressBackendOf(service.clone()), |_, _| true)
    }

    /// The AccessControls with a service among their backends.
    pub fn access_controls_of(&self, service: &ServiceKey) -> Vec<&Arc<AccessControl>> {
        self.found(&Term::AccessControlOf(service.clone()), |_, _| true)
    }

    /// The AccessControls without backends, which hold for every service of the mesh.
    pub fn access_controls_everywhere(&self) -> Vec<&Arc<AccessControl>> {
        self.found(&Term::AccessControlOfAll, |_, _| true)
    }

    /// All AccessCerts.
    pub fn access_certs(&self) -> Vec<&Arc<AccessCert>> {
        by_age(self.objects.access_certs.iter().filter(|(name, _)| self.policy_counts(name)).map(|(_, cert)| cert))
    }

    /// All Plugins by name.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.objects.plugins.values()
    }

    /// A Plugin.
    pub fn plugin(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.objects.plugins.get(&NamespacedName::new("", name))
    }

    /// A PluginChain; [`Group::chains`](super::Group::chains) says which ones a group has.
    pub fn plugin_chain(&self, name: &NamespacedName) -> Option<&Arc<PluginChain>> {
        self.objects.plugin_chains.get(name)
    }

    /// The PluginConfigs for a service.
    pub fn plugin_configs_of(&self, service: &ServiceKey) -> Vec<&Arc<PluginConfig>> {
        self.found(&Term::PluginConfigOf(service.clone()), |_, _| true)
    }

    /// The ServiceImport of a service's name.
    pub fn service_import(&self, service: &ServiceKey) -> Option<&Arc<ServiceImport>> {
        self.objects.imports.get(service).filter(|_| self.is_monitored(&service.namespace))
    }

    /// The ServiceExport of a service's name; whether its conditions let it hold is for the reader to see.
    pub fn service_export(&self, service: &ServiceKey) -> Option<&Arc<ServiceExport>> {
        self.objects.exports.get(service).filter(|_| self.is_monitored(&service.namespace))
    }

    /// The ServiceExports.
    pub fn service_exports(&self) -> Vec<&Arc<ServiceExport>> {
        by_age(self.objects.exports.iter().filter(|(name, _)| self.policy_counts(name)).map(|(_, export)| export))
    }

    /// The NamespacedIngresses of a namespace; there should be one at most.
    pub fn namespaced_ingresses_of(&self, namespace: &str) -> Vec<&Arc<NamespacedIngress>> {
        let all = self.objects.namespaced_ingresses.iter();
        by_age(all.filter(|(name, _)| name.namespace == namespace).map(|(_, ingress)| ingress))
    }

    /// The GlobalTrafficPolicy of a service's name.
    pub fn global_traffic_policy(&self, service: &ServiceKey) -> Option<&Arc<GlobalTrafficPolicy>> {
        self.objects.global_policies.get(service).filter(|_| self.is_monitored(&service.namespace))
    }

    /// Whether a policy is in a namespace of the mesh.
    pub(super) fn policy_counts(&self, name: &NamespacedName) -> bool {
        self.is_monitored(&name.namespace) || name.namespace == self.settings.fsm_namespace
    }

    fn found<P: Policy>(&self, term: &Term, holds: impl Fn(&P, &NamespacedName) -> bool) -> Vec<&Arc<P>> {
        let kept: &Kept<P> = P::kept(&self.objects);
        let counting = self.index.get(term).filter(|name| self.policy_counts(name));
        by_age(counting.filter_map(|name| kept.get(name).filter(|policy| holds(policy, name))))
    }
}
