#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_document_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
    for compress in [false, true] {
        let form = |text: &[u8]| if compress { gzip(text) } else { text.to_vec() };
        assert_eq!(*decompressed(&form(b"{    }"), 6).unwrap(), *b"{    }");
        assert_eq!(decompressed(&form(b"{     }"), 6), Err(ReadError::TooLarge { limit: 6 }));
    }
}

#[test]
fn a_gzip_bomb_is_refused_without_unpacking_it() {
    // 256 MiB of blanks in about a quarter of a MiB, as two members to see that the limit spans members.
    let half = gzip(&vec![b' '; 128 << 20]);
    let bomb = [half.clone(), half].concat();
    assert!(bomb.len() < 1 << 20);
    let error = parse(&bomb).unwrap_err();
    assert_eq!(error, ReadError::TooLarge { limit: MAX_DOCUMENT_BYTES });
    assert!(error.to_string().contains("67108864 bytes"), "{error}");
}

#[test]
fn broken_gzip_is_reported_as_such() {
    let whole = gzip(br#"{"Metrics":true}"#);
    assert!(parse(&whole).is_ok());

    let cut = &whole[..whole.len() - 9];
    let mut flipped = whole.clone();
    let checksum = flipped.len() - 8;
    flipped[checksum] ^= 0xff;
    let with_tail = [whole.as_slice(), b"tail"].concat();
    for broken in [cut, &flipped, &with_tail, &GZIP_MAGIC] {
        match parse(broken) {
            Err(ReadError::BadGzip(_)) => {}
            other => panic!("{broken:02x?} gave {other:?}"),
        }
    }
}

#[test]
fn text_that_is_not_json_is_reported_with_its_place() {
    let place = |bytes: &[u8]| match parse(bytes) {
        Err(ReadError::NotJson { line, column, reason }) => (line, column, reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(place(b""), (1, 0, "there is nothing".into()));
    let (line, column, reason) = place(b"{\n \"Metrics\": true,,\n}");
    assert_eq!((line, column), (2, 18), "{reason}");
    assert!(!reason.contains("line"), "{reason}");
    let (line, _, reason) = place(b"{\n \"Spec\": {\n");
    assert_eq!(line, 3);
    assert!(reason.starts_with("the document ends too early"), "{reason}");
    place(b"<html>404</html>");
    place(b"{\"Ts\":\"\xff\"}");
    place(b"{} {}");
    place(b"{\"Spec\":{\"SidecarTimeout\":1e999}}");
}

#[test]
fn nesting_is_capped() {
    let nested = |depth: usize| {
        let mut text = "{\"x\":".to_owned();
        text.push_str(&"[".repeat(depth));
        text.push_str(&"]".repeat(depth));
        text.push('}');
        text
    };
    assert!(parse(nested(100).as_bytes()).is_ok());
    match parse(nested(100_000).as_bytes()) {
        Err(ReadError::NotJson { reason, .. }) => assert!(reason.contains("recursion"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn json_that_is_no_object_is_named() {
    for (text, what) in
        [("null", "null"), ("true", "a boolean"), ("7", "a number"), ("\"{}\"", "a string"), ("[{}]", "an array")]
    {
        assert_eq!(parse(text.as_bytes()), Err(ReadError::NotAnObject { found: what }));
    }
}
