//! From our application. One connection, step by step:
//!
//! 1. *look up* where it was going: an entry by port and destination range, an egress entry, or nothing;
//! 2. *decide*: HTTP request by request ([`http`]), bytes by cluster or passed through ([`tcp`], [`egress`]), or refuse.
//!
//! A connection to an unknown destination is closed without a reset, as FSM does it, and counted under its reason.

mod attempts;
mod connection;
pub mod egress;
pub mod http;
pub mod tcp;

use crate::config::snapshot::{Carries, OutboundEntry, OutboundPort, Snapshot};
use crate::detect::{self, Protocol};
use crate::http::reply::Refusal;
use crate::http::server::Version;
use crate::limits;
use crate::listen::ConnInfo;
use crate::reason::Reason;
use crate::shared::Proxy;
use crate::tcp::reset_on_close;
use crate::telemetry::Direction;
use crate::telemetry::record::Ends;
use crate::telemetry::record::connection::ConnectionRecord;
use arcstr::ArcStr;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// What is to be done with a connection.
pub enum Route {
    /// HTTP by the entry's hosts.
    Http(Arc<OutboundEntry>),
    /// Bytes by the entry's clusters.
    Tcp(Arc<OutboundEntry>),
    /// An egress port for both HTTP and TLS: the first bytes tell.
    HttpOrTcp(Arc<OutboundEntry>, Arc<OutboundEntry>),
    /// Straight to the original destination.
    Passthrough,
}

/// Carries one connection from accept to end.
pub async fn serve(proxy: Arc<Proxy>, stream: TcpStream, info: ConnInfo) {
    let mut record = None;
    let attending = proxy.attend(Direction::Outbound);
    let outcome = carry(&proxy, stream, &info, &mut record).await;
    attending.ended(&info, outcome).log(&proxy, record, || Ends::of_application(&info, None));
}

async fn carry(
    proxy: &Arc<Proxy>,
    stream: TcpStream,
    info: &ConnInfo,
    record: &mut Option<Box<ConnectionRecord>>,
) -> Result<(), Refusal> {
    if !info.redirected {
        reset_on_close(&stream);
        return Err(Reason::DirectConnection.into());
    }
    let snapshot = proxy.store.snapshot().ok_or(Reason::UnknownDestination)?;
    match find(&snapshot, info.destination)? {
        Route::Http(_) => serve_http(proxy, stream, info).await,
        Route::Tcp(entry) => tcp::serve(proxy, snapshot, entry, stream, info, begin(record, info, None)).await,
        Route::Passthrough => {
            let transport = snapshot.outbound.passthrough_transport.clone();
            egress::passthrough(proxy, snapshot, transport, stream, info, begin(record, info, None)).await
        }
        Route::HttpOrTcp(_, tcp) => {
            let detected = detect::detect(stream, limits::DETECT_TIMEOUT).await;
            match detected.protocol {
                Protocol::Tls(hello) => {
                    let record = begin(record, info, hello.server_name);
                    tcp::serve(proxy, snapshot, tcp, detected.io, info, record).await
                }
                Protocol::Http2 => http::serve(proxy, detected.io, Version::Http2, info).await,
                Protocol::Http1 | Protocol::Other => http::serve(proxy, detected.io, Version::Http1, info).await,
                Protocol::Timeout | Protocol::Closed => Err(undetected(proxy, &detected.protocol)),
            }
        }
    }
}

/// Begins the record of a connection that carries no HTTP.
fn begin<'a>(
    record: &'a mut Option<Box<ConnectionRecord>>,
    info: &ConnInfo,
    server_name: Option<ArcStr>,
) -> &'a mut ConnectionRecord {
    record.insert(ConnectionRecord::new(Ends::of_application(info, server_name)))
}

async fn serve_http(proxy: &Arc<Proxy>, stream: TcpStream, info: &ConnInfo) -> Result<(), Refusal> {
    let detected = detect::detect_http(stream, limits::DETECT_TIMEOUT).await;
    match detected.protocol {
        Protocol::Http2 => http::serve(proxy, detected.io, Version::Http2, info).await,
        Protocol::Http1 | Protocol::Other | Protocol::Tls(_) => {
            http::serve(proxy, detected.io, Version::Http1, info).await
        }
        Protocol::Timeout | Protocol::Closed => Err(undetected(proxy, &detected.protocol)),
    }
}

/// Step 1 and 2: what is to be done with connections to a destination. A range that contains it wins over entries for
/// any destination; without either it is passed through where the configuration says so.
pub fn find(snapshot: &Snapshot, destination: SocketAddr) -> Result<Route, Reason> {
    if let Some(port) = snapshot.outbound.ports.get(&destination.port())
        && let Some(route) = route_of(port, destination)
    {
        return Ok(route);
    }
    if snapshot.settings.egress_passthrough { Ok(Route::Passthrough) } else { Err(Reason::UnknownDestination) }
}

fn route_of(port: &OutboundPort, destination: SocketAddr) -> Option<Route> {
    if let Some(entry) = port.ranged.find(destination.ip()) {
        let http = matches!(entry.carries, Carries::Http | Carries::Grpc);
        return Some(if http { Route::Http(Arc::clone(entry)) } else { Route::Tcp(Arc::clone(entry)) });
    }
    match (&port.any_http, &port.any_tcp) {
        (Some(http), Some(tcp)) => Some(Route::HttpOrTcp(Arc::clone(http), Arc::clone(tcp))),
        (Some(http), None) => Some(Route::Http(Arc::clone(http))),
        (None, Some(tcp)) => Some(Route::Tcp(Arc::clone(tcp))),
        (None, None) => None,
    }
}

fn undetected(proxy: &Proxy, protocol: &Protocol) -> Refusal {
    if matches!(protocol, Protocol::Timeout) {
        proxy.telemetry.direction(Direction::Outbound).detect_timeouts.increment();
        let detail = "the application sent nothing on a port that is configured as HTTP; if its protocol lets the \
                      server speak first, configure the port as `tcp-server-first`";
        return Refusal::explained(Reason::DownstreamTimeout, detail.to_owned());
    }
    Refusal::explained(Reason::DownstreamTimeout, "the application sent no request".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::future_size;

    /// Every connection has one for as long as it lives.
    #[test]
    fn the_state_of_a_connection_stays_small() {
        future_size::assert_within(future_size::of_three(serve), 5_000);
    }
}
