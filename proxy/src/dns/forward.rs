//! Asks resolvers, one after the other.

use crate::limits;
use fsm_api::config::Config;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::UdpSocket;

const PORT: u16 = 53;
/// As many as the C library uses.
const MOST: usize = 3;

/// Who is asked, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolvers(pub(super) Vec<SocketAddr>);

impl Resolvers {
    /// Those of a `resolv.conf`, but for the address where FSM 1.2 had pods ask their sidecar.
    pub(super) fn of_file(text: &str) -> Self {
        let server = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
            address.parse::<IpAddr>().ok().filter(|address| *address != super::PIPY_ADDRESS.ip())
        };
        Self(text.lines().filter_map(server).take(MOST).map(|address| (address, PORT).into()).collect())
    }

    /// Those that the document names; `None`: it names none.
    pub(super) fn of_document(document: &Config) -> Option<Self> {
        let named = document.spec.local_dns_proxy.as_ref()?.upstream_dns_servers.as_ref()?;
        let addresses = [&named.primary, &named.secondary].into_iter().filter_map(|address| address.parse().ok());
        let found: Vec<SocketAddr> = addresses.map(|address: IpAddr| (address, PORT).into()).collect();
        (!found.is_empty()).then_some(Self(found))
    }

    /// The first answer; `None`: nobody has answered.
    pub(super) async fn ask(&self, question: &[u8], mark: Option<u32>) -> Option<Vec<u8>> {
        for resolver in &self.0 {
            let asking = ask(*resolver, question, mark);
            if let Ok(Ok(answer)) = tokio::time::timeout(limits::DNS_RESOLVER_TIMEOUT, asking).await {
                return Some(answer);
            }
        }
        None
    }
}

/// A socket for each question: its port is as hard to guess as the question's id.
async fn ask(resolver: SocketAddr, question: &[u8], mark: Option<u32>) -> io::Result<Vec<u8>> {
    let socket = Socket::new(Domain::for_address(resolver), Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.bind(&SocketAddr::new(any, 0).into())?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket.into())?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut answer = vec![0; limits::DNS_DATAGRAM];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length >= 2 && answer[..2] == question[..2] {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}
