//! Warm-up of new endpoints, which the client's proxy does by itself: no weights have to be pushed while it lasts.

use super::view::View;
use crate::world::ServiceKey;
use fsm_api::config::{LoadBalancing, WarmUp};

/// The least share that proxies begin with.
const LEAST_SHARE: f64 = 0.1;

pub(super) fn load_balancing(view: &View<'_>, service: &ServiceKey) -> Option<LoadBalancing> {
    let warm_up = view.world.warm_up(service)?;
    let share = f64::from(warm_up.min_weight) / f64::from(warm_up.max_weight.max(1));
    let warm_up = WarmUp {
        window: Some(warm_up.duration.as_secs_f64()),
        aggression: Some(warm_up.aggression),
        least: Some(share.clamp(LEAST_SHARE, 1.0)),
    };
    Some(LoadBalancing { warm_up: Some(warm_up), ..LoadBalancing::default() })
}
