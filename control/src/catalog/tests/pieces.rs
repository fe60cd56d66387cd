//! Single decisions, each on a case's world with a few objects added.

use super::{objects, world};
use crate::catalog::route;
use crate::world::{PodKey, Problem, World};
use fsm_api::config::{Config, RouteRule};
use fsm_api::resources::manifest;
use std::collections::BTreeMap;

/// The world of a case, with more objects.
fn with(case: &str, text: &str) -> World {
    let (more, errors) = manifest::read(text, "test");
    assert!(errors.is_empty(), "{errors:?}");
    world(objects(case).into_iter().chain(more.into_iter().map(|found| found.value)))
}

fn built(world: &World, namespace: &str, pod: &str) -> (Config, Vec<Problem>) {
    let id = world.group_of(&PodKey::new(namespace, pod)).expect("the pod has a proxy");
    let built = crate::catalog::build(world, world.group(id).unwrap());
    (built.config, built.problems)
}

fn mesh_config(spec: &str) -> String {
    format!(
        "apiVersion: config.flomesh.io/v1alpha3\nkind: MeshConfig\nmetadata: {{name: fsm-mesh-config, namespace: fsm-system}}\n\
         spec: {spec}\n"
    )
}

/// The hosts under which curl reaches httpbin.
fn hosts(spec: &str) -> Vec<String> {
    let (config, _) = built(&with("6.1-permissive", &mesh_config(spec)), "curl", "curl-54ccc6954c-9rlvp");
    let outbound = config.outbound.unwrap();
    outbound.traffic_matches[&14001][0].http_host_port2_service.keys().cloned().collect()
}

#[test]
fn names_of_services_follow_the_mesh_config() {
    assert_eq!(
        hosts("{traffic: {serviceAccessMode: ip}}"),
        ["10.244.0.9", "10.244.0.9:14001", "10.96.198.23", "10.96.198.23:14001"]
    );
    assert_eq!(
        hosts("{traffic: {serviceAccessMode: domain, serviceAccessNames: {withTrustDomain: false}}}"),
        ["httpbin.httpbin", "httpbin.httpbin:14001"]
    );
    assert_eq!(
        hosts(
            "{traffic: {serviceAccessMode: domain, serviceAccessNames: {withTrustDomain: false, mustWithServicePort: true}}}"
        ),
        ["httpbin.httpbin:14001"]
    );
    assert_eq!(
        hosts(
            "{traffic: {serviceAccessMode: domain, serviceAccessNames: {withTrustDomain: false, mustWithNamespace: false}}}"
        ),
        ["httpbin", "httpbin.httpbin", "httpbin.httpbin:14001", "httpbin:14001"]
    );
}

const CLIENT: (&str, &str) = ("curl", "curl-54ccc6954c-9rlvp");

/// The rules of the canary's root in the client's document.
fn root_rules(text: &str) -> (Vec<RouteRule>, Vec<Problem>) {
    let (config, problems) = built(&with("1.4-canary-weights", text), CLIENT.0, CLIENT.1);
    let outbound = config.outbound.unwrap();
    (outbound.traffic_matches[&8080][0].http_service_route_rules["httpbin.httpbin"].route_rules.clone(), problems)
}

fn split(name: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\nmetadata: {{name: {name}, namespace: httpbin}}\n\
         spec: {{service: httpbin, {rest}}}\n"
    )
}

fn targets(all: &[(&str, u32)]) -> BTreeMap<String, u32> {
    all.iter().map(|(name, weight)| (format!("httpbin/{name}|8080"), *weight)).collect()
}

#[test]
fn backends_that_all_weigh_nothing_share_alike() {
    let (rules, _) = root_rules(&split(
        "httpbin-split",
        "backends: [{service: httpbin-v1, weight: 0}, {service: httpbin-v2, weight: 0}]",
    ));
    assert_eq!(rules[0].target_clusters, targets(&[("httpbin-v1", 100), ("httpbin-v2", 100)]));
    // One that weighs nothing beside others gets nothing.
    let (rules, _) = root_rules(&split(
        "httpbin-split",
        "backends: [{service: httpbin-v1, weight: 7}, {service: httpbin-v2, weight: 0}]",
    ));
    assert_eq!(rules[0].target_clusters, targets(&[("httpbin-v1", 7), ("httpbin-v2", 0)]));
}

