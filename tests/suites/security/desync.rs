//! A1–A4: requests whose end or fields two readers could see differently.
//!
//! Behind the sidecars stands a [`Recorder`], which notes every byte it gets and accepts only what leaves no doubt.
//! A case passes if the attacker is refused, or if what was forwarded is one clean request; the request hidden in the
//! attack must never arrive.

use super::Entrance;
use fsm_tests::{Fault, Pair, Recorder, Wire};
use std::time::Duration;

/// What must become of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Must {
    /// Refused; the application sees nothing.
    Refuse,
    /// Refused, or repaired into exactly one clean request.
    RefuseOrRepair,
}
use Must::{Refuse, RefuseOrRepair};

struct Case {
    name: String,
    bytes: Vec<u8>,
    must: Must,
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: raw.shop\r\n\r\n";

fn case(name: &str, must: Must, bytes: impl AsRef<[u8]>) -> Case {
    Case { name: name.to_owned(), bytes: bytes.as_ref().to_vec(), must }
}

/// A POST with these header lines and this body.
fn post(name: &str, must: Must, headers: &str, body: &str) -> Case {
    case(name, must, format!("POST /a HTTP/1.1\r\nhost: raw.shop\r\n{headers}\r\n\r\n{body}"))
}

#[tokio::test]
async fn a1_contradicting_or_malformed_lengths() {
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    let mut cases = vec![
        post("length and chunked", RefuseOrRepair, "content-length: 4\r\ntransfer-encoding: chunked", &chunked),
        post("chunked and length", RefuseOrRepair, "transfer-encoding: chunked\r\ncontent-length: 4", &chunked),
        post("different lengths", Refuse, "content-length: 5\r\ncontent-length: 6", "hello"),
        post("different lengths in a list", Refuse, "content-length: 5, 6", "hello"),
        post("the same length twice", RefuseOrRepair, "content-length: 5\r\ncontent-length: 5", "hello"),
        post("the same length in a list", RefuseOrRepair, "content-length: 5, 5", "hello"),
        post("length with a space in the name", Refuse, "content-length : 5", "hello"),
    ];
    for length in ["+5", "-5", "0x5", "5 5", "5_0", "1e1", "5.", "five", "", "18446744073709551621", "٥"] {
        let header = format!("content-length: {length}");
        cases.push(post(&format!("length {length:?}"), Refuse, &header, "hello"));
    }
    attack(cases).await;
}

#[tokio::test]
async fn a2_transfer_encodings_that_are_not_exactly_chunked() {
    let body = format!("0\r\n\r\n{SMUGGLED}");
    let mut cases = Vec::new();
    for encoding in [
        "xchunked",
        "chunkedx",
        "chunked, identity",
        "identity",
        "gzip",
        "\x0bchunked",
        "chunked\x0b",
        "chunked,",
        "chunked, chunked",
        "\"chunked\"",
        "chunked;q=1",
        "chunked\x00",
        "c hunked",
    ] {
        let header = format!("transfer-encoding: {encoding}");
        // An empty list member is legal to ignore; everything else is not to be guessed at.
        let must = if encoding == "chunked," { RefuseOrRepair } else { Refuse };
        cases.push(post(&format!("encoding {encoding:?}"), must, &header, &body));
    }
    cases.extend([
        post("gzip, chunked", RefuseOrRepair, "transfer-encoding: gzip, chunked", &body),
        post("two encodings", Refuse, "transfer-encoding: chunked\r\ntransfer-encoding: identity", &body),
        post("folded encoding", Refuse, "transfer-encoding:\r\n chunked", &body),
        post("space before colon", Refuse, "transfer-encoding : chunked", &body),
        post("chunked and a hidden length", RefuseOrRepair, "transfer-encoding: chunked\r\nx: y\r\ncontent-length: 3", &body),
        case("chunked in 1.0", Refuse, format!("POST /a HTTP/1.0\r\nhost: raw.shop\r\ntransfer-encoding: chunked\r\n\r\n{body}")),
        case("chunked in 1.0, kept alive", Refuse, format!(
            "POST /a HTTP/1.0\r\nhost: raw.shop\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n{body}"
        )),
    ]);
    attack(cases).await;
}

#[tokio::test]
async fn a3_chunks_that_are_not_chunks() {
    let mut cases = Vec::new();
    for size in ["0_2e", "0x5", "-5", "+5", "5g", "", " 5", "10000000000000005", "ffffffffffffffffff", "5\u{b}", "5,"] {
        let body = format!("{size}\r\nhello\r\n0\r\n\r\n{SMUGGLED}");
        cases.push(post(&format!("chunk size {size:?}"), Refuse, "transfer-encoding: chunked", &body));
    }
    let mut chunked = |name: &str, must: Must, body: String| {
        cases.push(post(name, must, "transfer-encoding: chunked", &body));
    };
    chunked("space after the size", RefuseOrRepair, "5 \r\nhello\r\n0\r\n\r\n".to_owned());
    chunked("line feed alone after the size", Refuse, format!("5\nhello\r\n0\r\n\r\n{SMUGGLED}"));
    chunked("carriage return alone after the size", Refuse, format!("5\rhello\r\n0\r\n\r\n{SMUGGLED}"));
    chunked("line feed in an extension", Refuse, format!("5;a=\nb\r\nhello\r\n0\r\n\r\n{SMUGGLED}"));
    chunked("a chunk longer than it says", Refuse, format!("3\r\nhello\r\n0\r\n\r\n{SMUGGLED}"));
    chunked("a chunk without its end", Refuse, format!("5\r\nhello0\r\n\r\n{SMUGGLED}"));
    chunked("an enormous extension", Refuse, format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1 << 20)));
    chunked("a length in the trailers", RefuseOrRepair, "5\r\nhello\r\n0\r\ncontent-length: 3\r\n\r\n".to_owned());
    chunked("a broken trailer", Refuse, format!("5\r\nhello\r\n0\r\nbroken\r\n\r\n{SMUGGLED}"));
    attack(cases).await;
}

