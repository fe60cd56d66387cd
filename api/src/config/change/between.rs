//! Finding the difference. Maps are walked side by side, so that it costs as much as comparing them.

use super::super::{ClusterConfig, Config, Inbound, InboundTrafficMatch, Outbound, OutboundTrafficMatch};
use super::{Change, Parts, pointer};
use std::cmp::Ordering;
use std::collections::BTreeMap;

impl Change {
    /// What makes `new` of `old`; `None`: the whole of `new` must be sent. `Ts` and `Version` are not looked at.
    pub fn between(old: &Config, new: &Config) -> Option<Self> {
        let same = old.metrics == new.metrics
            && old.spec == new.spec
            && old.certificate == new.certificate
            && old.forward == new.forward
            && old.chains == new.chains
            && old.dns_resolve_db == new.dns_resolve_db;
        if !same {
            return None;
        }
        let mut removed = Vec::new();
        let mut put = Parts::default();
        match (&old.inbound, &new.inbound) {
            (Some(old), Some(new)) => put.inbound = inbound(old, new, &mut removed),
            (None, None) => {}
            _ => return None,
        }
        match (&old.outbound, &new.outbound) {
            (Some(old), Some(new)) => put.outbound = outbound(old, new, &mut removed),
            (None, None) => {}
            _ => return None,
        }
        put.allowed_endpoints = entries(&old.allowed_endpoints, &new.allowed_endpoints, |address| {
            removed.push(pointer(&["AllowedEndpoints", address]));
        });
        let put = match put == Parts::default() {
            true => None,
            false => Some(serde_json::value::to_raw_value(&put).ok()?),
        };
        Some(Self { removed, put })
    }
}

fn inbound(old: &Inbound, new: &Inbound, removed: &mut Vec<String>) -> Option<Inbound> {
    let mut put = Inbound::default();
    side_by_side(&old.traffic_matches, &new.traffic_matches, |port, old, new| {
        let path = &["Inbound", "TrafficMatches", &port.to_string()];
        let part = old.zip(new).and_then(|(old, new)| inbound_match(old, new, path, removed));
        replace(*port, old, new, part, path, removed, &mut put.traffic_matches);
    });
    put.clusters_configs = entries(&old.clusters_configs, &new.clusters_configs, |name| {
        removed.push(pointer(&["Inbound", "ClustersConfigs", name]));
    });
    (put != Inbound::default()).then_some(put)
}

/// What is to be filled into a port, if that is enough; `None`: it must be replaced.
fn inbound_match(
    old: &InboundTrafficMatch,
    new: &InboundTrafficMatch,
    path: &[&str],
    removed: &mut Vec<String>,
) -> Option<InboundTrafficMatch> {
    let same = old.port == new.port
        && old.protocol == new.protocol
        && old.rate_limit == new.rate_limit
        && old.tcp_service_route_rules == new.tcp_service_route_rules;
    let blank = || InboundTrafficMatch { port: new.port, protocol: new.protocol.clone(), ..<_>::default() };
    same.then(|| InboundTrafficMatch {
        source_ip_ranges: entries(&old.source_ip_ranges, &new.source_ip_ranges, |range| {
            removed.push(below(path, "SourceIPRanges", range));
        }),
        http_host_port2_service: entries(&old.http_host_port2_service, &new.http_host_port2_service, |host| {
            removed.push(below(path, "HttpHostPort2Service", host));
        }),
        http_service_route_rules: entries(&old.http_service_route_rules, &new.http_service_route_rules, |name| {
            removed.push(below(path, "HttpServiceRouteRules", name));
        }),
        ..blank()
    })
}

fn outbound(old: &Outbound, new: &Outbound, removed: &mut Vec<String>) -> Option<Outbound> {
    let mut put = Outbound::default();
    side_by_side(&old.traffic_matches, &new.traffic_matches, |port, old, new| {
        let number = port.to_string();
        let path = &["Outbound", "TrafficMatches", &number];
        let part = old.zip(new).and_then(|(old, new)| elements(old, new, &number, removed));
        replace(*port, old, new, part, path, removed, &mut put.traffic_matches);
    });
    side_by_side(&old.clusters_configs, &new.clusters_configs, |name, old, new| {
        let path = &["Outbound", "ClustersConfigs", name];
        let part = old.zip(new).and_then(|(old, new)| cluster(old, new, path, removed));
        replace(name.clone(), old, new, part, path, removed, &mut put.clusters_configs);
    });
    (put != Outbound::default()).then_some(put)
}