#[test]
fn what_no_split_takes_is_shared_by_all_backends() {
    let text = "apiVersion: specs.smi-spec.io/v1alpha4\nkind: HTTPRouteGroup\nmetadata: {name: test, namespace: httpbin}\n\
                spec: {matches: [{name: test, pathRegex: /test}]}\n";
    let matching = "matches: [{kind: HTTPRouteGroup, name: test}], backends: [{service: httpbin-v2, weight: 9}]";
    let (rules, problems) = root_rules(&format!("{text}{}", split("httpbin-split", matching)));
    assert!(problems.is_empty(), "{problems:?}");
    let shared: Vec<_> = rules.iter().map(|rule| (rule.path.as_str(), rule.target_clusters.clone())).collect();
    assert_eq!(shared, [("/test", targets(&[("httpbin-v2", 9)])), (".*", targets(&[("httpbin-v2", 100)]))]);
}

#[test]
fn a_split_whose_group_is_missing_is_not_one_for_all_requests() {
    let missing = "matches: [{kind: HTTPRouteGroup, name: gone}], backends: [{service: httpbin-v2, weight: 1}]";
    let (rules, problems) = root_rules(&split("beside", missing));
    // The other split of the root still holds.
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].target_clusters, targets(&[("httpbin-v1", 75), ("httpbin-v2", 25)]));
    assert_eq!(problems[0].reason, "MissingRoute");
    assert_eq!(problems[0].objects, ["TrafficSplit httpbin/beside", "HTTPRouteGroup httpbin/gone"]);
}

#[test]
fn a_split_without_known_backends_leaves_its_root_alone() {
    let gone = "backends: [{service: gone, weight: 1}]";
    let (rules, problems) = root_rules(&split("httpbin-split", gone));
    assert_eq!(rules[0].target_clusters, targets(&[("httpbin", 100)]));
    assert_eq!(problems[0].reason, "MissingBackend");
}

/// The callers that the echo server admits.
fn echo_callers(ports: &str, service: &str) -> Option<Vec<String>> {
    let route = format!(
        "apiVersion: specs.smi-spec.io/v1alpha4\nkind: TCPRoute\nmetadata: {{name: tcp-echo-route, namespace: tcp-demo}}\n\
         spec: {{matches: {{ports: {ports}}}}}\n---\n{service}"
    );
    let (config, _) = built(&with("1.3-tcp-route", &route), "tcp-demo", "tcp-echo-6656b7c4f8-zt92q");
    let entry = config.inbound.unwrap().traffic_matches.remove(&9000).unwrap();
    entry.tcp_service_route_rules.unwrap().allowed_services
}

/// Port 70 of the Service is port 9000 of the pods.
const OTHER_PORT: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: tcp-echo, namespace: tcp-demo}\n\
                          spec: {clusterIP: 10.96.216.68, selector: {app: tcp-echo}, ports: [{name: tcp, port: 70, targetPort: 9000, \
                          appProtocol: tcp}]}\n";

#[test]
fn ports_of_a_tcp_route_are_those_of_the_application_or_else_of_the_service() {
    let curl = Some(vec!["curl.curl".to_owned()]);
    assert_eq!(echo_callers("[9000]", ""), curl);
    assert_eq!(echo_callers("[]", ""), curl);
    assert_eq!(echo_callers("[1, 2]", ""), Some(Vec::new()));
    assert_eq!(echo_callers("[9000]", OTHER_PORT), curl);
    assert_eq!(echo_callers("[70]", OTHER_PORT), curl);
    assert_eq!(echo_callers("[71]", OTHER_PORT), Some(Vec::new()));
}

#[test]
fn a_target_port_is_dialled_and_known_under_both_numbers() {
    let world = with("1.3-tcp-permissive", OTHER_PORT);
    let (config, _) = built(&world, CLIENT.0, CLIENT.1);
    let outbound = config.outbound.unwrap();
    assert_eq!(outbound.traffic_matches.keys().collect::<Vec<_>>(), [&70]);
    let endpoints = &outbound.clusters_configs["tcp-demo/tcp-echo|9000"].endpoints;
    assert_eq!(endpoints.keys().collect::<Vec<_>>(), ["10.244.0.12:9000"]);
    let (config, _) = built(&world, "tcp-demo", "tcp-echo-6656b7c4f8-zt92q");
    let inbound = config.inbound.unwrap();
    assert_eq!(inbound.traffic_matches.keys().collect::<Vec<_>>(), [&70, &9000]);
    assert!(inbound.traffic_matches.values().all(|entry| entry.port == 9000));
}

