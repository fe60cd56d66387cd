//! What the pod may call.

use super::certificates::{Certified, Surroundings};
use super::{Compiler, Own};
use crate::config::snapshot::{Carries, Outbound, OutboundEntry, OutboundPort, OutboundTcp, Settings, TlsKey};
use crate::route::ranges::parse_range;
use crate::route::table::{HostTable, Service};
use crate::telemetry::Direction;
use crate::upstream::cluster::Cluster;
use fsm_api::config::{HostService, OutboundTrafficMatch};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Compiler<'_> {
    pub(super) fn outbound(&mut self, settings: &Settings, identity: &Own) -> Outbound {
        let (passthrough, passthrough_transport) = self.passthrough_cluster(settings, identity.as_ref());
        let surroundings = Surroundings { settings, identity: identity.as_ref() };
        let mut ports = FxHashMap::default();
        if let Some(outbound) = &self.document.outbound {
            for (number, entries) in &outbound.traffic_matches {
                ports.insert(*number, self.outbound_port(*number, entries, surroundings));
            }
            if identity.is_broken() {
                self.error("Outbound", "mesh services get no traffic until `Certificate` is mended");
            }
        }
        // What nothing can use is not counted: an operator who switched egress off should not see it.
        let used = settings.egress_passthrough || self.passes_through;
        if used {
            self.remote.insert(Arc::clone(&passthrough.name), Arc::clone(&passthrough));
        }
        Outbound { ports, passthrough: used.then_some(passthrough), passthrough_transport }
    }

    fn outbound_port(
        &mut self,
        number: u16,
        entries: &[OutboundTrafficMatch],
        surroundings: Surroundings<'_>,
    ) -> OutboundPort {
        let mut port = OutboundPort::default();
        let mut egress_http: Vec<(String, &OutboundTrafficMatch)> = Vec::new();
        let mut first_egress = 0;
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("Outbound.TrafficMatches[\"{number}\"][{index}]");
            let ranges = entry.destination_ip_ranges.as_ref().filter(|ranges| !ranges.is_empty());
            let Some(ranges) = ranges else {
                if carries(entry) == Carries::Http || carries(entry) == Carries::Grpc {
                    if egress_http.is_empty() {
                        first_egress = index;
                    }
                    egress_http.push((path, entry));
                } else if port.any_tcp.is_none() {
                    port.any_tcp = Some(Arc::new(self.outbound_entry(index, &[(path, entry)], surroundings, None)));
                } else {
                    let message = "a second TCP or TLS entry without destination ranges; the first one is used";
                    self.error(path, message);
                }
                continue;
            };
            let plain = Arc::new(self.outbound_entry(index, &[(path.clone(), entry)], surroundings, None));
            let mut certified: Vec<(TlsKey, Arc<OutboundEntry>)> = Vec::new();
            for (range, how) in ranges {
                let at = format!("{path}.DestinationIPRanges[{range:?}]");
                let network = match parse_range(range) {
                    Ok(network) => network,
                    Err(error) => {
                        self.error(at, format!("{error}; the range gets no traffic"));
                        continue;
                    }
                };
                let Some(certificate) = how.as_ref().and_then(|how| how.source_cert.as_ref()) else {
                    port.ranged.insert(network, Arc::clone(&plain));
                    continue;
                };
                let key = TlsKey::of_source(certificate, &[]);
                let compiled = match certified.iter().find(|(known, _)| *known == key) {
                    Some((_, compiled)) => Arc::clone(compiled),
                    None => {
                        let view = self.certified(entry, certificate, range, &at, surroundings);
                        // The rules are those of the plain entry, whose problems have been reported.
                        let problems = self.problems.len();
                        let compiled = self.outbound_entry(index, &[(path.clone(), entry)], surroundings, Some(&view));
                        self.problems.truncate(problems);
                        let compiled = Arc::new(compiled);
                        certified.push((key, Arc::clone(&compiled)));
                        compiled
                    }
                };
                port.ranged.insert(network, compiled);
            }
        }
        if !egress_http.is_empty() {
            port.any_http = Some(Arc::new(self.outbound_entry(first_egress, &egress_http, surroundings, None)));
        }
        port
    }

    /// One entry; several egress entries of a port share one, as FSM merges them.
    fn outbound_entry(
        &mut self,
        element: usize,
        entries: &[(String, &OutboundTrafficMatch)],
        surroundings: Surroundings<'_>,
        certified: Option<&Certified>,
    ) -> OutboundEntry {
        let mut hosts = HostTable::default();
        let mut tcp = None;
        let mut carried = Carries::Tcp;
        for (path, entry) in entries {
            carried = carries(entry);
            match carried {
                Carries::Http | Carries::Grpc => self.outbound_hosts(entry, path, certified, &mut hosts),
                Carries::Tcp | Carries::Tls => tcp = self.outbound_tcp(entry, path, surroundings, certified),
            }
        }
        OutboundEntry { element, carries: carried, hosts, tcp }
    }

    fn outbound_tcp(
        &mut self,
        entry: &OutboundTrafficMatch,
        path: &str,
        surroundings: Surroundings<'_>,
        certified: Option<&Certified>,
    ) -> Option<OutboundTcp> {
        let Some(rules) = &entry.tcp_service_route_rules else {
            self.error(
                format!("{path}.TcpServiceRouteRules"),
                "is missing; connections to this destination are refused",
            );
            return None;
        };
        let id = format!("outbound|tcp|{path}{}", certified.map_or("", |certified| &certified.range));
        let targets = rules.target_clusters.as_ref().filter(|targets| !targets.is_empty());
        let split = targets.map(|targets| {
            let at = format!("{path}.TcpServiceRouteRules.TargetClusters");
            self.with_clusters(certified, |compiler, known| compiler.split(targets, &at, known, &id))
        });
        let permitted = rules.allowed_egress_traffic || surroundings.settings.egress_passthrough;
        let passthrough = (permitted && split.is_none()).then(|| match certified {
            Some(certified) => certified.passthrough.clone(),
            None => self.plain_passthrough(rules.egress_forward_gateway.as_deref(), surroundings.identity),
        });
        let passthrough = passthrough.flatten();
        self.passes_through |= passthrough.is_some();
        Some(OutboundTcp { split, passthrough })
    }

    fn outbound_hosts(
        &mut self,
        entry: &OutboundTrafficMatch,
        path: &str,
        certified: Option<&Certified>,
        hosts: &mut HostTable,
    ) {
        let mut services: FxHashMap<&str, Arc<Service>> = FxHashMap::default();
        for (name, rules) in &entry.http_service_route_rules {
            let variant = certified.map_or("", |certified| &certified.range);
            let routes = self.with_clusters(certified, |compiler, known| {
                let routes = rules.route_rules.iter().enumerate().filter_map(|(index, rule)| {
                    let at = format!("{path}.HttpServiceRouteRules[{name:?}].RouteRules[{index}]");
                    compiler.route_variant(rule, &at, Direction::Outbound, known, variant)
                });
                routes.collect()
            });
            let broken = self.has_errors(&format!("{path}.HttpServiceRouteRules[{name:?}]"));
            services.insert(name, Arc::new(Service { name: name.as_str().into(), routes, limit: None, broken }));
        }
        let table = self.host_table(&entry.http_host_port2_service, &services, path);
        hosts.extend(table);
    }

    /// Compiles something with the clusters as one certificate sees them, or as they are.
    fn with_clusters<T>(
        &mut self,
        certified: Option<&Certified>,
        compile: impl FnOnce(&mut Self, &BTreeMap<Arc<str>, Arc<Cluster>>) -> T,
    ) -> T {
        if let Some(certified) = certified {
            return compile(self, &certified.clusters);
        }
        let known = std::mem::take(&mut self.remote);
        let compiled = compile(self, &known);
        self.remote = known;
        compiled
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
