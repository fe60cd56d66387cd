#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use http::{HeaderName, HeaderValue};

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn rules(fraction: Option<f64>) -> Rules {
    Rules {
        threshold: Rules::threshold(fraction),
        shared: true,
        w3c_first: false,
        forms: Forms { b3_multi: true, ..Forms::default() },
        always_new: false,
    }
}

const OTLP: fn() -> Rules =
    || Rules { shared: false, w3c_first: true, forms: Forms { w3c: true, ..Forms::default() }, ..rules(None) };

#[test]
fn a_fraction_of_the_traces_that_begin_here_is_recorded() {
    // C-11: FSM recorded none of them with 1.00, and all of them with 0.00.
    let sampled = |fraction| {
        let rules = rules(fraction);
        let spans = (0..10_000).map(|_| Span::begin(&rules, Direction::Outbound, &HeaderMap::new()).unwrap());
        spans.filter(|span| span.context.sampled).count()
    };
    assert_eq!([sampled(Some(0.0)), sampled(Some(1.0)), sampled(None)], [0, 10_000, 10_000]);
    let tenth = sampled(Some(0.1));
    assert!((800..1_200).contains(&tenth), "{tenth}");
}

#[test]
fn every_proxy_decides_alike_about_a_trace() {
    let undecided = [("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"), ("x-b3-spanid", "e457b5a2e4d86bd1")];
    for (fraction, sampled) in [(0.3, false), (0.5, true)] {
        for direction in Direction::ALL {
            let span = Span::begin(&rules(Some(fraction)), direction, &headers(&undecided)).unwrap();
            assert_eq!(span.context.sampled, sampled, "{fraction} {direction:?}");
        }
    }
}

#[test]
fn a_client_span_is_a_child_and_zipkins_server_span_is_the_clients() {
    let first = Span::begin(&rules(None), Direction::Outbound, &HeaderMap::new()).unwrap();
    assert_eq!((first.parent, first.shared), (None, false));
    let mut told = HeaderMap::new();
    first.write(&mut told);

    let server = Span::begin(&rules(None), Direction::Inbound, &told).unwrap();
    assert_eq!((server.id, server.parent, server.shared), (first.id, None, true));

    let next = Span::begin(&rules(None), Direction::Outbound, &told).unwrap();
    assert_eq!((next.parent, next.context.trace), (Some(server.id), first.context.trace));
    assert_ne!(next.id, server.id);
}

#[test]
fn with_otlp_a_server_span_is_a_child_of_the_clients() {
    let client = Span::begin(&OTLP(), Direction::Outbound, &HeaderMap::new()).unwrap();
    let mut told = HeaderMap::new();
    client.write(&mut told);
    let server = Span::begin(&OTLP(), Direction::Inbound, &told).unwrap();
    assert_eq!((server.parent, server.shared), (Some(client.id), false));
    server.write(&mut told);
    let next = Span::begin(&OTLP(), Direction::Outbound, &told).unwrap();
    assert_eq!(next.parent, Some(server.id));
}

#[test]
fn what_is_not_recorded_passes_as_it_is() {
    let denied = headers(&[("traceparent", "00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-00")]);
    for direction in Direction::ALL {
        let mut sent = denied.clone();
        let span = Span::begin(&rules(None), direction, &denied).unwrap();
        span.write(&mut sent);
        assert!(!span.context.sampled);
        assert_eq!(sent, denied, "{direction:?}");
    }
    assert_eq!(Span::begin(&rules(None), Direction::Outbound, &headers(&[("b3", "0")])), None);
    assert_eq!(Span::begin(&rules(None), Direction::Inbound, &headers(&[("x-b3-sampled", "0")])), None);
}

#[test]
fn a_context_goes_on_in_the_form_that_it_came_in() {
    let came = headers(&[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")]);
    let mut sent = came.clone();
    let span = Span::begin(&OTLP(), Direction::Outbound, &came).unwrap();
    span.write(&mut sent);
    assert_ne!(sent["b3"], came["b3"]);
    assert_eq!(sent.len(), 1);
}

#[test]
fn a_sampling_decision_without_a_trace_begins_one() {
    let mut sent = headers(&[("x-b3-sampled", "1")]);
    let span = Span::begin(&rules(Some(0.0)), Direction::Outbound, &sent).unwrap();
    span.write(&mut sent);
    assert!(span.context.sampled && sent.contains_key("x-b3-traceid"));
}
