//! Egress gateways: which traffic must leave through which of them.

use super::Compiler;
use crate::tls::{Alpn, ClientTls, Expect, Identity, IdentityError};
use crate::upstream::connect::{Host, Target};
use crate::upstream::gateway::{Gateway, Gateways, Mode};
use fsm_api::config::EgressGateway;
use std::sync::Arc;

/// The rule for traffic that names none.
const GLOBAL: &str = "*";

impl Compiler<'_> {
    /// The forward rule for traffic that leaves the mesh: the one its rule set names, else the global one (`*`), if the
    /// document has any. The answer says the rule with everything that hangs on it, so that equal answers may share
    /// connections.
    pub(super) fn forward_rule(&self, named: Option<&str>) -> Option<String> {
        let Some(forward) = self.document.forward.as_ref() else {
            // Without any gateways `*` means what it always means: whatever there is. A rule of its own means just that.
            return named.filter(|name| *name != GLOBAL).map(|name| format!("{name}\n"));
        };
        let rule = match named {
            Some(name) => name,
            None if forward.forward_matches.contains_key(GLOBAL) => GLOBAL,
            None => return None,
        };
        let members = forward.forward_matches.get(rule);
        let gateways =
            members.into_iter().flatten().map(|(name, weight)| (name, weight, forward.egress_gateways.get(name)));
        Some(format!("{rule}\n{:?}", gateways.collect::<Vec<_>>()))
    }

    /// The gateways of a rule as [`Self::forward_rule`] said it. A rule that leads to no usable gateway refuses: what
    /// must leave through a gateway does not leave without one.
    ///
    /// # Errors
    /// [`IdentityError`] when a gateway wants mutual TLS and there is no certificate for it.
    pub(super) fn gateways(&self, said: &str, identity: Option<&Arc<Identity>>) -> Result<Gateways, IdentityError> {
        let mut members = Vec::new();
        for (gateway, weight) in self.members(said) {
            let tls = match &gateway.service_identities {
                None => None,
                Some(identities) => Some(gateway_tls(gateway, identities, identity)?),
            };
            // The controller turns a weight of 0 into 100 (all gateways of a rule share the load).
            let weight = weight.max(1);
            members.extend(endpoints(gateway).map(|(target, mode)| (Gateway::new(target, mode, tls.clone()), weight)));
        }
        Ok(Gateways::new(members, self.start))
    }

    /// Whether the gateways of a rule, as [`Self::forward_rule`] said it, are asked with the mesh's certificate.
    pub(super) fn gateways_know_us(&self, said: &str) -> bool {
        self.members(said).any(|(gateway, _)| gateway.service_identities.is_some())
    }

    fn members(&self, said: &str) -> impl Iterator<Item = (&EgressGateway, u32)> {
        let rule = said.lines().next().unwrap_or_default();
        let forward = self.document.forward.as_ref();
        let members = forward.and_then(|forward| Some((forward, forward.forward_matches.get(rule)?)));
        members.into_iter().flat_map(|(forward, members)| {
            members.iter().filter_map(|(name, weight)| Some((forward.egress_gateways.get(name)?, *weight)))
        })
    }

    /// Names every gateway that cannot be used, once.
    pub(super) fn report_gateways(&mut self) {
        let document = self.document;
        for (rule, path) in self.named_rules() {
            let defined = match &document.forward {
                Some(forward) => forward.forward_matches.contains_key(rule),
                None => rule == GLOBAL,
            };
            if !defined {
                let message =
                    format!("no rule `{rule}` is defined under `Forward.ForwardMatches`; this traffic is refused");
                self.error(path, message);
            }
        }
        let Some(forward) = &document.forward else { return };
        for (rule, members) in &forward.forward_matches {
            for name in members.keys().filter(|name| !forward.egress_gateways.contains_key(*name)) {
                let message = "the gateway has no endpoints; traffic that must leave through it is refused";
                self.error(format!("Forward.ForwardMatches[{rule:?}][{name:?}]"), message);
            }
        }
        for (name, gateway) in &forward.egress_gateways {
            let path = format!("Forward.EgressGateways[{name:?}]");
            if mode(gateway).is_none() {
                let message =
                    format!("`{}` is no mode; write `http2tunnel` or `sock5`. The gateway is not used", gateway.mode);
                self.error(format!("{path}.Mode"), message);
            }
            for address in gateway.endpoints.keys() {
                if let Err(error) = parse(address) {
                    self.error(format!("{path}.Endpoints[{address:?}]"), format!("{error}; the endpoint is left out"));
                }
            }
        }
    }
}

impl<'a> Compiler<'a> {
    /// The forward rules that rule sets name, and where.
    fn named_rules(&self) -> Vec<(&'a str, String)> {
        let mut named = Vec::new();
        let ports = self.document.outbound.iter().flat_map(|outbound| &outbound.traffic_matches);
        for (port, index, entry) in
            ports.flat_map(|(port, entries)| entries.iter().enumerate().map(move |(index, entry)| (port, index, entry)))
        {
            let path = format!("Outbound.TrafficMatches[\"{port}\"][{index}]");
            for (name, rules) in &entry.http_service_route_rules {
                if let Some(rule) = rules.egress_forward_gateway.as_deref() {
                    named.push((rule, format!("{path}.HttpServiceRouteRules[{name:?}].EgressForwardGateway")));
                }
            }
            if let Some(rule) =
                entry.tcp_service_route_rules.as_ref().and_then(|tcp| tcp.egress_forward_gateway.as_deref())
            {
                named.push((rule, format!("{path}.TcpServiceRouteRules.EgressForwardGateway")));
            }
        }
        named
    }
}

fn parse(address: &str) -> Result<Target, String> {
    let target: Target = address.parse()?;
    match &target.host {
        Host::Below(_) => Err(format!("`{address}` stands for many hosts; a gateway is one")),
        Host::Address(_) | Host::Name(_) => Ok(target),
    }
}

fn gateway_tls(
    gateway: &EgressGateway,
    identities: &[String],
    identity: Option<&Arc<Identity>>,
) -> Result<ClientTls, IdentityError> {
    let missing = || IdentityError::Missing { path: "Certificate".to_owned(), expected: "CERTIFICATE" };
    let identity = identity.ok_or_else(missing)?;
    let alpn = if mode(gateway) == Some(Mode::Socks5) { Alpn::ANY } else { Alpn::H2_ONLY };
    ClientTls::of_mesh(identity, Expect::of_mesh(identities), alpn)
}

fn endpoints(gateway: &EgressGateway) -> impl Iterator<Item = (Target, Mode)> {
    let mode = mode(gateway);
    let targets = gateway.endpoints.keys().filter_map(|address| parse(address).ok());
    targets.filter_map(move |target| mode.map(|mode| (target, mode)))
}

fn mode(gateway: &EgressGateway) -> Option<Mode> {
    if gateway.mode.is_empty() { Some(Mode::default()) } else { gateway.mode.parse().ok() }
}
