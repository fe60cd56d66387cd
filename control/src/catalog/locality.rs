//! GlobalTrafficPolicy: which clusters of the fleet take part in a service, and with which share.
//!
//! Without a policy, and with `Locality`, traffic stays in this cluster. The targets of a `Locality` policy were never
//! obeyed by FSM, and are not here: a Problem says so.

use super::access::Reach;
use super::problems::{Problems, described};
use super::view::View;
use crate::world::{Account, MeshService};
use fsm_api::config::Endpoint;
use fsm_api::resources::Kind;
use fsm_api::resources::multicluster::{GlobalTrafficPolicy, LbType};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The endpoints of a port in other clusters; `local`: whether it has any in this one.
pub(super) fn remote_endpoints(
    view: &View<'_>,
    port: &MeshService,
    reach: &Reach,
    local: bool,
    problems: &mut Problems,
) -> Vec<(String, Endpoint)> {
    let Some(policy) = view.world.global_traffic_policy(&port.service) else { return Vec::new() };
    let remote = view.world.remote_targets(port);
    if policy.spec.lb_type == LbType::Locality || !may_call_import(view, port, reach) {
        report_targets_of_locality(policy, problems);
        return Vec::new();
    }
    let wanted: BTreeMap<&str, u32> = policy
        .spec
        .targets
        .iter()
        .map(|target| (target.cluster_key.as_str(), target.weight.unwrap_or_default()))
        .collect();
    for key in wanted.keys().filter(|key| remote.iter().all(|target| target.cluster != **key)) {
        let text = format!("no ServiceImport has endpoints in cluster `{key}`; that target gets no traffic");
        problems.warning(vec![described(Kind::GlobalTrafficPolicy, &policy.metadata)], "MissingCluster", text);
    }
    let mut endpoints = Vec::new();
    for target in remote {
        let weight = match (policy.spec.lb_type, wanted.get(target.cluster.as_str())) {
            (LbType::FailOver, Some(_)) => {
                if local {
                    0
                } else {
                    100
                }
            }
            (LbType::ActiveActive, Some(0)) => 100,
            (LbType::ActiveActive, Some(&weight)) => weight,
            (LbType::ActiveActive, None) if wanted.is_empty() => 100,
            _ => continue,
        };
        let endpoint = Endpoint {
            weight,
            key: Some(target.cluster),
            path: Some(target.path).filter(|path| !path.is_empty()),
            via_gateway: None,
        };
        endpoints.push((SocketAddr::new(target.ip, target.port).to_string(), endpoint));
    }
    endpoints
}

/// Pods of other clusters run as the import says: `*` is anyone, nothing is nobody outside of permissive mode.
fn may_call_import(view: &View<'_>, port: &MeshService, reach: &Reach) -> bool {
    if let Reach::Everyone = reach {
        return true;
    }
    if view.world.is_imported_for_anyone(&port.service) {
        return true;
    }
    let import = view.world.service_import(&port.service);
    let name = import.and_then(|import| import.spec.service_account_name.as_deref()).unwrap_or_default();
    !name.is_empty() && reach.has(Some(&Account::new(port.namespace(), name)))
}

fn report_targets_of_locality(policy: &GlobalTrafficPolicy, problems: &mut Problems) {
    if policy.spec.lb_type == LbType::Locality && !policy.spec.targets.is_empty() {
        let text = "`Locality` keeps traffic in this cluster; its targets have no effect. Write `FailOver` or \
                    `ActiveActive` to have them used";
        problems.warning(vec![described(Kind::GlobalTrafficPolicy, &policy.metadata)], "LocalityTargets", text);
    }
}
