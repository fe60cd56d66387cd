#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::limits::DETECT_TIMEOUT as DEADLINE;
use proptest::prelude::*;
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, duplex};

const HTTP1: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n",
    b"GET /path?query HTTP/1.0\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT example.com:443 HTTP/1.1\r\n",
    b"GET http://example.com/ HTTP/1.1\r\n",
    b"GET HTTPS://example.com/ HTTP/1.1\r\n",
    b"PROPFIND /dav HTTP/1.1\r\n",
    b"M-SEARCH * HTTP/1.1\r\n",
    b"UPDATEREDIRECTREF / HTTP/1.1\r\n",
    b"PRI / HTTP/1.1\r\n",
    b"P / HTTP/1.1\r\n",
];

const OTHER: &[&[u8]] = &[
    b"SSH-2.0-OpenSSH_9.9p1 Debian-3\r\n",
    b"EHLO mail.example.com\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"USER anonymous\r\n",
    b"a001 LOGIN user secret\r\n",
    b"SET key value\r\n",
    b"GET key\r\n",
    b"get /key\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"PING\r\n",
    b"INVITE sip:bob@example.com SIP/2.0\r\n",
    b"DESCRIBE rtsp://example.com/stream RTSP/1.0\r\n",
    b"GET httpx://example.com/ HTTP/1.1\r\n",
    b"GET  / HTTP/1.1\r\n",
    b" GET / HTTP/1.1\r\n",
    b"\r\nGET / HTTP/1.1\r\n",
    b"GET\t/ HTTP/1.1\r\n",
    b"G\xc3\x89T / HTTP/1.1\r\n",
    b"METHODSWITHMORETHANTWENTYFOURLETTERS / HTTP/1.1\r\n",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\x80\x2e\x01\x03\x01\0\0\0", // SSLv2 hello
    b"\x16\x02\x01\0\x05",
    b"\x16\x03\x05\0\x05",
    b"\x16\x03\x01\0\0",
    b"\x16\x03\x01\x40\x01\x01",
    b"\x16\x03\x01\0\x05\x02\0\0\x01\0", // a server's hello
    b"\x15\x03\x01\0\x02\x02\x28",
];

/// A real client's first flight.
fn real_hello(server_name: &str, alpn: &[&[u8]]) -> Vec<u8> {
    let mut config = rustls::ClientConfig::builder_with_provider(crate::tls::provider())
        .with_protocol_versions(crate::tls::provider::VERSIONS)
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = server_name.to_owned().try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// A ClientHello with these extensions, as one handshake message without records.
fn hello_message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, content)| [kind.to_be_bytes().to_vec(), length16(content), content.clone()].concat())
        .collect();
    body.extend(length16(&extensions));
    body.extend(extensions);
    [vec![1], u32::try_from(body.len()).unwrap().to_be_bytes()[1..].to_vec(), body].concat()
}

fn length16(bytes: &[u8]) -> Vec<u8> {
    u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec()
}

fn server_name(name: &[u8]) -> (u16, Vec<u8>) {
    let entry = [vec![0], length16(name), name.to_vec()].concat();
    (0, [length16(&entry), entry].concat())
}

/// Cuts a handshake message into records of `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [vec![0x16, 3, 1], length16(part), part.to_vec()].concat()).collect()
}

fn hello_of(bytes: &[u8]) -> ClientHello {
    match classify(bytes) {
        Verdict::Tls(hello) => hello,
        other => panic!("{other:?}"),
    }
}

fn name_of(name: &[u8]) -> Option<ArcStr> {
    hello_of(&records(&hello_message(&[server_name(name)]), 1 << 14)).server_name
}

