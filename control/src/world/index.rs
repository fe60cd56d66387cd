//! Reverse references: which objects say something about a service, an account, a route…

use super::model::{Account, NamespacedName, PodKey, ServiceKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What an object may refer to. The kind of the referring object follows from the variant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Term {
    /// Pods that run as an account.
    PodOf(Account),
    /// Pods that have an address of their own.
    PodAt(IpAddr),
    /// EndpointSlices of a service.
    SliceOf(ServiceKey),
    /// TrafficTargets whose destination is an account.
    TargetTo(Account),
    /// TrafficTargets with an account among their sources.
    TargetFrom(Account),
    /// TrafficTargets that name an HTTPRouteGroup or TCPRoute.
    TargetRoute(NamespacedName),
    /// TrafficSplits of a service.
    SplitRoot(ServiceKey),
    /// TrafficSplits with a service among their backends.
    SplitBackend(ServiceKey),
    /// TrafficSplits that name an HTTPRouteGroup.
    SplitRoute(NamespacedName),
    /// UpstreamTrafficSettings whose host is a service.
    SettingOf(ServiceKey),
    /// Retries of an account.
    RetryFrom(Account),
    /// Egresses of an account.
    EgressFrom(Account),
    /// Egresses that name an HTTPRouteGroup.
    EgressRoute(NamespacedName),
    /// Egresses that name an UpstreamTrafficSetting.
    EgressSetting(NamespacedName),
    /// Egresses that name a Secret.
    EgressSecret(NamespacedName),
    /// IngressBackends with a service among their backends.
    IngressBackendOf(ServiceKey),
    /// IngressBackends with a service among their sources.
    IngressBackendFrom(ServiceKey),
    /// AccessControls with a service among their backends.
    AccessControlOf(ServiceKey),
    /// AccessControls without backends.
    AccessControlOfAll,
    /// AccessControls with a service among their sources.
    AccessControlFrom(ServiceKey),
    /// PluginConfigs for a service.
    PluginConfigOf(ServiceKey),
    /// ServiceImports that run as an account in other clusters.
    ImportOf(Account),
    /// ServiceImports that run as any account.
    ImportOfAny,
    /// EgressGateways that name a service.
    GatewayOf(ServiceKey),
    /// IngressClasses whose controller is behind a service.
    IngressOf(ServiceKey),
    /// Services with endpoints that refer to a pod.
    EndpointAt(PodKey),
    /// Services with endpoints without reference at an address.
    EndpointIp(IpAddr),
}

/// Term → names of the objects that refer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index(BTreeMap<Term, BTreeSet<NamespacedName>>);

impl Index {
    pub(super) fn insert(&mut self, terms: impl IntoIterator<Item = Term>, name: &NamespacedName) {
        for term in terms {
            self.0.entry(term).or_default().insert(name.clone());
        }
    }

    pub(super) fn remove(&mut self, terms: impl IntoIterator<Item = Term>, name: &NamespacedName) {
        for term in terms {
            if let Some(names) = self.0.get_mut(&term) {
                names.remove(name);
                if names.is_empty() {
                    self.0.remove(&term);
                }
            }
        }
    }

    pub(super) fn get<'a>(&'a self, term: &Term) -> impl Iterator<Item = &'a NamespacedName> + use<'a> {
        self.0.get(term).into_iter().flatten()
    }

    pub(super) fn has(&self, term: &Term) -> bool {
        self.0.contains_key(term)
    }

    /// The first term in which two indexes differ.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let terms: BTreeSet<&Term> = self.0.keys().chain(other.0.keys()).collect();
        let term = terms.into_iter().find(|term| self.0.get(term) != other.0.get(term))?;
        Some(format!("{term:?} is {:?}, a rebuild says {:?}", self.0.get(term), other.0.get(term)))
    }
}
