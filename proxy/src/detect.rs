//! Telling a connection's protocol from its first bytes, without consuming them.
//!
//! [`classify`] is the rule, a pure function of the bytes so far; [`detect`] and [`detect_http`] feed it from a
//! connection within a deadline and give the bytes back through [`Prefixed`]. Nothing here ever writes, and nothing
//! panics on any input. Server-first protocols must not come here: they would wait for the deadline.
//!
//! The verdict is monotonic: more bytes turn [`Verdict::NeedMore`] into something else and never change it again.

use crate::limits::DETECT_BYTES;
use arcstr::ArcStr;
use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// What bytes look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too few bytes to tell.
    NeedMore,
    /// TLS, with what its first message asks for.
    Tls(ClientHello),
    /// HTTP/1.x.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Something else.
    Other,
}

/// What a TLS client asks for. Both are empty when the hello is malformed or longer than
/// [`DETECT_BYTES`]: TLS itself will then find the right words for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Server name indication: a host name in lower case, without a trailing dot. Anything else is dropped.
    pub server_name: Option<ArcStr>,
    /// Application protocols in the client's order.
    pub alpn: SmallVec<[Bytes; 2]>,
}

/// The protocol of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TLS, with what its first message asks for.
    Tls(ClientHello),
    /// HTTP/1.x.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Something else.
    Other,
    /// Not enough bytes within the deadline.
    Timeout,
    /// The peer closed or reset the connection before it sent a byte.
    Closed,
}

/// A connection whose protocol is known.
#[derive(Debug)]
pub struct Detected<T> {
    /// The connection with every byte still to be read.
    pub io: Prefixed<T>,
    /// What it speaks.
    pub protocol: Protocol,
}

/// The first bytes of an HTTP/2 connection (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest HTTP method that is looked for. The longest registered one (UPDATEREDIRECTREF) has 17 letters.
const LONGEST_METHOD: usize = 24;

/// First read of a connection; grows up to [`DETECT_BYTES`] for large hellos only.
const FIRST_READ: usize = 1 << 10;

/// Tells the protocol of a connection that begins with `bytes`.
pub fn classify(bytes: &[u8]) -> Verdict {
    let bytes = &bytes[..bytes.len().min(DETECT_BYTES)];
    match bytes.first() {
        None => Verdict::NeedMore,
        Some(&TLS_HANDSHAKE) => classify_tls(bytes),
        Some(_) => match classify_http2(bytes) {
            Verdict::Other => classify_http1(bytes),
            verdict => verdict,
        },
    }
}

/// Reads until the protocol is known, the peer closes, or `deadline` has passed.
pub async fn detect<T: AsyncRead + Unpin>(io: T, deadline: Duration) -> Detected<T> {
    detect_with(io, deadline, classify).await
}

/// Tells [`Protocol::Http2`] from anything else, which is called [`Protocol::Http1`]: for ports that are known to
/// speak HTTP. Decides at the first byte that is not HTTP/2's, usually the very first one.
pub async fn detect_http<T: AsyncRead + Unpin>(io: T, deadline: Duration) -> Detected<T> {
    let classify = |bytes: &[u8]| match classify_http2(bytes) {
        Verdict::Other => Verdict::Http1,
        verdict => verdict,
    };
    detect_with(io, deadline, classify).await
}

async fn detect_with<T: AsyncRead + Unpin>(
    mut io: T,
    deadline: Duration,
    classify: impl Fn(&[u8]) -> Verdict,
) -> Detected<T> {
    let mut bytes = BytesMut::with_capacity(FIRST_READ);
    let protocol = timeout(deadline, read_until_known(&mut io, &mut bytes, classify)).await;
    let protocol = protocol.unwrap_or(Protocol::Timeout);
    Detected { io: Prefixed::new(bytes.freeze(), io), protocol }
}

