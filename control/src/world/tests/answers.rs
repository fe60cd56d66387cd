//! What the world answers: membership, ports, endpoints, callers, settings.

use super::super::{AccessMode, Account, Group, MeshService, Protocol, World};
use super::{empty, group_of, key, mesh_config, namespace, object, pod, put, service, slice, strict, target, world};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

fn ports(world: &World, namespace: &str, name: &str) -> Vec<MeshService> {
    world.mesh_services_of(&key(namespace, name)).to_vec()
}

fn dialled(world: &World, namespace: &str, name: &str) -> Vec<String> {
    let ports = ports(world, namespace, name);
    let targets = ports.iter().flat_map(|port| world.targets(port));
    targets.map(|target| format!("{}:{}", target.ip, target.port)).collect()
}

fn patched(mut value: Value, pointer: &str, with: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[name] = with;
    value
}

#[test]
fn a_pod_is_in_the_mesh_with_a_proxy_in_a_monitored_namespace() {
    let mut world = world([namespace("a"), pod("a", "p", "web", "x", "10.0.0.1")]);
    assert!(world.group_of(&key("a", "p")).is_some());
    put(&mut world, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b"}}));
    put(&mut world, pod("b", "p", "web", "x", "10.0.0.2"));
    assert!(world.group_of(&key("b", "p")).is_none());
    let mut bare = pod("a", "q", "web", "x", "10.0.0.3");
    bare["metadata"]["labels"] = json!({"app": "web"});
    put(&mut world, bare);
    assert!(world.group_of(&key("a", "q")).is_none());
    put(&mut world, patched(pod("a", "p", "web", "x", "10.0.0.1"), "/status/phase", json!("Succeeded")));
    assert!(world.group_of(&key("a", "p")).is_none());
}

#[test]
fn pods_of_one_account_and_service_share_a_group_and_others_do_not() {
    let world = world([
        namespace("a"),
        service("a", "web"),
        pod("a", "p1", "web", "x", "10.0.0.1"),
        pod("a", "p2", "web", "x", "10.0.0.2"),
        pod("a", "p3", "web", "y", "10.0.0.3"),
        pod("a", "p4", "other", "x", "10.0.0.4"),
    ]);
    let one = group_of(&world, "a", "p1");
    assert_eq!(group_of(&world, "a", "p2"), one);
    assert_ne!(group_of(&world, "a", "p3"), one);
    assert_ne!(group_of(&world, "a", "p4"), one);
    let group: &Group = world.group(one).unwrap();
    assert_eq!(group.account.identity(), "x.a");
    assert_eq!(group.account.principal("cluster.local"), "x.a.cluster.local");
    assert_eq!(group.services, BTreeSet::from([key("a", "web")]));
}

#[test]
fn an_account_without_a_name_is_the_default_one() {
    let world =
        world([namespace("a"), patched(pod("a", "p", "web", "", "10.0.0.1"), "/spec/serviceAccountName", Value::Null)]);
    assert_eq!(world.pod(&key("a", "p")).unwrap().account, Account::new("a", "default"));
}

#[test]
fn excluded_services_are_not_in_the_mesh() {
    let mut world = world([namespace("a"), service("a", "web"), pod("a", "p", "web", "x", "10.0.0.1")]);
    assert_eq!(ports(&world, "a", "web").len(), 1);
    put(
        &mut world,
        patched(service("a", "web"), "/metadata/annotations", json!({"flomesh.io/service-exclusion": "true"})),
    );
    assert!(ports(&world, "a", "web").is_empty());
    assert!(world.group(group_of(&world, "a", "p")).unwrap().services.is_empty());
    put(&mut world, service("a", "web"));
    assert_eq!(ports(&world, "a", "web").len(), 1);
    let listed = json!({"flomesh.io/service-exclusion-list": "db, web"});
    let dirty = put(&mut world, patched(namespace("a"), "/metadata/annotations", listed));
    assert!(ports(&world, "a", "web").is_empty());
    assert!(dirty.groups.contains(&group_of(&world, "a", "p")));
    world.check_invariants().unwrap();
}

#[test]
fn the_protocol_comes_from_app_protocol_then_from_the_prefix_of_the_port_name() {
    let cases = [
        (None, "", Protocol::Http),
        (None, "http", Protocol::Http),
        (None, "tcp", Protocol::Http),
        (None, "tcp-x", Protocol::Tcp),
        (None, "tcp-server-first-x", Protocol::TcpServerFirst),
        (None, "grpc-x", Protocol::Grpc),
        (None, "http-x", Protocol::Http),
        (Some("tcp"), "http-x", Protocol::Tcp),
        (Some("GRPC"), "", Protocol::Grpc),
        (Some("tcp-server-first"), "", Protocol::TcpServerFirst),
        (Some("kubernetes.io/h2c"), "", Protocol::Http),
        (Some("https"), "", Protocol::Tcp),
        (Some("acme.com/odd"), "http-x", Protocol::Tcp),
    ];
    for (app_protocol, name, protocol) in cases {
        assert_eq!(super::super::parse::protocol(app_protocol, name), protocol, "{app_protocol:?} {name:?}");
    }
}

#[test]
fn ports_of_other_transports_are_left_out() {
    let both = json!([{"port": 53, "protocol": "UDP"}, {"port": 80}]);
    let world = world([namespace("a"), patched(service("a", "web"), "/spec/ports", both)]);
    assert_eq!(ports(&world, "a", "web").iter().map(|port| port.port).collect::<Vec<_>>(), [80]);
}

#[test]
fn target_ports_come_from_endpoints_then_from_the_service_then_from_named_container_ports() {
    let named =
        patched(service("a", "web"), "/spec/ports", json!([{"name": "http-web", "port": 80, "targetPort": "web"}]));
    let mut world = world([namespace("a"), named.clone()]);
    assert_eq!(ports(&world, "a", "web")[0].target_port, None);
    put(&mut world, pod("a", "p", "web", "x", "10.0.0.1"));
    assert_eq!(ports(&world, "a", "web")[0].target_port, Some(8080), "the pod's container port");
    let mut endpoints = slice("a", "web-1", "web", &[("p", "10.0.0.1")]);
    endpoints["ports"] = json!([{"name": "http-web", "port": 9999}]);
    put(&mut world, endpoints);
    assert_eq!(ports(&world, "a", "web")[0].target_port, Some(9999), "the endpoints' port");
    put(&mut world, patched(named, "/spec/ports", json!([{"port": 80}])));
    let group = world.group(group_of(&world, "a", "p")).unwrap();
    let local = group.local_port(&world.service(&key("a", "web")).unwrap().ports[0]);
    assert_eq!(local, Some(80), "an absent targetPort is the port");
    world.check_invariants().unwrap();
}

#[test]
fn pods_with_other_numbers_for_a_named_port_are_of_other_groups_and_dialled_at_their_own() {
    let ports = json!([{"name": "http-web", "port": 80, "targetPort": "web"}]);
    let other = json!([{"name": "web", "containerPort": 9090}]);
    let mut slices = [slice("a", "s1", "web", &[("p", "10.0.0.1")]), slice("a", "s2", "web", &[("q", "10.0.0.2")])];
    slices[0]["ports"] = json!([{"name": "http-web", "port": 8080}]);
    slices[1]["ports"] = json!([{"name": "http-web", "port": 9090}]);
    let [first, second] = slices;
    let world = world([
        namespace("a"),
        patched(service("a", "web"), "/spec/ports", ports),
        pod("a", "p", "web", "x", "10.0.0.1"),
        patched(pod("a", "q", "web", "x", "10.0.0.2"), "/spec/containers/0/ports", other).clone(),
        first,
        second,
    ]);
    let port = &world.service(&key("a", "web")).unwrap().ports[0];
    assert_eq!(world.group(group_of(&world, "a", "p")).unwrap().local_port(port), Some(8080));
    assert_eq!(world.group(group_of(&world, "a", "q")).unwrap().local_port(port), Some(9090));
    assert_eq!(dialled(&world, "a", "web"), ["10.0.0.1:8080", "10.0.0.2:9090"]);
}

#[test]
fn endpoints_are_merged_over_slices_and_families() {
    let mut v6 = slice("a", "six", "web", &[("p", "fd00::1")]);
    v6["addressType"] = json!("IPv6");
    let mut not_ready = slice("a", "two", "web", &[("p", "10.0.0.1"), ("q", "10.0.0.2")]);
    not_ready["endpoints"][0]["conditions"] = json!({"ready": false});
    not_ready["endpoints"][1]["conditions"] = json!({"ready": false});
    let mut world = world([
        namespace("a"),
        service("a", "web"),
        slice("a", "one", "web", &[("p", "10.0.0.1")]),
        not_ready,
        v6,
        pod("a", "p", "web", "x", "10.0.0.1"),
    ]);
    let port = &ports(&world, "a", "web")[0];
    let targets = world.targets(port);
    assert_eq!(targets.len(), 1, "one pod, however often it is mentioned: {targets:?}");
    assert_eq!(targets[0].ip.to_string(), "10.0.0.1");
    assert_eq!(targets[0].ips.len(), 2);
    assert_eq!(targets[0].account, Some(&Account::new("a", "x")));
    assert!(targets[0].has_proxy);
    assert_eq!(world.addresses_of(&key("a", "web")).len(), 3);
    put(&mut world, patched(service("a", "web"), "/spec/ipFamilies", json!(["IPv6", "IPv4"])));
    assert_eq!(world.targets(port)[0].ip.to_string(), "fd00::1", "the service's own family is dialled");
    world.check_invariants().unwrap();
}

#[test]
fn ending_endpoints_serve_only_for_want_of_ready_ones() {
    let mut slices = slice("a", "one", "web", &[("p", "10.0.0.1"), ("q", "10.0.0.2")]);
    slices["endpoints"][0]["conditions"] = json!({"ready": false, "serving": true, "terminating": true});
    let mut world = world([namespace("a"), service("a", "web"), slices.clone()]);
    assert_eq!(dialled(&world, "a", "web"), ["10.0.0.2:8080"]);
    slices["endpoints"][1]["conditions"] = json!({"ready": false, "serving": false});
    put(&mut world, slices);
    assert_eq!(dialled(&world, "a", "web"), ["10.0.0.1:8080"]);
}

#[test]
fn old_endpoints_count_only_without_slices_and_pods_are_known_by_address() {
    let old = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "a"},
        "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 8080}]}]});
    let mut world = world([namespace("a"), service("a", "web"), old, pod("a", "p", "other", "x", "10.0.0.1")]);
    assert_eq!(dialled(&world, "a", "web"), ["10.0.0.1:8080"]);
    assert_eq!(world.accounts_of(&key("a", "web")), BTreeSet::from([Account::new("a", "x")]));
    assert_eq!(world.services_of_account(&Account::new("a", "x")), BTreeSet::from([key("a", "web")]));
    put(&mut world, slice("a", "one", "web", &[("q", "10.0.0.2")]));
    assert_eq!(dialled(&world, "a", "web"), ["10.0.0.2:8080"]);
    world.check_invariants().unwrap();
}

