//! Reading `Outbound` and `Forward`.
//!
//! Outbound traffic that no element claims may leave as plain TCP (`Spec.Traffic.EnableEgress`), so an unreadable part
//! keeps its claim wherever it can: the range stays with a certificate that cannot be used, the rule set stays without
//! rules, the gateway rule stays without gateways.

use super::super::{
    Certificate, ClusterConfig, DestinationIpRange, EgressGateway, Endpoint, Forward, Outbound, OutboundRouteRules,
    OutboundTcpRouteRules, OutboundTrafficMatch,
};
use super::cursor::{Bearable, Loss, Node, Reading, Unreadable};
use super::policy::{read_connection_settings, read_load_balancing, read_retry_policy};
use super::read_certificate;
use super::rule::{read_hosts, read_plugins, read_protocol, read_rules, read_weights};
use std::collections::BTreeMap;

const ELEMENT: Loss = Loss::error("the element is left out and its services are not known");
const ENDPOINT: Loss = Loss::error("the endpoint gets no traffic");

/// The egress gateway rule that applies where no other does.
const GLOBAL_GATEWAY_RULE: &str = "*";

pub(super) fn read_outbound(outbound: &Node<'_>) -> Outbound {
    const PORTS: Loss = Loss::error("no service is known to call");
    const PORT: Loss = Loss::error("no service is known to call on this port");
    const CLUSTERS: Loss = Loss::error("no cluster has an endpoint");
    Outbound {
        traffic_matches: outbound
            .member("TrafficMatches")
            .ports(PORTS, PORT, |port, elements| elements.list(PORT, |element| read_match(port, &element).ok()).value())
            .or_default(),
        clusters_configs: outbound
            .member("ClustersConfigs")
            .map(CLUSTERS, |_, cluster| Some(read_cluster(cluster).unwrap_or_default()))
            .or_default(),
    }
}

fn read_match(key: u16, node: &Node<'_>) -> Result<OutboundTrafficMatch, Unreadable> {
    const PORT: Loss = Loss::error("the key of the element's list is taken");
    let element = node.required(node.object(ELEMENT), ELEMENT)?;
    let port = element.member("Port");
    Ok(OutboundTrafficMatch {
        destination_ip_ranges: read_destination_ranges(&element.member("DestinationIPRanges"))?,
        port: port.required(port.port(PORT), PORT).unwrap_or(key),
        protocol: read_protocol(&element.member("Protocol"), ELEMENT)?,
        http_host_port2_service: read_hosts(&element.member("HttpHostPort2Service")),
        http_service_route_rules: read_rule_sets(&element.member("HttpServiceRouteRules")),
        tcp_service_route_rules: read_tcp_rules(&element.member("TcpServiceRouteRules")).unwrap_or_default(),
    })
}

/// No ranges at all mean "any destination", which an unreadable part must never turn into.
fn read_destination_ranges(node: &Node<'_>) -> Reading<BTreeMap<String, Option<DestinationIpRange>>> {
    const RANGE: Loss = Loss::error("connections to this range are refused");
    let ranges = node.map(ELEMENT, |_, range| {
        Some(match range.object(RANGE) {
            Ok(None) => None,
            Ok(Some(settings)) => {
                Some(DestinationIpRange { source_cert: read_certificate(&settings.member("SourceCert")) })
            }
            // As plaintext it would leak what was meant to be encrypted.
            Err(Unreadable) => Some(DestinationIpRange { source_cert: Some(Certificate::default()) }),
        })
    })?;
    Ok(ranges.filter(|ranges| !ranges.is_empty()))
}

fn read_rule_sets(node: &Node<'_>) -> BTreeMap<String, OutboundRouteRules> {
    const SETS: Loss = Loss::error("no request to this port is sent");
    node.map(SETS, |_, rules| Some(read_rule_set(rules).unwrap_or_default())).or_default()
}

fn read_rule_set(node: &Node<'_>) -> Result<OutboundRouteRules, Unreadable> {
    const SET: Loss = Loss::error("no request to this service is sent");
    const IDENTITY: Loss = Loss::error("the identity in Spec or in another rule set is taken");
    let Some(rules) = node.object(SET)? else {
        return Ok(OutboundRouteRules::default());
    };
    Ok(OutboundRouteRules {
        route_rules: read_rules(&rules.member("RouteRules")),
        egress_forward_gateway: rules.member("EgressForwardGateway").text(SET)?,
        plugins: read_plugins(&rules.member("Plugins"), SET)?,
        service_identity: rules.member("ServiceIdentity").text(IDENTITY).value(),
    })
}

