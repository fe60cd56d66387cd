//! The elements of `Outbound.TrafficMatches`: which of them has which destination range of which port.
//!
//! An address means one thing on one port. A virtual address belongs to its service; a pod's address may be claimed by
//! several services of the pod. HTTP services share an element, so that their hosts tell them apart; of all others the first
//! by rank gets the address: names of single pods, then headless services, then the rest by the alphabet. Ranges of egress
//! policies stand behind the mesh's own.

use super::names;
use crate::world::ServiceKey;
use fsm_api::config::{DestinationIpRange, OutboundTrafficMatch};
use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What an element is for. What leads outside comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// HTTP to the outside, by host.
    EgressHttp,
    /// TLS to the outside, by server name, wherever it goes.
    EgressTls,
    /// TCP to the outside, wherever it goes.
    EgressTcp,
    /// TLS to the outside, by server name, into the ranges of one policy.
    EgressTlsInto(String),
    /// TCP to the outside, into ranges.
    EgressTcpInto,
    /// All HTTP services of a port.
    Http,
    /// All gRPC services of a port.
    Grpc,
    /// One TCP service.
    Tcp(String),
}

impl Kind {
    /// As documents spell it.
    fn protocol(&self) -> &'static str {
        match self {
            Self::EgressHttp | Self::Http => "http",
            Self::Grpc => "grpc",
            Self::EgressTls | Self::EgressTlsInto(_) => "https",
            Self::EgressTcp | Self::EgressTcpInto | Self::Tcp(_) => "tcp",
        }
    }

    /// Whether it stands for every destination that no range has.
    fn is_for_any_destination(&self) -> bool {
        matches!(self, Self::EgressHttp | Self::EgressTls | Self::EgressTcp)
    }
}

/// Who gets a pod's address: the least one.
pub(super) type Rank = (bool, bool, ServiceKey, Option<String>);

/// Elements under construction.
#[derive(Debug, Default)]
pub(super) struct Elements {
    elements: BTreeMap<(u16, Kind), OutboundTrafficMatch>,
    virtual_ips: BTreeMap<(u16, IpAddr), Kind>,
    pod_ips: BTreeMap<(u16, IpAddr), (Rank, Kind)>,
}

impl Elements {
    /// The element of this kind on a port.
    pub(super) fn element(&mut self, port: u16, kind: Kind) -> &mut OutboundTrafficMatch {
        let protocol = kind.protocol();
        self.elements.entry((port, kind)).or_insert_with(|| OutboundTrafficMatch {
            port,
            protocol: protocol.into(),
            ..OutboundTrafficMatch::default()
        })
    }

    /// Asks for addresses of the mesh.
    pub(super) fn claim(
        &mut self,
        port: u16,
        kind: &Kind,
        virtual_ips: &BTreeSet<IpAddr>,
        pod_ips: &BTreeSet<IpAddr>,
        rank: &Rank,
    ) {
        for &ip in virtual_ips {
            self.virtual_ips.entry((port, ip)).or_insert_with(|| kind.clone());
        }
        for &ip in pod_ips {
            let claim = (rank.clone(), kind.clone());
            let best = self.pod_ips.entry((port, ip)).or_insert_with(|| claim.clone());
            if claim < *best {
                *best = claim;
            }
        }
    }

    /// Asks for a range outside of the mesh. `false`: another element has it, or has it with another certificate.
    pub(super) fn claim_outside(
        &mut self,
        port: u16,
        kind: &Kind,
        range: IpNet,
        how: Option<DestinationIpRange>,
    ) -> bool {
        let range = range.to_string();
        let known =
            self.elements.iter().filter(|((number, _), _)| *number == port).find_map(|((_, other), element)| {
                let how = element.destination_ip_ranges.as_ref()?.get(&range)?;
                Some((other, how))
            });
        match known {
            Some((other, known)) => other == kind && *known == how,
            None => {
                let element = self.element(port, kind.clone());
                element.destination_ip_ranges.get_or_insert_default().insert(range, how);
                true
            }
        }
    }

    /// Whether there is an element.
    pub(super) fn has(&self, port: u16, kind: &Kind) -> bool {
        self.elements.contains_key(&(port, kind.clone()))
    }

    /// Takes an element away.
    pub(super) fn remove(&mut self, port: u16, kind: &Kind) {
        self.elements.remove(&(port, kind.clone()));
    }

    /// The elements by port. One that got no range where it needs one is none: without ranges it would stand for every
    /// destination. Those for any destination come first, then those with the most specific range (Pipy takes the first
    /// that fits).
    pub(super) fn into_matches(self) -> BTreeMap<u16, Vec<OutboundTrafficMatch>> {
        let Self { mut elements, virtual_ips, pod_ips } = self;
        let pods =
            pod_ips.into_iter().filter(|(at, _)| !virtual_ips.contains_key(at)).map(|(at, (_, kind))| (at, kind));
        let claims: Vec<((u16, IpAddr), Kind)> = pods.chain(virtual_ips.clone()).collect();
        for ((port, ip), kind) in claims {
            let range = names::range(ip);
            // Egress comes before the mesh in the order of kinds.
            for (_, outside) in elements.range_mut((port, Kind::EgressHttp)..(port, Kind::Http)) {
                if let Some(ranges) = &mut outside.destination_ip_ranges {
                    ranges.remove(&range);
                }
            }
            if let Some(element) = elements.get_mut(&(port, kind)) {
                element.destination_ip_ranges.get_or_insert_default().insert(range, None);
            }
        }
        let mut matches: BTreeMap<u16, Vec<OutboundTrafficMatch>> = BTreeMap::new();
        for ((port, kind), element) in elements {
            let has_ranges = element.destination_ip_ranges.as_ref().is_some_and(|ranges| !ranges.is_empty());
            if has_ranges || kind.is_for_any_destination() {
                matches.entry(port).or_default().push(element);
            }
        }
        for elements in matches.values_mut() {
            elements.sort_by_key(|element| Reverse(element.destination_ip_ranges.as_ref().map_or(u8::MAX, longest)));
        }
        matches
    }
}

/// The length of the longest prefix.
fn longest<T>(ranges: &BTreeMap<String, T>) -> u8 {
    let prefixes = ranges.keys().filter_map(|range| range.parse::<IpNet>().ok());
    prefixes.map(|range| range.prefix_len()).max().unwrap_or_default()
}