#[test]
fn an_address_that_passes_to_another_pod_concerns_the_callers_of_the_first() {
    let old = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "a"},
        "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 8080}]}]});
    let (first, caller) = (pod("a", "p", "other", "x", "10.0.0.1"), pod("a", "c", "client", "c", "10.0.0.9"));
    let target = target("a", "t", "x", &["c"]);
    let mut world = world([namespace("a"), strict(), service("a", "web"), old, first, caller, target]);
    let caller = group_of(&world, "a", "c");
    let may_call = |world: &World| world.callable_services(&Account::new("a", "c")).contains(&key("a", "web"));
    assert!(may_call(&world));

    let second = pod("a", "o", "other", "y", "10.0.0.1");
    let dirty = put(&mut world, second.clone());
    assert!(!may_call(&world) && dirty.groups.contains(&caller), "{dirty:?}");
    let dirty = world.remove(&object(second).key());
    assert!(may_call(&world) && dirty.groups.contains(&caller), "{dirty:?}");
}

#[test]
fn a_slice_cannot_borrow_the_account_of_another_namespace() {
    let mut borrowed = slice("a", "one", "web", &[("p", "10.0.0.9")]);
    borrowed["endpoints"][0]["targetRef"]["namespace"] = json!("b");
    let world =
        world([namespace("a"), namespace("b"), service("a", "web"), pod("b", "p", "web", "x", "10.0.0.9"), borrowed]);
    assert!(world.accounts_of(&key("a", "web")).is_empty());
}

