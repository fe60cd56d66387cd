//! Reading policies. An unreadable policy is left out: traffic then flows as if it had not been written, which the
//! problem says. A policy is never applied in part where the part would mean something else than the whole.

use super::super::{
    CircuitBreaking, ConnectionSettings, HttpConnectionSettings, HttpLocalRateLimit, HttpRateLimit, LoadBalancing,
    NameValue, RetryPolicy, TcpConnectionSettings, TcpLocalRateLimit, TcpRateLimit, WarmUp,
};
use super::cursor::{Bearable, Loss, Node, Reading, Unreadable};

const LIMIT: Loss = Loss::error("the rate limit is left out and nothing is limited");

pub(super) fn read_http_rate_limit(node: &Node<'_>) -> Option<HttpRateLimit> {
    let local = node.object(LIMIT).value()?.member("Local");
    let local = read_http_local(&local).value()?;
    Some(HttpRateLimit { local: Some(local) })
}

pub(super) fn read_tcp_rate_limit(node: &Node<'_>) -> Option<TcpRateLimit> {
    let local = node.object(LIMIT).value()?.member("Local");
    let local = read_tcp_local(&local).value()?;
    Some(TcpRateLimit { local: Some(local) })
}

/// Limits of a cluster, each for itself: they do not depend on one another.
pub(super) fn read_connection_settings(node: &Node<'_>) -> Option<ConnectionSettings> {
    const SETTINGS: Loss = Loss::error("the cluster's limits take their defaults");
    const UNSET: Loss = Loss::error("it takes its default");
    let settings = node.object(SETTINGS).value()?;
    let tcp = settings.member("tcp");
    let http = settings.member("http");
    Some(ConnectionSettings {
        tcp: tcp.object(SETTINGS).value().map(|tcp| TcpConnectionSettings {
            max_connections: tcp.member("MaxConnections").count(UNSET).value(),
            connect_timeout: tcp.member("ConnectTimeout").seconds(UNSET).value(),
        }),
        http: http.object(SETTINGS).value().map(|http| HttpConnectionSettings {
            max_requests: http.member("MaxRequests").count(UNSET).value(),
            max_requests_per_connection: http.member("MaxRequestsPerConnection").count(UNSET).value(),
            max_pending_requests: http.member("MaxPendingRequests").count(UNSET).value(),
            max_retries: http.member("MaxRetries").count(UNSET).value(),
            circuit_breaking: read_circuit_breaking(&http.member("CircuitBreaking")).value(),
        }),
    })
}

/// How endpoints are chosen, each part for itself.
pub(super) fn read_load_balancing(node: &Node<'_>) -> Option<LoadBalancing> {
    const BALANCING: Loss = Loss::error("endpoints are chosen in turn, by weight");
    const UNSET: Loss = Loss::error("it takes its default");
    let balancing = node.object(BALANCING).value()?;
    let warm_up = balancing.member("WarmUp");
    Some(LoadBalancing {
        algorithm: balancing.member("Algorithm").text(UNSET).value(),
        hash_on: balancing.member("HashOn").text(UNSET).value(),
        session_seconds: balancing.member("SessionSeconds").seconds(UNSET).value(),
        warm_up: warm_up.object(UNSET).value().map(|warm_up| WarmUp {
            window: warm_up.member("Window").seconds(UNSET).value(),
            aggression: warm_up.member("Aggression").seconds(UNSET).value(),
            least: warm_up.member("Least").fraction(UNSET).value(),
        }),
    })
}

/// Conditions, count and times belong together: retrying more, sooner or for other reasons than asked does harm.
pub(super) fn read_retry_policy(node: &Node<'_>) -> Option<RetryPolicy> {
    const RETRIES: Loss = Loss::error("the retry policy is left out and nothing is retried");
    let read = || -> Reading<RetryPolicy> {
        let Some(policy) = node.object(RETRIES)? else {
            return Ok(None);
        };
        Ok(Some(RetryPolicy {
            retry_on: policy.member("RetryOn").text(RETRIES)?.unwrap_or_default(),
            per_try_timeout: policy.member("PerTryTimeout").seconds(RETRIES)?,
            num_retries: policy.member("NumRetries").count(RETRIES)?,
            retry_backoff_base_interval: policy.member("RetryBackoffBaseInterval").seconds(RETRIES)?,
        }))
    };
    read().value()
}

/// Thresholds and windows belong together: a breaker with a guessed window opens at other times than asked.
fn read_circuit_breaking(node: &Node<'_>) -> Reading<CircuitBreaking> {
    const BREAKER: Loss = Loss::error("the circuit breaker is left out and never opens");
    const ANSWER: Loss = Loss::error("the default answer is given while the breaker is open");
    let Some(breaker) = node.object(BREAKER)? else {
        return Ok(None);
    };
    let count = |name| breaker.member(name).count(BREAKER);
    let seconds = |name| breaker.member(name).seconds(BREAKER);
    let fraction = |name| breaker.member(name).fraction(BREAKER);
    Ok(Some(CircuitBreaking {
        stat_time_window: seconds("StatTimeWindow")?,
        min_request_amount: count("MinRequestAmount")?,
        degraded_time_window: seconds("DegradedTimeWindow")?,
        slow_time_threshold: seconds("SlowTimeThreshold")?,
        slow_amount_threshold: count("SlowAmountThreshold")?,
        slow_ratio_threshold: fraction("SlowRatioThreshold")?,
        error_amount_threshold: count("ErrorAmountThreshold")?,
        error_ratio_threshold: fraction("ErrorRatioThreshold")?,
        degraded_status_code: breaker.member("DegradedStatusCode").status(ANSWER).value(),
        degraded_response_content: breaker.member("DegradedResponseContent").text(ANSWER).value(),
    }))
}

fn read_http_local(node: &Node<'_>) -> Reading<HttpLocalRateLimit> {
    const STATUS: Loss = Loss::error("the default status is answered");
    const HEADERS: Loss = Loss::error("limited answers carry no extra headers");
    const HEADER: Loss = Loss::error("limited answers do not carry this header");
    let Some(local) = node.object(LIMIT)? else {
        return Ok(None);
    };
    let (requests, window) = (local.member("Requests"), local.member("StatTimeWindow"));
    Ok(Some(HttpLocalRateLimit {
        requests: requests.required(requests.count(LIMIT), LIMIT)?,
        stat_time_window: window.required(window.seconds(LIMIT), LIMIT)?,
        burst: local.member("Burst").count(LIMIT)?,
        response_status_code: local.member("ResponseStatusCode").status(STATUS).value(),
        response_headers_to_add: local
            .member("ResponseHeadersToAdd")
            .list(HEADERS, |header| read_name_value(&header, HEADER).ok())
            .or_default(),
    }))
}

fn read_tcp_local(node: &Node<'_>) -> Reading<TcpLocalRateLimit> {
    let Some(local) = node.object(LIMIT)? else {
        return Ok(None);
    };
    let (connections, window) = (local.member("Connections"), local.member("StatTimeWindow"));
    Ok(Some(TcpLocalRateLimit {
        connections: connections.required(connections.count(LIMIT), LIMIT)?,
        stat_time_window: window.required(window.seconds(LIMIT), LIMIT)?,
        burst: local.member("Burst").count(LIMIT)?,
    }))
}

fn read_name_value(node: &Node<'_>, loss: Loss) -> Result<NameValue, Unreadable> {
    node.required(node.object(loss), loss)?;
    let (name, value) = (node.member("Name"), node.member("Value"));
    Ok(NameValue { name: name.required(name.text(loss), loss)?, value: value.text(loss)?.unwrap_or_default() })
}