#[test]
fn http1_is_told_from_other_protocols_that_begin_with_words() {
    for bytes in HTTP1 {
        assert_eq!(classify(bytes), Verdict::Http1, "{}", bytes.escape_ascii());
    }
    for bytes in OTHER {
        assert_eq!(classify(bytes), Verdict::Other, "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_verdict_comes_as_early_as_the_bytes_allow() {
    for (bytes, expected) in [
        (b"".as_slice(), Verdict::NeedMore),
        (b"GET", Verdict::NeedMore),
        (b"GET ", Verdict::NeedMore),
        (b"GET /", Verdict::Http1),
        (b"GET ht", Verdict::NeedMore),
        (b"CONNECT ", Verdict::Http1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Verdict::NeedMore),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Verdict::Http2),
        (b"PRI * HTTP/1", Verdict::Http1),
        (b"\x16", Verdict::NeedMore),
        (b"\x16\x03\x01\x02\0\x01", Verdict::NeedMore),
        (b"\x17", Verdict::Other),
        (b"get", Verdict::Other),
    ] {
        assert_eq!(classify(bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_real_hello_tells_name_and_protocols() {
    let hello = hello_of(&real_hello("Shop.Example", &[b"h2", b"http/1.1"]));
    assert_eq!(hello.server_name.as_deref(), Some("shop.example"));
    assert_eq!(hello.alpn.as_slice(), [b"h2".as_slice(), b"http/1.1"]);
    let bare = hello_of(&real_hello("10.0.0.1", &[]));
    assert_eq!(bare, ClientHello::default());
}

#[test]
fn a_hello_in_many_records_is_put_together() {
    let message = hello_message(&[server_name(b"shop.example"), (16, b"\0\x03\x02h2".to_vec())]);
    for size in [1, 2, 3, 7, message.len() - 1, message.len()] {
        let hello = hello_of(&records(&message, size));
        assert_eq!(hello.server_name.as_deref(), Some("shop.example"), "records of {size}");
        assert_eq!(hello.alpn.as_slice(), [b"h2".as_slice()]);
    }
}

#[test]
fn bytes_after_the_hello_do_not_matter() {
    let mut bytes = records(&hello_message(&[server_name(b"shop.example")]), 1 << 14);
    let alone = classify(&bytes);
    bytes.extend(b"\x17\x03\x03\x00\x01\x00garbage");
    assert_eq!(classify(&bytes), alone);
}

#[test]
fn server_names_are_host_names_in_lower_case() {
    for (sent, expected) in [
        (b"Shop.EXAMPLE".as_slice(), Some("shop.example")),
        (b"shop.example.", Some("shop.example")),
        (b"_srv.my-host.example", Some("_srv.my-host.example")),
        (b"localhost", Some("localhost")),
        (b"xn--bcher-kva.example", Some("xn--bcher-kva.example")),
        (b"", None),
        (b".", None),
        (b"a..b", None),
        (b".a", None),
        (b"-a.b", None),
        (b"a-.b", None),
        (b"10.0.0.1", None),
        (b"::1", None),
        (b"a b", None),
        (b"a\0.example", None),
        (b"a/../b", None),
        (b"b\xc3\xbccher.example", None),
        (b"\xff", None),
        (&[b'a'; 64], None),
        (&[b"a.".repeat(126).as_slice(), b"ab"].concat(), None),
    ] {
        assert_eq!(name_of(sent).as_deref(), expected, "{}", sent.escape_ascii());
    }
}

#[test]
fn a_malformed_hello_is_tls_without_details() {
    let whole = hello_message(&[server_name(b"shop.example")]);
    let extensions = whole.len() - 4 - 2 - 32 - 7 - 2;
    // A length that says more than there is, at every place that holds one.
    for position in [4 + 34, 4 + 34 + 2, 4 + 34 + 5, whole.len() - extensions - 1, whole.len() - 13] {
        let mut message = whole.clone();
        message[position] = 0xff;
        assert_eq!(hello_of(&records(&message, 1 << 14)), ClientHello::default(), "byte {position}");
    }
    let mut interrupted = records(&whole, 16);
    interrupted[21] = 0x17;
    assert_eq!(hello_of(&interrupted), ClientHello::default());
}

#[test]
fn a_hello_beyond_the_limit_is_tls_without_details_and_not_waited_for() {
    let message = hello_message(&[(21, vec![0; DETECT_BYTES]), server_name(b"shop.example")]);
    let bytes = records(&message, 1 << 12);
    assert_eq!(classify(&bytes[..DETECT_BYTES - 1]), Verdict::NeedMore);
    assert_eq!(hello_of(&bytes[..DETECT_BYTES]), ClientHello::default());
    assert_eq!(hello_of(&bytes), ClientHello::default());
}

fn interesting_bytes() -> impl Strategy<Value = Vec<u8>> {
    let seeds: Vec<Vec<u8>> = [HTTP1, OTHER]
        .concat()
        .into_iter()
        .map(<[u8]>::to_vec)
        .chain([HTTP2_PREFACE.to_vec(), real_hello("shop.example", &[b"h2"])])
        .chain([1, 5, 100].map(|size| records(&hello_message(&[server_name(b"shop.example")]), size)))
        .collect();
    let mutated = (proptest::sample::select(seeds), proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4));
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        mutated.prop_map(|(mut bytes, changes)| {
            for (position, value) in changes {
                let position = position % bytes.len();
                bytes[position] = value;
            }
            bytes
        }),
    ]
}

proptest! {
    #[test]
    fn more_bytes_never_change_a_verdict(bytes in interesting_bytes()) {
        let last = classify(&bytes);
        for length in 0..bytes.len() {
            let verdict = classify(&bytes[..length]);
            prop_assert!(verdict == Verdict::NeedMore || verdict == last, "{length} bytes: {verdict:?}, all: {last:?}");
        }
    }

    #[test]
    fn any_split_into_records_tells_the_same(sizes in proptest::collection::vec(1_usize..200, 1..50)) {
        let message = hello_message(&[server_name(b"shop.example"), (16, b"\0\x03\x02h2".to_vec())]);
        let (mut rest, mut bytes) = (message.as_slice(), Vec::new());
        for size in sizes.iter().cycle() {
            let (part, others) = rest.split_at(rest.len().min(*size));
            bytes.extend(records(part, 1 << 14));
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(hello_of(&bytes), hello_of(&records(&message, 1 << 14)));
    }
}

async fn detect_bytes(bytes: &[u8], close: bool) -> Detected<tokio::io::DuplexStream> {
    let (ours, mut theirs) = duplex(1 << 20);
    theirs.write_all(bytes).await.unwrap();
    if close {
        drop(theirs);
        return detect(ours, DEADLINE).await;
    }
    let detected = detect(ours, DEADLINE).await;
    drop(theirs);
    detected
}

#[tokio::test(start_paused = true)]
async fn every_byte_is_given_back_whatever_the_verdict() {
    let hello = real_hello("shop.example", &[]);
    let long = [b"GET /".as_slice(), &[b'a'; 70_000]].concat();
    for (bytes, protocol) in [
        (long.as_slice(), Protocol::Http1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04", Protocol::Http2),
        (b"SSH-2.0-x\r\n", Protocol::Other),
        (&hello, Protocol::Tls(hello_of(&hello))),
        (&hello[..hello.len() - 1], Protocol::Timeout),
        (b"", Protocol::Timeout),
    ] {
        let mut detected = detect_bytes(bytes, false).await;
        assert_eq!(detected.protocol, protocol);
        let mut read = Vec::new();
        detected.io.read_to_end(&mut read).await.unwrap();
        assert!(read == bytes, "{protocol:?}");
        assert!(detected.io.prefix().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_costs_exactly_the_deadline() {
    let (ours, mut theirs) = duplex(64);
    let start = tokio::time::Instant::now();
    let writer = async {
        // A byte now and then does not buy more time.
        for byte in b"GE" {
            tokio::time::sleep(DEADLINE / 3).await;
            theirs.write_all(&[*byte]).await.unwrap();
        }
    };
    let (detected, ()) = tokio::join!(detect(ours, DEADLINE), writer);
    assert_eq!(detected.protocol, Protocol::Timeout);
    assert_eq!(start.elapsed(), DEADLINE);
    assert_eq!(detected.io.prefix(), b"GE");
}

#[tokio::test]
async fn a_client_that_closes_is_closed_only_if_it_said_nothing() {
    assert_eq!(detect_bytes(b"", true).await.protocol, Protocol::Closed);
    let detected = detect_bytes(b"PING", true).await;
    assert_eq!(detected.protocol, Protocol::Other);
    assert_eq!(detected.io.prefix(), b"PING");
    assert_eq!(detect_bytes(b"\x16\x03\x01", true).await.protocol, Protocol::Other);
}

#[tokio::test]
async fn on_http_ports_anything_but_the_preface_is_http1_at_once() {
    for bytes in [b"G".as_slice(), b"PO", b"PRI * HTTP/1", b"\x16", b"\r"] {
        let (ours, mut theirs) = duplex(64);
        theirs.write_all(bytes).await.unwrap();
        let detected = detect_http(ours, DEADLINE).await;
        assert_eq!(detected.protocol, Protocol::Http1, "{}", bytes.escape_ascii());
        assert_eq!(detected.io.prefix(), bytes);
    }
    let (ours, mut theirs) = duplex(64);
    let writer = async {
        for byte in HTTP2_PREFACE {
            theirs.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (detected, ()) = tokio::join!(detect_http(ours, DEADLINE), writer);
    assert_eq!(detected.protocol, Protocol::Http2);
    assert_eq!(detected.io.prefix(), HTTP2_PREFACE);
}

#[tokio::test]
async fn a_prefixed_connection_reads_in_order_and_writes_through() {
    let (ours, mut theirs) = duplex(64);
    theirs.write_all(b"second").await.unwrap();
    let mut prefixed = Prefixed::new(Bytes::from_static(b"first "), ours);
    let mut three = [0; 3];
    prefixed.read_exact(&mut three).await.unwrap();
    assert_eq!((&three, prefixed.prefix()), (b"fir", b"st ".as_slice()));
    let mut rest = [0; 9];
    prefixed.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"st second");
    prefixed.write_all(b"answer").await.unwrap();
    prefixed.shutdown().await.unwrap();
    let mut answer = Vec::new();
    theirs.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"answer");
    let (prefix, _io) = prefixed.into_parts();
    assert!(prefix.is_empty());
}

#[test]
fn the_state_of_a_waiting_connection_is_small() {
    let (ours, _theirs) = duplex(64);
    let size = size_of_val(&detect(ours, DEADLINE));
    assert!(size <= 512, "{size} bytes");
}