#[test]
fn a_headless_service_has_ports_for_each_host() {
    let headless = patched(service("a", "db"), "/spec/clusterIP", json!("None"));
    let mut slices = slice("a", "one", "db", &[("db-0", "10.0.0.1"), ("db-1", "10.0.0.2")]);
    slices["endpoints"][0]["hostname"] = json!("db-0");
    slices["endpoints"][1]["hostname"] = json!("db-1");
    let host = |name: &str, ip: &str| patched(pod("a", name, "db", "x", ip), "/spec/hostname", json!(name));
    let mut world = world([namespace("a"), headless, slices, host("db-0", "10.0.0.1"), host("db-1", "10.0.0.2")]);
    let names: Vec<String> = ports(&world, "a", "db").iter().map(MeshService::name).collect();
    assert_eq!(names, ["db-0.db", "db-1.db"]);
    let second = &ports(&world, "a", "db")[1];
    assert_eq!(world.targets(second)[0].ip.to_string(), "10.0.0.2");
    assert_eq!(world.group(group_of(&world, "a", "db-1")).unwrap().host.as_deref(), Some("db-1"));
    assert_ne!(group_of(&world, "a", "db-0"), group_of(&world, "a", "db-1"));
    put(&mut world, slice("a", "one", "db", &[("db-0", "10.0.0.1")]));
    assert_eq!(ports(&world, "a", "db")[0].name(), "db", "without host names only the service itself");
}

