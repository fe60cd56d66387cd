//! The ports that carry traffic, opened when a configuration first wants them.

use crate::admin::Listeners;
use crate::gateway::EgressGateway;
use crate::limits;
use crate::listen::{self, ConnInfo, accept_loop};
use crate::options::Options;
use crate::runtime::workers::Workers;
use crate::shared::Proxy;
use crate::telemetry::Direction;
use crate::{inbound, outbound, runtime};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Inbound and outbound data ports.
pub(super) struct DataListeners {
    proxy: Arc<Proxy>,
    ports: [Port; 2],
}

struct Port {
    direction: Direction,
    addresses: Vec<SocketAddr>,
    open: Mutex<Option<CancellationToken>>,
    admission: Arc<Semaphore>,
}

impl DataListeners {
    pub(super) fn new(options: &Options, proxy: Arc<Proxy>) -> Self {
        let port = |direction, addresses: &Vec<SocketAddr>| Port {
            direction,
            addresses: addresses.clone(),
            open: Mutex::default(),
            admission: Arc::new(Semaphore::new(limits::MAX_DOWNSTREAM_CONNECTIONS)),
        };
        let ports =
            [port(Direction::Inbound, &options.inbound_listen), port(Direction::Outbound, &options.outbound_listen)];
        Self { proxy, ports }
    }

    /// Opens or closes the ports of a direction. Live connections are not touched. Returns whether it is done.
    pub(super) fn want(&self, direction: Direction, wanted: bool, workers: &Workers, shown: &Listeners) -> bool {
        let port = &self.ports[direction as usize];
        let mut open = port.open.lock();
        match (&*open, wanted) {
            (None, true) => match self.open(port, workers, shown) {
                Ok(stop) => *open = Some(stop),
                Err(error) => {
                    tracing::error!("{error}; trying again");
                    return false;
                }
            },
            (Some(_), false) => {
                drop(open);
                self.close(direction, shown);
            }
            _ => {}
        }
        true
    }

    /// Closes the ports of a direction.
    pub(super) fn close(&self, direction: Direction, shown: &Listeners) {
        if let Some(stop) = self.ports[direction as usize].open.lock().take() {
            stop.cancel();
            shown.closed(name(direction));
        }
    }

    /// Opens the ports of an egress gateway until `stop` is cancelled.
    pub(super) fn open_gateway(
        &self,
        gateway: &Arc<EgressGateway>,
        addresses: &[SocketAddr],
        workers: &Workers,
        shown: &Listeners,
        stop: &CancellationToken,
    ) -> Result<(), listen::BindError> {
        let admission = Arc::new(Semaphore::new(limits::MAX_DOWNSTREAM_CONNECTIONS));
        for (worker, address, socket) in sockets(addresses, workers)? {
            let (proxy, gateway) = (Arc::clone(&self.proxy), Arc::clone(gateway));
            let (admission, stop) = (Arc::clone(&admission), stop.clone());
            workers.spawn(worker, async move {
                let handle = move |stream: TcpStream, info: ConnInfo, permit: OwnedSemaphorePermit| {
                    let (proxy, gateway) = (Arc::clone(&proxy), Arc::clone(&gateway));
                    drop(runtime::spawn(async move {
                        gateway.serve(proxy, stream, info).await;
                        drop(permit);
                    }));
                };
                let accepted = match tokio::net::TcpListener::from_std(socket) {
                    Ok(listener) => accept_loop(listener, stop, admission, handle).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = accepted {
                    tracing::error!("{GATEWAY}: cannot accept connections any more: {error}");
                }
            });
            shown.opened(GATEWAY, address);
        }
        Ok(())
    }

    fn open(&self, port: &Port, workers: &Workers, shown: &Listeners) -> Result<CancellationToken, listen::BindError> {
        let stop = CancellationToken::new();
        for (index, address, socket) in sockets(&port.addresses, workers)? {
            self.accept(port, index, socket, workers, stop.clone());
            shown.opened(name(port.direction), address);
        }
        Ok(stop)
    }

    fn accept(
        &self,
        port: &Port,
        worker: usize,
        socket: std::net::TcpListener,
        workers: &Workers,
        stop: CancellationToken,
    ) {
        let (proxy, direction, admission) = (Arc::clone(&self.proxy), port.direction, Arc::clone(&port.admission));
        workers.spawn(worker, async move {
            let handle = move |stream: TcpStream, info: ConnInfo, permit: OwnedSemaphorePermit| {
                let proxy = Arc::clone(&proxy);
                match direction {
                    Direction::Inbound => drop(runtime::spawn(async move {
                        inbound::serve(proxy, stream, info).await;
                        drop(permit);
                    })),
                    Direction::Outbound => drop(runtime::spawn(async move {
                        outbound::serve(proxy, stream, info).await;
                        drop(permit);
                    })),
                }
            };
            let accepted = match tokio::net::TcpListener::from_std(socket) {
                Ok(listener) => accept_loop(listener, stop, admission, handle).await,
                Err(error) => Err(error),
            };
            if let Err(error) = accepted {
                tracing::error!("{}: cannot accept connections any more: {error}", name(direction));
            }
        });
    }
}

const GATEWAY: &str = "gateway-listener";

/// A socket for each address and runtime.
fn sockets(
    addresses: &[SocketAddr],
    workers: &Workers,
) -> Result<Vec<(usize, SocketAddr, std::net::TcpListener)>, listen::BindError> {
    let share = workers.runtimes() > 1;
    let mut sockets = Vec::new();
    for address in addresses {
        for index in 0..workers.runtimes() {
            match listen::bind(*address, share) {
                Ok(socket) => sockets.push((index, *address, socket)),
                // A machine without IPv6 has no IPv6 traffic to catch either.
                Err(error) if address.is_ipv6() && error.address_missing() => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(sockets)
}

const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound-listener",
        Direction::Outbound => "outbound-listener",
    }
}
