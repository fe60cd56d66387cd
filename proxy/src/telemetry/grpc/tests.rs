#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::telemetry::signals::{Edges, PeerName};
use http::HeaderValue;

fn edge() -> Arc<Edge> {
    Edges::default().of(&PeerName::unknown(true))
}

fn said(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static(status))])
}

fn counted(edge: &Edge) -> Vec<(u8, u64)> {
    edge.totals().by_grpc().map(|(status, count)| (status.number(), count)).collect()
}

#[test]
fn statuses_are_read_as_clients_read_them() {
    assert_eq!(GrpcStatus::of(&said("0")), Some(GrpcStatus::OK));
    assert_eq!(GrpcStatus::of(&said("14")).unwrap().name(), "UNAVAILABLE");
    for unheard_of in ["17", "255", "256", "-1", "", "x"] {
        assert_eq!(GrpcStatus::of(&said(unheard_of)), Some(GrpcStatus::UNKNOWN), "{unheard_of:?}");
    }
    assert_eq!(GrpcStatus::of(&HeaderMap::new()), None);
}

#[test]
fn failures_are_those_of_the_server() {
    let failures: Vec<_> = GrpcStatus::all().filter(|status| status.is_failure()).map(GrpcStatus::number).collect();
    assert_eq!(failures, [2, 4, 12, 13, 14, 15]);
}

#[test]
fn a_head_that_is_the_whole_response_is_counted_at_once() {
    let edge = edge();
    let call = Call::judge(Arc::clone(&edge), StatusCode::OK, &said("5"), true);
    assert!(!call.is_open());
    drop(call);
    assert_eq!(counted(&edge), [(5, 1)]);
}

#[test]
fn trailers_count_once_and_a_body_without_any_is_unknown() {
    let edge = edge();
    let open = || Call::judge(Arc::clone(&edge), StatusCode::OK, &HeaderMap::new(), false);
    let mut call = open();
    call.end(GrpcStatus::of(&said("13")).unwrap());
    call.end(GrpcStatus::UNKNOWN);
    drop(call);
    assert_eq!(counted(&edge), [(13, 1)]);
    drop(open());
    assert_eq!(counted(&edge), [(1, 1), (13, 1)]);
    drop(Call::judge(Arc::clone(&edge), StatusCode::OK, &HeaderMap::new(), true));
    assert_eq!(counted(&edge), [(1, 1), (2, 1), (13, 1)]);
    assert_eq!(edge.totals().grpc_failures(), 2);
}

#[test]
fn what_failed_in_http_is_not_counted_twice() {
    let edge = edge();
    drop(Call::judge(Arc::clone(&edge), StatusCode::SERVICE_UNAVAILABLE, &said("14"), false));
    assert_eq!(counted(&edge), []);
}