#[test]
fn only_those_who_may_are_callers_unless_the_mesh_is_permissive() {
    let all = || {
        [
            namespace("a"),
            strict(),
            service("a", "web"),
            service("a", "root"),
            slice("a", "one", "web", &[("p", "10.0.0.1")]),
            pod("a", "p", "web", "server", "10.0.0.1"),
            pod("a", "c", "client", "client", "10.0.0.2"),
            target("a", "t", "server", &["client"]),
            json!({"apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit", "metadata": {"name": "s", "namespace": "a"},
                "spec": {"service": "root.a", "backends": [{"service": "web", "weight": 1}]}}),
        ]
    };
    let (client, server) = (Account::new("a", "client"), Account::new("a", "server"));
    let mut world = world(all());
    assert_eq!(world.callable_services(&client), BTreeSet::from([key("a", "web"), key("a", "root")]));
    assert!(world.callable_services(&server).is_empty());
    assert_eq!(world.targets_to(&server).len(), 1);
    put(&mut world, mesh_config(json!({})));
    assert_eq!(world.callable_services(&server), BTreeSet::from([key("a", "web"), key("a", "root")]));
}

#[test]
fn a_traffic_target_opens_only_its_own_namespace() {
    let mut foreign = target("a", "t", "server", &["client"]);
    foreign["spec"]["destination"]["namespace"] = json!("b");
    let world = world([namespace("a"), namespace("b"), strict(), foreign]);
    assert!(world.targets_to(&Account::new("b", "server")).is_empty());
    assert!(world.targets_from(&Account::new("a", "client")).is_empty());
}

#[test]
fn an_endpoint_change_concerns_only_servers_and_callers() {
    let mut world = world([
        namespace("a"),
        strict(),
        service("a", "web"),
        service("a", "other"),
        slice("a", "one", "web", &[("p", "10.0.0.1")]),
        pod("a", "p", "web", "server", "10.0.0.1"),
        pod("a", "c", "client", "client", "10.0.0.2"),
        pod("a", "o", "other", "other", "10.0.0.3"),
        target("a", "t", "server", &["client"]),
    ]);
    let dirty = put(&mut world, slice("a", "one", "web", &[("p", "10.0.0.1"), ("p2", "10.0.0.7")]));
    assert_eq!(dirty.groups, BTreeSet::from([group_of(&world, "a", "p"), group_of(&world, "a", "c")]));
    let again = put(&mut world, slice("a", "one", "web", &[("p", "10.0.0.1"), ("p2", "10.0.0.7")]));
    assert!(again.is_empty());
}

