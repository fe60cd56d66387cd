//! What may enter the pod.

use super::{Compiler, callers};
use crate::config::snapshot::{Carries, Inbound, InboundPort, InboundTcp, Source};
use crate::route::ranges::{Ranges, parse_range};
use crate::route::table::{HostTable, Service};
use crate::telemetry::Direction;
use crate::tls::Identity;
use fsm_api::config::{InboundTrafficMatch, SourceIpRange};
use rustc_hash::FxHashMap;
use std::sync::Arc;

impl Compiler<'_> {
    pub(super) fn inbound(&mut self, identity: Option<&Arc<Identity>>) -> Option<Inbound> {
        let inbound = self.document.inbound.as_ref().filter(|inbound| !inbound.traffic_matches.is_empty())?;
        let mut ports = FxHashMap::default();
        for (number, entry) in &inbound.traffic_matches {
            let path = format!("Inbound.TrafficMatches[\"{number}\"]");
            ports.insert(*number, Arc::new(self.inbound_port(entry, &path)));
        }
        Some(Inbound { ports, allowed: self.allowed_endpoints(), mesh_tls: self.mesh_tls(identity) })
    }

    /// Addresses that may connect. Without any the certificates decide alone, if there are certificates.
    fn allowed_endpoints(&mut self) -> Option<Ranges<()>> {
        let document = self.document;
        if document.allowed_endpoints.is_empty() && document.certificate.is_some() {
            return None;
        }
        let mut allowed = Ranges::default();
        for address in document.allowed_endpoints.keys() {
            match parse_range(address) {
                Ok(range) => allowed.insert(range, ()),
                Err(error) => {
                    self.error(format!("AllowedEndpoints[{address:?}]"), format!("{error}; it admits nobody"))
                }
            }
        }
        Some(allowed)
    }

    fn inbound_port(&mut self, entry: &InboundTrafficMatch, path: &str) -> InboundPort {
        let carries = match entry.protocol.as_str() {
            "http" => Carries::Http,
            "grpc" => Carries::Grpc,
            _ => Carries::Tcp,
        };
        let mut hosts = HostTable::default();
        let mut tcp = None;
        if carries == Carries::Tcp {
            tcp = self.inbound_tcp(entry, path);
        } else {
            hosts = self.inbound_hosts(entry, path);
        }
        InboundPort { carries, hosts, tcp, sources: self.sources(entry, path) }
    }

    fn inbound_tcp(&mut self, entry: &InboundTrafficMatch, path: &str) -> Option<InboundTcp> {
        let Some(rules) = &entry.tcp_service_route_rules else {
            self.error(format!("{path}.TcpServiceRouteRules"), "is missing; connections to this port are refused");
            return None;
        };
        let id = format!("inbound|tcp|{path}");
        let known = std::mem::take(&mut self.local);
        let split =
            self.split(&rules.target_clusters, &format!("{path}.TcpServiceRouteRules.TargetClusters"), &known, &id);
        self.local = known;
        Some(InboundTcp { split, callers: rules.allowed_services.as_deref().map(callers) })
    }

    fn inbound_hosts(&mut self, entry: &InboundTrafficMatch, path: &str) -> HostTable {
        let known = std::mem::take(&mut self.local);
        let mut services: FxHashMap<&str, Arc<Service>> = FxHashMap::default();
        for (name, rules) in &entry.http_service_route_rules {
            let routes = rules.route_rules.iter().enumerate().filter_map(|(index, rule)| {
                let at = format!("{path}.HttpServiceRouteRules[{name:?}].RouteRules[{index}]");
                self.route(rule, &at, Direction::Inbound, &known)
            });
            let routes = routes.collect();
            services.insert(name, Arc::new(Service { name: name.as_str().into(), routes }));
        }
        self.local = known;
        self.host_table(&entry.http_host_port2_service, &services, path)
    }

    fn sources(&mut self, entry: &InboundTrafficMatch, path: &str) -> Ranges<Source> {
        let mut sources = Ranges::default();
        for (range, how) in &entry.source_ip_ranges {
            match parse_range(range) {
                Ok(range) => sources.insert(range, source(how.as_ref())),
                Err(error) => {
                    self.error(format!("{path}.SourceIPRanges[{range:?}]"), format!("{error}; it admits nobody"));
                }
            }
        }
        sources
    }
}

fn source(how: Option<&SourceIpRange>) -> Source {
    match how {
        Some(range) if range.mtls => {
            let principals = range.authenticated_principals.as_ref().filter(|_| !range.skip_client_cert_validation);
            let principals = principals.map(|names| names.iter().map(|name| name.as_str().into()).collect());
            Source::Tls { principals }
        }
        _ => Source::Plaintext,
    }
}
