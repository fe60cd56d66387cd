//! Which address is whose. Pure: no I/O.
//!
//! Of the pods' range, the first address is the node's; of the Services' range, the tenth is the DNS server's, as in
//! most clusters. Network and broadcast addresses are never given away, although nothing would break.

use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::NodeError;

/// The ranges of a node and the addresses it keeps for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Addresses of pods.
    pub pods: Ipv4Net,
    /// Addresses of Services.
    pub services: Ipv4Net,
    /// The node's own address, of the pods' range.
    pub node: Ipv4Addr,
    /// The DNS server's address, of the Services' range.
    pub dns: Ipv4Addr,
}

/// A tenth address must exist: /28 has 14.
const LONGEST_SERVICE_PREFIX: u8 = 28;
/// The node, and some pods.
const LONGEST_POD_PREFIX: u8 = 29;
/// What pods use as their gateway; a pod there would be taken for it.
const LINK_LOCAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

impl Plan {
    /// # Errors
    ///
    /// [`NodeError::Setting`] if a range is too small or special, or if the two overlap.
    pub fn new(pods: Ipv4Net, services: Ipv4Net) -> Result<Self, NodeError> {
        let (pods, services) = (pods.trunc(), services.trunc());
        check("the pods' range", pods, LONGEST_POD_PREFIX)?;
        check("the Services' range", services, LONGEST_SERVICE_PREFIX)?;
        if overlap(pods, services) {
            let why = format!("overlaps the pods' range {pods}; choose ranges apart from each other");
            return Err(NodeError::Setting { what: "the Services' range", value: services.to_string(), why });
        }
        Ok(Self { node: nth(pods, 1), dns: nth(services, 10), pods, services })
    }
}

fn check(what: &'static str, net: Ipv4Net, longest: u8) -> Result<(), NodeError> {
    let refuse = |why: String| Err(NodeError::Setting { what, value: net.to_string(), why });
    if net.prefix_len() > longest || net.prefix_len() < 8 {
        return refuse(format!("the prefix must be between /8 and /{longest}"));
    }
    if overlap(net, LINK_LOCAL) || overlap(net, LOOPBACK) || net.addr().is_multicast() {
        return refuse("loopback, link-local and multicast addresses cannot be routed".to_owned());
    }
    Ok(())
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

fn nth(net: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()).wrapping_add(n))
}

/// The free addresses of a range.
///
/// An address that was given back comes last: a connection of its former owner should not meet the next one.
#[derive(Debug, Clone)]
pub struct AddressPool {
    range: Ipv4Net,
    taken: BTreeSet<Ipv4Addr>,
    /// Never given away so far: from here on, except for those taken on request.
    next: u32,
    returned: VecDeque<Ipv4Addr>,
}

impl AddressPool {
    /// All host addresses of `range` but those.
    pub fn new(range: Ipv4Net, except: &[Ipv4Addr]) -> Self {
        Self {
            range,
            taken: except.iter().copied().collect(),
            next: u32::from(range.network()).wrapping_add(1),
            returned: VecDeque::new(),
        }
    }

    /// Takes this address, or any.
    ///
    /// # Errors
    ///
    /// [`NodeError::Address`] if it is taken or outside of the range, or if none is left.
    pub fn take(&mut self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, NodeError> {
        let address = match wanted {
            Some(address) if !self.is_host(address) => {
                let why = format!("{address} is no host address of the pods' range {}", self.range);
                return Err(NodeError::Address(why));
            }
            Some(address) if self.taken.contains(&address) => {
                return Err(NodeError::Address(format!("{address} is taken by another pod or the node")));
            }
            Some(address) => address,
            None => self.any()?,
        };
        self.returned.retain(|one| *one != address);
        self.taken.insert(address);
        Ok(address)
    }

    /// Makes an address free again; nothing happens if it is.
    pub fn give_back(&mut self, address: Ipv4Addr) {
        if self.taken.remove(&address) {
            self.returned.push_back(address);
        }
    }

    fn is_host(&self, address: Ipv4Addr) -> bool {
        self.range.contains(&address) && address != self.range.network() && address != self.range.broadcast()
    }

    fn any(&mut self) -> Result<Ipv4Addr, NodeError> {
        while self.next < u32::from(self.range.broadcast()) {
            let address = Ipv4Addr::from(self.next);
            self.next += 1;
            if !self.taken.contains(&address) && !self.returned.contains(&address) {
                return Ok(address);
            }
        }
        self.returned.pop_front().ok_or_else(|| {
            let why = format!("no address of {} is left; remove pods, or give the node a larger range", self.range);
            NodeError::Address(why)
        })
    }
}

#[cfg(test)]
mod tests;
