//! What became of each policy, as FSM writes it into `status`.

use crate::world::{Problem, Severity};
use fsm_api::resources::policy::PolicyStatus;
use fsm_api::resources::{Kind, Object, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};

/// `currentStatus` of a policy that is in effect.
pub const COMMITTED: &str = "committed";
/// `currentStatus` of a policy that is not, or not wholly.
pub const ERROR: &str = "error";
const SUCCESS: &str = "successfully committed by the system";

/// The flag of MeshConfig that allows AccessCert.
pub(super) const FEATURE_FLAG: &str = "enableAccessCertPolicy";

/// The kinds whose objects have a status of this form.
pub const POLICY_KINDS: [Kind; 9] = [
    Kind::UpstreamTrafficSetting,
    Kind::Egress,
    Kind::EgressGateway,
    Kind::IngressBackend,
    Kind::AccessControl,
    Kind::AccessCert,
    Kind::Isolation,
    Kind::Retry,
    Kind::TrafficWarmup,
];

/// Warnings of policies that have no effect at all; other warnings are advice.
const WITHOUT_EFFECT: [&str; 2] = ["FeatureDisabled", "NamespaceNotInMesh"];

/// What a policy itself says that became of it.
pub(super) fn said(policy: &Object) -> Option<PolicyStatus> {
    match policy {
        Object::UpstreamTrafficSetting(policy) => policy.status.clone(),
        Object::Egress(policy) => policy.status.clone(),
        Object::EgressGateway(policy) => policy.status.clone(),
        Object::IngressBackend(policy) => policy.status.clone(),
        Object::AccessControl(policy) => policy.status.clone(),
        Object::AccessCert(policy) => policy.status.clone(),
        Object::Isolation(policy) => policy.status.clone(),
        Object::Retry(policy) => policy.status.clone(),
        Object::TrafficWarmup(policy) => policy.status.clone(),
        _ => None,
    }
}

/// The statuses of policies. Of the objects that a problem names the first is the one without effect.
pub(super) fn of<'a>(
    policies: impl Iterator<Item = &'a ObjectKey>,
    problems: &BTreeSet<Problem>,
) -> BTreeMap<ObjectKey, PolicyStatus> {
    let mut against: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let grave = |problem: &&Problem| problem.severity == Severity::Error || WITHOUT_EFFECT.contains(&problem.reason);
    for problem in problems.iter().filter(grave) {
        if let Some(object) = problem.objects.first() {
            against.entry(object).or_default().insert(&problem.text);
        }
    }
    let status = |policy: &ObjectKey| {
        let texts = against.get(policy.to_string().as_str());
        let reason = texts.map(|texts| texts.iter().copied().collect::<Vec<_>>().join("; "));
        PolicyStatus {
            current_status: Some(if reason.is_some() { ERROR } else { COMMITTED }.to_owned()),
            reason: Some(reason.unwrap_or_else(|| SUCCESS.to_owned())),
        }
    };
    policies.map(|policy| (policy.clone(), status(policy))).collect()
}