async fn read_until_known<T: AsyncRead + Unpin>(
    io: &mut T,
    bytes: &mut BytesMut,
    classify: impl Fn(&[u8]) -> Verdict,
) -> Protocol {
    loop {
        let end = matches!(io.read_buf(bytes).await, Ok(0) | Err(_));
        if end && bytes.is_empty() {
            return Protocol::Closed;
        }
        return match classify(bytes) {
            // `classify` always decides at DETECT_BYTES: the buffer stays bounded.
            Verdict::NeedMore if !end => continue,
            Verdict::NeedMore | Verdict::Other => Protocol::Other,
            Verdict::Tls(hello) => Protocol::Tls(hello),
            Verdict::Http1 => Protocol::Http1,
            Verdict::Http2 => Protocol::Http2,
        };
    }
}

fn classify_http2(bytes: &[u8]) -> Verdict {
    if bytes.starts_with(HTTP2_PREFACE) {
        Verdict::Http2
    } else if HTTP2_PREFACE.starts_with(bytes) {
        Verdict::NeedMore
    } else {
        Verdict::Other
    }
}

/// A method, a space, and a target that only HTTP has: `/…`, `*`, `http…://…`, or anything after CONNECT.
///
/// The target is looked at because other line protocols begin with a word and a space too: `SSH-2.0-OpenSSH_9 …`,
/// `EHLO host`, `MAIL FROM:`, `SET key`, `a1 LOGIN`, `OPTIONS rtsp://`, `INVITE sip:`. Methods begin with a capital letter, which
/// memcached's `get /key` does not.
fn classify_http1(bytes: &[u8]) -> Verdict {
    if !bytes.first().is_some_and(u8::is_ascii_uppercase) {
        return Verdict::Other;
    }
    let Some(length) = bytes.iter().position(|byte| !is_token(*byte)) else {
        return if bytes.len() > LONGEST_METHOD { Verdict::Other } else { Verdict::NeedMore };
    };
    if length > LONGEST_METHOD || bytes[length] != b' ' {
        return Verdict::Other;
    }
    let (method, target) = (&bytes[..length], &bytes[length + 1..]);
    match target.first() {
        _ if method == b"CONNECT" => Verdict::Http1,
        None => Verdict::NeedMore,
        Some(b'/' | b'*') => Verdict::Http1,
        Some(_) => [b"http://".as_slice(), b"https://"].into_iter().map(|scheme| starts(target, scheme)).fold(
            Verdict::Other,
            |verdict, next| match (verdict, next) {
                (Verdict::Http1, _) | (_, Verdict::Http1) => Verdict::Http1,
                (Verdict::NeedMore, _) | (_, Verdict::NeedMore) => Verdict::NeedMore,
                _ => Verdict::Other,
            },
        ),
    }
}

