#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::telemetry::noted::Noted;
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
        names_all: false,
        always_new: false,
    }
}

fn begin(rules: &Rules, direction: Direction, headers: &HeaderMap) -> Hop {
    Hop::begin(rules, direction, &Noted::of(headers).trace, false)
}

fn span(rules: &Rules, direction: Direction, headers: &HeaderMap) -> Span {
    *begin(rules, direction, headers).span().unwrap()
}

/// What the next hop is told besides what came.
fn told(hop: Hop, came: &HeaderMap) -> HeaderMap {
    let mut sent = came.clone();
    hop.write(&mut sent);
    sent
}

const OTLP: fn() -> Rules =
    || Rules { shared: false, w3c_first: true, forms: Forms { w3c: true, ..Forms::default() }, ..rules(None) };

#[test]
fn a_fraction_of_the_traces_that_begin_here_is_recorded() {
    // C-11: FSM recorded none of them with 1.00, and all of them with 0.00.
    let sampled = |fraction, names_all| {
        let rules = Rules { names_all, ..rules(fraction) };
        let hops = (0..10_000).map(|_| begin(&rules, Direction::Outbound, &HeaderMap::new()));
        hops.filter(Hop::is_sampled).count()
    };
    for names_all in [false, true] {
        let all = [Some(0.0), Some(1.0), None].map(|fraction| sampled(fraction, names_all));
        assert_eq!(all, [0, 10_000, 10_000]);
        let tenth = sampled(Some(0.1), names_all);
        assert!((800..1_200).contains(&tenth), "{tenth}");
    }
}

#[test]
fn of_a_trace_that_is_not_recorded_only_that_is_told() {
    let none = HeaderMap::new();
    let first = begin(&rules(Some(0.0)), Direction::Outbound, &none);
    assert_eq!((first, told(first, &none)), (Hop::Refused, none), "it is told where it is sent to");
    let mut sent = HeaderMap::new();
    context::write_refusal(&mut sent);
    assert_eq!(sent, headers(&[("x-b3-sampled", "0")]));
    // Nobody behind it begins another one.
    for direction in Direction::ALL {
        let next = begin(&rules(None), direction, &sent);
        assert_eq!((next, told(next, &sent)), (Hop::Untouched, sent.clone()));
    }
}

#[test]
fn silence_refuses_a_trace_only_where_it_was_agreed_on() {
    let begin = |rules: &Rules, pairs, decided| {
        let headers = headers(pairs);
        Hop::begin(rules, Direction::Inbound, &Noted::of(&headers).trace, decided)
    };
    assert_eq!(begin(&rules(None), &[], true), Hop::Refused);
    assert!(begin(&rules(None), &[], false).is_sampled());
    // Who says something is believed, and so is who leaves the decision open.
    for said in [&[("x-b3-sampled", "1")][..], &[("b3", "80f198ee56343ba8-e457b5a2e4d86bd1")]] {
        assert!(begin(&rules(None), said, true).is_sampled(), "{said:?}");
    }
    let named = Rules { names_all: true, ..rules(None) };
    let Hop::Span(span) = begin(&named, &[], true) else { panic!("every request has a name") };
    assert!(!span.context.sampled);
}

#[test]
fn where_every_request_is_written_down_every_trace_has_a_name() {
    let all = Rules { names_all: true, ..rules(Some(0.0)) };
    let none = HeaderMap::new();
    let sent = told(begin(&all, Direction::Outbound, &none), &none);
    assert!(sent.contains_key("x-b3-traceid") && sent["x-b3-sampled"] == "0", "{sent:?}");
}

#[test]
fn traceparent_says_that_a_trace_is_not_recorded_only_with_its_name() {
    let none = HeaderMap::new();
    let otlp = Rules { threshold: Some(0), ..OTLP() };
    let sent = told(begin(&otlp, Direction::Outbound, &none), &none);
    assert_eq!(sent.len(), 1);
    assert!(sent["traceparent"].to_str().unwrap().ends_with("-00"), "{sent:?}");
    assert!(sent["traceparent"].is_sensitive(), "HPACK would keep what never comes again");
}

