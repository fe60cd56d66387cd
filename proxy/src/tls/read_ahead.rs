//! Reading ahead under TLS, for connections that are busy.
//!
//! rustls asks the socket for 4 KiB at a time, so one full TLS record costs five system calls. Once a read has filled
//! everything that was asked for, more is waiting: from then on this layer reads [`limits::TLS_READ_AHEAD`] at once and
//! serves rustls from memory. A connection that falls quiet gives the buffer back, so idle ones hold none.

use crate::limits;
use bytes::BytesMut;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// A socket that is read ahead while it is busy.
#[derive(Debug)]
pub struct ReadAhead<T> {
    io: T,
    ahead: BytesMut,
    busy: bool,
    /// The first byte is still to come, and must be one of TLS.
    opening: bool,
}

/// The first byte of a handshake (RFC 8446 §5.1, `ContentType`).
const HANDSHAKE: u8 = 22;

/// The peer's first byte is not one of a TLS handshake.
#[derive(Debug, thiserror::Error)]
#[error("the first byte is not one of a TLS handshake")]
pub struct NotTls;

impl<T> ReadAhead<T> {
    /// Not busy yet.
    pub fn new(io: T) -> Self {
        Self { io, ahead: BytesMut::new(), busy: false, opening: false }
    }

    /// The same for a client that may not speak TLS at all: reading fails with [`NotTls`] then. rustls would answer it
    /// with an alert, which an HTTP client takes for an HTTP/0.9 response; FSM's sidecar says nothing.
    pub fn of_client(io: T) -> Self {
        Self { opening: true, ..Self::new(io) }
    }

    /// The socket.
    pub const fn get_ref(&self) -> &T {
        &self.io
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ReadAhead<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            if !this.busy {
                let (wanted, before) = (buffer.remaining(), buffer.filled().len());
                ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
                if this.opening
                    && let Some(first) = buffer.filled().get(before)
                {
                    this.opening = false;
                    if *first != HANDSHAKE {
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, NotTls)));
                    }
                }
                this.busy = wanted > 0 && buffer.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            this.ahead.reserve(limits::TLS_READ_AHEAD);
            let read = poll_read_buf(Pin::new(&mut this.io), cx, &mut this.ahead);
            let Poll::Ready(read) = read else {
                // Nothing is waiting after all.
                this.rest();
                return Poll::Pending;
            };
            if read? == 0 {
                this.rest();
                return Poll::Ready(Ok(()));
            }
        }
        let length = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<T> ReadAhead<T> {
    fn rest(&mut self) {
        self.busy = false;
        self.ahead = BytesMut::new();
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ReadAhead<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9_000), 0..12),
            wanted in 1_usize..6_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let received = runtime.block_on(async {
                let (mut writer, reader) = tokio::io::duplex(16 << 10);
                let sent = pieces.clone();
                let writing = tokio::spawn(async move {
                    for piece in sent {
                        writer.write_all(&piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                });
                let mut ahead = ReadAhead::new(reader);
                let mut received = Vec::new();
                let mut buffer = vec![0; wanted];
                loop {
                    match ahead.read(&mut buffer).await.unwrap() {
                        0 => break,
                        length => received.extend_from_slice(&buffer[..length]),
                    }
                }
                writing.await.unwrap();
                received
            });
            prop_assert_eq!(received, pieces.concat());
        }
    }

    #[tokio::test]
    async fn a_client_that_speaks_no_tls_is_an_error() {
        for (first, tls) in [(&b"\x16\x03\x01"[..], true), (b"GET / HTTP/1.1\r\n\r\n", false), (b"\x15\x03", false)] {
            let (mut writer, reader) = tokio::io::duplex(64);
            writer.write_all(first).await.unwrap();
            let mut buffer = [0; 64];
            let read = ReadAhead::of_client(reader).read(&mut buffer).await;
            match read {
                Ok(length) => assert!(tls && buffer[..length] == *first),
                Err(error) => assert!(!tls && error.get_ref().is_some_and(|inner| inner.is::<NotTls>())),
            }
        }
    }

    #[tokio::test]
    async fn a_quiet_connection_holds_no_buffer() {
        let (mut writer, reader) = tokio::io::duplex(64 << 10);
        let mut ahead = ReadAhead::new(reader);
        writer.write_all(&[7; 20_000]).await.unwrap();
        let mut buffer = [0; 4096];
        for _ in 0..5 {
            assert!(ahead.read(&mut buffer).await.unwrap() > 0);
        }
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), ahead.read(&mut buffer));
        assert!(waiting.await.is_err(), "everything was read");
        assert_eq!(ahead.ahead.capacity(), 0);
    }
}
