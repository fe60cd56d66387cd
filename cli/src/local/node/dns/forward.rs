//! Names of elsewhere: asked of the machine's own resolvers, over the machine's own network.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long one resolver may take; clients wait for five seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// As many as the C library uses.
const MOST_RESOLVERS: usize = 3;
const PORT: u16 = 53;

/// The machine's resolvers.
#[derive(Debug, Clone)]
pub(crate) struct Forwarder {
    resolvers: Vec<SocketAddr>,
}

impl Forwarder {
    /// Those of the machine's `/etc/resolv.conf`; without any, the one that the C library takes: this machine.
    pub(crate) fn of_machine() -> Self {
        Self { resolvers: resolvers(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default()) }
    }

    /// Asks one resolver after the other; `None` if none has answered. `request` is a whole message.
    pub(super) async fn ask(&self, request: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
        for resolver in &self.resolvers {
            let asking = async {
                match by_tcp {
                    true => by_stream(*resolver, request).await,
                    false => by_datagram(*resolver, request).await,
                }
            };
            if let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, asking).await {
                return Some(answer);
            }
        }
        None
    }
}

async fn by_datagram(resolver: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question: answers cannot be guessed at.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(request).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length >= 2 && answer[..2] == request[..2] {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn by_stream(resolver: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

pub(super) fn resolvers(file: &str) -> Vec<SocketAddr> {
    let servers = file.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        address.parse::<IpAddr>().ok()
    });
    let mut found: Vec<SocketAddr> = servers.take(MOST_RESOLVERS).map(|address| (address, PORT).into()).collect();
    if found.is_empty() {
        found.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    found
}
