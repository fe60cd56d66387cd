//! The elements of `Outbound.TrafficMatches`: which of them has which destination range of which port.
//!
//! An address means one thing on one port. A virtual address belongs to its service; a pod's address may be claimed by
//! several services of the pod. HTTP services share an element, so that their hosts tell them apart; of all others the first
//! by rank gets the address: names of single pods, then headless services, then the rest by the alphabet.

use crate::world::ServiceKey;
use fsm_api::config::OutboundTrafficMatch;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::names;

/// What an element is for. The order is the one in which elements stand in the document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// All HTTP services of a port.
    Http,
    /// All gRPC services of a port.
    Grpc,
    /// One TCP service.
    Tcp(String),
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
        let protocol = match &kind {
            Kind::Http => "http",
            Kind::Grpc => "grpc",
            Kind::Tcp(_) => "tcp",
        };
        self.elements.entry((port, kind)).or_insert_with(|| OutboundTrafficMatch {
            port,
            protocol: protocol.into(),
            ..OutboundTrafficMatch::default()
        })
    }

    /// Asks for addresses.
    pub(super) fn claim(
        &mut self,
        port: u16,
        kind: &Kind,
        virtual_ips: &BTreeSet<IpAddr>,
        pod_ips: BTreeSet<IpAddr>,
        rank: Rank,
    ) {
        for &ip in virtual_ips {
            self.virtual_ips.entry((port, ip)).or_insert_with(|| kind.clone());
        }
        for ip in pod_ips {
            let claim = (rank.clone(), kind.clone());
            let best = self.pod_ips.entry((port, ip)).or_insert_with(|| claim.clone());
            if claim < *best {
                *best = claim;
            }
        }
    }

    /// The elements by port. One that got no address is none: without ranges it would stand for every destination.
    pub(super) fn into_matches(self) -> BTreeMap<u16, Vec<OutboundTrafficMatch>> {
        let Self { mut elements, virtual_ips, pod_ips } = self;
        let pods =
            pod_ips.into_iter().filter(|(at, _)| !virtual_ips.contains_key(at)).map(|(at, (_, kind))| (at, kind));
        let claims: Vec<_> = pods.chain(virtual_ips.clone()).collect();
        for ((port, ip), kind) in claims {
            if let Some(element) = elements.get_mut(&(port, kind)) {
                element.destination_ip_ranges.get_or_insert_default().insert(names::range(ip), None);
            }
        }
        let mut matches: BTreeMap<u16, Vec<OutboundTrafficMatch>> = BTreeMap::new();
        for ((port, _), element) in elements {
            if element.destination_ip_ranges.is_some() {
                matches.entry(port).or_default().push(element);
            }
        }
        matches
    }
}
