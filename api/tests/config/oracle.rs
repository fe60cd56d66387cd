//! What a document may permit at the most, worked out from its JSON without the reader.

use super::*;
use fsm_api::config::{InboundTrafficMatch, RouteRule, SourceIpRange};
use serde_json::{Map, json};

/// Checks that the config permits nothing that the document does not literally say.
///
/// Every restriction that survives must stand in the document as it is: in the place it came from, of the right type,
/// with nothing left out. What has vanished is fine, that denies.
pub(crate) fn assert_permits_no_more_than(config: &Config, document: &Value) {
    if config.certificate.is_none() {
        assert!(document["Certificate"].is_null(), "mTLS was turned off");
    }
    let traffic = &config.spec.traffic;
    assert_eq!(traffic.enable_egress, document["Spec"]["Traffic"]["EnableEgress"] == json!(true));
    for address in config.allowed_endpoints.keys() {
        assert!(document["AllowedEndpoints"].get(address).is_some());
    }
    for (port, element) in config.inbound.iter().flat_map(|inbound| &inbound.traffic_matches) {
        let said = by_port(&document["Inbound"]["TrafficMatches"], *port);
        assert_inbound(element, said);
    }
    assert_outbound(config, document);
}

fn assert_inbound(element: &InboundTrafficMatch, said: &Value) {
    for (range, how) in &element.source_ip_ranges {
        let said = &said["SourceIPRanges"][range];
        match how {
            None => assert!(said.is_null(), "{range} was opened to plaintext: {said}"),
            Some(how) if *how == SourceIpRange::refusing() => {}
            Some(how) => assert_range(how, said),
        }
    }
    for (host, service) in &element.http_host_port2_service {
        let said = &said["HttpHostPort2Service"][host];
        assert!(*said == json!(service.rule_name) || said["RuleName"] == json!(service.rule_name));
    }
    for (name, rules) in &element.http_service_route_rules {
        let said = &said["HttpServiceRouteRules"][name];
        assert_rules(&rules.route_rules, &said["RouteRules"]);
        assert_eq!(json!(rules.plugins), or_empty(&said["Plugins"], rules.route_rules.is_empty()));
    }
    if let Some(rules) = &element.tcp_service_route_rules {
        let said = &said["TcpServiceRouteRules"]["AllowedServices"];
        assert_eq!(json!(rules.allowed_services), *said);
    }
}

fn assert_range(how: &SourceIpRange, said: &Value) {
    let asks_for_tls = said["mTLS"].as_bool().unwrap_or(true);
    assert_eq!(how.mtls, asks_for_tls, "{said}");
    assert!(said["mTLS"].is_boolean() || said["mTLS"].is_null(), "{said}");
    let skips = said["SkipClientCertValidation"] == json!(true);
    assert_eq!(how.skip_client_cert_validation, skips, "{said}");
    assert_eq!(json!(how.authenticated_principals), said["AuthenticatedPrincipals"]);
}

