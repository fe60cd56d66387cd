//! Reading `Inbound`. Everything here decides who may enter, so nothing unreadable is ever skipped over.

use super::super::{Inbound, InboundRouteRules, InboundTcpRouteRules, InboundTrafficMatch, SourceIpRange};
use super::INFORMATION;
use super::cursor::{Bearable, Loss, Node, Unreadable};
use super::policy::{read_http_rate_limit, read_tcp_rate_limit};
use super::rule::{read_hosts, read_plugins, read_protocol, read_rules, read_weights};
use std::collections::BTreeMap;

const PORT: Loss = Loss::error("the port is left out and nothing may enter through it");

pub(super) fn read_inbound(inbound: &Node<'_>) -> Inbound {
    const PORTS: Loss = Loss::error("nothing may enter the pod");
    const CLUSTERS: Loss = Loss::error("no local cluster has an endpoint");
    const CLUSTER: Loss = Loss::error("the cluster has no endpoint");
    Inbound {
        traffic_matches: inbound
            .member("TrafficMatches")
            .ports(PORTS, PORT, |_, element| read_match(element).ok())
            .or_default(),
        clusters_configs: inbound
            .member("ClustersConfigs")
            .map(CLUSTERS, |_, endpoints| {
                // Kept without endpoints, so that rules still name a cluster that exists.
                Some(read_weights(endpoints, CLUSTER).or_default())
            })
            .or_default(),
    }
}

fn read_match(node: &Node<'_>) -> Result<InboundTrafficMatch, Unreadable> {
    let element = node.required(node.object(PORT), PORT)?;
    let port = element.member("Port");
    Ok(InboundTrafficMatch {
        port: port.required(port.port(PORT), PORT)?,
        protocol: read_protocol(&element.member("Protocol"), PORT)?,
        source_ip_ranges: read_source_ranges(&element.member("SourceIPRanges")),
        http_host_port2_service: read_hosts(&element.member("HttpHostPort2Service")),
        http_service_route_rules: read_rule_sets(&element.member("HttpServiceRouteRules")),
        tcp_service_route_rules: read_tcp_rules(&element.member("TcpServiceRouteRules")).unwrap_or_default(),
        rate_limit: read_tcp_rate_limit(&element.member("RateLimit")),
    })
}

fn read_source_ranges(node: &Node<'_>) -> BTreeMap<String, Option<SourceIpRange>> {
    const RANGES: Loss = Loss::error("no client outside the mesh is let in on this port");
    node.map(RANGES, |_, range| {
        let range = read_source_range(range);
        Some(range.unwrap_or_else(|Unreadable| Some(SourceIpRange::refusing())))
    })
    .or_default()
}

/// `null` means plaintext; anything else means TLS unless it readably says otherwise.
fn read_source_range(node: &Node<'_>) -> Result<Option<SourceIpRange>, Unreadable> {
    const RANGE: Loss = Loss::error("clients of this range are refused");
    let Some(range) = node.object(RANGE)? else {
        return Ok(None);
    };
    Ok(Some(SourceIpRange {
        mtls: range.member("mTLS").flag(RANGE)?.unwrap_or(true),
        skip_client_cert_validation: range.member("SkipClientCertValidation").flag(RANGE)?.unwrap_or_default(),
        authenticated_principals: range.member("AuthenticatedPrincipals").texts(RANGE)?,
    }))
}

/// An unreadable set stays as one without rules, so that its hosts are denied by name.
fn read_rule_sets(node: &Node<'_>) -> BTreeMap<String, InboundRouteRules> {
    const SETS: Loss = Loss::error("every request to this port is denied");
    node.map(SETS, |_, rules| Some(read_rule_set(rules).unwrap_or_default())).or_default()
}

fn read_rule_set(node: &Node<'_>) -> Result<InboundRouteRules, Unreadable> {
    const SET: Loss = Loss::error("every request to this service is denied");
    let Some(rules) = node.object(SET)? else {
        return Ok(InboundRouteRules::default());
    };
    Ok(InboundRouteRules {
        route_rules: read_rules(&rules.member("RouteRules")),
        // A plugin may be what checks a token.
        plugins: read_plugins(&rules.member("Plugins"), SET)?,
        rate_limit: read_http_rate_limit(&rules.member("RateLimit")),
        allowed_endpoints: rules
            .member("AllowedEndpoints")
            .map(INFORMATION, |_, identity| identity.text(INFORMATION).value())
            .or_default(),
    })
}

fn read_tcp_rules(node: &Node<'_>) -> Result<Option<InboundTcpRouteRules>, Unreadable> {
    const TCP: Loss = Loss::error("every TCP connection to this port is refused");
    let Some(rules) = node.object(TCP)? else {
        return Ok(None);
    };
    Ok(Some(InboundTcpRouteRules {
        target_clusters: read_weights(&rules.member("TargetClusters"), TCP)?.unwrap_or_default(),
        allowed_services: rules.member("AllowedServices").texts(TCP)?,
        plugins: read_plugins(&rules.member("Plugins"), TCP)?,
    }))
}
