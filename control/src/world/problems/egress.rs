//! Ways out of the mesh.

use super::{Counts, Findings, World, key, losers};
use crate::world::model::NamespacedName;
use crate::world::reference::{self as refers, SERVICE_ACCOUNT};
use fsm_api::resources::Kind;
use fsm_api::resources::policy::{Egress, EgressGateway};

const PROTOCOLS: [&str; 4] = ["http", "https", "tcp", "tcp-server-first"];

impl World {
    pub(super) fn find_in_egress(&self, found: &mut Findings) {
        for (name, egress) in self.counting::<Egress>(Kind::Egress, found) {
            let object = || key(&Kind::Egress, name);
            if !self.mesh.features.egress_policy {
                found.disabled(object(), "enableEgressPolicy");
                continue;
            }
            for source in egress.spec.sources.iter().filter(|source| source.kind != SERVICE_ACCOUNT) {
                let text = format!(
                    "source {:?} is left out because it is of kind {:?}; write {SERVICE_ACCOUNT}",
                    source.name, source.kind
                );
                found.fail([object()], "NotAnAccount", text);
            }
            for port in egress
                .spec
                .ports
                .iter()
                .filter(|port| !PROTOCOLS.contains(&port.protocol.to_ascii_lowercase().as_str()))
            {
                let text = format!(
                    "port {} is left out because {:?} is no protocol of egress; write one of {}",
                    port.number,
                    port.protocol,
                    PROTOCOLS.join(", ")
                );
                found.fail([object()], "UnknownProtocol", text);
            }
            for cidr in egress.spec.ip_addresses.iter().filter(|cidr| crate::world::derive::range(cidr).is_none()) {
                let text =
                    format!("spec.ipAddresses: {cidr:?} is no address range and is left out; write it like 10.0.0.0/8");
                found.fail([object()], "InvalidRange", text);
            }
            self.find_in_egress_references(name, egress, found);
        }
    }

    fn find_in_egress_references(&self, name: &NamespacedName, egress: &Egress, found: &mut Findings) {
        let object = || key(&Kind::Egress, name);
        for other in egress
            .spec
            .matches
            .iter()
            .filter(|one| !["HTTPRouteGroup", "UpstreamTrafficSetting"].contains(&one.kind.as_str()))
        {
            let text = format!(
                "match {:?} is left out because kind {:?} says nothing here; use HTTPRouteGroup or \
                    UpstreamTrafficSetting",
                other.name, other.kind
            );
            found.fail([object()], "UnknownKind", text);
        }
        for route in refers::egress_matches(egress, "HTTPRouteGroup") {
            if !self.objects.route_groups.contains_key(&route) {
                let text = format!(
                    "its match {:?} lets nothing out because there is no HTTPRouteGroup {route}; create it or \
                        mend the name",
                    route.name
                );
                found.fail([object(), key(&Kind::HttpRouteGroup, &route)], "MissingRoute", text);
            }
        }
        let settings = refers::egress_matches(egress, "UpstreamTrafficSetting");
        for setting in settings.iter().filter(|setting| !self.objects.settings.contains_key(*setting)) {
            let text = format!(
                "has no effect because there is no UpstreamTrafficSetting {setting}; create it or mend the name"
            );
            found.fail([object(), key(&Kind::UpstreamTrafficSetting, setting)], "MissingSetting", text);
        }
        if settings.len() > 1 {
            let objects = std::iter::once(object())
                .chain(settings.iter().map(|setting| key(&Kind::UpstreamTrafficSetting, setting)));
            found.fail(
                objects,
                "SeveralSettings",
                "refers to several UpstreamTrafficSettings, of which one may hold; keep one".into(),
            );
        }
        for source in &egress.spec.sources {
            let Some(mtls) = &source.mtls else { continue };
            let issuer = mtls.issuer.as_deref().unwrap_or_default();
            if !issuer.eq_ignore_ascii_case("fsm") && mtls.cert.is_none() {
                let text = format!(
                    "source {:?} has no certificate to present; name a Secret in mtls.cert.secret, or write \
                        issuer: fsm",
                    source.name
                );
                found.fail([object()], "NoCertificate", text);
            }
        }
        for secret in
            refers::egress_secrets(egress).into_iter().filter(|secret| !self.objects.secrets.contains_key(secret))
        {
            let text = format!(
                "presents no certificate because there is no Secret {secret} with ca.crt, tls.crt and tls.key; \
                    create it or mend the name"
            );
            found.fail([object(), key(&Kind::Secret, &secret)], "MissingSecret", text);
        }
    }

    pub(super) fn find_in_gateways(&self, found: &mut Findings) {
        for (name, gateway) in self.counting::<EgressGateway>(Kind::EgressGateway, found) {
            for service in refers::gateway_services(gateway)
                .into_iter()
                .filter(|service| !self.objects.services.contains_key(service))
            {
                found.fail(
                    [key(&Kind::EgressGateway, name), key(&Kind::Service, &service)],
                    "UnknownService",
                    format!(
                        "gateway {service} does not exist, so nothing leaves through it; create the service \
                        or mend the name"
                    ),
                );
            }
        }
        let gateways = self.objects.egress_gateways.iter().filter(|(name, _)| self.policy_counts(name));
        let claims = |gateway: &EgressGateway| if gateway.spec.global.is_empty() { Vec::new() } else { vec![()] };
        for (loser, winner, ()) in losers(gateways, Counts::Oldest, claims) {
            found.fail(
                [key(&Kind::EgressGateway, loser), key(&Kind::EgressGateway, winner)],
                "GatewayConflict",
                format!(
                    "redefinition of the global egress gateway: EgressGateway {winner} comes first and counts, so \
                        this one has no \
                     effect; merge their spec.global into one"
                ),
            );
        }
    }
}
