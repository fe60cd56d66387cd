//! Where a connection was going before iptables redirected it to us.
//!
//! The kernel's connection tracking remembers it and tells by socket option: `SO_ORIGINAL_DST` for IPv4,
//! `IP6T_SO_ORIGINAL_DST` for IPv6. A connection that was not tracked (no rules, excluded traffic) has no answer.

use socket2::Socket;
use std::net::SocketAddr;

/// `None` when the kernel knows no original destination: the connection was not redirected.
pub(super) fn original_destination(socket: &Socket, local: SocketAddr) -> Option<SocketAddr> {
    // An IPv4 connection on an IPv6 socket is tracked as IPv4, and `local` is in canonical form: ask for that.
    let address = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    address.ok()?.as_socket().filter(|address| address.port() != 0)
}
