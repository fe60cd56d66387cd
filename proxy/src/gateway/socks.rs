//! The server's side of SOCKS5 (RFC 1928): no authentication (TLS or the address has proved who asks), `CONNECT` only.

use crate::reason::Reason;
use crate::upstream::connect::{Host, Target};
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;

/// Reads what the client wants; the caller sets the deadline.
pub(super) async fn read_target<IO>(io: &mut IO) -> io::Result<Target>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let version = io.read_u8().await?;
    if version != VERSION {
        return Err(io::Error::other(format!("the client speaks no SOCKS5 (first byte {version})")));
    }
    let mut methods = vec![0; usize::from(io.read_u8().await?)];
    io.read_exact(&mut methods).await?;
    if !methods.contains(&NO_AUTHENTICATION) {
        io.write_all(&[VERSION, NO_METHOD]).await?;
        return Err(io::Error::other("the client insists on a password"));
    }
    io.write_all(&[VERSION, NO_AUTHENTICATION]).await?;
    io.flush().await?;
    let mut head = [0; 4];
    io.read_exact(&mut head).await?;
    let [version, command, _, kind] = head;
    if version != VERSION || command != CONNECT {
        io.write_all(&reply(7)).await?;
        return Err(io::Error::other(format!("the client wants command {command}; only CONNECT (1) is served")));
    }
    let host = match kind {
        1 => Host::Address(IpAddr::from(octets::<4, _>(io).await?)),
        4 => Host::Address(IpAddr::from(octets::<16, _>(io).await?)),
        3 => {
            let mut name = vec![0; usize::from(io.read_u8().await?)];
            io.read_exact(&mut name).await?;
            host(&name)?
        }
        _ => {
            io.write_all(&reply(8)).await?;
            return Err(io::Error::other(format!("the client names a host in an unknown way ({kind})")));
        }
    };
    Ok(Target { host, port: io.read_u16().await? })
}

/// Tells the client that its connection is open, or why it is not.
pub(super) async fn answer<IO: AsyncWrite + Unpin>(io: &mut IO, refused: Option<Reason>) -> io::Result<()> {
    let code = match refused {
        None => 0,
        Some(Reason::DestinationNotAllowed) => 2,
        Some(Reason::UpstreamUnreachable | Reason::UpstreamUnresolved | Reason::UpstreamConnectTimeout) => 4,
        Some(Reason::UpstreamRefused) => 5,
        Some(_) => 1,
    };
    io.write_all(&reply(code)).await?;
    io.flush().await
}

async fn octets<const N: usize, IO: AsyncRead + Unpin>(io: &mut IO) -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    io.read_exact(&mut octets).await?;
    Ok(octets)
}

fn host(name: &[u8]) -> io::Result<Host> {
    let name = std::str::from_utf8(name).map_err(io::Error::other)?;
    if let Ok(address) = name.parse() {
        return Ok(Host::Address(address));
    }
    match format!("{name}:1").parse::<Target>().map_err(io::Error::other)?.host {
        Host::Below(_) => Err(io::Error::other("a wildcard is no host")),
        host => Ok(host),
    }
}

/// A reply without a bound address: no client of a gateway needs ours.
const fn reply(code: u8) -> [u8; 10] {
    [VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]
}