fn read_tcp_rules(node: &Node<'_>) -> Result<Option<OutboundTcpRouteRules>, Unreadable> {
    const TCP: Loss = Loss::error("the element has no cluster to connect to");
    const PASSTHROUGH: Loss = Loss::error("connections are not passed through");
    let Some(rules) = node.object(TCP)? else {
        return Ok(None);
    };
    Ok(Some(OutboundTcpRouteRules {
        target_clusters: read_weights(&rules.member("TargetClusters"), TCP)?,
        allowed_egress_traffic: rules.member("AllowedEgressTraffic").flag(PASSTHROUGH).or_default(),
        egress_forward_gateway: rules.member("EgressForwardGateway").text(TCP)?,
        plugins: read_plugins(&rules.member("Plugins"), TCP)?,
    }))
}

/// An unreadable cluster stays as one without endpoints, so that rules still name a cluster that exists.
fn read_cluster(node: &Node<'_>) -> Result<ClusterConfig, Unreadable> {
    const CLUSTER: Loss = Loss::error("the cluster has no endpoint");
    const HASH: Loss = Loss::note("nothing uses it");
    let Some(cluster) = node.object(CLUSTER)? else {
        return Ok(ClusterConfig::default());
    };
    Ok(ClusterConfig {
        endpoints: read_endpoints(&cluster.member("Endpoints"), CLUSTER),
        connection_settings: read_connection_settings(&cluster.member("ConnectionSettings")),
        retry_policy: read_retry_policy(&cluster.member("RetryPolicy")),
        source_cert: read_certificate(&cluster.member("SourceCert")),
        hash: cluster.member("Hash").unsigned(HASH).value(),
        load_balancing: read_load_balancing(&cluster.member("LoadBalancing")),
        // Without them any certificate of the mesh would do.
        service_identities: cluster.member("ServiceIdentities").texts(CLUSTER)?.unwrap_or_default(),
    })
}

fn read_endpoints(node: &Node<'_>, loss: Loss) -> BTreeMap<String, Endpoint> {
    node.map(loss, |_, endpoint| read_endpoint(endpoint).ok()).or_default()
}

/// Wholly or not at all: without its gateway or path an endpoint would be another one.
fn read_endpoint(node: &Node<'_>) -> Result<Endpoint, Unreadable> {
    let endpoint = node.required(node.object(ENDPOINT), ENDPOINT)?;
    Ok(Endpoint {
        weight: endpoint.member("Weight").count(ENDPOINT)?.unwrap_or_default(),
        key: endpoint.member("Key").text(ENDPOINT)?,
        path: endpoint.member("Path").text(ENDPOINT)?,
        via_gateway: endpoint.member("ViaGateway").text(ENDPOINT)?,
    })
}

/// Where gateways are asked for but cannot be read, a rule without gateways remains: to go without would bypass them.
pub(super) fn read_forward(node: &Node<'_>) -> Option<Forward> {
    const GATEWAYS: Loss = Loss::error("no egress gateway is known and egress through one fails");
    const RULE: Loss = Loss::error("the rule has no gateway and egress through it fails");
    const GATEWAY: Loss = Loss::error("the gateway is not used");
    let no_gateways = || BTreeMap::from([(GLOBAL_GATEWAY_RULE.to_owned(), BTreeMap::new())]);
    let forward = match node.object(GATEWAYS) {
        Ok(forward) => forward?,
        Err(Unreadable) => {
            return Some(Forward { forward_matches: no_gateways(), egress_gateways: BTreeMap::new() });
        }
    };
    let forward_matches =
        forward.member("ForwardMatches").map(GATEWAYS, |_, gateways| Some(read_weights(gateways, RULE).or_default()));
    Some(Forward {
        forward_matches: match forward_matches {
            Ok(matches) => matches.unwrap_or_default(),
            Err(Unreadable) => no_gateways(),
        },
        egress_gateways: forward
            .member("EgressGateways")
            .map(GATEWAYS, |_, gateway| read_gateway(gateway, GATEWAY).ok())
            .or_default(),
    })
}

fn read_gateway(node: &Node<'_>, loss: Loss) -> Result<EgressGateway, Unreadable> {
    let gateway = node.required(node.object(loss), loss)?;
    Ok(EgressGateway {
        endpoints: read_endpoints(&gateway.member("Endpoints"), loss),
        mode: gateway.member("Mode").text(loss)?.unwrap_or_default(),
        // Without them the way to the gateway would be plaintext.
        service_identities: gateway.member("ServiceIdentities").texts(loss)?,
    })
}
