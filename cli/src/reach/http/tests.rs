#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

/// A connection whose other end has said everything beforehand.
struct Canned<'a> {
    answer: &'a [u8],
    asked: Vec<u8>,
}

impl Read for Canned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // In small pieces, as a network would.
        let most = buffer.len().min(3);
        self.answer.read(&mut buffer[..most])
    }
}

impl Write for Canned<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.asked.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn fetch(answer: &[u8]) -> io::Result<Page> {
    page(Canned { answer, asked: Vec::new() }, Method::Get, "/x")
}

#[test]
fn a_page_ends_with_its_connection() {
    let page = fetch(b"HTTP/1.1 404 Not Found\r\na: b\r\n\r\nnothing here").unwrap();
    assert_eq!((page.status, page.body.as_slice()), (404, &b"nothing here"[..]));
}

#[test]
fn chunks_are_put_together() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n";
    assert_eq!(fetch(answer).unwrap().body, b"hello!");
}

#[test]
fn what_is_cut_off_or_no_http_is_an_error() {
    for answer in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        assert!(fetch(answer).is_err(), "{}", String::from_utf8_lossy(answer));
    }
    assert!(fetch(&vec![b'x'; 100_000]).is_err());
}

#[test]
fn a_path_cannot_smuggle_a_second_request() {
    let stream = Canned { answer: b"HTTP/1.1 200 OK\r\n\r\n", asked: Vec::new() };
    assert!(page(stream, Method::Get, "/x HTTP/1.1\r\n\r\nPOST /quitquitquit").is_err());
}
