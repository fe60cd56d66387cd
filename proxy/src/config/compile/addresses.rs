//! Other hosts and destination ranges for some outbound elements, without compiling the rules behind them anew.
//!
//! Documents of fsm-control name every pod that may be called by its address, as a destination range and as a host. When a
//! pod comes or goes, the services stay as they are, with routes, splits and clusters; only the tables that lead to them
//! are made anew. Wherever that is not all, the answer is `None`.

use crate::config::snapshot::{Outbound, OutboundEntry, Snapshot};
use crate::route::ranges::{Ranges, parse_range};
use crate::route::table::{HostTable, Service};
use fsm_api::config::{Config, OutboundTrafficMatch};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What `previous` lets call, with the hosts and ranges that `document` has for the elements `touched`.
pub(super) fn with_other_addresses(
    document: &Config,
    touched: &BTreeMap<u16, BTreeSet<usize>>,
    previous: &Snapshot,
) -> Option<Outbound> {
    let now = &document.outbound.as_ref()?.traffic_matches;
    let before = &previous.document.outbound.as_ref()?.traffic_matches;
    let mut ports = previous.outbound.ports.clone();
    for (number, touched) in touched {
        let path = format!("Outbound.TrafficMatches[\"{number}\"]");
        if previous.problems.iter().any(|problem| problem.path.starts_with(&path)) {
            return None;
        }
        let port = ports.get_mut(number)?;
        port.ranged = ranged(now.get(number)?, before.get(number)?, touched, &port.ranged)?;
    }
    let Outbound { passthrough, passthrough_transport, .. } = &*previous.outbound;
    Some(Outbound { ports, passthrough: passthrough.clone(), passthrough_transport: passthrough_transport.clone() })
}

/// The ranges of a port.
fn ranged(
    now: &[OutboundTrafficMatch],
    before: &[OutboundTrafficMatch],
    touched: &BTreeSet<usize>,
    known: &Ranges<Arc<OutboundEntry>>,
) -> Option<Ranges<Arc<OutboundEntry>>> {
    let mut ranged = Ranges::default();
    for (index, (now, before)) in now.iter().zip(before).enumerate() {
        let (Some(ranges), Some(of_before)) = (&now.destination_ip_ranges, &before.destination_ip_ranges) else {
            // What is for any destination has no ranges.
            if touched.contains(&index) {
                return None;
            }
            continue;
        };
        // A range with a certificate of its own has an entry of its own.
        let plain = |how: &Option<_>| how.is_none();
        if !ranges.values().all(plain) || !of_before.values().all(plain) {
            return None;
        }
        let entry = known.find(parse_range(of_before.keys().next()?).ok()?.addr())?;
        // Of two elements with the same range the first one has it.
        if entry.element != index {
            return None;
        }
        let entry = match now.http_host_port2_service == before.http_host_port2_service {
            true => Arc::clone(entry),
            false => Arc::new(with_other_hosts(entry, now)?),
        };
        for range in ranges.keys() {
            ranged.insert(parse_range(range).ok()?, Arc::clone(&entry));
        }
    }
    Some(ranged)
}

fn with_other_hosts(entry: &OutboundEntry, now: &OutboundTrafficMatch) -> Option<OutboundEntry> {
    if entry.tcp.is_some() {
        return None;
    }
    let services: FxHashMap<&str, &Arc<Service>> =
        entry.hosts.iter().map(|(_, service)| (&*service.name, service)).collect();
    let mut hosts = HostTable::default();
    for (host, service) in &now.http_host_port2_service {
        hosts.insert(host, Arc::clone(services.get(service.rule_name.as_str())?));
    }
    Some(OutboundEntry { element: entry.element, carries: entry.carries, hosts, tcp: None })
}

#[cfg(test)]
mod tests;