#[test]
fn the_newest_of_two_settings_for_a_host_counts() {
    let setting = |name: &str, created: Value, most: u32| {
        json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "UpstreamTrafficSetting",
            "metadata": {"name": name, "namespace": "a", "creationTimestamp": created},
            "spec": {"host": "web.a.svc.cluster.local", "connectionSettings": {"tcp": {"maxConnections": most}}}})
    };
    let mut world = world([
        namespace("a"),
        setting("first-by-name", Value::Null, 1),
        setting("young", json!("2024-02-01T00:00:00Z"), 2),
        setting("old", json!("2024-01-01T00:00:00Z"), 3),
    ]);
    let name = |world: &World| world.upstream_setting(&key("a", "web")).unwrap().metadata.name.clone().unwrap();
    // Without a time it is as new as can be.
    assert_eq!(name(&world), "first-by-name");
    world.remove(&object(setting("first-by-name", Value::Null, 3)).key());
    assert_eq!(name(&world), "young");
    world.remove(&object(setting("young", Value::Null, 3)).key());
    assert_eq!(name(&world), "old");
}

#[test]
fn hosts_of_settings_are_services_of_their_namespace() {
    let service_of = |host| super::super::reference::service_of_host(host, "cluster.local");
    for host in ["web.a", "web.a.svc", "WEB.a.svc.cluster", "web.a.svc.cluster.local", "web.a."] {
        assert_eq!(service_of(host), Some(key("a", "web")), "{host}");
    }
    for host in ["web", "", "web.a.example.org", "web.a.svc.other", "a.b.c.d", ".a", "web.a.s"] {
        assert_eq!(service_of(host), None, "{host}");
    }
}

#[test]
fn secrets_are_shown_only_where_an_egress_refers_to_them() {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "a"},
        "data": {"tls.crt": "Y2VydA==", "tls.key": "a2V5", "ca.crt": "Y2E="}});
    let egress = json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "Egress", "metadata": {"name": "e", "namespace": "a"},
        "spec": {"sources": [{"kind": "ServiceAccount", "name": "x", "namespace": "a", "mtls": {"issuer": "other",
            "cert": {"sn": 1, "expiration": "", "subjectAltNames": [], "secret": {"name": "s", "namespace": "a"}}}}],
            "ports": [{"number": 443, "protocol": "https"}]}});
    let mut world = world([namespace("a"), secret, pod("a", "p", "web", "x", "10.0.0.1")]);
    assert!(world.tls_secret("a", "s").is_none());
    put(&mut world, egress);
    let found = world.tls_secret("a", "s").unwrap();
    assert_eq!((found.ca.as_str(), found.certificate.as_str(), found.key.as_str()), ("ca", "cert", "key"));
    assert!(!format!("{found:?}").contains("key\""), "the key is not shown");
}

#[test]
fn isolated_addresses_are_nobodys_endpoints() {
    let mut world =
        world([namespace("a"), service("a", "web"), slice("a", "one", "web", &[("p", "10.0.0.1"), ("q", "10.0.1.1")])]);
    put(
        &mut world,
        json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "Isolation", "metadata": {"name": "i"},
        "spec": {"cidrs": ["10.0.1.0/24", "nonsense"]}}),
    );
    assert_eq!(dialled(&world, "a", "web"), ["10.0.0.1:8080"]);
}

