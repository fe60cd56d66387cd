#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::stats_text;
use crate::reason::Reason;
use crate::telemetry::fixtures::{cluster, view};
use crate::telemetry::{ConnectionLimit, Direction};

#[test]
fn the_lines_that_fsm_demos_search_for_are_there() {
    let remote = cluster("retry/httpbin|14001", Direction::Outbound);
    remote.counters().retries.add(5);
    remote.counters().retry_limit_exceeded.increment();
    let view = view(vec![remote]);
    let inbound = view.telemetry.direction(Direction::Inbound);
    inbound.refused(Reason::RateLimitedService);
    inbound.refused(Reason::RateLimitedRoute);
    view.telemetry.connection_limit(ConnectionLimit { port: 8080, protocol: "tcp".into() }).add(3);

    let text = stats_text(&view, "");

    for line in [
        "cluster.retry/httpbin|14001.upstream_rq_retry: 5",
        "cluster.retry/httpbin|14001.upstream_rq_retry_limit_exceeded: 1",
        "local_rate_limit.inbound_shop/web_8080_tcp.rate_limited: 3",
        "http_local_rate_limiter.http_local_rate_limit.rate_limited: 2",
        "http_local_rate_limiter.http_local_rate_limit.rate_limited.throttle_service: 1",
        "http_local_rate_limiter.http_local_rate_limit.rate_limited.throttle_route: 1",
        "refusals.inbound.rate-limited-route: 1",
        "downstream.inbound.connections_active: 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn the_filter_keeps_whole_lines_that_contain_it() {
    let view = view(vec![cluster("a", Direction::Outbound), cluster("b", Direction::Outbound)]);
    let text = stats_text(&view, "cluster.a.");
    assert!(text.lines().count() > 10);
    assert!(text.lines().all(|line| line.starts_with("cluster.a.")));
    assert_eq!(stats_text(&view, "no such line"), "");
}

#[test]
fn a_name_cannot_forge_a_line() {
    let odd = cluster("x\nrefusals.inbound.internal: 99\n", Direction::Outbound);
    let text = stats_text(&view(vec![odd]), "");
    assert!(!text.lines().any(|line| line == "refusals.inbound.internal: 99"));
}
