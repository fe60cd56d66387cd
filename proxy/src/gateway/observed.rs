//! Looks at the first bytes of a client as they pass, for the record: which server a TLS client names.

use crate::detect::{ClientHello, Verdict, classify};
use crate::limits::DETECT_BYTES;
use crate::tcp::Resettable;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's connection. Never delays or changes a byte.
#[derive(Debug)]
pub(super) struct Observed<IO> {
    io: IO,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    /// Not enough yet.
    Bytes(Vec<u8>),
    Hello(ClientHello),
    Other,
}

impl<IO: Resettable> Resettable for Observed<IO> {
    fn reset_on_close(&self) {
        self.io.reset_on_close();
    }
}

impl<IO> Observed<IO> {
    pub(super) const fn new(io: IO) -> Self {
        Self { io, seen: Seen::Bytes(Vec::new()) }
    }

    /// What a TLS client asked for.
    pub(super) const fn hello(&self) -> Option<&ClientHello> {
        match &self.seen {
            Seen::Hello(hello) => Some(hello),
            Seen::Bytes(_) | Seen::Other => None,
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        let Seen::Bytes(seen) = &mut self.seen else { return };
        seen.extend_from_slice(&bytes[..bytes.len().min(DETECT_BYTES - seen.len())]);
        self.seen = match classify(seen) {
            Verdict::NeedMore if seen.len() < DETECT_BYTES => return,
            Verdict::Tls(hello) => Seen::Hello(hello),
            Verdict::NeedMore | Verdict::Http1 | Verdict::Http2 | Verdict::Other => Seen::Other,
        };
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Observed<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buffer));
        let new = &buffer.filled()[before..];
        if !new.is_empty() {
            self.look(new);
        }
        Poll::Ready(result)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Observed<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
