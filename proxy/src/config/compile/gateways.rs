//! Egress gateways: which traffic must leave through which of them.

use super::Compiler;
use crate::upstream::connect::{Host, Target};
use crate::upstream::gateway::{Gateways, Mode};
use fsm_api::config::EgressGateway;

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
    pub(super) fn gateways(&self, said: &str) -> Gateways {
        let rule = said.lines().next().unwrap_or_default();
        let Some(forward) = &self.document.forward else { return Gateways::new(Vec::new(), 0) };
        let mut members = Vec::new();
        for (name, weight) in forward.forward_matches.get(rule).into_iter().flatten() {
            let Some(gateway) = forward.egress_gateways.get(name) else { continue };
            // The controller turns a weight of 0 into 100 (all gateways of a rule share the load).
            members.extend(endpoints(gateway).map(|(target, mode)| (target, mode, (*weight).max(1))));
        }
        Gateways::new(members, self.start)
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

fn endpoints(gateway: &EgressGateway) -> impl Iterator<Item = (Target, Mode)> {
    let mode = mode(gateway);
    let targets = gateway.endpoints.keys().filter_map(|address| parse(address).ok());
    targets.filter_map(move |target| mode.map(|mode| (target, mode)))
}

fn mode(gateway: &EgressGateway) -> Option<Mode> {
    match gateway.mode.as_str() {
        "http2tunnel" | "" => Some(Mode::Http2Tunnel),
        "sock5" | "socks5" => Some(Mode::Socks5),
        _ => None,
    }
}