#[test]
fn an_endpoint_without_a_proxy_is_no_endpoint_outside_of_permissive_mode() {
    let smi = mesh_config("{traffic: {enablePermissiveTrafficPolicyMode: false}}");
    let target = "---\napiVersion: access.smi-spec.io/v1alpha3\nkind: TrafficTarget\n\
                  metadata: {name: cart, namespace: shop}\n\
                  spec: {destination: {kind: ServiceAccount, name: cart}, sources: [{kind: ServiceAccount, name: web}], rules: []}\n";
    let (config, problems) = built(&with("ports-and-pods-without-proxy", &format!("{smi}{target}")), "shop", "web-0");
    let clusters = config.outbound.unwrap().clusters_configs;
    assert_eq!(clusters.keys().collect::<Vec<_>>(), ["shop/cart|9090"]);
    assert_eq!(clusters["shop/cart|9090"].endpoints.keys().collect::<Vec<_>>(), ["10.244.2.2:9090"]);
    assert!(problems.iter().any(|problem| problem.reason == "EndpointWithoutProxy"), "{problems:?}");
}

#[test]
fn an_access_control_without_backends_opens_its_own_namespace_and_the_meshs_own_opens_all() {
    let open = |namespace: &str| {
        let text = format!(
            "apiVersion: policy.flomesh.io/v1alpha1\nkind: AccessControl\nmetadata: {{name: all, namespace: {namespace}}}\n\
             spec: {{sources: [{{kind: IPRange, name: 192.0.2.0/24}}]}}\n"
        );
        let (config, _) = built(&with("6.3-service-access", &text), "httpbin", "httpbin-5b8b94b9-lt2vs");
        config.inbound.unwrap().traffic_matches[&14001].source_ip_ranges.contains_key("192.0.2.0/24")
    };
    assert!(open("httpbin"));
    assert!(open("fsm-system"));
    assert!(!open("curl"));
}

#[test]
fn rules_have_one_order_and_equal_conditions_are_one_rule() {
    let rule = |path: &str, methods: &[&str], header: &str, caller: &str| RouteRule {
        path: path.into(),
        methods: (!methods.is_empty()).then(|| methods.iter().map(|&method| method.into()).collect()),
        headers: (!header.is_empty()).then(|| (header.to_owned(), "x".to_owned())).into_iter().collect(),
        allowed_services: Some(vec![caller.into()]),
        ..RouteRule::default()
    };
    let rules = vec![
        rule(".*", &[], "", "a"),
        rule("/b", &[], "", "a"),
        rule("/b", &["GET"], "", "a"),
        rule("/b", &["PUT", "GET"], "", "b"),
        rule("/b", &["GET", "PUT"], "", "a"),
        rule("/b", &[], "h", "a"),
        rule("/a", &[], "", "a"),
    ];
    let mut backwards = rules.clone();
    backwards.reverse();
    let ordered = route::ordered(rules);
    assert_eq!(ordered, route::ordered(backwards));
    let shown: Vec<_> = ordered
        .iter()
        .map(|rule| (rule.path.as_str(), rule.headers.len(), rule.methods.as_ref().map_or(0, Vec::len)))
        .collect();
    assert_eq!(shown, [("/a", 0, 0), ("/b", 1, 0), ("/b", 0, 2), ("/b", 0, 1), ("/b", 0, 0), (".*", 0, 0)]);
    assert_eq!(ordered[2].allowed_services, Some(vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_pod_address_means_the_pod_where_pods_have_names() {
    let (config, _) = built(&with("stateful-set", ""), CLIENT.0, CLIENT.1);
    let element = &config.outbound.unwrap().traffic_matches[&80][0];
    assert_eq!(element.http_host_port2_service["10.244.1.10"].rule_name, "store-0.store.data");
    assert_eq!(element.http_host_port2_service["store.data"].rule_name, "store.data");
}

#[test]
fn a_range_of_an_egress_policy_never_takes_an_address_of_the_mesh() {
    let text = "apiVersion: policy.flomesh.io/v1alpha1\nkind: Egress\nmetadata: {name: wide, namespace: curl}\n\
                spec: {sources: [{kind: ServiceAccount, name: curl, namespace: curl}], ipAddresses: [10.96.198.23/32, 10.96.0.0/16], \
                ports: [{number: 14001, protocol: tcp}]}\n";
    let (config, _) = built(&with("6.1-permissive", text), CLIENT.0, CLIENT.1);
    let elements = &config.outbound.unwrap().traffic_matches[&14001];
    let ranges: Vec<(&str, Vec<&str>)> = elements
        .iter()
        .map(|element| {
            let ranges = element.destination_ip_ranges.as_ref().unwrap();
            (element.protocol.as_str(), ranges.keys().map(String::as_str).collect())
        })
        .collect();
    assert_eq!(ranges, [("http", vec!["10.244.0.9/32", "10.96.198.23/32"]), ("tcp", vec!["10.96.0.0/16"])]);
}