#[test]
fn every_proxy_decides_alike_about_a_trace() {
    let undecided = [("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"), ("x-b3-spanid", "e457b5a2e4d86bd1")];
    for (fraction, sampled) in [(0.3, false), (0.5, true)] {
        // Also of one without a span.
        for (direction, told) in Direction::ALL.into_iter().flat_map(|direction| [(direction, 2), (direction, 1)]) {
            let span = span(&rules(Some(fraction)), direction, &headers(&undecided[..told]));
            assert_eq!(span.context.sampled, sampled, "{fraction} {direction:?} {told}");
        }
    }
}

#[test]
fn a_client_span_is_a_child_and_zipkins_server_span_is_the_clients() {
    let first = span(&rules(None), Direction::Outbound, &HeaderMap::new());
    assert_eq!((first.parent, first.shared), (None, false));
    let told = told(Hop::Span(first), &HeaderMap::new());

    let server = span(&rules(None), Direction::Inbound, &told);
    assert_eq!((server.id, server.parent, server.shared), (first.id, None, true));

    let next = span(&rules(None), Direction::Outbound, &told);
    assert_eq!((next.parent, next.context.trace), (Some(server.id), first.context.trace));
    assert_ne!(next.id, server.id);
}

#[test]
fn identifiers_that_pass_as_they_came_stay_out_of_hpacks_tables_as_well() {
    let first = told(begin(&rules(None), Direction::Outbound, &HeaderMap::new()), &HeaderMap::new());
    // What comes over HTTP/2 says nothing of how it was sent.
    let mut came = HeaderMap::new();
    came.extend(first.iter().map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap())));
    let hop = begin(&rules(None), Direction::Inbound, &came);
    let sent = told(hop, &came);
    assert_eq!(sent, came);
    for id in ["x-b3-traceid", "x-b3-spanid"] {
        assert!(sent[id].is_sensitive(), "{id}");
    }
    assert!(!sent["x-b3-sampled"].is_sensitive(), "comes again with every request");
}

#[test]
fn with_otlp_a_server_span_is_a_child_of_the_clients() {
    let client = span(&OTLP(), Direction::Outbound, &HeaderMap::new());
    let mut told = told(Hop::Span(client), &HeaderMap::new());
    let server = span(&OTLP(), Direction::Inbound, &told);
    assert_eq!((server.parent, server.shared), (Some(client.id), false));
    Hop::Span(server).write(&mut told);
    let next = span(&OTLP(), Direction::Outbound, &told);
    assert_eq!(next.parent, Some(server.id));
}

#[test]
fn what_is_not_recorded_passes_as_it_is() {
    let denied = headers(&[("traceparent", "00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-00")]);
    for direction in Direction::ALL {
        let hop = begin(&rules(None), direction, &denied);
        assert!(!hop.is_sampled());
        assert_eq!(told(hop, &denied), denied, "{direction:?}");
    }
    assert_eq!(begin(&rules(None), Direction::Outbound, &headers(&[("b3", "0")])), Hop::Untouched);
    assert_eq!(begin(&rules(None), Direction::Inbound, &headers(&[("x-b3-sampled", "0")])), Hop::Untouched);
}

#[test]
fn a_context_goes_on_in_the_form_that_it_came_in() {
    let came = headers(&[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")]);
    let sent = told(begin(&OTLP(), Direction::Outbound, &came), &came);
    assert_ne!(sent["b3"], came["b3"]);
    assert_eq!(sent.len(), 1);
}

#[test]
fn a_sampling_decision_without_a_trace_begins_one() {
    let came = headers(&[("x-b3-sampled", "1")]);
    let hop = begin(&rules(Some(0.0)), Direction::Outbound, &came);
    assert!(hop.is_sampled() && told(hop, &came).contains_key("x-b3-traceid"));
}
