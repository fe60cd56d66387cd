//! TrafficTarget, TrafficSplit, HTTPRouteGroup.

use super::Faults;
use fsm_api::resources::smi::{HttpRouteGroup, TrafficSplit, TrafficTarget};

pub(super) fn target(target: &TrafficTarget, faults: &mut Faults) {
    let own = target.metadata.namespace.as_deref().unwrap_or_default();
    let destination = target.spec.destination.namespace.as_deref().unwrap_or_default();
    if !destination.is_empty() && destination != own {
        faults.add(
            "spec.destination.namespace",
            format!(
                "the TrafficTarget is in namespace {own:?} and its destination in {destination:?}: whoever may write in a \
                 namespace decides who may call it; create the TrafficTarget in namespace {destination:?}"
            ),
        );
    }
}

pub(super) fn split(split: &TrafficSplit, faults: &mut Faults) {
    for (index, backend) in split.spec.backends.iter().enumerate() {
        let same = |other: &&fsm_api::resources::smi::TrafficSplitBackend| other.service == backend.service;
        if split.spec.backends.iter().take(index).any(|other| same(&other)) {
            faults.add(
                format!("spec.backends[{index}].service"),
                format!("backend {:?} is named twice; name it once, with the sum of the weights", backend.service),
            );
        }
    }
}

pub(super) fn route_group(group: &HttpRouteGroup, faults: &mut Faults) {
    for (index, route) in group.spec.matches.iter().enumerate() {
        if group.spec.matches.iter().take(index).any(|other| other.name == route.name) {
            faults.add(
                format!("spec.matches[{index}].name"),
                format!("there are two matches {:?}, and rules name matches: give each its own name", route.name),
            );
        }
    }
}
