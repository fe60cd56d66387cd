//! UpstreamTrafficSetting: rate limits on the server, limits and circuit breakers of connections on the client.

use super::problems::{Problems, described};
use super::view::View;
use crate::world::ServiceKey;
use fsm_api::config::{
    CircuitBreaking, ConnectionSettings, HttpConnectionSettings, HttpLocalRateLimit, HttpRateLimit, NameValue,
    RouteRule, TcpConnectionSettings, TcpLocalRateLimit, TcpRateLimit,
};
use fsm_api::resources::policy::{self, UpstreamTrafficSetting};
use fsm_api::resources::{Kind, ObjectKey};

/// The limit of new connections to the ports of a service.
pub(super) fn connection_limit(view: &View<'_>, service: &ServiceKey, problems: &mut Problems) -> Option<TcpRateLimit> {
    let setting = view.world.upstream_setting(service)?;
    let limit = setting.spec.rate_limit.as_ref()?.local.as_ref()?.tcp.as_ref()?;
    let stat_time_window = window(setting, &limit.unit, problems)?;
    let local = TcpLocalRateLimit { connections: limit.connections, stat_time_window, burst: limit.burst };
    Some(TcpRateLimit { local: Some(local) })
}

/// The limit of requests to a service.
pub(super) fn request_limit(view: &View<'_>, service: &ServiceKey, problems: &mut Problems) -> Option<HttpRateLimit> {
    let setting = view.world.upstream_setting(service)?;
    let limit = setting.spec.rate_limit.as_ref()?.local.as_ref()?.http.as_ref()?;
    http_limit(setting, limit, problems)
}

/// Puts the limits of single routes on the rules with the same path. In permissive mode, where any path is one rule, a route
/// with another path becomes a rule of its own (FSM ignored it).
pub(super) fn limit_routes(view: &View<'_>, service: &ServiceKey, rules: &mut Vec<RouteRule>, problems: &mut Problems) {
    let Some(setting) = view.world.upstream_setting(service) else { return };
    for route in &setting.spec.http_routes {
        let limit = route.rate_limit.as_ref().and_then(|limit| limit.local.as_ref());
        let Some(limit) = limit.and_then(|limit| http_limit(setting, limit, problems)) else { continue };
        let mut found = false;
        for rule in rules.iter_mut().filter(|rule| rule.path == route.path) {
            rule.rate_limit = Some(limit.clone());
            found = true;
        }
        if !found && view.mesh.permissive {
            rules.push(RouteRule { path: route.path.clone(), rate_limit: Some(limit), ..super::route::any_request() });
        } else if !found {
            let text = format!(
                "no rule of Service {service} has the path {:?}, so that limit has no effect; write the path as the \
                 HTTPRouteGroup has it",
                route.path
            );
            problems.warning(vec![describe(setting)], "NoSuchRoute", text);
        }
    }
}

/// Limits and circuit breaking of connections to a service.
pub(super) fn connections(
    view: &View<'_>,
    service: &ServiceKey,
    problems: &mut Problems,
) -> Option<ConnectionSettings> {
    connection_settings(view.world.upstream_setting(service)?, problems)
}

/// Limits and circuit breaking of connections that a setting asks for.
pub(super) fn connection_settings(
    setting: &UpstreamTrafficSetting,
    problems: &mut Problems,
) -> Option<ConnectionSettings> {
    let settings = setting.spec.connection_settings.as_ref()?;
    let tcp = settings.tcp.as_ref().map(|tcp| TcpConnectionSettings {
        max_connections: tcp.max_connections,
        connect_timeout: tcp.connect_timeout.map(|time| time.get().as_secs_f64()),
    });
    let http = settings.http.as_ref().map(|http| HttpConnectionSettings {
        max_requests: http.max_requests,
        max_requests_per_connection: http.max_requests_per_connection,
        max_pending_requests: http.max_pending_requests,
        max_retries: http.max_retries,
        circuit_breaking: http.circuit_breaking.as_ref().map(|breaking| circuit_breaking(setting, breaking, problems)),
    });
    (tcp.is_some() || http.is_some()).then_some(ConnectionSettings { tcp, http })
}

fn circuit_breaking(
    setting: &UpstreamTrafficSetting,
    breaking: &policy::CircuitBreaking,
    problems: &mut Problems,
) -> CircuitBreaking {
    CircuitBreaking {
        stat_time_window: Some(breaking.stat_time_window.get().as_secs_f64()),
        min_request_amount: Some(breaking.min_request_amount),
        degraded_time_window: Some(breaking.degraded_time_window.get().as_secs_f64()),
        slow_time_threshold: breaking.slow_time_threshold.map(|time| time.get().as_secs_f64()),
        slow_amount_threshold: breaking.slow_amount_threshold,
        slow_ratio_threshold: breaking.slow_ratio_threshold,
        error_amount_threshold: breaking.error_amount_threshold,
        error_ratio_threshold: breaking.error_ratio_threshold,
        degraded_status_code: breaking
            .degraded_status_code
            .and_then(|code| status(setting, "degradedStatusCode", code, 200, problems)),
        degraded_response_content: breaking.degraded_response_content.clone(),
    }
}

fn http_limit(
    setting: &UpstreamTrafficSetting,
    limit: &policy::HttpRateLimit,
    problems: &mut Problems,
) -> Option<HttpRateLimit> {
    let stat_time_window = window(setting, &limit.unit, problems)?;
    let local = HttpLocalRateLimit {
        requests: limit.requests,
        stat_time_window,
        burst: limit.burst,
        response_status_code: limit
            .response_status_code
            .filter(|code| *code != 0)
            .and_then(|code| status(setting, "responseStatusCode", code, 400, problems)),
        response_headers_to_add: limit
            .response_headers_to_add
            .iter()
            .map(|header| NameValue { name: header.name.clone(), value: header.value.clone() })
            .collect(),
    };
    Some(HttpRateLimit { local: Some(local) })
}

/// Seconds of a unit.
fn window(setting: &UpstreamTrafficSetting, unit: &str, problems: &mut Problems) -> Option<f64> {
    match unit {
        "second" => Some(1.0),
        "minute" => Some(60.0),
        "hour" => Some(3600.0),
        _ => {
            let text = format!("unit {unit:?} is none of second, minute and hour; that limit has no effect");
            problems.error(vec![describe(setting)], "BadUnit", text);
            None
        }
    }
}

fn status(
    setting: &UpstreamTrafficSetting,
    field: &str,
    code: u32,
    least: u16,
    problems: &mut Problems,
) -> Option<u16> {
    let known = u16::try_from(code).ok().filter(|code| (least..=599).contains(code));
    if known.is_none() {
        let text = format!("`{field}` {code} is no status from {least} to 599; the usual one is sent");
        problems.error(vec![describe(setting)], "BadStatus", text);
    }
    known
}

fn describe(setting: &UpstreamTrafficSetting) -> ObjectKey {
    described(Kind::UpstreamTrafficSetting, &setting.metadata)
}
