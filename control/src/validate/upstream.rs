//! UpstreamTrafficSetting.

use super::Faults;
use fsm_api::resources::policy::UpstreamTrafficSetting;

/// Whether FSM takes a status for the answer to a request that is too many.
fn is_known(status: u32) -> bool {
    matches!(status, 0 | 100 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=417 | 421..=424 | 426 | 428 | 429 | 431
        | 500..=508 | 510 | 511)
}

pub(super) fn setting(setting: &UpstreamTrafficSetting, faults: &mut Faults) {
    let spec = &setting.spec;
    if spec.host.is_empty() {
        faults.add("spec.host", "say whom the setting is for, for example httpbin.httpbin.svc.cluster.local");
    }
    let limit = spec.rate_limit.as_ref().and_then(|limit| limit.local.as_ref()).and_then(|local| local.http.as_ref());
    let mut limits: Vec<(String, u32)> = Vec::new();
    let field = |prefix: &str| format!("{prefix}.rateLimit.local.http.responseStatusCode");
    if let Some(status) = limit.and_then(|limit| limit.response_status_code) {
        limits.push((field("spec"), status));
    }
    for (index, route) in spec.http_routes.iter().enumerate() {
        let limit = route.rate_limit.as_ref();
        let local = limit.and_then(|limit| limit.local.as_ref());
        if let Some(status) = local.and_then(|local| local.response_status_code) {
            limits.push((field(&format!("spec.httpRoutes[{index}]")).replace(".local.http", ".local"), status));
        }
    }
    for (field, status) in limits.into_iter().filter(|(_, status)| !is_known(*status)) {
        faults.add(field, format!("{status} is no status of HTTP that can be answered; 429 is the usual one"));
    }
}
