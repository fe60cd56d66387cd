//! Passing on that a connection broke off.
//!
//! A peer must not take the half of a transfer for the whole: when one side of a relayed connection breaks, the other
//! one is reset, not closed. Streams that cannot be reset (a request within an HTTP/2 connection, a switched protocol) are
//! dropped, which their own protocol tells from an end.

use super::{RelayOptions, Relayed, Side, relay, reset_on_close};
use crate::detect::Prefixed;
use crate::tls::{Lenient, ReadAhead};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// A stream whose closing can be made a reset.
pub trait Resettable {
    /// Closing it from now on tells the peer that it broke off, and discards unsent bytes.
    fn reset_on_close(&self);
}

/// Copies bytes between `downstream` and `upstream`, both ways, as [`relay`] does. When one of them breaks off, the other
/// one is reset as it is dropped; but where nothing at all had come, it is closed in order, as FSM does it: nothing is no
/// half of anything, and its pages show "empty reply" (curl's 52) for a connection that the server refused.
pub async fn relay_or_reset<A, B>(downstream: &mut A, upstream: &mut B, options: RelayOptions<'_>) -> Relayed
where
    A: AsyncRead + AsyncWrite + Resettable + Unpin,
    B: AsyncRead + AsyncWrite + Resettable + Unpin,
{
    let relayed = relay(downstream, upstream, options).await;
    match relayed.broken_off {
        Some(Side::Downstream) if relayed.sent > 0 => upstream.reset_on_close(),
        Some(Side::Upstream) if relayed.received > 0 => downstream.reset_on_close(),
        Some(_) | None => {}
    }
    relayed
}

impl Resettable for TcpStream {
    fn reset_on_close(&self) {
        reset_on_close(self);
    }
}

impl<IO: Resettable + ?Sized> Resettable for Box<IO> {
    fn reset_on_close(&self) {
        (**self).reset_on_close();
    }
}

impl<IO: Resettable> Resettable for Prefixed<IO> {
    fn reset_on_close(&self) {
        self.get_ref().reset_on_close();
    }
}

impl<IO: Resettable> Resettable for ReadAhead<IO> {
    fn reset_on_close(&self) {
        self.get_ref().reset_on_close();
    }
}

impl<S: Resettable> Resettable for Lenient<S> {
    fn reset_on_close(&self) {
        self.get_ref().reset_on_close();
    }
}

impl<IO: Resettable> Resettable for server::TlsStream<IO> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

impl<IO: Resettable> Resettable for client::TlsStream<IO> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

impl Resettable for TokioIo<Upgraded> {
    /// Dropping it is all that can be done: HTTP/2 resets the stream then, TLS ends without `close_notify`.
    fn reset_on_close(&self) {}
}

#[cfg(test)]
impl Resettable for tokio::io::DuplexStream {
    fn reset_on_close(&self) {}
}
