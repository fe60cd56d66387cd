//! What else decides about a call that policies allow: how many of its kind may be made, when it is refused for a while, how
//! it is tried again, and by which way out it may go. Whether a limit is reached in this moment, only sidecars know.

use super::{Asked, Limit, Origin, follow};
use crate::catalog::problems::described;
use crate::world::{ServiceKey, ServicePort, World};
use fsm_api::resources::Kind;
use fsm_api::resources::policy::{
    CircuitBreaking, ConnectionSettings, Egress, HttpRateLimit, Retry, UpstreamTrafficSetting,
};
use std::collections::BTreeSet;

/// All of it: of the service and of those that it is shared out to.
pub(super) fn limits(
    world: &World,
    origin: &Origin<'_>,
    service: &ServiceKey,
    port: &ServicePort,
    request: Option<&Asked>,
) -> Vec<Limit> {
    let mut services = BTreeSet::from([service.clone()]);
    for split in world.splits_of_root(service) {
        let backends = world.split_backends(split).into_iter();
        services.extend(backends.filter(|(_, weight)| *weight > 0).map(|(backend, _)| backend));
    }
    let mut found = Vec::new();
    for service in &services {
        if let Some(setting) = world.upstream_setting(service) {
            found.extend(setting_texts(setting, origin, port, request).into_iter().map(|text| {
                let object = described(Kind::UpstreamTrafficSetting, &setting.metadata).to_string();
                Limit { object, text: format!("for Service {service}: {text}") }
            }));
        }
        found.extend(retry(world, origin, service));
    }
    found.extend(egress(world, origin, service));
    found
}

fn setting_texts(
    setting: &UpstreamTrafficSetting,
    origin: &Origin<'_>,
    port: &ServicePort,
    request: Option<&Asked>,
) -> Vec<String> {
    let mut texts = Vec::new();
    if let (Some(settings), true) = (&setting.spec.connection_settings, origin.group.is_some()) {
        texts.extend(connection_texts(settings));
    }
    let local = setting.spec.rate_limit.as_ref().and_then(|limit| limit.local.as_ref());
    if let Some(limit) = local.and_then(|local| local.tcp.as_ref()) {
        let burst = burst(limit.burst);
        texts.push(format!("each of its pods takes {} new connections a {}{burst}", limit.connections, limit.unit));
    }
    if !port.protocol.is_http() {
        return texts;
    }
    if let Some(limit) = local.and_then(|local| local.http.as_ref()) {
        texts.push(format!("each of its pods answers {}", requests(limit)));
    }
    for route in &setting.spec.http_routes {
        let fits =
            request.is_none_or(|request| follow::whole(&route.path).is_some_and(|path| path.is_match(&request.path)));
        let limit = route.rate_limit.as_ref().and_then(|limit| limit.local.as_ref()).filter(|_| fits);
        texts.extend(
            limit.map(|limit| format!("on the route {} each of its pods answers {}", route.path, requests(limit))),
        );
    }
    texts
}

fn requests(limit: &HttpRateLimit) -> String {
    let status = limit.response_status_code.filter(|status| *status != 0).unwrap_or(429);
    format!("{} requests a {}{}, and others with {status}", limit.requests, limit.unit, burst(limit.burst))
}

fn burst(burst: Option<u32>) -> String {
    burst.filter(|burst| *burst > 0).map(|burst| format!(" and {burst} more at once")).unwrap_or_default()
}

fn connection_texts(settings: &ConnectionSettings) -> Vec<String> {
    let mut most = Vec::new();
    if let Some(tcp) = &settings.tcp {
        most.extend(tcp.max_connections.map(|number| format!("{number} connections")));
    }
    if let Some(http) = &settings.http {
        most.extend(http.max_requests.map(|number| format!("{number} requests in flight")));
        most.extend(http.max_pending_requests.map(|number| format!("{number} requests waiting for a connection")));
        most.extend(http.max_retries.map(|number| format!("{number} repetitions")));
        most.extend(http.max_requests_per_connection.map(|number| format!("{number} requests on one connection")));
    }
    let mut texts = Vec::new();
    if !most.is_empty() {
        texts.push(format!("each caller's sidecar has at most {}", most.join(", ")));
    }
    let connect = settings.tcp.as_ref().and_then(|tcp| tcp.connect_timeout);
    texts.extend(connect.map(|time| format!("a connection is waited for {time}")));
    let breaking = settings.http.as_ref().and_then(|http| http.circuit_breaking.as_ref());
    texts.extend(breaking.map(breaker));
    texts
}

fn breaker(breaking: &CircuitBreaking) -> String {
    let CircuitBreaking { stat_time_window, degraded_time_window, min_request_amount, .. } = breaking;
    let mut when = Vec::new();
    when.extend(breaking.error_amount_threshold.map(|number| format!("{number} fail")));
    when.extend(breaking.error_ratio_threshold.map(|share| format!("{} % fail", share * 100.0)));
    let slow = breaking.slow_time_threshold.map(|time| format!("are slower than {time}")).unwrap_or_default();
    when.extend(breaking.slow_amount_threshold.map(|number| format!("{number} {slow}")));
    when.extend(breaking.slow_ratio_threshold.map(|share| format!("{} % {slow}", share * 100.0)));
    let status = breaking.degraded_status_code.unwrap_or(409);
    format!(
        "a circuit breaker refuses with {status} for {degraded_time_window} when, of {min_request_amount} or more requests \
         within {stat_time_window}, {}",
        if when.is_empty() { "nothing: it has no threshold".to_owned() } else { when.join(" or ") }
    )
}

/// The Retry that counts: the oldest one.
fn retry(world: &World, origin: &Origin<'_>, service: &ServiceKey) -> Option<Limit> {
    origin.group.filter(|_| world.mesh().features.retry_policy)?;
    let meant = |retry: &Retry| {
        retry
            .spec
            .destinations
            .iter()
            .any(|to| to.kind == "Service" && to.name == service.name && to.namespace == service.namespace)
    };
    let retry = world.retries_of(origin.account).into_iter().find(|retry| meant(retry))?;
    let policy = &retry.spec.retry_policy;
    let times = policy.num_retries.map_or_else(|| "once".to_owned(), |number| format!("{number} times"));
    let each = policy.per_try_timeout.map(|time| format!(", each try within {time}")).unwrap_or_default();
    let text = format!("for Service {service}: requests are tried again up to {times} on {}{each}", policy.retry_on);
    Some(Limit { object: described(Kind::Retry, &retry.metadata).to_string(), text })
}

/// Egresses of the caller that name the service as if it were a host outside.
fn egress(world: &World, origin: &Origin<'_>, service: &ServiceKey) -> Vec<Limit> {
    if !world.mesh().features.egress_policy {
        return Vec::new();
    }
    let short = format!("{}.{}", service.name, service.namespace);
    let long = format!("{short}.svc");
    let names = |egress: &Egress| {
        egress.spec.hosts.iter().any(|host| {
            *host == short || *host == long || host.strip_prefix(&long).is_some_and(|rest| rest.starts_with('.'))
        })
    };
    let all = world.egress_of(origin.account).into_iter().filter(|egress| names(egress));
    let limit = |egress: &std::sync::Arc<Egress>| {
        let object = described(Kind::Egress, &egress.metadata).to_string();
        Limit { object, text: format!("lets {} call it as a host outside the mesh", origin.identity()) }
    };
    all.map(limit).collect()
}
