//! TrafficTargets, TrafficSplits, UpstreamTrafficSettings and Retries.

use super::{Counts, Findings, World, key, losers};
use crate::world::index::Term;
use crate::world::model::{NamespacedName, ServiceKey};
use crate::world::reference::{self as refers, SERVICE_ACCOUNT};
use fsm_api::resources::policy::{Retry, UpstreamTrafficSetting};
use fsm_api::resources::smi::{RouteKind, TrafficSplit, TrafficTarget};
use fsm_api::resources::{Kind, ObjectKey};

impl World {
    pub(super) fn find_in_targets(&self, found: &mut Findings) {
        for (name, target) in self.counting::<TrafficTarget>(Kind::TrafficTarget, found) {
            let object = || key(&Kind::TrafficTarget, name);
            let destination = &target.spec.destination;
            match refers::target_destination(target) {
                None => found.fail(
                    [object()],
                    "NotAnAccount",
                    format!(
                        "has no effect because its destination is of kind {:?}; only {SERVICE_ACCOUNT} can \
                        be called",
                        destination.kind
                    ),
                ),
                Some(account) if account.namespace != name.namespace => found.fail(
                    [object(), account_key(&account.namespace, &account.name)],
                    "ForeignDestination",
                    format!(
                        "has no effect because it is in namespace {} and its destination in {}; move it to the \
                            destination's namespace",
                        name.namespace, account.namespace
                    ),
                ),
                Some(_) => {}
            }
            for source in target.spec.sources.iter().filter(|source| source.kind != SERVICE_ACCOUNT) {
                found.fail(
                    [object()],
                    "NotAnAccount",
                    format!(
                        "source {:?} is left out because it is of kind {:?}; only {SERVICE_ACCOUNT} can call",
                        source.name, source.kind
                    ),
                );
            }
            if target.spec.rules.is_empty() {
                found.fail([object()], "NoRules", "lets nobody in because it has no rules; add at least one".into());
            }
            self.find_in_rules(name, target, found);
        }
    }

    fn find_in_rules(&self, name: &NamespacedName, target: &TrafficTarget, found: &mut Findings) {
        let object = || key(&Kind::TrafficTarget, name);
        for rule in &target.spec.rules {
            let route = NamespacedName::new(&name.namespace, &rule.name);
            let (kind, is_there) = match rule.kind {
                RouteKind::HttpRouteGroup => (Kind::HttpRouteGroup, self.objects.route_groups.contains_key(&route)),
                RouteKind::TcpRoute => (Kind::TcpRoute, self.objects.tcp_routes.contains_key(&route)),
                RouteKind::UdpRoute => {
                    let text = format!(
                        "rule {:?} lets nothing in because UDP is not carried by the mesh; remove it",
                        rule.name
                    );
                    found.fail([object()], "UdpRoute", text);
                    continue;
                }
            };
            if !is_there {
                let text = format!(
                    "rule {:?} lets nothing in because there is no such {kind} in namespace {}; create it there \
                        or mend the name",
                    rule.name, name.namespace
                );
                found.fail([object(), key(&kind, &route)], "MissingRoute", text);
                continue;
            }
            let Some(group) = self.objects.route_groups.get(&route).filter(|_| rule.kind == RouteKind::HttpRouteGroup)
            else {
                continue;
            };
            for wanted in
                rule.matches.iter().filter(|wanted| group.spec.matches.iter().all(|known| known.name != **wanted))
            {
                let text = format!(
                    "match {wanted:?} lets nothing in because HTTPRouteGroup {route} has no match of that name; \
                        add it or mend the name"
                );
                found.fail([object(), key(&Kind::HttpRouteGroup, &route)], "MissingMatch", text);
            }
        }
    }

    pub(super) fn find_in_splits(&self, found: &mut Findings) {
        for (name, split) in self.counting::<TrafficSplit>(Kind::TrafficSplit, found) {
            let object = || key(&Kind::TrafficSplit, name);
            let root = refers::split_root(split);
            if self.mesh_services_of(&root).is_empty() {
                found.fail(
                    [object(), key(&Kind::Service, &root)],
                    "UnknownRoot",
                    format!("has no effect because service {root} {}", self.why_unknown(&root)),
                );
            }
            let ports: Vec<u16> = self.mesh_services_of(&root).iter().map(|port| port.port).collect();
            for backend in refers::split_backends(split) {
                let its_ports = self.mesh_services_of(&backend);
                if its_ports.is_empty() {
                    found.fail(
                        [object(), key(&Kind::Service, &backend)],
                        "UnknownBackend",
                        format!("backend {backend} gets no traffic because the service {}", self.why_unknown(&backend)),
                    );
                } else if !ports.is_empty() && its_ports.iter().all(|port| !ports.contains(&port.port)) {
                    found.fail(
                        [object(), key(&Kind::Service, &backend)],
                        "NoCommonPort",
                        format!(
                            "backend {backend} gets no traffic because it has no port in common with \
                            service {root}; give it the same port"
                        ),
                    );
                }
            }
            if split.spec.backends.is_empty() {
                found.fail(
                    [object(), key(&Kind::Service, &root)],
                    "NoBackends",
                    format!(
                        "has no effect because it has no backends: service {root} is called like any other; name its \
                            backends"
                    ),
                );
            } else if split.spec.backends.iter().all(|backend| backend.weight == 0) {
                found.warn(
                    [object(), key(&Kind::Service, &root)],
                    "NoWeight",
                    format!(
                        "all its backends have weight 0 and so share the traffic to service {root} alike; give those \
                            that are to get some a weight above 0"
                    ),
                );
            }
            for route in
                refers::split_routes(split).into_iter().filter(|route| !self.objects.route_groups.contains_key(route))
            {
                found.fail(
                    [object(), key(&Kind::HttpRouteGroup, &route)],
                    "MissingRoute",
                    format!(
                        "its match {:?} has no effect because there is no HTTPRouteGroup {route}; create it \
                        or mend the name",
                        route.name
                    ),
                );
            }
        }
        let splits = self.objects.splits.iter().filter(|(name, _)| self.policy_counts(name));
        let claims = |split: &TrafficSplit| {
            let mut routes: Vec<Option<NamespacedName>> = refers::split_routes(split).into_iter().map(Some).collect();
            if routes.is_empty() {
                routes.push(None);
            }
            let root = refers::split_root(split);
            routes.into_iter().map(|route| (root.clone(), route)).collect()
        };
        for (loser, winner, (root, route)) in losers(splits, Counts::Oldest, claims) {
            let same = route.map_or("all requests".into(), |route| format!("the requests of HTTPRouteGroup {route}"));
            found.fail(
                [key(&Kind::TrafficSplit, loser), key(&Kind::TrafficSplit, winner)],
                "SplitConflict",
                format!(
                    "TrafficSplit {winner} comes first and shares out {same} to service {root} already; remove \
                    one of them or merge their backends"
                ),
            );
        }
    }

