//! Who may call the group's application, and whom the group may call: permissive mode, or SMI's TrafficTargets.

use super::inbound::any_request;
use super::problems::Problems;
use super::view::{Served, View};
use fsm_api::config::RouteRule;

/// The HTTP rules of every service of the group, without their clusters.
pub(super) fn http_rules(view: &View<'_>, _problems: &mut Problems) -> Vec<RouteRule> {
    if view.mesh.permissive { vec![any_request()] } else { Vec::new() }
}

/// Who may open TCP connections to a port; `None`: anyone of the mesh.
pub(super) fn tcp_callers(view: &View<'_>, _served: Served<'_>, _problems: &mut Problems) -> Option<Vec<String>> {
    if view.mesh.permissive { None } else { Some(Vec::new()) }
}