#[test]
fn imported_services_are_services() {
    let import = |account: &str| {
        json!({"apiVersion": "flomesh.io/v1alpha1", "kind": "ServiceImport", "metadata": {"name": "far", "namespace": "a"},
            "spec": {"serviceAccountName": account, "ports": [{"port": 80, "endpoints": [
                {"clusterKey": "default/default/default/c2", "target": {"host": "c2", "ip": "192.0.2.1", "port": 8090, "path": "/c2/far"}},
                {"clusterKey": "default/default/default/c3", "target": {"host": "c3", "ip": "c3.example", "port": 8090, "path": "/"}}]}]}})
    };
    let mut world = world([namespace("a"), strict(), target("a", "t", "far", &["client"]), import("")]);
    let client = Account::new("a", "client");
    let port = ports(&world, "a", "far")[0].clone();
    assert_eq!(port.protocol, Protocol::Http);
    let remote = world.remote_targets(&port);
    assert_eq!(remote.len(), 1, "an endpoint without address is left out: {remote:?}");
    assert_eq!((remote[0].cluster.as_str(), remote[0].path.as_str()), ("default/default/default/c2", "/c2/far"));
    assert!(world.callable_services(&client).is_empty(), "nobody says as whom it runs");
    put(&mut world, import("far"));
    assert_eq!(world.callable_services(&client), BTreeSet::from([key("a", "far")]));
    put(&mut world, import("*"));
    assert_eq!(world.callable_services(&client), BTreeSet::from([key("a", "far")]));
    assert!(world.is_imported_for_anyone(&key("a", "far")));
}

#[test]
fn the_settings_of_the_mesh_have_the_defaults_of_the_chart() {
    let mut world = empty();
    let mesh = world.mesh();
    assert!(mesh.permissive && mesh.mtls && mesh.enable_egress && mesh.http2_per_request_load_balancing);
    assert!(!mesh.features.retry_policy && mesh.features.egress_policy && mesh.tracing.is_none());
    assert_eq!(mesh.sidecar_timeout, Duration::from_secs(60));
    let plain = mesh.clone();
    put(&mut world, mesh_config(json!({})));
    assert_eq!(*world.mesh(), plain, "an empty MeshConfig changes nothing");
    let odd = json!({"sidecar": {"sidecarTimeout": -1, "configResyncInterval": "5s", "logLevel": ""},
        "certificate": {"serviceCertValidityDuration": "never", "certKeyBitSize": 512}});
    put(&mut world, mesh_config(odd));
    assert_eq!(*world.mesh(), plain, "values that cannot be are not used");
}

#[test]
fn the_mesh_config_is_read() {
    let spec = json!({
        "sidecar": {"sidecarDisabledMTLS": true, "logLevel": "debug", "sidecarTimeout": 5, "localProxyMode": "PodIP",
            "configResyncInterval": "90s", "maxDataPlaneConnections": 7, "compressConfig": false},
        "traffic": {"enableEgress": false, "enablePermissiveTrafficPolicyMode": false, "serviceAccessMode": "domain",
            "http1PerRequestLoadBalancing": true},
        "observability": {"tracing": {"enable": true, "sampledFraction": "0.25"},
            "remoteLogging": {"enable": true, "address": "logs", "authorization": "secret"}},
        "certificate": {"serviceCertValidityDuration": "1h", "certKeyBitSize": 4096},
        "featureFlags": {"enableRetryPolicy": true, "enableEgressPolicy": false},
        "pluginChains": {"inbound-http": [], "inbound-tcp": [{"plugin": "one", "priority": 10, "disable": false}, {"plugin": "two", "priority": 1, "disable": true}]},
        "clusterSet": {"name": "c1", "region": "r"},
        "egressGateway": {"enabled": true, "mode": "sock5", "port": 1081},
        "warmup": {"enable": true, "duration": "10s"}});
    let mut world = empty();
    let dirty = put(&mut world, mesh_config(spec));
    assert!(dirty.mesh);
    let mesh = world.mesh();
    assert!(!mesh.mtls && !mesh.enable_egress && !mesh.permissive && mesh.http1_per_request_load_balancing);
    assert_eq!((mesh.sidecar_log_level.as_str(), mesh.sidecar_timeout), ("debug", Duration::from_secs(5)));
    assert_eq!(mesh.config_resync_interval, Some(Duration::from_secs(90)));
    assert_eq!((mesh.max_data_plane_connections, mesh.compress_config), (Some(7), false));
    assert_eq!(mesh.access_mode, AccessMode::Domain);
    let tracing = mesh.tracing.as_ref().unwrap();
    assert_eq!((tracing.address.as_str(), tracing.port), ("jaeger.fsm-system.svc.cluster.local", 9411));
    assert!((tracing.sampled_fraction - 0.25).abs() < 1e-9);
    assert_eq!(mesh.remote_logging.as_ref().unwrap().port, 30514);
    assert_eq!((mesh.certificate_validity, mesh.certificate_key_bits), (Duration::from_secs(3600), 4096));
    assert!(mesh.features.retry_policy && !mesh.features.egress_policy);
    assert_eq!(mesh.plugin_chains.stages["inbound-tcp"].len(), 1);
    assert_eq!(mesh.plugin_chains.stages["outbound-tcp"].len(), 3, "chains that are not named keep their stages");
    assert_eq!(mesh.plugin_chains.stages["inbound-http"].len(), 9, "and so do those in which nothing is named");
    assert_eq!(mesh.cluster_set.key(), "r/default/default/c1");
    assert_eq!((mesh.egress_gateway.mode.as_str(), mesh.egress_gateway.port), ("sock5", 1081));
    assert_eq!(mesh.warm_up.unwrap().duration, Duration::from_secs(10));
}