fn assert_outbound(config: &Config, document: &Value) {
    let Some(outbound) = &config.outbound else {
        return;
    };
    let said = &document["Outbound"];
    for (port, elements) in &outbound.traffic_matches {
        let said = by_port(&said["TrafficMatches"], *port);
        let mut candidates = said.as_array().unwrap().iter();
        for element in elements {
            // Unreadable elements are missing, the others are there in order.
            let place = candidates.find(|said| {
                let ranges = said["DestinationIPRanges"].as_object();
                let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<std::collections::BTreeSet<_>>();
                let kept = element.destination_ip_ranges.as_ref();
                let kept = kept.map(|ranges| ranges.keys().cloned().collect());
                let protocol = said["Protocol"].as_str().map(str::to_ascii_lowercase);
                ranges.filter(|map| !map.is_empty()).map(keys) == kept
                    && (said["DestinationIPRanges"].is_null() || ranges.is_some())
                    && protocol.as_ref() == Some(&element.protocol)
            });
            let said = place.expect("an element with these very ranges and protocol");
            for (range, settings) in element.destination_ip_ranges.iter().flatten() {
                let plain = settings.as_ref().is_none_or(|settings| settings.source_cert.is_none());
                let range = &said["DestinationIPRanges"][range];
                let said_plain = range.is_null() || range.is_object() && range["SourceCert"].is_null();
                assert_eq!(plain, said_plain, "TLS origination was dropped or made up");
            }
            for (name, rules) in &element.http_service_route_rules {
                assert_rules(&rules.route_rules, &said["HttpServiceRouteRules"][name]["RouteRules"]);
            }
            if let Some(rules) = &element.tcp_service_route_rules {
                let said = &said["TcpServiceRouteRules"];
                assert_eq!(rules.allowed_egress_traffic, said["AllowedEgressTraffic"] == json!(true));
                assert_eq!(json!(rules.egress_forward_gateway), said["EgressForwardGateway"]);
            }
        }
    }
    for (name, gateway) in config.forward.iter().flat_map(|forward| &forward.egress_gateways) {
        let said = &document["Forward"]["EgressGateways"][name]["ServiceIdentities"];
        assert_eq!(json!(gateway.service_identities), *said);
    }
    for (name, cluster) in &outbound.clusters_configs {
        let said = &said["ClustersConfigs"][name];
        assert!(cluster.source_cert.is_some() || said["SourceCert"].is_null() || cluster.endpoints.is_empty());
        if !cluster.endpoints.is_empty() {
            let identities = or_empty_list(&said["ServiceIdentities"]);
            assert_eq!(json!(cluster.service_identities), identities);
        }
        for (address, endpoint) in &cluster.endpoints {
            let said = &said["Endpoints"][address];
            assert_eq!(json!(endpoint.via_gateway), said["ViaGateway"]);
            assert_eq!(json!(endpoint.path), said["Path"]);
        }
    }
}

/// The rules are some of those in the document, in their order, each with all of its conditions.
fn assert_rules(rules: &[RouteRule], said: &Value) {
    let mut candidates = said.as_array().into_iter().flatten().map(conditions);
    for rule in rules {
        let rule = json!([rule.path, rule.path_type, rule.headers, rule.methods, rule.allowed_services]);
        assert!(candidates.any(|said| said.as_ref() == Some(&rule)), "{rule} is not in {said}");
    }
}

/// The conditions of a rule as they stand in the document; nothing when one of them is malformed.
fn conditions(said: &Value) -> Option<Value> {
    let list = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.iter().all(Value::is_string),
        _ => false,
    };
    let path = said["Path"].as_str()?;
    let kinds = ["Regex", "Exact", "Prefix"];
    let kind = kinds.into_iter().find(|kind| kind.eq_ignore_ascii_case(said["Type"].as_str().unwrap_or("")))?;
    let mut headers = Map::new();
    match &said["Headers"] {
        Value::Null => {}
        Value::Object(map) => {
            for (name, expression) in map {
                headers.insert(name.to_ascii_lowercase(), json!(expression.as_str()?));
            }
            if headers.len() != map.len() {
                return None;
            }
        }
        _ => return None,
    }
    (list(&said["Methods"]) && list(&said["AllowedServices"]))
        .then(|| json!([path, kind, headers, said["Methods"], said["AllowedServices"]]))
}

/// The entry of a map with ports as keys; the first of several spellings.
fn by_port(map: &Value, port: u16) -> &Value {
    let entries = map.as_object().expect("a map of ports");
    let mut spellings = entries.iter().filter(|(key, _)| key.parse() == Ok(port));
    spellings.next().expect("a port that the document names").1
}

fn or_empty(said: &Value, denied: bool) -> Value {
    match said {
        Value::Object(_) => said.clone(),
        Value::Null => json!({}),
        _ if denied => json!({}),
        _ => panic!("unreadable plugins and rules that still permit: {said}"),
    }
}

fn or_empty_list(said: &Value) -> Value {
    if said.is_null() { json!([]) } else { said.clone() }
}
