//! Making the new document of the old one.

use super::super::{Config, Inbound, InboundTrafficMatch, Outbound, OutboundTrafficMatch};
use super::{Change, steps};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// Why a change does not fit a document.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ChangeError {
    /// It takes away what is not there.
    #[error("{0} is not in the document, so that it cannot be taken away")]
    Missing(String),
    /// A pointer that leads nowhere where entries are taken away.
    #[error("{0} is no entry that a change can take away")]
    Pointer(String),
    /// What is to be put in cannot be read.
    #[error("what the change puts in cannot be read: {0}")]
    Unreadable(String),
    /// A list of other length.
    #[error("the elements of Outbound.TrafficMatches[\"{0}\"] are not those that the change was made for")]
    Elements(u16),
}

/// What a change has touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Outbound clusters of which only endpoints changed.
    pub endpoints: BTreeSet<String>,
    /// Elements of outbound ports of which only hosts and destination ranges changed.
    pub elements: BTreeMap<u16, BTreeSet<usize>>,
    /// Something else changed too.
    pub more: bool,
}

impl Change {
    /// Makes the new document of the old one, and notes what is touched. After an error the document is neither.
    ///
    /// # Errors
    /// [`ChangeError`] when the change was made for another document.
    pub fn apply(&self, config: &mut Config, touched: &mut Touched) -> Result<(), ChangeError> {
        for pointer in &self.removed {
            let steps = steps(pointer);
            let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
            match remove(config, &steps, touched) {
                Some(true) => {}
                Some(false) => return Err(ChangeError::Missing(pointer.clone())),
                None => return Err(ChangeError::Pointer(pointer.clone())),
            }
        }
        let Some(put) = &self.put else { return Ok(()) };
        let (put, problems) =
            Config::read(put.get().as_bytes()).map_err(|error| ChangeError::Unreadable(error.to_string()))?;
        if let Some(problem) = problems.first() {
            return Err(ChangeError::Unreadable(problem.to_string()));
        }
        if let Some(put) = put.inbound {
            touched.more = true;
            put_inbound(config.inbound.get_or_insert_default(), put);
        }
        if let Some(put) = put.outbound {
            put_outbound(config.outbound.get_or_insert_default(), put, touched)?;
        }
        touched.more |= !put.allowed_endpoints.is_empty();
        config.allowed_endpoints.extend(put.allowed_endpoints);
        Ok(())
    }
}

/// Whether there was something to take away; `None`: nothing is ever taken away there.
fn remove(config: &mut Config, steps: &[&str], touched: &mut Touched) -> Option<bool> {
    match steps {
        ["Outbound", rest @ ..] => remove_outbound(config.outbound.as_mut()?, rest, touched),
        ["Inbound", rest @ ..] => {
            touched.more = true;
            remove_inbound(config.inbound.as_mut()?, rest)
        }
        ["AllowedEndpoints", address] => {
            touched.more = true;
            Some(config.allowed_endpoints.remove(*address).is_some())
        }
        _ => None,
    }
}

fn remove_inbound(inbound: &mut Inbound, steps: &[&str]) -> Option<bool> {
    match steps {
        ["ClustersConfigs", name] => Some(inbound.clusters_configs.remove(*name).is_some()),
        ["TrafficMatches", port] => Some(inbound.traffic_matches.remove(&port.parse().ok()?).is_some()),
        ["TrafficMatches", port, map, key] => {
            let element = inbound.traffic_matches.get_mut(&port.parse().ok()?)?;
            match *map {
                "SourceIPRanges" => Some(element.source_ip_ranges.remove(*key).is_some()),
                "HttpHostPort2Service" => Some(element.http_host_port2_service.remove(*key).is_some()),
                "HttpServiceRouteRules" => Some(element.http_service_route_rules.remove(*key).is_some()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn remove_outbound(outbound: &mut Outbound, steps: &[&str], touched: &mut Touched) -> Option<bool> {
    match steps {
        ["ClustersConfigs", name, "Endpoints", address] => {
            touched.endpoints.insert((*name).to_owned());
            Some(outbound.clusters_configs.get_mut(*name)?.endpoints.remove(*address).is_some())
        }
        ["ClustersConfigs", name] => {
            touched.more = true;
            Some(outbound.clusters_configs.remove(*name).is_some())
        }
        ["TrafficMatches", port] => {
            touched.more = true;
            Some(outbound.traffic_matches.remove(&port.parse().ok()?).is_some())
        }
        ["TrafficMatches", port, index, map, key] => {
            let (port, index): (u16, usize) = (port.parse().ok()?, index.parse().ok()?);
            let element = outbound.traffic_matches.get_mut(&port)?.get_mut(index)?;
            touched.elements.entry(port).or_default().insert(index);
            match *map {
                "DestinationIPRanges" => Some(element.destination_ip_ranges.as_mut()?.remove(*key).is_some()),
                "HttpHostPort2Service" => Some(element.http_host_port2_service.remove(*key).is_some()),
                "HttpServiceRouteRules" => {
                    touched.more = true;
                    Some(element.http_service_route_rules.remove(*key).is_some())
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn put_inbound(inbound: &mut Inbound, put: Inbound) {
    for (port, put) in put.traffic_matches {
        match inbound.traffic_matches.get_mut(&port) {
            Some(known) => {
                let InboundTrafficMatch { source_ip_ranges, http_host_port2_service, http_service_route_rules, .. } =
                    put;
                known.source_ip_ranges.extend(source_ip_ranges);
                known.http_host_port2_service.extend(http_host_port2_service);
                known.http_service_route_rules.extend(http_service_route_rules);
            }
            None => drop(inbound.traffic_matches.insert(port, put)),
        }
    }
    inbound.clusters_configs.extend(put.clusters_configs);
}

fn put_outbound(outbound: &mut Outbound, put: Outbound, touched: &mut Touched) -> Result<(), ChangeError> {
    for (port, put) in put.traffic_matches {
        let Some(known) = outbound.traffic_matches.get_mut(&port) else {
            touched.more = true;
            outbound.traffic_matches.insert(port, put);
            continue;
        };
        if known.len() != put.len() {
            return Err(ChangeError::Elements(port));
        }
        for (index, (known, put)) in known.iter_mut().zip(put).enumerate() {
            let OutboundTrafficMatch {
                destination_ip_ranges, http_host_port2_service, http_service_route_rules, ..
            } = put;
            touched.more |= !http_service_route_rules.is_empty();
            if destination_ip_ranges.is_some() || !http_host_port2_service.is_empty() {
                touched.elements.entry(port).or_default().insert(index);
            }
            if let Some(ranges) = destination_ip_ranges {
                known.destination_ip_ranges.get_or_insert_default().extend(ranges);
            }
            known.http_host_port2_service.extend(http_host_port2_service);
            known.http_service_route_rules.extend(http_service_route_rules);
        }
    }
    for (name, put) in put.clusters_configs {
        match outbound.clusters_configs.get_mut(&name) {
            Some(known) => {
                known.endpoints.extend(put.endpoints);
                touched.endpoints.insert(name);
            }
            None => {
                touched.more = true;
                outbound.clusters_configs.insert(name, put);
            }
        }
    }
    Ok(())
}
