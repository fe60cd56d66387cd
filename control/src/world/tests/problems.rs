//! What the world finds wrong.

use super::super::{Problem, Severity, World};
use super::{empty, mesh_config, namespace, pod, put, service, slice, target, world};
use serde_json::{Value, json};

fn policy(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "a"}, "spec": spec})
}

fn split(name: &str, root: &str, backend: &str) -> Value {
    json!({"apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit", "metadata": {"name": name, "namespace": "a"},
        "spec": {"service": root, "backends": [{"service": backend, "weight": 1}]}})
}

/// A healthy namespace `a` with service `web`, and these objects.
fn with(objects: impl IntoIterator<Item = Value>) -> World {
    let healthy = [
        namespace("a"),
        service("a", "web"),
        pod("a", "p", "web", "server", "10.0.0.1"),
        slice("a", "one", "web", &[("p", "10.0.0.1")]),
        mesh_config(json!({"featureFlags": {"enableRetryPolicy": true, "enablePluginPolicy": true}})),
        json!({"apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
            "metadata": {"name": "routes", "namespace": "a"}, "spec": {"matches": [{"name": "m", "pathRegex": "/"}]}}),
    ];
    world(healthy.into_iter().chain(objects))
}

/// The only problem.
fn only(world: &World) -> Problem {
    let problems = world.problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].clone()
}

fn finds(objects: impl IntoIterator<Item = Value>, reason: &str, named: &[&str]) -> Problem {
    let problem = only(&with(objects));
    assert_eq!(
        (problem.reason, problem.objects.iter().map(String::as_str).collect::<Vec<_>>()),
        (reason, named.to_vec())
    );
    problem
}

#[test]
fn healthy_objects_have_no_problems() {
    assert_eq!(empty().problems(), []);
    let world = with([
        target("a", "t", "server", &["client"]),
        service("a", "root"),
        split("s", "root", "web"),
        policy("UpstreamTrafficSetting", "u", json!({"host": "web.a"})),
    ]);
    assert_eq!(world.problems(), []);
}

#[test]
fn a_target_with_a_foreign_destination_is_found() {
    let mut foreign = target("a", "t", "server", &["client"]);
    foreign["spec"]["destination"]["namespace"] = json!("b");
    let problem = finds([foreign], "ForeignDestination", &["TrafficTarget a/t", "ServiceAccount b/server"]);
    assert_eq!(problem.severity, Severity::Error);
    assert!(problem.text.contains("move it"), "{problem}");
}

#[test]
fn dangling_routes_and_matches_are_found() {
    let mut missing = target("a", "t", "server", &["client"]);
    missing["spec"]["rules"] = json!([{"kind": "HTTPRouteGroup", "name": "none"}]);
    finds([missing.clone()], "MissingRoute", &["TrafficTarget a/t", "HTTPRouteGroup a/none"]);
    missing["spec"]["rules"] = json!([{"kind": "TCPRoute", "name": "none"}]);
    finds([missing.clone()], "MissingRoute", &["TrafficTarget a/t", "TCPRoute a/none"]);
    missing["spec"]["rules"] = json!([{"kind": "HTTPRouteGroup", "name": "routes", "matches": ["m", "n"]}]);
    finds([missing], "MissingMatch", &["TrafficTarget a/t", "HTTPRouteGroup a/routes"]);
}

#[test]
fn two_settings_of_one_host_name_both_and_the_newest_counts() {
    let setting = |name: &str, host: &str| policy("UpstreamTrafficSetting", name, json!({"host": host}));
    let mut old = setting("z", "web.a.svc.cluster.local");
    old["metadata"]["creationTimestamp"] = json!("2024-01-01T00:00:00Z");
    let named = ["UpstreamTrafficSetting a/z", "UpstreamTrafficSetting a/u"];
    finds([setting("u", "web.a"), old.clone()], "HostConflict", &named);
    finds([old, setting("u", "web.a")], "HostConflict", &named);
    finds([setting("u", "none.a")], "UnknownService", &["UpstreamTrafficSetting a/u", "Service a/none"]);
    finds([setting("u", "web.b")], "ForeignHost", &["UpstreamTrafficSetting a/u", "Service b/web"]);
    finds([setting("u", "example.org.net.x")], "UnknownHost", &["UpstreamTrafficSetting a/u"]);
}