#[tokio::test]
async fn a4_header_lines_that_are_not_header_lines() {
    let get = |name: &str, must: Must, lines: &str| {
        case(name, must, format!("GET /a HTTP/1.1\r\nhost: raw.shop\r\n{lines}\r\n\r\n"))
    };
    let line = |name: &str, must: Must, line: &str| case(name, must, format!("{line}\r\nhost: raw.shop\r\n\r\n"));
    let cases = vec![
        get("space before the colon", Refuse, "x : y"),
        get("tab before the colon", Refuse, "x\t: y"),
        get("no name", Refuse, ": y"),
        get("no colon", Refuse, "xyz"),
        get("NUL in a value", Refuse, "x: a\0b"),
        get("NUL in a name", Refuse, "x\0: b"),
        get("carriage return in a value", Refuse, "x: a\rb: c"),
        get("a name that is not ASCII", Refuse, "xé: y"),
        get("folded value", Refuse, "x: a\r\n b"),
        get("folded value with a tab", Refuse, "x: a\r\n\tb"),
        get("line feeds alone", RefuseOrRepair, "x: a\nb: c"),
        get("two hosts", Refuse, "host: other.shop"),
        get("two equal hosts", Refuse, "host: raw.shop"),
        case("space before the first header", Refuse, "GET /a HTTP/1.1\r\n host: raw.shop\r\n\r\n"),
        case("no host", Refuse, "GET /a HTTP/1.1\r\n\r\n"),
        case("empty host", Refuse, "GET /a HTTP/1.1\r\nhost:\r\n\r\n"),
        case("host with user", Refuse, "GET /a HTTP/1.1\r\nhost: x@raw.shop\r\n\r\n"),
        case("host with path", Refuse, "GET /a HTTP/1.1\r\nhost: raw.shop/x\r\n\r\n"),
        case("host with a space", Refuse, "GET /a HTTP/1.1\r\nhost: raw.shop x\r\n\r\n"),
        case("host list", Refuse, "GET /a HTTP/1.1\r\nhost: raw.shop, other.shop\r\n\r\n"),
        line("two spaces", RefuseOrRepair, "GET  /a HTTP/1.1"),
        line("tab as separator", Refuse, "GET\t/a HTTP/1.1"),
        line("space in the target", Refuse, "GET /a b HTTP/1.1"),
        line("no version", Refuse, "GET /a"),
        line("version 1.2", Refuse, "GET /a HTTP/1.2"),
        line("version 2.0", Refuse, "GET /a HTTP/2.0"),
        line("lower-case version", Refuse, "GET /a http/1.1"),
        line("method with a slash", Refuse, "GE/T /a HTTP/1.1"),
        line("control byte in the target", Refuse, "GET /a\x01 HTTP/1.1"),
        line("DEL in the target", Refuse, "GET /a\x7f HTTP/1.1"),
        line("a header before the request line", Refuse, "x: y\r\nGET /a HTTP/1.1"),
    ];
    attack(cases).await;
}