fn starts(bytes: &[u8], scheme: &[u8]) -> Verdict {
    let common = bytes.len().min(scheme.len());
    match bytes[..common].eq_ignore_ascii_case(&scheme[..common]) {
        true if common == scheme.len() => Verdict::Http1,
        true => Verdict::NeedMore,
        false => Verdict::Other,
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

// --- TLS (RFC 8446 §4.1.2, §5.1; RFC 6066 §3; RFC 7301 §3.1) -------------------------------------------------------

const TLS_HANDSHAKE: u8 = 0x16;
const CLIENT_HELLO: u8 = 0x01;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
/// Plaintext records carry at most so many bytes.
const RECORD_BYTES: usize = 1 << 14;

fn classify_tls(bytes: &[u8]) -> Verdict {
    match reassemble(bytes) {
        Reassembled::Whole(hello) => Verdict::Tls(parse_hello(&hello).unwrap_or_default()),
        Reassembled::Partial if bytes.len() < DETECT_BYTES => Verdict::NeedMore,
        Reassembled::Partial | Reassembled::Malformed => Verdict::Tls(ClientHello::default()),
        Reassembled::NotTls => Verdict::Other,
    }
}

enum Reassembled {
    /// The body of the ClientHello, put together from its records.
    Whole(Vec<u8>),
    /// So far so good.
    Partial,
    /// It began as TLS and then ceased to be.
    Malformed,
    NotTls,
}

/// A ClientHello may be spread over records of any size, down to one byte each.
fn reassemble(bytes: &[u8]) -> Reassembled {
    let mut message = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    let mut first = true;
    loop {
        let broken = || {
            if first { Reassembled::NotTls } else { Reassembled::Malformed }
        };
        // Byte by byte, so that a short prefix is refused exactly when the whole would be.
        let plausible = |index: usize, test: fn(u8) -> bool| rest.get(index).is_none_or(|byte| test(*byte));
        if !plausible(0, |kind| kind == TLS_HANDSHAKE)
            || !plausible(1, |major| major == 3)
            || !plausible(2, |minor| minor <= 4)
        {
            return broken();
        }
        let &[_, _, _, high, low, ref payload @ ..] = rest else {
            return Reassembled::Partial;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > RECORD_BYTES {
            return broken();
        }
        let available = payload.len().min(length);
        message.extend_from_slice(&payload[..available]);
        match message.first() {
            Some(&CLIENT_HELLO) | None => {}
            Some(_) => return Reassembled::NotTls,
        }
        if let [_, a, b, c, ref body @ ..] = message[..] {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if let Some(hello) = body.get(..length) {
                return Reassembled::Whole(hello.to_vec());
            }
        }
        if available < length {
            return Reassembled::Partial;
        }
        rest = &payload[length..];
        first = false;
    }
}

fn parse_hello(hello: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(hello);
    reader.take(2 + 32)?; // legacy_version, random
    reader.vector8()?; // legacy_session_id
    reader.vector16()?; // cipher_suites
    reader.vector8()?; // legacy_compression_methods
    let mut parsed = ClientHello::default();
    if reader.0.is_empty() {
        return Some(parsed); // TLS 1.2 without extensions
    }
    let mut extensions = Reader(reader.vector16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.vector16()?;
        match kind {
            EXTENSION_SERVER_NAME => parsed.server_name = parse_server_name(content)?,
            EXTENSION_ALPN => parsed.alpn = parse_alpn(content)?,
            _ => {}
        }
    }
    Some(parsed)
}

fn parse_server_name(content: &[u8]) -> Option<Option<ArcStr>> {
    let mut list = Reader(Reader(content).vector16()?);
    while !list.0.is_empty() {
        let kind = list.take(1)?;
        let name = list.vector16()?;
        if kind == [0] {
            return Some(host_name(name));
        }
    }
    Some(None)
}

/// A host name as DNS allows it, plus underscores, which exist in the wild. No addresses: RFC 6066 forbids them.
fn host_name(name: &[u8]) -> Option<ArcStr> {
    let name = std::str::from_utf8(name).ok()?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_host = (1..=253).contains(&name.len())
        && name.split('.').all(label)
        && !name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    is_host.then(|| ArcStr::from(name.to_ascii_lowercase()))
}

fn parse_alpn(content: &[u8]) -> Option<SmallVec<[Bytes; 2]>> {
    let mut list = Reader(Reader(content).vector16()?);
    let mut protocols = SmallVec::new();
    while !list.0.is_empty() {
        protocols.push(Bytes::copy_from_slice(list.vector8()?));
    }
    Some(protocols)
}

/// Reads TLS's presentation language; `None` when the bytes end too soon.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?;
        self.take(usize::from(length[0]))
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

// --- giving the bytes back ------------------------------------------------------------------------------------------

/// A connection that first gives back bytes that were already read from it.
#[derive(Debug)]
pub struct Prefixed<T> {
    prefix: Bytes,
    io: T,
}

impl<T> Prefixed<T> {
    /// `prefix` is read before anything else; it may be empty.
    pub fn new(prefix: Bytes, io: T) -> Self {
        Self { prefix, io }
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// The connection itself. Reading from it loses the order of bytes unless [`Self::prefix`] is empty.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// What is still to be given back.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// What is still to be given back, and the connection.
    pub fn into_parts(self) -> (Bytes, T) {
        (self.prefix, self.io)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefixed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let length = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix[..length]);
        self.prefix.advance(length);
        if self.prefix.is_empty() {
            self.prefix = Bytes::new(); // frees the memory, which may live as long as the connection otherwise
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefixed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
