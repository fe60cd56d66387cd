//! HTTP/2 frames by hand, for clients that break rules no library lets them break.
//!
//! Header blocks are encoded as literals without indexing and without Huffman coding, so any bytes can be sent as
//! names and values. Of responses only what tests ask for is decoded: frame types, error codes, the status.

use crate::{Fault, Wire};

/// What every connection starts with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 §6).
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PING: u8 = 6;
/// See [`DATA`].
pub const GOAWAY: u8 = 7;
/// See [`DATA`].
pub const WINDOW_UPDATE: u8 = 8;
/// See [`DATA`].
pub const CONTINUATION: u8 = 9;

/// Flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;
/// Flag of SETTINGS and PING.
pub const ACK: u8 = 1;

/// A received frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream, 0 for the connection.
    pub stream: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response with this status.
    Status(u16),
    /// The stream was reset with this error code.
    Reset(u32),
    /// The connection was ended with this error code.
    GoAway(u32),
    /// The connection ended without a word.
    Ended,
}

impl Outcome {
    /// Whether the request was refused: by an error, or by a 4xx status.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Status(status) => (400..500).contains(status),
            Self::Reset(_) | Self::GoAway(_) | Self::Ended => true,
        }
    }
}

/// Encodes a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test's frame is small");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Encodes a header block: any bytes, as literals.
pub fn header_block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        literal(&mut block, name);
        literal(&mut block, value);
    }
    block
}

fn literal(block: &mut Vec<u8>, text: &[u8]) {
    // RFC 7541 §5.1, prefix of seven bits.
    match text.len() {
        short @ 0..127 => block.push(short as u8),
        long => {
            block.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                block.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend(text);
}

/// An HTTP/2 connection without manners.
pub struct RawHttp2 {
    wire: Wire,
}

impl RawHttp2 {
    /// Sends preface and settings.
    pub async fn start(mut wire: Wire) -> Self {
        wire.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        Self { wire }
    }

    /// Sends a frame; the peer may have closed already.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.wire.offer(frame(kind, flags, stream, payload)).await;
    }

    /// Sends a whole header block, ending the stream or not.
    pub async fn headers(&mut self, stream: u32, fields: &[(&[u8], &[u8])], end: bool) {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &header_block(fields)).await;
    }

    /// Receives the next frame; acknowledges settings and pings.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn frame(&mut self) -> Result<Frame, Fault> {
        loop {
            let head = self.wire.try_read_exact(9).await?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let payload = self.wire.try_read_exact(length).await?;
            let frame = Frame { kind: head[3], flags: head[4], stream: number(&head[5..9]) & 0x7fff_ffff, payload };
            match (frame.kind, frame.flags & ACK) {
                (SETTINGS, 0) => self.send(SETTINGS, ACK, 0, &[]).await,
                (PING, 0) => self.send(PING, ACK, 0, &frame.payload).await,
                (SETTINGS | PING | WINDOW_UPDATE, _) => {}
                _ => return Ok(frame),
            }
        }
    }

    /// Waits for what becomes of a stream.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let Ok(frame) = self.frame().await else {
                return Outcome::Ended;
            };
            match frame.kind {
                HEADERS if frame.stream == stream => return Outcome::Status(status(&frame)),
                RST_STREAM if frame.stream == stream => {
                    return Outcome::Reset(number(&frame.payload));
                }
                GOAWAY => {
                    let code = number(&frame.payload[4..]);
                    // A graceful GOAWAY says nothing about this stream.
                    if code != 0 {
                        return Outcome::GoAway(code);
                    }
                }
                _ => {}
            }
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, &byte| number << 8 | u32::from(byte))
}

/// The status is the first field of a response. Encoders write it by static index, or as a literal with the name's
/// index 8 to 14.
fn status(frame: &Frame) -> u16 {
    // Size updates of the dynamic table may come first (RFC 7541 §6.3).
    let mut block = &frame.payload[..];
    while block.first().is_some_and(|byte| byte & 0xe0 == 0x20) {
        block = &block[1..];
    }
    let known = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [index @ 0x88..=0x8e, ..] => known[usize::from(index - 0x88)],
        [0x40..=0x4f | 0x00..=0x1f, length, value @ ..] => {
            let size = usize::from(length & 0x7f);
            let digits = if length & 0x80 == 0 {
                String::from_utf8_lossy(&value[..size]).into_owned()
            } else {
                huffman_digits(&value[..size])
            };
            digits.parse().unwrap_or_else(|_| panic!("status {digits:?}"))
        }
        _ => panic!("a response does not begin with its status: {block:?}"),
    }
}

/// Digits in the code of RFC 7541, appendix B: 0–2 have five bits, 3–9 six.
fn huffman_digits(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)).collect();
    let mut digits = String::new();
    let mut rest = &bits[..];
    let value = |bits: &[u8]| bits.iter().fold(0_u8, |value, bit| value << 1 | bit);
    while rest.len() >= 5 {
        let five = value(&rest[..5]);
        if five <= 2 {
            digits.push(char::from(b'0' + five));
            rest = &rest[5..];
            continue;
        }
        if rest.len() < 6 {
            break;
        }
        let six = value(&rest[..6]);
        if !(0b01_1001..=0b01_1111).contains(&six) {
            break;
        }
        digits.push(char::from(b'3' + (six - 0b01_1001)));
        rest = &rest[6..];
    }
    digits
}