async fn attack(cases: Vec<Case>) {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let recorder = Recorder::start(&pair.scene.server, ([127, 0, 0, 1], 8081).into());
    let leaf = pair.leaf("mallory.evil");
    let mut bystander = pair.dial(&pair.scene.http).await;
    let mut failures = Vec::new();
    for entrance in Entrance::BOTH {
        for case in &cases {
            recorder.clear();
            let wire = entrance.open(&pair, &leaf).await;
            if let Err(why) = judge(wire, case, &recorder).await {
                let bytes = String::from_utf8_lossy(&case.bytes);
                failures.push(format!("{entrance:?}, {}: {why}\n    {:.300?}", case.name, bytes));
            }
        }
        assert_eq!(bystander.get("api.shop", "/bystander").await.status(), 200);
    }
    pair.assert_healthy().await;
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), 2 * cases.len(), failures.join("\n"));
}

async fn judge(mut wire: Wire, case: &Case, recorder: &Recorder) -> Result<(), String> {
    wire.offer(&case.bytes).await;
    // A proxy may also wait for the rest of what it takes for a body: then the application has no whole request.
    let patience = Duration::from_millis(700);
    let first = tokio::time::timeout(patience, wire.try_response("POST")).await;
    let refused = match &first {
        Ok(Ok(reply)) if reply.status() >= 400 => {
            if !matches!(reply.status(), 400 | 405 | 408 | 411 | 413 | 414 | 431 | 501 | 502 | 505) {
                return Err(format!("refused with {}", reply.start));
            }
            // What follows a message of unknown length cannot be read, so the connection must end.
            if tokio::time::timeout(patience, wire.rest()).await.is_err() {
                return Err("refused, but the connection stays open".to_owned());
            }
            true
        }
        Ok(Ok(_)) => false,
        Ok(Err(Fault::Ended(..))) | Err(_) => true,
        Ok(Err(Fault::Malformed(why))) => return Err(why.to_string()),
    };
    if let Some((why, bytes)) = recorder.malformed().first() {
        return Err(format!("forwarded {why}: {bytes:?}"));
    }
    if recorder.received(b"/smuggled") {
        return Err("the hidden request arrived".to_owned());
    }
    let requests = recorder.requests().len();
    match (refused, case.must) {
        (true, _) if requests == 0 => Ok(()),
        (false, RefuseOrRepair) if requests == 1 => {
            // A second response would be to the hidden request.
            let second = tokio::time::timeout(Duration::from_millis(100), wire.try_response("GET")).await;
            match second {
                Ok(Ok(reply)) if reply.status() < 400 => Err("a second request was answered".to_owned()),
                _ => Ok(()),
            }
        }
        (_, must) => Err(format!("must {must:?}; {requests} request(s) arrived, refused: {refused}")),
    }
}