#[test]
fn splits_of_nothing_to_nowhere_are_found() {
    finds([split("s", "none", "web")], "UnknownRoot", &["TrafficSplit a/s", "Service a/none"]);
    finds([split("s", "web", "none")], "UnknownBackend", &["TrafficSplit a/s", "Service a/none"]);
    finds(
        [split("r", "web", "web"), split("s", "web", "web")],
        "SplitConflict",
        &["TrafficSplit a/s", "TrafficSplit a/r"],
    );
    let mut other = service("a", "other");
    other["spec"]["ports"][0]["port"] = json!(81);
    finds([other, split("s", "web", "other")], "NoCommonPort", &["TrafficSplit a/s", "Service a/other"]);
}

#[test]
fn two_gateways_of_everything_are_found() {
    let gateway = |name: &str| policy("EgressGateway", name, json!({"global": [{"service": "web", "namespace": "a"}]}));
    finds([gateway("one"), gateway("two")], "GatewayConflict", &["EgressGateway a/two", "EgressGateway a/one"]);
}

#[test]
fn egress_that_refers_to_nothing_is_found() {
    let egress = |spec: Value| {
        let mut whole = json!({"sources": [{"kind": "ServiceAccount", "name": "x", "namespace": "a"}],
            "hosts": ["x.org"], "ports": [{"number": 80, "protocol": "http"}]});
        for (name, value) in spec.as_object().unwrap() {
            whole[name] = value.clone();
        }
        policy("Egress", "e", whole)
    };
    let missing = json!({"matches": [{"kind": "HTTPRouteGroup", "name": "none"}]});
    finds([egress(missing)], "MissingRoute", &["Egress a/e", "HTTPRouteGroup a/none"]);
    let missing = json!({"matches": [{"kind": "UpstreamTrafficSetting", "name": "none"}]});
    finds([egress(missing)], "MissingSetting", &["Egress a/e", "UpstreamTrafficSetting a/none"]);
    finds([egress(json!({"ipAddresses": ["10.0.0.0/40"]}))], "InvalidRange", &["Egress a/e"]);
    finds([egress(json!({"ports": [{"number": 80, "protocol": "gopher"}]}))], "UnknownProtocol", &["Egress a/e"]);
    let secret = json!({"name": "none", "namespace": "a"});
    let cert = json!({"sn": 1, "expiration": "", "subjectAltNames": [], "secret": secret});
    let sources =
        json!([{"kind": "ServiceAccount", "name": "x", "namespace": "a", "mtls": {"issuer": "other", "cert": cert}}]);
    finds([egress(json!({"sources": sources}))], "MissingSecret", &["Egress a/e", "Secret a/none"]);
}

