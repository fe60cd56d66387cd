//! The way out, where the mesh has one: TCP connections of pods to addresses outside are taken here and made anew from
//! the machine's own network.
//!
//! No link and no rule is needed outside of the node, and no right: that is why it works without root and leaves nothing
//! behind. The price: the pod's connection is accepted before the other end is; a refusal shows as a reset. No UDP but
//! for names.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::OriginalDst};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::debug;

use super::NodeError;
use super::place::Place;

/// Connections at a time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 1024;
/// How long the other end may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// After an error of `accept`, mostly because no descriptors are left.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket to which the node's rules send what is for outside.
pub(super) struct Uplink {
    listener: std::net::TcpListener,
    address: SocketAddrV4,
}

impl Uplink {
    pub(super) fn bind(place: &Place, node: Ipv4Addr) -> Result<Self, NodeError> {
        let bound = place.listen(SocketAddr::from((node, 0))).and_then(|listener| {
            let port = listener.local_addr()?.port();
            Ok(Self { listener, address: SocketAddrV4::new(node, port) })
        });
        bound.map_err(|why| NodeError::kernel("listen for connections to outside", why))
    }

    pub(super) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Relays until it is dropped. To be called in the machine's own network.
    pub(super) async fn serve(self) {
        let Ok(listener) = TcpListener::from_std(self.listener) else { return };
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((inside, from)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let own = self.address;
            tokio::spawn(async move {
                if let Err(why) = relay(inside, own).await {
                    debug!("the connection of {from} to outside ended: {why}");
                }
                drop(place);
            });
        }
    }
}

async fn relay(mut inside: TcpStream, own: SocketAddrV4) -> io::Result<()> {
    let wanted = getsockopt(&inside, OriginalDst)?;
    let wanted = SocketAddrV4::new(u32::from_be(wanted.sin_addr.s_addr).into(), u16::from_be(wanted.sin_port));
    if wanted == own {
        return Err(io::Error::other("it was made to the relay itself"));
    }
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(SocketAddr::V4(wanted))).await;
    match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(mut outside) => {
            let _ = (inside.set_nodelay(true), outside.set_nodelay(true));
            tokio::io::copy_bidirectional(&mut inside, &mut outside).await.map(|_| ())
        }
        Err(why) => {
            // A reset, not an end: nothing was there.
            inside.set_zero_linger()?;
            Err(why)
        }
    }
}
