//! A5: HTTP/2 requests that would be two requests, or others, once written as HTTP/1.

use super::Entrance;
use fsm_tests::h2raw::{DATA, END_STREAM, Outcome, RawHttp2};
use fsm_tests::{Pair, Recorder};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// An ordinary request with one field replaced or added.
fn with(name: &str, value: &[u8]) -> Fields {
    let mut fields = base();
    match fields.iter_mut().find(|(found, _)| found == name.as_bytes()) {
        Some(field) => field.1 = value.to_vec(),
        None => fields.push((name.as_bytes().to_vec(), value.to_vec())),
    }
    fields
}

fn added(name: &[u8], value: &[u8]) -> Fields {
    let mut fields = base();
    fields.push((name.to_vec(), value.to_vec()));
    fields
}

fn without(name: &str) -> Fields {
    let mut fields = base();
    fields.retain(|(found, _)| found != name.as_bytes());
    fields
}

fn base() -> Fields {
    [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "raw.shop")]
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .to_vec()
}

fn attacks() -> Vec<(&'static str, Fields)> {
    let mut late = base();
    late.insert(1, (b"x-early".to_vec(), b"1".to_vec()));
    vec![
        ("line break in a value", added(b"x", b"a\r\ntransfer-encoding: chunked")),
        ("request in a value", added(b"x", b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: raw.shop\r\n\r\n")),
        ("line feed in a value", added(b"x", b"a\nb: c")),
        ("carriage return in a value", added(b"x", b"a\rb")),
        ("NUL in a value", added(b"x", b"a\0b")),
        ("line break in a name", added(b"x\r\ny", b"z")),
        ("colon in a name", added(b"x: y", b"z")),
        ("space in a name", added(b"x y", b"z")),
        ("no name", added(b"", b"z")),
        ("upper case in a name", added(b"X-Upper", b"z")),
        ("line break in the path", with(":path", b"/a HTTP/1.1\r\nhost: x\r\n\r\nGET /smuggled")),
        ("space in the path", with(":path", b"/a HTTP/1.1")),
        ("tab in the path", with(":path", b"/a\tb")),
        ("path without a slash", with(":path", b"a")),
        ("empty path", with(":path", b"")),
        ("line break in the method", with(":method", b"GET /smuggled HTTP/1.1\r\nx: y\r\n\r\nPOST")),
        ("space in the method", with(":method", b"GET /smuggled")),
        ("empty method", with(":method", b"")),
        ("line break in the authority", with(":authority", b"raw.shop\r\nx: y")),
        ("user in the authority", with(":authority", b"x@raw.shop")),
        ("path in the authority", with(":authority", b"raw.shop/x")),
        ("space in the authority", with(":authority", b"raw.shop x")),
        ("two authorities", added(b":authority", b"other.shop")),
        ("two paths", added(b":path", b"/smuggled")),
        ("two methods", added(b":method", b"GET")),
        ("an unknown pseudo-field", added(b":protocol2", b"x")),
        ("a pseudo-field after a field", late),
        ("a status in a request", added(b":status", b"200")),
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("transfer-encoding", added(b"transfer-encoding", b"chunked")),
        ("connection", added(b"connection", b"close")),
        ("keep-alive", added(b"keep-alive", b"timeout=5")),
        ("proxy-connection", added(b"proxy-connection", b"close")),
        ("upgrade", added(b"upgrade", b"websocket")),
        ("te other than trailers", added(b"te", b"gzip")),
        ("a host that contradicts the authority", added(b"host", b"other.shop")),
        ("malformed length", added(b"content-length", b"+4")),
        ("two lengths", {
            let mut fields = added(b"content-length", b"4");
            fields.push((b"content-length".to_vec(), b"5".to_vec()));
            fields
        }),
    ]
}

#[tokio::test]
async fn a5_nothing_is_injected_when_http2_becomes_http1() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let recorder = Recorder::start(&pair.scene.server, ([127, 0, 0, 1], 8081).into());
    let leaf = pair.leaf("mallory.evil");
    let mut bystander = pair.http2(&pair.scene.http).await;
    let mut failures = Vec::new();
    for entrance in Entrance::BOTH {
        for (name, fields) in attacks() {
            recorder.clear();
            let mut raw = RawHttp2::start(entrance.open(&pair, &leaf).await).await;
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
            raw.headers(1, &fields, false).await;
            raw.send(DATA, END_STREAM, 1, b"body").await;
            let outcome = raw.outcome(1).await;
            let forwarded = recorder.requests();
            // `te` and a second host may also be dropped: what arrives must be the one clean request.
            let repairable = matches!(name, "te other than trailers" | "a host that contradicts the authority");
            let repaired = repairable
                && outcome == Outcome::Status(200)
                && forwarded.len() == 1
                && forwarded[0].header("te").is_none_or(|te| te == "trailers")
                && forwarded[0].header("host") == Some("raw.shop");
            if !repaired && (!outcome.is_refusal() || !forwarded.is_empty()) {
                failures.push(format!("{entrance:?}, {name}: {outcome:?}, forwarded {forwarded:?}"));
            }
            for (why, bytes) in recorder.malformed() {
                failures.push(format!("{entrance:?}, {name}: forwarded {why}: {bytes:?}"));
            }
            if recorder.received(b"smuggled") {
                failures.push(format!("{entrance:?}, {name}: the hidden request arrived"));
            }
        }
        assert_eq!(bystander.get("api.shop", "/bystander").await.status, 200);
    }
    pair.assert_healthy().await;
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test]
async fn a5_a_length_that_contradicts_the_data_is_never_forwarded_as_a_whole_request() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let recorder = Recorder::start(&pair.scene.server, ([127, 0, 0, 1], 8081).into());
    let leaf = pair.leaf("mallory.evil");
    for entrance in Entrance::BOTH {
        for length in ["0", "3", "5", "60"] {
            recorder.clear();
            let mut raw = RawHttp2::start(entrance.open(&pair, &leaf).await).await;
            let fields = added(b"content-length", length.as_bytes());
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
            raw.headers(1, &fields, false).await;
            raw.send(DATA, END_STREAM, 1, b"GET /smuggled HTTP/1.1\r\nhost: raw.shop\r\n\r\n").await;
            let outcome = raw.outcome(1).await;
            if recorder.requests().iter().any(|seen| seen.target() == "/smuggled") {
                panic!("{entrance:?}, length {length}: data became a request");
            }
            assert!(recorder.malformed().is_empty(), "{entrance:?}, length {length}: {:?}", recorder.malformed());
            assert!(outcome != Outcome::Status(200), "{entrance:?}, length {length}: passed");
        }
        pair.assert_healthy().await;
    }
}
