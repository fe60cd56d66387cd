#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::value::RawValue;

#[test]
fn a_document_passes_through_an_update_byte_for_byte() {
    let document = r#"{"Spec":{"A": 1.50},"Certificate":{"FsmIssued":true}}"#;
    let update = Update { version: "7".into(), document: RawValue::from_string(document.into()).unwrap() };
    let mut bytes = ControlMessage::Update(update).encode();
    let whole = bytes.len();
    bytes.extend_from_slice(b"the next frame");
    let frame = Frame::first(&bytes).unwrap().unwrap();
    assert_eq!(frame.len(), whole);
    let ControlMessage::Update(update) = frame.control_message().unwrap() else { panic!("{frame:?}") };
    assert_eq!((update.version.as_str(), update.document.get()), ("7", document));
}

#[test]
fn an_incomplete_frame_is_waited_for_at_every_cut() {
    let hello = Hello {
        namespace: "default".into(),
        pod: "web-0".into(),
        uid: String::new(),
        proxy_version: "1".into(),
        version: Some("6".into()),
        deltas: true,
    };
    let bytes = ProxyMessage::Hello(hello.clone()).encode();
    for cut in 0..bytes.len() {
        assert_eq!(Frame::first(&bytes[..cut]).unwrap(), None, "cut at {cut}");
    }
    let frame = Frame::first(&bytes).unwrap().unwrap();
    assert_eq!(frame.proxy_message().unwrap(), ProxyMessage::Hello(hello));
}

#[test]
fn a_kind_of_a_newer_version_is_unknown_and_no_failure() {
    let frame = [0, 0, 0, 2, 99, b'{', b'}'];
    let frame = Frame::first(&frame).unwrap().unwrap();
    assert_eq!(frame.proxy_message().unwrap(), ProxyMessage::Unknown);
    assert!(matches!(frame.control_message().unwrap(), ControlMessage::Unknown));
}

#[test]
fn garbage_is_refused_with_its_reason() {
    let error = Frame::first(&[0xff, 0xff, 0xff, 0xff, 1]).unwrap_err();
    assert!(error.to_string().contains("4294967295 bytes"), "{error}");
    let error = Frame::first(&[0, 0, 0, 2, HELLO, b'[', b']']).unwrap().unwrap().proxy_message().unwrap_err();
    assert!(error.to_string().contains("kind 1"), "{error}");
}
