//! Egress gateways: which traffic must leave through which of them.

use super::Compiler;
use crate::upstream::connect::Target;
use crate::upstream::gateway::{Gateways, Mode};
use fsm_api::config::EgressGateway;

impl Compiler<'_> {
    /// The forward rule for traffic that leaves the mesh: the one its rule set names, else the global one (`*`), if the
    /// document has any. The answer says the rule with everything that hangs on it, so that equal answers may share
    /// connections.
    pub(super) fn forward_rule(&self, named: Option<&str>) -> Option<String> {
        let forward = self.document.forward.as_ref()?;
        let rule = match named {
            Some(name) => name,
            None if forward.forward_matches.contains_key("*") => "*",
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
                if let Err(error) = address.parse::<Target>() {
                    self.error(format!("{path}.Endpoints[{address:?}]"), format!("{error}; the endpoint is left out"));
                }
            }
        }
    }
}

fn endpoints(gateway: &EgressGateway) -> impl Iterator<Item = (Target, Mode)> {
    let mode = mode(gateway);
    let targets = gateway.endpoints.keys().filter_map(|address| address.parse().ok());
    targets.filter_map(move |target| mode.map(|mode| (target, mode)))
}

fn mode(gateway: &EgressGateway) -> Option<Mode> {
    match gateway.mode.as_str() {
        "http2tunnel" | "" => Some(Mode::Http2Tunnel),
        "sock5" | "socks5" => Some(Mode::Socks5),
        _ => None,
    }
}