#[test]
fn doors_that_open_nothing_are_found() {
    let door = |backend: &str, port: u16, source: Value| {
        let backends = json!([{"name": backend, "port": {"number": port, "protocol": "http"}}]);
        policy("IngressBackend", "i", json!({"backends": backends, "sources": [source]}))
    };
    let range = json!({"kind": "IPRange", "name": "10.0.0.0/8"});
    assert_eq!(with([door("web", 8080, range.clone())]).problems(), []);
    finds([door("none", 8080, range.clone())], "UnknownBackend", &["IngressBackend a/i", "Service a/none"]);
    finds([door("web", 9999, range.clone())], "UnknownPort", &["IngressBackend a/i", "Service a/web"]);
    let wrong = json!({"kind": "IPRange", "name": "10/8"});
    finds([door("web", 8080, wrong)], "InvalidRange", &["IngressBackend a/i"]);
    let nobody = json!({"kind": "Service", "name": "none", "namespace": "b"});
    let problem = finds([door("web", 8080, nobody)], "NoEndpoints", &["IngressBackend a/i", "Service b/none"]);
    assert!(problem.text.starts_with("endpoints not found for service b/none"), "{problem}");
    let mut second = door("web", 8080, range.clone());
    second["metadata"]["name"] = json!("j");
    let both = [door("web", 8080, range.clone()), second];
    let problem = finds(both, "BackendConflict", &["IngressBackend a/j", "IngressBackend a/i"]);
    assert_eq!(problem.severity, Severity::Warning, "both count");
    assert!(problem.text.contains("which IngressBackend a/i opens too: whoever either of them"), "{problem}");
    let everywhere = |name: &str| policy("AccessControl", name, json!({"sources": [range.clone()]}));
    let both = [everywhere("c"), everywhere("d")];
    let problem = finds(both, "EverywhereConflict", &["AccessControl a/d", "AccessControl a/c"]);
    assert_eq!(problem.severity, Severity::Warning, "both count");
    assert!(problem.text.contains("every service of namespace a, which AccessControl a/c does too"), "{problem}");
    let mut elsewhere = everywhere("e");
    elsewhere["metadata"]["namespace"] = json!("b");
    assert_eq!(with([namespace("b"), everywhere("c"), elsewhere]).problems(), [], "they open other services");
}

#[test]
fn a_split_that_shares_nothing_out_is_found() {
    let mut weightless = split("s", "root", "web");
    weightless["spec"]["backends"][0]["weight"] = json!(0);
    let problem = finds([service("a", "root"), weightless], "NoWeight", &["TrafficSplit a/s", "Service a/root"]);
    assert_eq!(problem.severity, Severity::Warning);
    assert!(problem.text.contains("share the traffic to service a/root alike"), "{problem}");
    let mut without = split("s", "root", "web");
    without["spec"]["backends"] = json!([]);
    let problem = finds([service("a", "root"), without], "NoBackends", &["TrafficSplit a/s", "Service a/root"]);
    assert_eq!(problem.severity, Severity::Error);
    assert!(problem.text.contains("service a/root is called like any other"), "{problem}");
}

#[test]
fn two_retries_of_one_way_are_found() {
    let retry = |name: &str| {
        policy(
            "Retry",
            name,
            json!({"source": {"kind": "ServiceAccount", "name": "client", "namespace": "a"},
            "destinations": [{"kind": "Service", "name": "web", "namespace": "a"}], "retryPolicy": {"retryOn": "5xx"}}),
        )
    };
    finds([retry("r"), retry("s")], "RetryConflict", &["Retry a/s", "Retry a/r"]);
    let mut world = with([retry("r")]);
    put(&mut world, mesh_config(json!({})));
    assert_eq!(only(&world).reason, "FeatureDisabled");
}

#[test]
fn plugins_that_do_not_exist_are_found() {
    let chain = json!({"apiVersion": "plugin.flomesh.io/v1alpha1", "kind": "PluginChain",
        "metadata": {"name": "c", "namespace": "a"},
        "spec": {"chains": [{"name": "inbound-http", "plugins": ["none"]}], "selectors": {}}});
    finds([chain], "MissingPlugin", &["PluginChain a/c", "Plugin none"]);
}

#[test]
fn objects_outside_the_mesh_are_found() {
    let mut outside = policy("UpstreamTrafficSetting", "u", json!({"host": "web.b"}));
    outside["metadata"]["namespace"] = json!("b");
    finds([outside], "NamespaceNotInMesh", &["UpstreamTrafficSetting b/u"]);
}

#[test]
fn a_named_port_that_no_container_has_is_found() {
    let mut web = service("a", "db");
    web["spec"]["ports"][0]["targetPort"] = json!("mysql");
    finds([web, pod("a", "q", "db", "x", "10.0.0.9")], "UnknownTargetPort", &["Service a/db"]);
}