/// What is to be filled into the elements of a port, if that is enough.
fn elements(
    old: &[OutboundTrafficMatch],
    new: &[OutboundTrafficMatch],
    port: &str,
    removed: &mut Vec<String>,
) -> Option<Vec<OutboundTrafficMatch>> {
    let ranges = |element: &OutboundTrafficMatch| {
        element.destination_ip_ranges.as_ref().is_some_and(|ranges| !ranges.is_empty())
    };
    let fits = |(old, new): (&OutboundTrafficMatch, &OutboundTrafficMatch)| {
        old.port == new.port
            && old.protocol == new.protocol
            && old.tcp_service_route_rules == new.tcp_service_route_rules
            && (old.destination_ip_ranges == new.destination_ip_ranges || (ranges(old) && ranges(new)))
    };
    if old.len() != new.len() || !old.iter().zip(new).all(fits) {
        return None;
    }
    let part = |(index, (old, new)): (usize, (&OutboundTrafficMatch, &OutboundTrafficMatch))| {
        let path = &["Outbound", "TrafficMatches", port, &index.to_string()];
        let destination_ip_ranges = match (&old.destination_ip_ranges, &new.destination_ip_ranges) {
            (Some(old), Some(new)) => {
                Some(entries(old, new, |range| removed.push(below(path, "DestinationIPRanges", range))))
            }
            _ => None,
        };
        OutboundTrafficMatch {
            destination_ip_ranges: destination_ip_ranges.filter(|ranges| !ranges.is_empty()),
            port: new.port,
            protocol: new.protocol.clone(),
            http_host_port2_service: entries(&old.http_host_port2_service, &new.http_host_port2_service, |host| {
                removed.push(below(path, "HttpHostPort2Service", host));
            }),
            http_service_route_rules: entries(&old.http_service_route_rules, &new.http_service_route_rules, |name| {
                removed.push(below(path, "HttpServiceRouteRules", name));
            }),
            tcp_service_route_rules: None,
        }
    };
    Some(old.iter().zip(new).enumerate().map(part).collect())
}

/// The endpoints that are to be filled into a cluster, if that is enough.
fn cluster(
    old: &ClusterConfig,
    new: &ClusterConfig,
    path: &[&str],
    removed: &mut Vec<String>,
) -> Option<ClusterConfig> {
    let same = old.connection_settings == new.connection_settings
        && old.retry_policy == new.retry_policy
        && old.source_cert == new.source_cert
        && old.hash == new.hash
        && old.load_balancing == new.load_balancing
        && old.service_identities == new.service_identities;
    same.then(|| ClusterConfig {
        endpoints: entries(&old.endpoints, &new.endpoints, |address| removed.push(below(path, "Endpoints", address))),
        ..ClusterConfig::default()
    })
}

/// Notes what becomes of an entry that is filled up where it can be (`part`), and else replaced.
fn replace<K: Ord, V: Clone + PartialEq>(
    key: K,
    old: Option<&V>,
    new: Option<&V>,
    part: Option<V>,
    path: &[&str],
    removed: &mut Vec<String>,
    put: &mut BTreeMap<K, V>,
) {
    if let Some(part) = part {
        put.insert(key, part);
        return;
    }
    if old.is_some() {
        removed.push(pointer(path));
    }
    if let Some(new) = new {
        put.insert(key, new.clone());
    }
}

/// Entries of `new` that `old` does not have so; those that only `old` has are told to `gone`.
fn entries<K: Ord + Clone, V: Clone + PartialEq>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    mut gone: impl FnMut(&K),
) -> BTreeMap<K, V> {
    let mut put = BTreeMap::new();
    side_by_side(old, new, |key, _, new| match new {
        Some(new) => drop(put.insert(key.clone(), new.clone())),
        None => gone(key),
    });
    put
}

/// Calls `each` for every key under which the two differ.
fn side_by_side<K: Ord, V: PartialEq>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    mut each: impl FnMut(&K, Option<&V>, Option<&V>),
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let Some((key, _)) = before.or(after) else { return };
        let (before, after) = (before.map(|(_, value)| value), after.map(|(_, value)| value));
        if before != after {
            each(key, before, after);
        }
    }
}

fn below(path: &[&str], map: &str, key: &str) -> String {
    pointer(&[path, &[map, key]].concat())
}
