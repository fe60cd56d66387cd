//! TLS with peers that do not say goodbye as TLS wants it.
//!
//! Pipy closes without `close_notify`, and takes ours for the end of *both* directions. Towards it a closed socket has to
//! be the end of a stream, as in plain TCP, and ours is closed without a word. Servers outside the mesh often close
//! without a word too, but want ours. The price is that a connection that was cut looks like one that ended; our own
//! sidecars tell each other apart by ALPN ([`Alpn::MESH_TCP`](super::Alpn::MESH_TCP)) and do not pay it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{client, server};

/// A TLS stream whose directions end with the socket's.
#[derive(Debug)]
pub struct Lenient<S> {
    stream: S,
    says_goodbye: bool,
}

impl<S> Lenient<S> {
    /// With a sidecar that is not ours: our directions end with the socket's as well.
    pub const fn of_pipy(stream: S) -> Self {
        Self { stream, says_goodbye: false }
    }

    /// With a server of the outside: our directions end as TLS wants it.
    pub const fn of_outside(stream: S) -> Self {
        Self { stream, says_goodbye: true }
    }

    /// The stream as it is.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }
}

/// A TLS stream over a socket.
pub trait OverSocket {
    /// The socket.
    type Socket: AsyncWrite + Unpin;

    /// The socket, past TLS.
    fn socket(&mut self) -> &mut Self::Socket;
}

impl<S: OverSocket> OverSocket for Box<S> {
    type Socket = S::Socket;

    fn socket(&mut self) -> &mut S::Socket {
        (**self).socket()
    }
}

impl<IO: AsyncWrite + Unpin> OverSocket for server::TlsStream<IO> {
    type Socket = IO;

    fn socket(&mut self) -> &mut IO {
        self.get_mut().0
    }
}

impl<IO: AsyncWrite + Unpin> OverSocket for client::TlsStream<IO> {
    type Socket = IO;

    fn socket(&mut self) -> &mut IO {
        self.get_mut().0
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_read(cx, buffer)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

impl<S: AsyncWrite + OverSocket + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.says_goodbye {
            return Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Pin::new(self.stream.socket()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::tls::fixtures::Authority;
    use crate::tls::{Alpn, ClientCertificate, ClientTls, Expect, ServerTls};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn either_direction_ends_without_a_word_and_leaves_the_other_open() {
        let identity = Authority::new().identity("web.shop");
        let server = ServerTls::new(&identity, ClientCertificate::Required, Alpn::ANY).unwrap();
        let roots = identity.roots();
        let client = ClientTls::new(Some(&identity), roots, Expect::AnyOfMesh, Alpn::ANY).unwrap();
        let (ours, theirs) = tokio::io::duplex(16 << 10);
        let patience = Duration::from_secs(10);
        let (accepted, connected) = tokio::join!(server.accept(theirs, patience), client.connect(ours, None, patience));
        let (mut client, mut server) =
            (Lenient::of_pipy(connected.unwrap().stream), Lenient::of_pipy(accepted.unwrap().stream));
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
    }
}
