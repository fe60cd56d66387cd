//! What the pod may call.

use super::{Compiler, Own};
use crate::config::snapshot::{Carries, Outbound, OutboundEntry, OutboundPort, OutboundTcp, Settings};
use crate::route::ranges::parse_range;
use crate::route::table::{HostTable, Service};
use crate::telemetry::Direction;
use fsm_api::config::{HostService, OutboundTrafficMatch};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Compiler<'_> {
    pub(super) fn outbound(&mut self, settings: &Settings, identity: &Own) -> Outbound {
        let (passthrough, passthrough_transport) = self.passthrough_cluster(settings);
        let mut ports = FxHashMap::default();
        if let Some(outbound) = &self.document.outbound {
            for (number, entries) in &outbound.traffic_matches {
                ports.insert(*number, self.outbound_port(*number, entries));
            }
            if identity.is_broken() {
                self.error("Outbound", "mesh services get no traffic until `Certificate` is mended");
            }
        }
        Outbound { ports, passthrough: Some(passthrough), passthrough_transport }
    }

    fn outbound_port(&mut self, number: u16, entries: &[OutboundTrafficMatch]) -> OutboundPort {
        let mut port = OutboundPort::default();
        let mut egress_http: Vec<(String, &OutboundTrafficMatch)> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("Outbound.TrafficMatches[\"{number}\"][{index}]");
            let ranges = entry.destination_ip_ranges.as_ref().filter(|ranges| !ranges.is_empty());
            let Some(ranges) = ranges else {
                if carries(entry) == Carries::Http || carries(entry) == Carries::Grpc {
                    egress_http.push((path, entry));
                } else if port.any_tcp.is_none() {
                    port.any_tcp = Some(Arc::new(self.outbound_entry(&[(path, entry)])));
                } else {
                    let message = "a second TCP or TLS entry without destination ranges; the first one is used";
                    self.error(path, message);
                }
                continue;
            };
            let compiled = Arc::new(self.outbound_entry(&[(path.clone(), entry)]));
            for (range, settings) in ranges {
                let at = format!("{path}.DestinationIPRanges[{range:?}]");
                if settings.as_ref().is_some_and(|settings| settings.source_cert.is_some()) {
                    let message = "a certificate for one range is not supported yet; the range gets no traffic. \
                                   Put `SourceCert` on the cluster instead";
                    self.error(at, message);
                    continue;
                }
                match parse_range(range) {
                    Ok(range) => port.ranged.insert(range, Arc::clone(&compiled)),
                    Err(error) => self.error(at, format!("{error}; the range gets no traffic")),
                }
            }
        }
        if !egress_http.is_empty() {
            port.any_http = Some(Arc::new(self.outbound_entry(&egress_http)));
        }
        port
    }

    /// One entry; several egress entries of a port share one, as FSM merges them.
    fn outbound_entry(&mut self, entries: &[(String, &OutboundTrafficMatch)]) -> OutboundEntry {
        let mut hosts = HostTable::default();
        let mut tcp = None;
        let mut carried = Carries::Tcp;
        for (path, entry) in entries {
            carried = carries(entry);
            match carried {
                Carries::Http | Carries::Grpc => self.outbound_hosts(entry, path, &mut hosts),
                Carries::Tcp | Carries::Tls => tcp = self.outbound_tcp(entry, path),
            }
        }
        OutboundEntry { carries: carried, hosts, tcp }
    }

    fn outbound_tcp(&mut self, entry: &OutboundTrafficMatch, path: &str) -> Option<OutboundTcp> {
        let Some(rules) = &entry.tcp_service_route_rules else {
            self.error(
                format!("{path}.TcpServiceRouteRules"),
                "is missing; connections to this destination are refused",
            );
            return None;
        };
        let id = format!("outbound|tcp|{path}");
        let targets = rules.target_clusters.as_ref().filter(|targets| !targets.is_empty());
        let split = targets.map(|targets| {
            let known = std::mem::take(&mut self.remote);
            let split = self.split(targets, &format!("{path}.TcpServiceRouteRules.TargetClusters"), &known, &id);
            self.remote = known;
            split
        });
        Some(OutboundTcp { split, passthrough: rules.allowed_egress_traffic })
    }

    fn outbound_hosts(&mut self, entry: &OutboundTrafficMatch, path: &str, hosts: &mut HostTable) {
        let known = std::mem::take(&mut self.remote);
        let mut services: FxHashMap<&str, Arc<Service>> = FxHashMap::default();
        for (name, rules) in &entry.http_service_route_rules {
            let routes = rules.route_rules.iter().enumerate().filter_map(|(index, rule)| {
                let at = format!("{path}.HttpServiceRouteRules[{name:?}].RouteRules[{index}]");
                self.route(rule, &at, Direction::Outbound, &known)
            });
            let routes = routes.collect();
            services.insert(name, Arc::new(Service { name: name.as_str().into(), routes }));
        }
        self.remote = known;
        let table = self.host_table(&entry.http_host_port2_service, &services, path);
        hosts.extend(table);
    }

    /// Hosts with their services. A host whose rule set is missing is known but admits nothing.
    pub(super) fn host_table(
        &mut self,
        hosts: &BTreeMap<String, HostService>,
        services: &FxHashMap<&str, Arc<Service>>,
        path: &str,
    ) -> HostTable {
        let mut table = HostTable::default();
        for (host, service) in hosts {
            match services.get(service.rule_name.as_str()) {
                Some(rules) => table.insert(host, Arc::clone(rules)),
                None => self.error(
                    format!("{path}.HttpHostPort2Service[{host:?}]"),
                    format!(
                        "no rule set `{}` is defined under `HttpServiceRouteRules`; the host is refused",
                        service.rule_name
                    ),
                ),
            }
        }
        table
    }
}

fn carries(entry: &OutboundTrafficMatch) -> Carries {
    match entry.protocol.as_str() {
        "http" => Carries::Http,
        "grpc" => Carries::Grpc,
        "https" => Carries::Tls,
        _ => Carries::Tcp,
    }
}
