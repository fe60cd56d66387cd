#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::telemetry::noted::Noted;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn read(headers: &HeaderMap, w3c_first: bool) -> Incoming {
    Incoming::read(&Noted::of(headers).trace, w3c_first)
}

const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
const VALUE: u128 = 0x80f1_98ee_5634_3ba8_64fe_8b2a_57d3_eff7;

#[test]
fn b3_single_is_read_in_all_its_lengths() {
    let read = |text| read(&headers(&[("b3", text)]), false);
    let full = read("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90");
    assert_eq!(full.trace, Some(TraceId { value: VALUE, short: false }));
    assert_eq!((full.span, full.parent), (Some(0xe457_b5a2_e4d8_6bd1), Some(0x05e3_ac9a_4f6e_3b90)));
    assert_eq!((full.sampled, full.forms.b3_single), (Some(true), true));
    assert_eq!(read("64fe8b2a57d3eff7-e457b5a2e4d86bd1").sampled, None);
    assert_eq!(read("64fe8b2a57d3eff7-e457b5a2e4d86bd1-d").sampled, Some(true));
    assert_eq!((read("0").sampled, read("0").trace), (Some(false), None));
    for bad in ["", "x", "1-2", "0-", "64fe8b2a57d3eff7", "64fe8b2a57d3eff7-zz", "64fe8b2a57d3eff7-e457b5a2e4d86bd1-9"]
    {
        assert_eq!(read(bad), Incoming::default(), "{bad}");
    }
}

#[test]
fn b3_multi_is_read_with_flags_and_long_span_ids_of_fsm() {
    let read = |pairs: &[(&'static str, &'static str)]| read(&headers(pairs), false);
    let debug = read(&[("x-b3-traceid", TRACE), ("x-b3-spanid", "e457b5a2e4d86bd1"), ("x-b3-flags", "1")]);
    assert_eq!((debug.sampled, debug.forms.b3_multi), (Some(true), true));
    let fsm = read(&[("x-b3-traceid", TRACE), ("x-b3-spanid", TRACE), ("x-b3-sampled", "1")]);
    assert_eq!(fsm.span, Some(0x64fe_8b2a_57d3_eff7));
    let denied = read(&[("x-b3-sampled", "0")]);
    assert_eq!((denied.sampled, denied.trace, denied.forms.b3_multi), (Some(false), None, true));
    assert_eq!(read(&[("x-b3-spanid", "e457b5a2e4d86bd1")]), Incoming::default());
}

#[test]
fn traceparent_is_read_as_w3c_wants_it() {
    let read = |text| read(&headers(&[("traceparent", text)]), false);
    let good = read("00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-01");
    assert_eq!((good.span, good.sampled, good.forms.w3c), (Some(0xe457_b5a2_e4d8_6bd1), Some(true), true));
    assert_eq!(read("cc-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-00-more").sampled, Some(false));
    for bad in [
        "ff-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-01",
        "00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-01-more",
        "00-00000000000000000000000000000000-e457b5a2e4d86bd1-01",
        "00-80f198ee56343ba864fe8b2a57d3eff7-0000000000000000-01",
        "00-64fe8b2a57d3eff7-e457b5a2e4d86bd1-01",
        "00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1",
    ] {
        assert_eq!(read(bad), Incoming::default(), "{bad}");
    }
}

#[test]
fn the_preferred_form_wins_and_all_that_came_are_known() {
    let both = headers(&[
        ("b3", "64fe8b2a57d3eff7-0000000000000001-1"),
        ("traceparent", "00-80f198ee56343ba864fe8b2a57d3eff7-0000000000000002-00"),
    ]);
    assert_eq!(read(&both, false).span, Some(1));
    let w3c = read(&both, true);
    assert_eq!((w3c.span, w3c.sampled), (Some(2), Some(false)));
    assert_eq!(w3c.forms, Forms { b3_multi: false, b3_single: true, w3c: true });
}

#[test]
fn what_is_written_is_read_back_in_every_form() {
    let trace = TraceId { value: VALUE, short: false };
    let context = Context { trace, span: 7, parent: Some(9), sampled: true };
    for (name, forms) in [
        ("x-b3-traceid", Forms { b3_multi: true, ..Forms::default() }),
        ("b3", Forms { b3_single: true, ..Forms::default() }),
        ("traceparent", Forms { w3c: true, ..Forms::default() }),
    ] {
        let mut map = headers(&[("x-b3-parentspanid", "0000000000000001")]);
        context.write(&mut map, forms);
        assert!(map.contains_key(name));
        let read = read(&map, false);
        assert_eq!((read.trace, read.span, read.sampled), (Some(trace), Some(7), Some(true)), "{name}");
        assert_eq!(read.parent, (!forms.w3c).then_some(9), "{name}");
    }
}

#[test]
fn a_root_has_no_parent_left_over() {
    let mut map = headers(&[("x-b3-parentspanid", "0000000000000001")]);
    let context = Context { trace: TraceId { value: 1, short: true }, span: 7, parent: None, sampled: false };
    context.write(&mut map, Forms { b3_multi: true, ..Forms::default() });
    assert!(!map.contains_key("x-b3-parentspanid"));
    assert_eq!(map["x-b3-traceid"], "0000000000000001");
    assert_eq!(map["x-b3-sampled"], "0");
}
