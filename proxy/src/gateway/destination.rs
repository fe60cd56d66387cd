//! Where a gateway may connect to.
//!
//! Never: itself, the loopback, addresses of no single host. Link-local addresses and the metadata addresses of clouds
//! hand out credentials of the machine, so they need a permit that names them or their range. Everything else is
//! permitted, unless there are permits: then only what they name is.

use crate::upstream::connect::{Host, Target};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Metadata service of AWS over IPv6; the IPv4 one of all clouds is link-local.
const METADATA_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254));

/// A permitted destination: `example.org:443`, `*.example.org:443`, `10.0.0.0/8:5432`, `[fd00::/64]:443`,
/// `192.0.2.1:*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    hosts: Hosts,
    /// `None`: every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    Range(IpNet),
    Named(Host),
}

/// Where a gateway may connect to.
#[derive(Debug)]
pub struct Destinations {
    permits: Vec<Permit>,
}

impl FromStr for Permit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port; write `host:port`"))?;
        let port = match port {
            "*" => None,
            port => Some(port.parse().map_err(|_| format!("`{port}` is no port number (1–65535) and not `*`"))?),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let range = bare.parse::<IpNet>().or_else(|_| bare.parse::<IpAddr>().map(IpNet::from));
        let hosts = match range {
            Ok(range) => Hosts::Range(range.trunc()),
            Err(_) => Hosts::Named(format!("{host}:1").parse::<Target>()?.host),
        };
        Ok(Self { hosts, port })
    }
}

impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::Range(range) => write!(f, "{range}")?,
            Hosts::Named(Host::Name(name)) => write!(f, "{name}")?,
            Hosts::Named(Host::Below(domain)) => write!(f, "*.{domain}")?,
            Hosts::Named(Host::Address(address)) => write!(f, "{address}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

impl Permit {
    fn is_for(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }

    fn names(&self, target: &Target) -> bool {
        self.is_for(target.port)
            && match (&self.hosts, &target.host) {
                (Hosts::Range(range), Host::Address(address)) => range.contains(&address.to_canonical()),
                (Hosts::Named(host), Host::Name(name)) => host.fits(name).is_some(),
                _ => false,
            }
    }
}

impl Destinations {
    /// No permits at all permit everything.
    pub const fn new(permits: Vec<Permit>) -> Self {
        Self { permits }
    }

    /// Whether this is permitted, as far as can be told before a name is resolved.
    pub fn admits(&self, target: &Target) -> bool {
        self.permits.is_empty() || self.permits.iter().any(|permit| permit.names(target))
    }

    /// Whether a connection to this address may be opened by a gateway whose own address is `own`. To be asked of every
    /// address that a name leads to: who controls a name controls where it leads (DNS rebinding).
    pub fn admits_address(&self, address: &SocketAddr, own: IpAddr) -> bool {
        let ip = address.ip().to_canonical();
        if ip == own.to_canonical() || is_of_no_single_host(ip) {
            return false;
        }
        let asked_for = |permit: &Permit| {
            permit.is_for(address.port())
                && matches!(&permit.hosts, Hosts::Range(range) if range.contains(&ip) && is_of_machine(range.addr()))
        };
        !is_of_machine(ip) || self.permits.iter().any(asked_for)
    }
}

fn is_of_no_single_host(ip: IpAddr) -> bool {
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || match ip {
            IpAddr::V4(ip) => ip.is_broadcast() || ip.octets()[0] == 0,
            IpAddr::V6(_) => false,
        }
}

fn is_of_machine(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || ip == METADATA_V6,
    }
}