#[test]
fn another_mesh_config_counts_for_nothing() {
    let mut other = strict();
    other["metadata"]["name"] = json!("other");
    let mut world = world([other]);
    assert!(world.mesh().permissive);
    assert_eq!(world.problems().len(), 1);
    put(&mut world, strict());
    assert!(!world.mesh().permissive);
    assert_eq!(world.problems()[0].objects, ["MeshConfig fsm-system/other", "MeshConfig fsm-system/fsm-mesh-config"]);
}

#[test]
fn warm_up_comes_from_the_service_then_the_namespace_then_the_mesh() {
    let flags =
        json!({"featureFlags": {"enableTrafficWarmupPolicy": true}, "warmup": {"enable": true, "minWeight": 33}});
    let web = key("a", "web");
    let mut world = world([namespace("a"), mesh_config(flags)]);
    assert_eq!(world.warm_up(&web).unwrap().min_weight, 33);
    let annotations = json!({"flomesh.io/traffic-warmup-enable": "true", "flomesh.io/traffic-warmup-minweight": "44"});
    put(&mut world, patched(namespace("a"), "/metadata/annotations", annotations));
    assert_eq!(world.warm_up(&web).unwrap().min_weight, 44);
    let own = |enable: bool| {
        json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "TrafficWarmup", "metadata": {"name": "web", "namespace": "a"},
            "spec": {"enable": enable, "minWeight": 55}})
    };
    put(&mut world, own(true));
    assert_eq!(world.warm_up(&web).unwrap().min_weight, 55);
    put(&mut world, own(false));
    assert_eq!(world.warm_up(&web), None);
}

#[test]
fn probes_of_the_injector_are_kept_with_their_numbers() {
    let probe = json!({"httpGet": {"path": "/fsm-liveness-probe", "port": 15901}, "timeoutSeconds": 5});
    let named = json!({"httpGet": {"path": "/ready", "port": "web"}});
    let mut pod = pod("a", "p", "web", "x", "10.0.0.1");
    pod["spec"]["containers"][0]["livenessProbe"] = probe;
    pod["spec"]["containers"][0]["readinessProbe"] = named;
    pod["spec"]["containers"][0]["startupProbe"] = json!({"tcpSocket": {"port": 1}});
    let world = world([namespace("a"), pod]);
    let probes = &world.group(group_of(&world, "a", "p")).unwrap().probes;
    assert_eq!(probes.liveness_probes[0].http_get.as_ref().unwrap().port, 15901);
    assert_eq!(probes.liveness_probes[0].timeout_seconds, Some(5));
    assert_eq!(probes.readiness_probes[0].http_get.as_ref().unwrap().port, 8080);
    assert!(probes.startup_probes.is_empty());
}
