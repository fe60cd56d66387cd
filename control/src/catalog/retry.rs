//! Retry: how the group's requests to a service are tried again.

use super::problems::{Problems, described, object};
use super::view::View;
use crate::world::ServiceKey;
use fsm_api::config::RetryPolicy;
use fsm_api::resources::policy::{NamespacedRef, Retry};
use fsm_api::resources::{Kind, ObjectKey};

/// The first Retry of the group's account towards a service. All fields but the conditions may be left out.
pub(super) fn policy(view: &View<'_>, service: &ServiceKey, problems: &mut Problems) -> Option<RetryPolicy> {
    let mut chosen: Option<&Retry> = None;
    for retry in view.world.retries_of(&view.group.account) {
        let is_meant = |destination: &NamespacedRef| {
            destination.kind == "Service"
                && destination.name == service.name
                && destination.namespace == service.namespace
        };
        if !retry.spec.destinations.iter().any(is_meant) {
            continue;
        }
        let name = described(Kind::Retry, &retry.metadata);
        if !view.mesh.features.retry_policy {
            problems.switched_off(name, view.mesh_config(), "enableRetryPolicy");
        } else if let Some(first) = chosen {
            let first = described(Kind::Retry, &first.metadata);
            let account = &view.group.account;
            let text = format!(
                "{first} is older and says how requests of {} to {} are repeated; this one has no effect on them",
                ObjectKey::new(Kind::ServiceAccount, &account.namespace, &account.name),
                object(Kind::Service, service)
            );
            problems.error(vec![name, first], "RetryConflict", text);
        } else {
            chosen = Some(retry);
        }
    }
    let policy = &chosen?.spec.retry_policy;
    Some(RetryPolicy {
        retry_on: policy.retry_on.clone(),
        per_try_timeout: policy.per_try_timeout.map(|time| time.get().as_secs_f64()),
        num_retries: policy.num_retries,
        retry_backoff_base_interval: policy.retry_backoff_base_interval.map(|time| time.get().as_secs_f64()),
    })
}
