//! Ways out of the mesh: Egress, EgressGateway.

use super::Faults;
use crate::world::World;
use fsm_api::resources::policy::{Egress, EgressGateway};
use ipnet::IpNet;

const ROUTES: &str = "specs.smi-spec.io/v1alpha4";
const POLICIES: &str = "policy.flomesh.io/v1alpha1";

pub(super) fn egress(egress: &Egress, faults: &mut Faults) {
    let spec = &egress.spec;
    let mut settings = 0;
    for (index, wanted) in spec.matches.iter().enumerate() {
        let group = wanted.api_group.as_deref().unwrap_or_default();
        let kind = wanted.kind.as_str();
        match (group, kind) {
            (ROUTES, "HTTPRouteGroup") => {}
            (POLICIES, "UpstreamTrafficSetting") => settings += 1,
            (ROUTES, _) => faults.add(
                format!("spec.matches[{index}].kind"),
                format!("Expected 'matches.kind' for 'matches.apiGroup' {ROUTES} to be 'HTTPRouteGroup', got: {kind:?}"),
            ),
            (POLICIES, _) => faults.add(
                format!("spec.matches[{index}].kind"),
                format!(
                    "Expected 'matches.kind' for 'matches.apiGroup' {POLICIES} to be 'UpstreamTrafficSetting', got: {kind:?}"
                ),
            ),
            _ => faults.add(
                format!("spec.matches[{index}].apiGroup"),
                format!("Expected 'matches.apiGroup' to be one of {ROUTES}, {POLICIES}, got: {group:?}"),
            ),
        }
    }
    if settings > 1 {
        faults
            .add("spec.matches", "Cannot have more than 1 UpstreamTrafficSetting match; keep the one that is to count");
    }
    for (index, range) in spec.ip_addresses.iter().enumerate().filter(|(_, range)| range.parse::<IpNet>().is_err()) {
        let expected = "Expected CIDR notation 'a.b.c.d/x'";
        faults.add(format!("spec.ipAddresses[{index}]"), format!("{expected}, got: {range:?}"));
    }
}

pub(super) fn gateway(world: &World, gateway: &EgressGateway, faults: &mut Faults) {
    if gateway.spec.global.is_empty() {
        return;
    }
    let name = |gateway: &EgressGateway| {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        (part(&gateway.metadata.namespace), part(&gateway.metadata.name))
    };
    let own = name(gateway);
    if let Some(other) = world.egress_gateway().filter(|other| name(other) != own && !other.spec.global.is_empty()) {
        let (namespace, other) = name(other);
        faults.add(
            "spec.global",
            format!(
                "EgressGateway {namespace}/{other} already has global gateways, and only one may: add these to it, or remove it \
                 first"
            ),
        );
    }
}
