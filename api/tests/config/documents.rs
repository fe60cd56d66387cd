//! Whole documents of every FSM version: read without problems, and written as they were.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::io::Write;

/// The four documents of today's FSM and the packed one come back member by member, `null`s included.
///
/// What FSM's writer can distinguish and the types do not, decided here once and for all:
/// * `Inbound.TrafficMatches` and `Inbound.ClustersConfigs` are written as `null` when empty (FSM: never filled); FSM
///   writes `{}` only in the unused case of a map that was made and left empty.
/// * An empty `DestinationIPRanges` is written as `null`: both mean "any destination".
/// * `RetryPolicy.RetryOn: null` is written as `""`: both mean `5xx`.
/// * A rate limit without `Local` is not written: it limits nothing.
/// * Empty optional maps and lists (`Headers: {}`, `Plugins: {}`, `Chains: {}`) are not written.
///   `Methods`, `AllowedServices` and `AuthenticatedPrincipals` are: an empty one of these permits nothing.
#[test]
fn a_document_is_written_as_it_was_read() {
    for (name, text) in &FIXTURES[..5] {
        assert_eq!(written(&read_clean(text)), json(text), "{name}");
    }
}

#[test]
fn documented_differences_between_written_and_read_are_these() {
    let document = json!({
        "Inbound": {"TrafficMatches": {}, "ClustersConfigs": {}},
        "Outbound": {
            "TrafficMatches": {"80": [{
                "Port": 80, "Protocol": "http", "DestinationIPRanges": {},
                "HttpServiceRouteRules": {"a.b": {"RouteRules": [
                    {"Path": "/", "Type": "Prefix", "Headers": {}, "Methods": [], "TargetClusters": {}, "AllowedServices": []}
                ], "Plugins": {}}}
            }]},
            "ClustersConfigs": {"c": {"Endpoints": {}, "RetryPolicy": {"RetryOn": null}}}
        },
        "Chains": {}
    });
    let (config, problems) = read(&document);
    assert_eq!(problems, []);
    let written = written(&config);
    assert_eq!(written["Inbound"], json!({"TrafficMatches": null, "ClustersConfigs": null}));
    assert_eq!(
        written["Outbound"],
        json!({
            "TrafficMatches": {"80": [{
                "Port": 80, "Protocol": "http", "DestinationIPRanges": null,
                "HttpServiceRouteRules": {"a.b": {"RouteRules": [
                    {"Path": "/", "Type": "Prefix", "Methods": [], "TargetClusters": {}, "AllowedServices": []}
                ]}}
            }]},
            "ClustersConfigs": {"c": {"Endpoints": {}, "RetryPolicy": {
                "RetryOn": "", "PerTryTimeout": null, "NumRetries": null, "RetryBackoffBaseInterval": null
            }}}
        })
    );
    assert_eq!(written.get("Chains"), None);
}

#[test]
fn what_was_written_reads_back_the_same() {
    for (name, text) in FIXTURES {
        let config = read_clean(text);
        assert_eq!(read_clean(&written(&config).to_string()), config, "{name}");
    }
}

/// FSM 1.3.0: hosts are plain strings and the identity sits in the rule sets. It is written in today's form.
#[test]
fn a_document_of_fsm_1_3_0_means_the_same_as_todays() {
    let legacy = read_clean(LEGACY);
    assert_eq!(legacy.spec.service_identity, "web.shop");
    assert_eq!(written(&legacy)["DNSResolveDB"], json(LEGACY)["DNSResolveDB"]);
    assert_eq!(written(&legacy)["Spec"]["LocalDNSProxy"], json(LEGACY)["Spec"]["LocalDNSProxy"]);

    let mut as_today = legacy;
    as_today.version = Some("9107446620351198213".into());
    as_today.dns_resolve_db = None;
    as_today.spec.local_dns_proxy = None;
    for element in as_today.outbound.as_mut().unwrap().traffic_matches.values_mut().flatten() {
        for rules in element.http_service_route_rules.values_mut() {
            assert_eq!(rules.service_identity.take().as_deref(), Some("web.shop"));
        }
    }
    assert_eq!(as_today, read_clean(PERMISSIVE));
}

