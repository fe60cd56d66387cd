#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[test]
fn a_response_is_counted_under_its_status_and_its_time() {
    let edges = Edges::default();
    edges.local().response(StatusCode::OK, Duration::from_micros(250));
    edges.local().response(StatusCode::NOT_FOUND, Duration::from_micros(251));
    edges.of(&PeerName::unknown(true)).response(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(7200));

    let totals = edges.totals();
    assert_eq!(totals.responses(), 3);
    assert_eq!(totals.by_code().collect::<Vec<_>>(), [(200, 1), (404, 1), (503, 1)]);
    assert_eq!([1, 2, 3, 4, 5].map(|class| totals.class(class)), [0, 1, 0, 1, 1]);
    assert_eq!((totals.buckets[0], totals.buckets[1], totals.buckets[BUCKETS - 1]), (1, 1, 1));
    assert_eq!(totals.microseconds, 501 + 7_200_000_000);
}

#[test]
fn an_unusual_status_counts_for_its_class() {
    let edge = Edge::new(PeerName::default());
    for status in [199, 299, 399, 499, 498, 599, 600, 999] {
        edge.response(StatusCode::from_u16(status).unwrap(), Duration::ZERO);
    }
    let counted: Vec<_> = edge.totals().by_code().collect();
    assert_eq!(counted, [(100, 1), (200, 1), (300, 1), (400, 1), (499, 1), (500, 3)]);
}

#[test]
fn every_listed_status_has_a_place_of_its_own() {
    for (index, code) in CODES.iter().enumerate() {
        assert_eq!(usize::from(CODE_INDEX[usize::from(*code) - 100]), index, "{code}");
    }
}

#[test]
fn callers_beyond_the_cap_are_counted_together() {
    let edges = Edges::default();
    for index in 0..limits::EDGES_PER_CLUSTER + 1_000 {
        let peer = PeerName::verified(&format!("caller-{index}.shop").into());
        edges.of(&peer).response(StatusCode::OK, Duration::ZERO);
    }
    let all = edges.all();
    assert_eq!(all.len(), limits::EDGES_PER_CLUSTER + 1);
    let others = all.iter().find(|edge| edge.peer.name == OTHERS).unwrap();
    assert_eq!(others.totals().responses(), 1_000);
    assert_eq!(edges.totals().responses(), limits::EDGES_PER_CLUSTER as u64 + 1_000);
}

#[test]
fn an_account_with_dots_keeps_its_namespace() {
    let peer = PeerName::verified(&"a.b.shop".into());
    assert_eq!((peer.name.as_str(), peer.namespace.as_str(), peer.mtls), ("a.b", "shop", true));
}