    fn why_unknown(&self, service: &ServiceKey) -> String {
        let is_known = self.is_complete_in(&Kind::Service, &service.namespace);
        match self.objects.services.get(service) {
            None if is_known => "does not exist; create it or mend the name".into(),
            _ if !self.is_monitored(&service.namespace) => {
                format!("is not in the mesh; run `fsm namespace add {}`", service.namespace)
            }
            None => "is not known yet".into(),
            Some(found) if found.ports.is_empty() => "has no TCP port; add one".into(),
            Some(_) => "is kept out of the mesh (ExternalName, or an annotation flomesh.io/service-exclusion…)".into(),
        }
    }

    pub(super) fn find_in_settings_of_hosts(&self, found: &mut Findings) {
        let domain = &self.mesh.trust_domain;
        for (name, setting) in self.counting::<UpstreamTrafficSetting>(Kind::UpstreamTrafficSetting, found) {
            if self.index.has(&Term::EgressSetting(name.clone())) {
                continue;
            }
            let object = || key(&Kind::UpstreamTrafficSetting, name);
            let host = &setting.spec.host;
            match refers::service_of_host(host, domain) {
                Some(service) if service.namespace != name.namespace => found.fail(
                    [object(), key(&Kind::Service, &service)],
                    "ForeignHost",
                    format!(
                        "has no effect because its host {host:?} is a service of namespace {}; move it to that \
                            namespace",
                        service.namespace
                    ),
                ),
                Some(service) if self.mesh_services_of(&service).is_empty() => found.warn(
                    [object(), key(&Kind::Service, &service)],
                    "UnknownService",
                    format!("has no effect because service {service} {}", self.why_unknown(&service)),
                ),
                Some(_) => {}
                None => found.warn(
                    [object()],
                    "UnknownHost",
                    format!(
                        "has no effect because {host:?} is no service (write <service>.{} or \
                            <service>.{}.svc.{domain}) and no Egress refers to it",
                        name.namespace, name.namespace
                    ),
                ),
            }
        }
        let settings = self.objects.settings.iter().filter(|(name, _)| self.policy_counts(name));
        let claims = |setting: &UpstreamTrafficSetting| refers::setting_service(setting, domain).into_iter().collect();
        for (loser, winner, service) in losers(settings, Counts::Newest, claims) {
            found.fail(
                [key(&Kind::UpstreamTrafficSetting, loser), key(&Kind::UpstreamTrafficSetting, winner)],
                "HostConflict",
                format!(
                    "UpstreamTrafficSetting {winner} is newer and has the host of service {service} too, so this one \
                    has no effect; remove it, or merge them into one"
                ),
            );
        }
    }

    pub(super) fn find_in_retries(&self, found: &mut Findings) {
        for (name, retry) in self.counting::<Retry>(Kind::Retry, found) {
            let object = || key(&Kind::Retry, name);
            if !self.mesh.features.retry_policy {
                found.disabled(object(), "enableRetryPolicy");
                continue;
            }
            if refers::retry_source(retry).is_none() {
                let text = format!(
                    "has no effect because its source is of kind {:?}; write {SERVICE_ACCOUNT}",
                    retry.spec.source.kind
                );
                found.fail([object()], "NotAnAccount", text);
            }
            for other in retry.spec.destinations.iter().filter(|destination| destination.kind != "Service") {
                let text = format!(
                    "destination {:?} is left out because it is of kind {:?}; write Service",
                    other.name, other.kind
                );
                found.fail([object()], "NotAService", text);
            }
            for service in refers::retry_destinations(retry).into_iter().filter(|service| !self.is_there(service)) {
                let text = format!("destination {service} does not exist; create the service or mend the name");
                found.warn([object(), key(&Kind::Service, &service)], "UnknownService", text);
            }
        }
        let retries = self.objects.retries.iter().filter(|(name, _)| self.policy_counts(name));
        let claims = |retry: &Retry| {
            let destinations = refers::retry_destinations(retry);
            let sources = refers::retry_source(retry).into_iter();
            sources
                .flat_map(|source| destinations.iter().map(move |service| (source.clone(), service.clone())))
                .collect()
        };
        for (loser, winner, (source, service)) in losers(retries, Counts::Oldest, claims) {
            found.fail(
                [key(&Kind::Retry, loser), key(&Kind::Retry, winner)],
                "RetryConflict",
                format!(
                    "Retry {winner} comes first and says how {source} retries towards service {service}; \
                    remove that from one of them"
                ),
            );
        }
    }
}

pub(super) fn account_key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(Kind::ServiceAccount, namespace, name)
}