#[test]
fn two_identities_in_the_rule_sets_are_reported_and_spec_wins_over_both() {
    let mut document = json(LEGACY);
    let rules = &mut document["Outbound"]["TrafficMatches"]["80"][0]["HttpServiceRouteRules"];
    rules["rates.bank"]["ServiceIdentity"] = json!("other.shop");
    let (config, problems) = read(&document);
    assert_eq!(config.spec.service_identity, "web.shop");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, "Spec.ServiceIdentity");

    document["Spec"]["ServiceIdentity"] = json!("spec.shop");
    let (config, problems) = read(&document);
    assert_eq!(config.spec.service_identity, "spec.shop");
    assert_eq!(problems, []);
}

#[test]
fn a_packed_document_resolves_through_its_ids() {
    let packed = read_clean(FIXTURES[4].1);
    let inbound = packed.inbound.unwrap();
    let port = &inbound.traffic_matches[&80];
    let host = &port.http_host_port2_service["web.shop"];
    assert_eq!(host.service.as_deref(), Some("web.shop"));
    let rule = &port.http_service_route_rules[&host.rule_name].route_rules[0];
    let (cluster, _) = rule.target_clusters.first_key_value().unwrap();
    assert_eq!(inbound.clusters_configs[cluster]["127.0.0.1:8080"], 100);
}

#[test]
fn compressed_documents_read_like_plain_ones() {
    for (name, text) in FIXTURES {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        let (config, problems) = Config::read(&encoder.finish().unwrap()).unwrap();
        assert_eq!(problems, [], "{name}");
        assert_eq!(config, read_clean(text), "{name}");
    }
}

#[test]
fn only_the_empty_document_is_a_placeholder() {
    for text in ["{}", "{ }", r#"{"Spec":{},"Inbound":null,"Chains":{}}"#] {
        assert!(read_clean(text).is_empty_placeholder(), "{text}");
    }
    for (name, text) in FIXTURES {
        assert!(!read_clean(text).is_empty_placeholder(), "{name}");
    }
    assert!(!read_clean(r#"{"Version":"1"}"#).is_empty_placeholder());
}

#[test]
fn unknown_members_are_skipped_silently_everywhere() {
    fn sprinkle(value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(sprinkle),
            Value::Object(map) => {
                map.values_mut().for_each(sprinkle);
                // In maps from names to objects an extra member would be an entry, so only objects of known types get one.
                if ["Path", "Protocol", "Endpoints", "Weight", "Spec", "Traffic", "CertChain", "RetryOn", "Local"]
                    .iter()
                    .any(|member| map.contains_key(*member))
                {
                    map.insert("FromTheFuture".into(), json!({"deep": [1, {"x": null}]}));
                }
            }
            _ => {}
        }
    }
    for (name, text) in FIXTURES {
        let mut document = json(text);
        sprinkle(&mut document);
        let (config, problems) = read(&document);
        assert_eq!(problems, [], "{name}");
        assert_eq!(config, read_clean(text), "{name}");
    }
}

#[test]
fn absent_null_and_empty_containers_are_equal() {
    let absent = read_clean(r#"{"Version":"1"}"#);
    let null = read_clean(
        r#"{"Version":"1","Ts":null,"Metrics":null,"Spec":null,"Certificate":null,"Inbound":null,"Outbound":null,
            "Forward":null,"AllowedEndpoints":null,"Chains":null,"DNSResolveDB":null}"#,
    );
    assert_eq!(absent, null);

    let empty = r#"{"Inbound":{"TrafficMatches":{"80":{"Port":80,"Protocol":"http",
        "SourceIPRanges":{},"HttpHostPort2Service":{},"HttpServiceRouteRules":{},"RateLimit":{"Local":null}}}}}"#;
    let null = r#"{"Inbound":{"ClustersConfigs":null,"TrafficMatches":{"80":{"Port":80,"Protocol":"http",
        "SourceIPRanges":null,"HttpHostPort2Service":null,"HttpServiceRouteRules":null,"TcpServiceRouteRules":null,
        "RateLimit":null}}}}"#;
    let absent = r#"{"Inbound":{"TrafficMatches":{"80":{"Port":80,"Protocol":"http"}}}}"#;
    assert_eq!(read_clean(empty), read_clean(absent));
    assert_eq!(read_clean(null), read_clean(absent));
}

