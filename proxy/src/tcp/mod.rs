//! Bytes that are no HTTP: carried as they come.

pub mod copy;
mod reset;

pub use copy::{Moved, RelayEnd, RelayOptions, Relayed, Side, relay};
pub use reset::{Resettable, relay_or_reset};

use socket2::SockRef;
use std::time::Duration;
use tokio::net::TcpStream;

/// Makes closing this socket a reset (RST) instead of an orderly end (FIN), and discards unsent bytes.
///
/// For refusing a connection, and for passing on that the other side was reset: a peer must not take a broken transfer
/// for a complete one. Errors are ignored: the socket is then already dead.
pub fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