#[test]
fn other_spellings_of_the_same_value_are_accepted() {
    let config = read_clean(
        r#"{
        "Version": 9107446620351198213,
        "Spec": {
            "SidecarTimeout": "2.5",
            "Observability": {"tracing": {"address": "a:1", "sampledFraction": 0.125},
                              "remoteLogging": {"address": "b:2", "sampledFraction": "0.5"}},
            "Probes": {"LivenessProbes": [{"httpGet": {"port": "15901"}, "initialDelaySeconds": "3"}]}
        },
        "Inbound": {"TrafficMatches": {
            "0080": {"Port": "8080", "Protocol": "HTTP", "HttpServiceRouteRules": {"r": {"RouteRules": [
                {"Path": "/", "Type": "prefix", "Methods": ["*"], "Headers": {"X-Tenant": "^red$"},
                 "TargetClusters": {"c": 100.0, "d": "5"},
                 "RateLimit": {"Local": {"Requests": "3", "StatTimeWindow": "60"}}}]}}},
            "90": {"Port": 90, "Protocol": "TCP-Server-First"}
        }}}"#,
    );
    assert_eq!(config.version.as_deref(), Some("9107446620351198213"));
    assert_eq!(config.spec.sidecar_timeout, 3, "rounded up");
    let observability = &config.spec.observability;
    assert_eq!(observability.tracing.as_ref().unwrap().sampled_fraction, Some(0.125));
    assert_eq!(observability.remote_logging.as_ref().unwrap().sampled_fraction, Some(0.5));
    // Two decimals would change the value, so there are three.
    assert_eq!(written(&config)["Spec"]["Observability"]["tracing"]["sampledFraction"], "0.125");
    let probe = &config.spec.probes.liveness_probes[0];
    assert_eq!(probe.http_get.as_ref().unwrap().port, 15901);
    assert_eq!(probe.initial_delay_seconds, Some(3));

    let ports = &config.inbound.as_ref().unwrap().traffic_matches;
    assert_eq!((ports[&80].port, ports[&80].protocol.as_str()), (8080, "http"));
    assert_eq!(ports[&90].protocol, "tcp-server-first");
    let rule = &ports[&80].http_service_route_rules["r"].route_rules[0];
    assert_eq!(rule.path_type, fsm_api::config::PathType::Prefix);
    assert_eq!(rule.methods.as_deref(), Some(["*".to_owned()].as_slice()));
    assert_eq!(rule.headers["x-tenant"], "^red$");
    assert_eq!((rule.target_clusters["c"], rule.target_clusters["d"]), (100, 5));
    let limit = rule.rate_limit.as_ref().unwrap().local.as_ref().unwrap();
    assert_eq!((limit.requests, limit.stat_time_window), (3, 60.0));
}

#[test]
fn a_fraction_of_a_weight_is_cut_off_and_noted() {
    let document = json!({"Inbound": {"ClustersConfigs": {"c": {"127.0.0.1:1": 12.9}}}});
    let (config, problems) = read(&document);
    assert_eq!(config.inbound.unwrap().clusters_configs["c"]["127.0.0.1:1"], 12);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].severity, fsm_api::config::Severity::Note);
    assert_eq!(problems[0].path, r#"Inbound.ClustersConfigs["c"]["127.0.0.1:1"]"#);
}

/// In a list that says who may call, "nobody" and "no list" are opposites.
#[test]
fn empty_permission_lists_permit_nobody() {
    let config = read_clean(
        r#"{"Inbound": {"TrafficMatches": {"80": {"Port": 80, "Protocol": "http",
            "SourceIPRanges": {"10.0.0.0/8": {"AuthenticatedPrincipals": []}, "10.1.0.0/16": {}, "10.2.0.0/16": null},
            "HttpServiceRouteRules": {"r": {"RouteRules": [
                {"Path": ".*", "Type": "Regex", "AllowedServices": [], "Methods": []},
                {"Path": ".*", "Type": "Regex", "AllowedServices": null, "Methods": null}]}},
            "TcpServiceRouteRules": {"AllowedServices": []}}}}}"#,
    );
    let inbound = config.inbound.unwrap();
    let port = &inbound.traffic_matches[&80];
    let rules = &port.http_service_route_rules["r"].route_rules;
    assert_eq!((&rules[0].allowed_services, &rules[0].methods), (&Some(vec![]), &Some(vec![])));
    assert_eq!((&rules[1].allowed_services, &rules[1].methods), (&None, &None));
    assert_eq!(port.tcp_service_route_rules.as_ref().unwrap().allowed_services, Some(vec![]));

    let ranges = &port.source_ip_ranges;
    assert_eq!(ranges["10.0.0.0/8"].as_ref().unwrap().authenticated_principals, Some(vec![]));
    let tls = ranges["10.1.0.0/16"].as_ref().unwrap();
    assert!(tls.mtls, "an object without mTLS still asks for TLS");
    assert_eq!(tls.authenticated_principals, None);
    assert_eq!(ranges["10.2.0.0/16"], None);
}
